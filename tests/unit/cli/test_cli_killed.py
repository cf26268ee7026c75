"""Commands that are killed at any moment and run again: no message is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_process import started

from stomplistener.testing import Broker

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX'"),
]
A, B = "/queue/a", "/queue/b"
COUNT = 600
KILLS = 3
PATIENCE = 30.0


def run_killed(broker: Broker, has_begun: Callable[[], bool], *arguments: str, **options: Any) -> None:
    """Kill the command some times at a random moment after ``has_begun``, then let it end by itself."""
    for _ in range(KILLS):
        with started(*arguments, "-u", broker.uri, stderr=subprocess.DEVNULL, **options) as process:
            broker.wait_for(lambda: has_begun() or process.poll() is not None, PATIENCE, "the command works")
            with_delay = random.uniform(0.0, 0.05)
            try:
                process.wait(with_delay)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
        broker.wait_for(lambda: not broker.connections, PATIENCE, "the connection of the killed command is gone")
    with started(*arguments, "-u", broker.uri, stderr=subprocess.PIPE, **options) as process:
        said = process.communicate(timeout=60)[1]
        assert process.returncode == 0, said


def grown(measure: Callable[[], int], by: int) -> Callable[[], bool]:
    """A condition: that a number has moved by so much since it was asked for the first time."""
    first: list[int] = []

    def has_grown() -> bool:
        first.append(measure()) if not first else None
        return abs(measure() - first[0]) >= by

    return has_grown


def fill(broker: Broker) -> set[bytes]:
    for number in range(COUNT):
        broker.publish(A, f"number {number}")
    return {b"number %d" % number for number in range(COUNT)}


@pytest.mark.parametrize("server", ["ActiveMQ/5.18.3", "RabbitMQ/3.10"])
def test_move(server: str) -> None:
    with Broker(server_name=server) as broker:
        bodies = fill(broker)
        begun = grown(lambda: broker.depth(B), 20)
        run_killed(broker, begun, "move", A, B, "--rate", "400", "--idle", "1")
        moved = [message.body for message in broker.messages(B)]
        assert set(moved) == bodies
        assert broker.depth(A) == 0
        if server.startswith("ActiveMQ"):
            assert len(moved) == COUNT


def test_dump_and_restore(broker: Broker, tmp_path: Path) -> None:
    bodies = fill(broker)
    file = tmp_path / "dump.jsonl"
    with file.open("ab") as sink:
        run_killed(broker, grown(lambda: broker.depth(A), 20), "dump", A, "--take", "--idle", "1", stdout=sink)
    assert broker.depth(A) == 0
    lines = [line for line in file.read_text().splitlines() if line]
    assert {json.loads(line)["body"].encode() for line in lines} == bodies
    arguments = ("restore", B, "--file", str(file), "--rate", "2000")
    run_killed(broker, grown(lambda: broker.depth(B), 20), *arguments)
    assert {message.body for message in broker.messages(B)} == bodies


def test_half_a_line_of_a_killed_dump_does_not_spoil_the_next(broker: Broker, tmp_path: Path) -> None:
    broker.publish(A, "whole")
    file = tmp_path / "dump.jsonl"
    file.write_text('{"destination": "/queue/a", "body": "ha')
    with file.open("ab") as sink, started("dump", A, "--take", "--idle", "0.3", "-u", broker.uri, stdout=sink) as dump:
        assert dump.wait(PATIENCE) == 0
    assert file.read_text().count("\n") == 2
    with started("restore", B, "--file", str(file), "-u", broker.uri, stderr=subprocess.PIPE) as restore:
        assert b"line 1 has no valid message" in restore.communicate(timeout=PATIENCE)[1]
        assert restore.returncode == 1
    assert [message.body for message in broker.messages(B)] == [b"whole"]
