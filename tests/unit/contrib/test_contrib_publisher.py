"""The publisher of a process: across forks, and at the end."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stomplistener import ClosedAfterFork
from stomplistener.contrib.publisher import Publisher
from stomplistener.testing import Broker

pytestmark = pytest.mark.timeout(60)

QUEUE = "/queue/a"

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


def publish(publisher: Publisher, text: str) -> None:
    publisher.connection().send(QUEUE, text, confirm=True)


def publish_and_close(publisher: Publisher, text: str) -> None:
    publish(publisher, text)
    publisher.close()


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("preloaded", [True, False])
def test_children_of_multiprocessing_connect_anew_and_leave_the_parents_socket_alone(
    broker: Broker, preloaded: bool
) -> None:
    publisher = Publisher(broker.uri)
    if preloaded:
        publish(publisher, "parent")
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=publish_and_close, args=(publisher, f"child {n}")) for n in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(20)
        assert child.exitcode == 0
    publish(publisher, "parent")
    expected = ["child 0", "child 1", "parent"] + ["parent"] * preloaded
    assert sorted(message.body.decode() for message in broker.messages(QUEUE)) == expected
    assert broker.connection_count == 3
    assert len(broker.frames(command="DISCONNECT")) == 2
    publisher.close()


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_who_kept_the_connection_itself_is_told_that_it_is_the_parents(broker: Broker) -> None:
    publisher = Publisher(broker.uri)
    connection = publisher.connection()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            connection.send(QUEUE, "never")
        except ClosedAfterFork:
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    publisher.close()
    assert not broker.messages(QUEUE)


def test_the_end_of_a_program_says_goodbye_after_its_last_receipt(broker: Broker, tmp_path: Path) -> None:
    program = (
        "import sys; from stomplistener.contrib.publisher import Publisher\n"
        f"connection = Publisher(sys.argv[1]).connection()\n"
        f"for number in range(500): connection.send_async({QUEUE!r}, str(number))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, broker.uri], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert broker.depth(QUEUE) == 500
    assert broker.frames()[-1].command == "DISCONNECT"


def test_saying_goodbye_needs_no_new_thread(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    # At the end of a process newer Pythons start none.
    publisher = Publisher(broker.uri)
    publish(publisher, "x")

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        publisher.close()
    broker.wait_for(lambda: broker.frames(command="DISCONNECT"))
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("stomp-")]


def test_threads_that_connect_at_once_share_one_connection(broker: Broker) -> None:
    publisher = Publisher(broker.uri)
    threads = [threading.Thread(target=publish, args=(publisher, "x")) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert broker.depth(QUEUE) == 16
    assert broker.connection_count == 1
    publisher.close()
