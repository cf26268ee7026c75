"""How worker processes end: no message lost, none settled twice."""

from __future__ import annotations

import json
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


def fill(broker: Broker, count: int) -> set[str]:
    texts = {f"{count}-{number}" for number in range(count)}
    for text in texts:
        broker.publish(QUEUE, text)
    return texts


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_a_busy_worker_loses_nothing_and_settles_nothing_twice(
    broker: Broker, tmp_path: Path, number: signal.Signals
) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("started by nohup, whose children do not hear SIGHUP")
    everything = fill(broker, 2000)
    with WorkerProcess(tmp_path, broker.uri, "--grace", "10", WORKERS="4") as worker:
        eventually(lambda: len(worker.lines) >= 100, "100 messages handled")
        began = time.monotonic()
        worker.signal(number)
        assert worker.wait() == 0, worker.err
        assert time.monotonic() - began < 10
        handled = [line.text for line in worker.lines]
    acknowledged = [frame.headers["id"] for frame in broker.frames(command="ACK")]
    assert 100 <= len(handled) < 2000
    assert len(set(handled)) == len(handled) == len(acknowledged) == len(set(acknowledged))
    assert not broker.frames(command="NACK")
    left = {message.body.decode() for message in broker.messages(QUEUE)}
    assert left == everything - set(handled)
    assert broker.frames()[-1].command == "DISCONNECT"


def test_what_a_worker_left_is_handled_once_by_the_next(broker: Broker, tmp_path: Path) -> None:
    everything = fill(broker, 600)
    with WorkerProcess(tmp_path, broker.uri, WORKERS="2") as worker:
        eventually(lambda: len(worker.lines) >= 50, "50 messages handled")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.err
    with WorkerProcess(tmp_path, broker.uri, WORKERS="4") as worker:
        eventually(lambda: len(worker.lines) >= 600, "all messages handled")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.err
        assert sorted(line.text for line in worker.lines) == sorted(everything)
    assert broker.depth(QUEUE) == 0


def test_a_handler_that_outlasts_the_grace_ends_the_worker_with_another_code(broker: Broker, tmp_path: Path) -> None:
    broker.publish(QUEUE, "long")
    with WorkerProcess(tmp_path, broker.uri, "--grace", "0.3", WORK="60") as worker:
        eventually(lambda: worker.has_begun, "the handler runs")
        began = time.monotonic()
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 4, worker.err
        assert time.monotonic() - began < 5
        assert "1 handlers did not end" in worker.err
    broker.wait_for(lambda: [message.body for message in broker.messages(QUEUE)] == [b"long"], PATIENCE)


def test_a_second_signal_ends_at_once(broker: Broker, tmp_path: Path) -> None:
    broker.publish(QUEUE, "long")
    with WorkerProcess(tmp_path, broker.uri, "--grace", "60", WORK="60") as worker:
        eventually(lambda: worker.has_begun, "the handler runs")
        worker.signal(signal.SIGTERM)
        eventually(lambda: "ending within 60 s" in worker.err, "the first signal is told")
        worker.signal(signal.SIGINT)
        assert worker.wait(PATIENCE) == 128 + signal.SIGINT
    broker.wait_for(lambda: [message.body for message in broker.messages(QUEUE)] == [b"long"], PATIENCE)


def test_a_killed_process_is_replaced_and_its_messages_come_again(broker: Broker, tmp_path: Path) -> None:
    with WorkerProcess(tmp_path, broker.uri, "--processes", "2", WORK="0.005") as worker:
        broker.wait_for(lambda: len(broker.subscriptions) == 2, PATIENCE)
        everything = fill(broker, 300)
        eventually(lambda: len({line.pid for line in worker.lines}) == 2, "both processes at work")
        victim = worker.lines[-1].pid
        os.kill(victim, signal.SIGKILL)
        broker.wait_for(lambda: broker.connection_count == 3 and len(broker.subscriptions) == 2, PATIENCE)
        everything |= fill(broker, 400)
        eventually(lambda: len({line.pid for line in worker.lines}) == 3, "a third process at work")
        eventually(lambda: {line.text for line in worker.lines} == everything, "all messages handled")
        broker.wait_for(lambda: not broker.unacknowledged(QUEUE) and not broker.depth(QUEUE), PATIENCE)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.err
        assert "ended: SIGKILL; another one starts in 0.5 s" in worker.err
    assert any(line.redelivered and line.pid != victim for line in worker.lines)
    # Only what the victim had in its hands, one message, can have been handled twice.
    assert len(worker.lines) - 700 <= 1


