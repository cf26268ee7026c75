"""The command line on the real brokers: each command once, and what must not be lost when a command is killed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

import pytest
from sizes import sized

from stomplistener import Connection
from stomplistener.testing.containers import BrokerContainer

pytestmark = [
    pytest.mark.timeout(400, func_only=True),
    pytest.mark.skipif(os.name != "posix", reason="kills processes as POSIX does"),
]
COUNT = sized(10_000)
LONGEST = 2.4 * COUNT / 10_000
"""Seconds after which a command that works off so many messages is killed, at most, beside those for its start."""
KILLS = 6
KEEPERS = ("activemq", "artemis", "rabbitmq")
"""Those of which the issue asks that nothing is lost."""


class Shell:
    """The command line, told of one broker by the environment."""

    def __init__(self, broker: BrokerContainer) -> None:
        self.broker = broker
        self._environment = {
            **os.environ,
            "STOMP_URL": broker.uri,
            "STOMPLISTENER_HOST": broker.virtual_host,
            "STOMPLISTENER_BROKER": broker.name,
            "STOMPLISTENER_TIMEOUT": "30",
        }

    def run(self, *arguments: str, stdin: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self._command(arguments), env=self._environment, input=stdin, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == code, done.stdout[-2000:] + done.stderr
        return done

    def run_killed(self, *arguments: str, stdin: Path | None = None, stdout: Path | None = None) -> int:
        """Run it until it ends by itself, killed at random times before; how often it was killed."""
        for kill in range(KILLS + 1):
            with (stdin or Path(os.devnull)).open("rb") as source, (stdout or Path(os.devnull)).open("ab") as sink:
                process = subprocess.Popen(
                    self._command(arguments), env=self._environment, stdin=source, stdout=sink, stderr=subprocess.PIPE
                )
                # The first time soon behind its start, so that it is killed at all.
                within = random.uniform(0.5, 0.8) if kill == 0 else random.uniform(0.6, 0.6 + LONGEST)
                try:
                    _, said = process.communicate(timeout=200 if kill == KILLS else within)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()
                    continue
                assert process.returncode == 0, said
                return kill
        raise AssertionError(f"{arguments}: it did not end")

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "stomplistener", *arguments]

    def connection(self) -> Connection:
        return Connection(self.broker.uri, host=self.broker.virtual_host, broker=self.broker.name, timeout=60.0)

    def fill(self, queue: str, count: int = COUNT) -> set[str]:
        bodies = [f"number {number}" for number in range(count)]
        with self.connection() as connection:
            for answer in [connection.send_async(queue, body, persistent=True) for body in bodies]:
                answer.result(60)
        return set(bodies)

    def drain(self, queue: str, patience: float = 5.0) -> Counter[str]:
        """Take everything; how often each body was there."""
        found: Counter[str] = Counter()
        with self.connection() as connection, connection.consume(queue, ack="auto") as consumer:
            while (message := consumer.receive(patience)) is not None:
                found[message.text] += 1
        return found


@pytest.fixture
def cli(real_broker: BrokerContainer) -> Shell:
    return Shell(real_broker)


@pytest.fixture
def keeper(cli: Shell) -> Shell:
    if cli.broker.name not in KEEPERS:
        pytest.skip("the issue asks it of the other three")
    return cli


def new_queue() -> str:
    return f"/queue/cli-{uuid.uuid4().hex[:12]}"


def test_each_command_for_queues(cli: Shell, tmp_path: Path) -> None:
    queue, other = new_queue(), new_queue()
    cli.run("send", queue, "order {n}", "-H", "kind:x{n}", "--repeat", "20", "-H", "persistent:true")
    if cli.broker.name in ("activemq", "apollo"):
        shown = cli.run("browse", queue, "--format", "{kind} {body}").stdout.splitlines()
        assert shown == [f"x{number} order {number}" for number in range(1, 21)]
        assert len(cli.run("browse", queue, "--json", "-n", "3", "--where", "kind <> 'x1'").stdout.splitlines()) == 3
    else:
        title = "RabbitMQ" if cli.broker.name == "rabbitmq" else "Artemis"
        assert f"{title} cannot do browse" in cli.run("browse", queue, code=2).stderr
    dumped = cli.run("dump", queue).stdout
    assert len(dumped.splitlines()) == 20
    cli.run("move", queue, other, "--count", "15")
    assert cli.run("listen", other, "--idle", "3", "--format", "{kind} {body}", "-q").stdout.splitlines() == [
        f"x{number} order {number}" for number in range(1, 16)
    ]
    assert "5 messages" in cli.run("purge", queue, "--yes").stderr
    cli.run("restore", queue, stdin=dumped)
    again = cli.run("dump", queue, "--take").stdout
    for before, after in zip(dumped.splitlines(), again.splitlines(), strict=True):
        for line in (one := json.loads(before), two := json.loads(after)):
            for name in ("id", *DELIVERY):
                line.pop(name, None)
                line["headers"].pop(name, None)
        assert one == two
    assert not cli.drain(queue)


DELIVERY = ("message-id", "ack", "subscription", "redelivered", "receipt", "timestamp", "delivery-count")
"""Headers that another delivery, on another connection, has otherwise."""


def test_bytes_and_texts_come_back_as_they_were(cli: Shell) -> None:
    queue, other = new_queue(), new_queue()
    bodies = [bytes(range(256)), "grüß € \U0001f355".encode(), b"", b'{"a": 1}']
    with cli.connection() as connection:
        for body in bodies:
            connection.send(
                queue, body, {"x": "a:b\\c"}, content_type="application/x-any", persistent=True, confirm=True
            )
    dumped = cli.run("dump", queue, "--take").stdout
    cli.run("restore", other, stdin=dumped)
    with cli.connection() as connection, connection.consume(other, ack="auto") as consumer:
        for body in bodies:
            message = consumer.receive(20)
            assert message is not None
            assert message.body == body
            assert message.headers["content-type"] == "application/x-any"
            assert message.headers["x"] == "a:b\\c"


def test_a_request_and_its_answer(cli: Shell) -> None:
    queue = new_queue()
    with subprocess.Popen(
        cli._command(("reply", queue, "--command", "tr a-z A-Z", "--count", "1")),
        env=cli._environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert "answering" in process.stderr.readline()
        assert cli.run("request", queue, "hello", "--body").stdout == "HELLO\n"
        assert process.wait(30) == 0


def test_dead_letters_go_back_to_where_they_were(keeper: Shell) -> None:
    if keeper.broker.name == "artemis":
        pytest.skip("what is rejected over STOMP vanishes there")
    queue = new_queue()
    dead = "/queue/ActiveMQ.DLQ" if keeper.broker.name == "activemq" else "/queue/DLQ"
    keeper.run("purge", dead, "--yes")
    # RabbitMQ's containers send rejected messages of every queue there, by a policy.
    with keeper.connection() as connection:
        connection.send(queue, "x", persistent=True, confirm=True)
        with connection.consume(queue) as consumer:
            message = consumer.receive(20)
            assert message is not None
            message.nack(headers={"requeue": "false"})
            connection.send(f"{queue}-other", "x", confirm=True)
    end = time.monotonic() + 30
    while "1 message" not in keeper.run("move", dead, "--idle", "1").stderr:
        assert time.monotonic() < end, "no dead letter"
    assert keeper.drain(queue) == {"x": 1}


def test_keep_truly_keeps(cli: Shell) -> None:
    queue = new_queue()
    cli.run("send", queue, "stay", "-H", "persistent:true")
    for _ in range(12):
        assert cli.run("listen", queue, "--keep", "--count", "1", "--body", "-q", "--idle", "20").stdout == "stay\n"
    for _ in range(12):
        assert len(cli.run("dump", queue, "--count", "1", "--idle", "20").stdout.splitlines()) == 1
    assert cli.drain(queue) == {"stay": 1}


def test_a_dump_of_many_takes_none(keeper: Shell) -> None:
    queue = new_queue()
    bodies = keeper.fill(queue)
    lines = keeper.run("dump", queue).stdout.splitlines()
    assert {json.loads(line)["body"] for line in lines} == bodies
    assert len(lines) == COUNT
    assert keeper.drain(queue) == dict.fromkeys(bodies, 1)


def test_move_that_is_killed_loses_nothing(keeper: Shell) -> None:
    queue, other = new_queue(), new_queue()
    bodies = keeper.fill(queue)
    kills = keeper.run_killed("move", queue, other, "--idle", "4")
    assert kills
    found = keeper.drain(other)
    assert set(found) == bodies, f"{len(bodies - set(found))} lost after {kills} kills"
    print(f"{keeper.broker.name}: {kills} kills, {found.total() - COUNT} messages twice")
    if keeper.broker.name == "activemq":
        assert found.total() == COUNT
    assert not keeper.drain(queue, 2.0)


def test_dump_and_restore_that_are_killed_lose_nothing(keeper: Shell, tmp_path: Path) -> None:
    queue, other = new_queue(), new_queue()
    bodies = keeper.fill(queue)
    file = tmp_path / "dump.jsonl"
    kills = keeper.run_killed("dump", queue, "--take", "--idle", "4", stdout=file)
    dumped = Counter(_bodies_of(file))
    assert set(dumped) == bodies, f"{len(bodies - set(dumped))} lost after {kills} kills"
    assert not keeper.drain(queue, 2.0)
    again = keeper.run_killed("restore", other, "--file", str(_without_halves(file, tmp_path)))
    restored = keeper.drain(other)
    assert set(restored) == bodies
    print(f"{keeper.broker.name}: dump {kills} kills, {dumped.total() - COUNT} twice; restore {again} kills")


def _bodies_of(file: Path) -> list[str]:
    found = []
    for line in file.read_bytes().splitlines():
        try:
            found.append(json.loads(line)["body"])
        except ValueError:
            # Empty, or what a killed dump wrote of a message that it had not taken.
            continue
    return found


def _without_halves(file: Path, directory: Path) -> Path:
    """The lines that are whole: with half a line ``restore`` sends the others, and ends with 1."""
    whole = directory / "whole.jsonl"
    whole.write_text("".join(json.dumps({"body": body}) + "\n" for body in _bodies_of(file)))
    return whole
