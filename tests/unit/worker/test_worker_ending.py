"""A worker that is told to end while a connection of it is being made: what runs has its time, and is settled."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from worker_process import PATIENCE, WorkerProcess, eventually

from stomplistener.testing import Broker

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them"),
    pytest.mark.timeout(60),
]

QUEUE = "/queue/work"
UNREACHABLE = "failover:(tcp://127.0.0.1:1)?initialReconnectDelay=20000"

APPLICATION = """
import os
import signal
import time

from stomplistener.worker import Application

app = Application()
book = os.open(os.environ["BOOK"], os.O_WRONLY | os.O_APPEND)
if "OTHER" in os.environ:
    app.add_connection("other", os.environ["OTHER"])


@app.on_start
def interrupt():
    if "EARLY" in os.environ:
        os.kill(os.getpid(), signal.SIGTERM)


@app.listener("/queue/work", error_destination="/queue/failed")
def work(message):
    open("begun", "w").close()
    while not os.path.exists("go"):
        time.sleep(0.005)
    os.write(book, f"{message.text} {os.getpid()} {message.redelivered}\\n".encode())
    if message.text == "bad":
        raise ValueError("bad")
"""


class Worker(WorkerProcess):
    """A worker whose handler runs until it may go on."""

    def __init__(self, directory: Path, uri: str, *options: str, **variables: str) -> None:
        super().__init__(directory, uri, *options, application=APPLICATION, **variables)

    def runs(self) -> None:
        eventually(lambda: self.has_begun, "the handler runs")

    def go_on(self) -> None:
        (self.directory / "go").touch()

    def end(self) -> None:
        """Tell it to end, and wait until it says that it heard."""
        self.signal(signal.SIGTERM)
        eventually(lambda: "ending within" in self.err, "the end's beginning")

    def ends(self, code: int = 0, within: float = 10) -> None:
        """See it end with this code, in fewer seconds."""
        begin = time.monotonic()
        assert self.wait() == code, self.err
        assert time.monotonic() - begin < within


def failover(broker: Broker) -> str:
    return f"failover:({broker.uri})?initialReconnectDelay=1&maxReconnectDelay=20"


@pytest.mark.parametrize("again", [False, True], ids=["first connect", "reconnect"])
@pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=["one process", "two processes"])
def test_a_worker_whose_subscription_is_not_confirmed_yet_settles_what_runs(
    broker: Broker, tmp_path: Path, again: bool, options: tuple[str, ...]
) -> None:
    count = 2 if options else 1
    broker.withhold_receipts("SUBSCRIBE")
    with Worker(tmp_path, failover(broker), "--grace", "20", *options) as worker:
        broker.wait_for(lambda: len(broker.subscriptions) == count, PATIENCE)
        if again:
            broker.release_receipts()
            eventually(lambda: worker.err.count("listening to /queue/work on") == count, "the connections")
            broker.withhold_receipts("SUBSCRIBE")
            broker.drop_connections()
            broker.wait_for(lambda: len(broker.frames(command="SUBSCRIBE")) == 2 * count, PATIENCE)
        broker.publish(QUEUE, "good")
        worker.runs()
        worker.end()
        worker.go_on()
        worker.ends()
        assert [line.text for line in worker.lines] == ["good"]
    assert len(broker.frames(command="ACK")) == 1
    assert broker.messages(QUEUE) == broker.unacknowledged(QUEUE) == []
    assert broker.frames()[-1].command == "DISCONNECT"


def test_a_worker_whose_subscription_is_not_confirmed_yet_gives_up_what_fails(broker: Broker, tmp_path: Path) -> None:
    broker.withhold_receipts("SUBSCRIBE")
    broker.publish(QUEUE, "bad")
    with Worker(tmp_path, failover(broker)) as worker:
        worker.runs()
        worker.end()
        worker.go_on()
        eventually(lambda: "it goes to /queue/failed" in worker.err, "the handler's failure")
        broker.release_receipts()
        assert worker.wait() == 0, worker.err
    assert [message.body for message in broker.messages("/queue/failed")] == [b"bad"]
    assert broker.messages(QUEUE) == broker.unacknowledged(QUEUE) == []


def test_a_worker_that_is_cut_off_waits_for_what_runs_and_the_message_comes_again(
    broker: Broker, tmp_path: Path
) -> None:
    broker.publish(QUEUE, "good")
    with Worker(tmp_path, failover(broker), "--grace", "20") as worker:
        worker.runs()
        broker.stop()
        eventually(lambda: "not connected, pass" in worker.err, "attempts to connect again")
        worker.end()
        worker.go_on()
        assert worker.wait() == 0, worker.err
        assert [line.text for line in worker.lines] == ["good"]
        assert "ended: every handler has returned" in worker.err
    broker.start()
    assert [message.body for message in broker.messages(QUEUE)] == [b"good"]


def test_a_worker_that_is_cut_off_ends_within_its_grace(broker: Broker, tmp_path: Path) -> None:
    broker.publish(QUEUE, "good")
    with Worker(tmp_path, failover(broker), "--grace", "0.5") as worker:
        worker.runs()
        broker.stop()
        eventually(lambda: "not connected, pass" in worker.err, "attempts to connect again")
        worker.end()
        worker.ends(4, within=5)
        assert "1 handlers did not end" in worker.err


def test_a_connection_that_is_down_keeps_no_other_one_from_settling(broker: Broker, tmp_path: Path) -> None:
    broker.publish(QUEUE, "good")
    with Worker(tmp_path, broker.uri, "--grace", "20", OTHER=UNREACHABLE) as worker:
        worker.runs()
        worker.end()
        worker.go_on()
        worker.ends()
        assert [line.text for line in worker.lines] == ["good"]
    assert broker.messages(QUEUE) == broker.unacknowledged(QUEUE) == []
    assert [frame.command for frame in broker.frames()][-2:] == ["ACK", "DISCONNECT"]


@pytest.mark.parametrize("uri", ["", UNREACHABLE], ids=["reachable", "unreachable"])
def test_a_signal_before_anything_is_connected_ends_the_worker(broker: Broker, tmp_path: Path, uri: str) -> None:
    with Worker(tmp_path, uri or broker.uri, EARLY="1") as worker:
        worker.ends()
    assert not broker.connections
