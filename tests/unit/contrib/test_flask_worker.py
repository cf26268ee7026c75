"""``flask stomp worker`` as a process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask_support import WORKER
from worker_process import PATIENCE, WorkerProcess, eventually

from stomplistener.testing import Broker

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them"),
    pytest.mark.timeout(60),
]

QUEUE = "/queue/work"
FLASK = ("-m", "flask", "--app", "application", "stomp", "worker")


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


def test_sigterm_under_load_loses_nothing_settles_nothing_twice_and_tears_down_each_context(
    broker: Broker, tmp_path: Path
) -> None:
    everything = {str(number) for number in range(2000)}
    for text in everything:
        broker.publish(QUEUE, text)
    with WorkerProcess(tmp_path, broker.uri, "--grace", "10", application=WORKER, command=FLASK) as worker:
        eventually(lambda: len(worker.lines) >= 100, "100 messages handled")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.err
        handled = [line.text for line in worker.lines]
    acknowledged = [frame.headers["id"] for frame in broker.frames(command="ACK")]
    assert 100 <= len(handled) < 2000
    assert len(set(handled)) == len(handled) == len(acknowledged) == len(set(acknowledged))
    assert not broker.frames(command="NACK")
    assert {message.body.decode() for message in broker.messages(QUEUE)} == everything - set(handled)
    assert sorted((tmp_path / "ends").read_text().split("\n")[:-1]) == sorted(f"{text} shop" for text in handled)
    assert broker.frames()[-1].command == "DISCONNECT"


def test_several_processes(broker: Broker, tmp_path: Path) -> None:
    with WorkerProcess(tmp_path, broker.uri, "--processes", "2", application=WORKER, command=FLASK) as worker:
        broker.wait_for(lambda: len(broker.subscriptions) == 2, PATIENCE)
        for number in range(100):
            broker.publish(QUEUE, str(number))
        eventually(lambda: len(worker.lines) == 100, "all messages handled")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.err
    assert len({line.pid for line in worker.lines}) == 2
    assert broker.depth(QUEUE) == 0


def test_bad_configuration_is_the_last_line(tmp_path: Path) -> None:
    with WorkerProcess(tmp_path, "tpc://nowhere", application=WORKER, command=FLASK) as worker:
        assert worker.wait() == 1
        assert "app.config['STOMP_URL']" in worker.err.splitlines()[-1]