def test_a_signal_to_every_process_of_a_service_is_one_signal(broker: Broker, tmp_path: Path) -> None:
    everything = fill(broker, 40)
    with WorkerProcess(tmp_path, broker.uri, "--processes", "2", WORK="0.5") as worker:
        eventually(lambda: len({line.pid for line in worker.lines}) == 2, "both processes at work")
        for pid in {line.pid for line in worker.lines}:
            os.kill(pid, signal.SIGTERM)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.err
        handled = [line.text for line in worker.lines]
    acknowledged = broker.frames(command="ACK")
    assert len(acknowledged) == len(handled) == len(set(handled))
    assert {message.body.decode() for message in broker.messages(QUEUE)} == everything - set(handled)


def test_a_script_that_runs_itself_in_two_processes(broker: Broker, tmp_path: Path) -> None:
    with WorkerProcess(tmp_path, broker.uri, run="processes=2, grace=5, log_format='text'") as worker:
        broker.wait_for(lambda: len(broker.subscriptions) == 2, PATIENCE)
        everything = fill(broker, 100)
        eventually(lambda: {line.text for line in worker.lines} == everything, "all messages handled")
        worker.signal(signal.SIGINT)
        assert worker.wait() == 0, worker.err
        assert "Traceback" not in worker.err
    assert len(worker.lines) == 100


def test_children_do_not_outlive_their_supervisor(broker: Broker, tmp_path: Path) -> None:
    with WorkerProcess(tmp_path, broker.uri, "--processes", "2") as worker:
        broker.wait_for(lambda: len(broker.subscriptions) == 2, PATIENCE)
        fill(broker, 300)
        # One that does not know yet that it is subscribed ends, too, but has nothing to say goodbye to.
        eventually(lambda: len({line.pid for line in worker.lines}) == 2, "both processes at work")
        worker.signal(signal.SIGKILL)
        worker.process.wait(PATIENCE)
        broker.wait_for(lambda: not broker.connections, PATIENCE)
    assert [frame.command for frame in broker.frames() if frame.command == "DISCONNECT"] == ["DISCONNECT"] * 2


def test_the_alive_file_is_there_while_connections_live(broker: Broker, tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    with WorkerProcess(tmp_path, broker.uri, "--processes", "2", "--alive-file", str(alive)) as worker:
        eventually(alive.exists, "the alive-file")
        broker.stop()
        age = alive.stat().st_mtime
        broker.start()
        eventually(lambda: alive.stat().st_mtime > age, "the alive-file is touched again")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.err
    assert not list(tmp_path.glob("alive*"))


def test_a_worker_without_a_broker_says_why_and_ends(broker: Broker, tmp_path: Path) -> None:
    broker.stop()
    with WorkerProcess(tmp_path, broker.uri, "--log-format", "json") as worker:
        assert worker.wait() == 3
    lines = [json.loads(line) for line in worker.err.splitlines()]
    assert lines[0]["message"] == "starting to listen to /queue/work on default"
    # Told once: not by each attempt and by what ends the process.
    assert len(lines) == 2
    assert lines[-1]["level"] == "ERROR"
    assert "refused" in lines[-1]["message"]
    assert not any("exception" in line for line in lines)


def test_a_refused_subscription_ends_the_worker(broker: Broker, tmp_path: Path) -> None:
    broker.error_next("SUBSCRIBE", "not for you", close=False, times=1)
    with WorkerProcess(tmp_path, broker.uri) as worker:
        assert worker.wait() == 1
    assert "not for you" in worker.err
