"""Commands that look at a queue, empty it, and carry its messages elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_process import run, shell

from stomplistener.testing import Broker

pytestmark = pytest.mark.timeout(60)

A, B = "/queue/a", "/queue/b"
IDLE = ("--idle", "0.4")


def fill(broker: Broker, count: int, destination: str = A) -> None:
    for number in range(count):
        broker.publish(destination, f"number {number}", {"n": str(number), "kind": "odd" if number % 2 else "even"})


def bodies(broker: Broker, destination: str) -> list[bytes]:
    return [message.body for message in broker.messages(destination)]


# browse


def test_browse_shows_all_and_takes_nothing(broker: Broker) -> None:
    fill(broker, 5)
    result = run("browse", A, "-u", broker.uri)
    assert result.exit_code == 0
    assert "kind: even" in result.stdout
    assert "number 4" in result.stdout
    assert run("browse", A, "--where", "n > 2", "--format", "{n}:{kind}:{n}", "-u", broker.uri).stdout == (
        "1:odd:1\n2:even:2\n"
    )
    assert run("browse", A, "--body", "-n", "1", "-u", broker.uri).stdout == "number 0\n"
    assert len(run("browse", A, "--json", "-u", broker.uri).stdout.splitlines()) == 5
    assert broker.depth(A) == 5
    assert run("browse", A, "--json", "--body", "-u", broker.uri).exit_code == 2


@pytest.mark.parametrize(("server", "title"), [("RabbitMQ/3.10", "RabbitMQ"), ("ActiveMQ-Artemis/2", "Artemis")])
def test_browse_where_the_broker_cannot_ends_with_2_and_its_name(server: str, title: str) -> None:
    with Broker(server_name=server) as broker:
        broker.publish(A, "x")
        result = run("browse", A, "-u", broker.uri)
        assert (result.exit_code, result.stdout) == (2, "")
        assert f"{title} cannot do browse" in result.stderr
        assert not broker.frames(command="SUBSCRIBE")


def test_browse_says_where_the_broker_shows_a_page_alone() -> None:
    with Broker(server_name="ActiveMQ/5.18.3") as broker:
        fill(broker, 400)
        assert "there may be more" in run("browse", A, "--body", "-u", broker.uri).stderr
        assert "there may be more" not in run("browse", A, "--body", "-n", "400", "-u", broker.uri).stderr


# purge


def test_purge_asks_first(broker: Broker) -> None:
    fill(broker, 3)
    no = run("purge", A, "-u", broker.uri, stdin="n\n")
    assert no.exit_code == 1
    assert f"Drop all messages of {A}" in no.stderr
    assert run("purge", A, "-u", broker.uri, stdin="").exit_code == 1
    assert broker.depth(A) == 3
    yes = run("purge", A, "-u", broker.uri, *IDLE, stdin="y\n")
    assert yes.exit_code == 0
    assert "3 messages" in yes.stderr
    assert broker.depth(A) == 0


def test_purge_some(broker: Broker) -> None:
    fill(broker, 6)
    assert run("purge", A, "--yes", "--where", "kind = 'odd'", "-u", broker.uri, *IDLE).exit_code == 0
    assert run("purge", A, "--yes", "--count", "1", "-u", broker.uri, *IDLE).exit_code == 0
    broker.wait_for(lambda: not broker.unacknowledged(A))
    assert bodies(broker, A) == [b"number 2", b"number 4"]


# move


def test_move_takes_all_that_is_there_with_its_headers_and_ends(broker: Broker) -> None:
    fill(broker, 250)
    broker.publish(A, b"\0\xff", {"persistent": "true", "duplicate-id": "7", "correlation-id": "c"})
    result = run("move", A, B, "-u", broker.uri, *IDLE)
    assert result.exit_code == 0
    assert f"251 messages to {B} moved" in result.stderr
    assert broker.depth(A) == 0
    moved = broker.messages(B)
    assert [message.headers["n"] for message in moved[:-1]] == [str(number) for number in range(250)]
    assert moved[-1].body == b"\0\xff"
    assert dict(moved[-1].headers.pairs) == {"persistent": "true", "correlation-id": "c"}
    # Back again: what the broker would take for a duplicate of what was there before is not dropped.
    assert run("move", B, A, "-q", "-u", broker.uri, *IDLE).stderr == ""
    assert broker.depth(A) == 251


def test_move_some(broker: Broker) -> None:
    fill(broker, 10)
    assert run("move", A, B, "--count", "2", "--where", "kind = 'odd'", "-u", broker.uri, *IDLE).exit_code == 0
    assert bodies(broker, B) == [b"number 1", b"number 3"]
    broker.wait_for(lambda: broker.depth(A) == 8)
    assert run("move", A, A, "-u", broker.uri).exit_code == 2


def test_move_keeps_to_a_rate(broker: Broker) -> None:
    fill(broker, 8)
    result = run("move", A, B, "--rate", "8", "-u", broker.uri, *IDLE)
    assert float(result.stderr.partition(" moved in ")[2].partition(" s")[0]) > 0.7
    assert broker.depth(B) == 8


def test_dead_letters_go_back_to_where_they_came_from(broker: Broker) -> None:
    for destination in (A, B):
        broker.publish("/queue/DLQ", destination, {"original-destination": destination})
    broker.publish("/queue/DLQ", "a stray")
    result = run("move", "/queue/DLQ", "-u", broker.uri, *IDLE)
    assert result.exit_code == 0
    assert "1 message without a header for the origin left in /queue/DLQ" in result.stderr
    assert (bodies(broker, A), bodies(broker, B)) == ([A.encode()], [B.encode()])
    assert "original-destination" not in broker.messages(A)[0].headers
    broker.wait_for(lambda: bodies(broker, "/queue/DLQ") == [b"a stray"])


def test_the_origin_in_the_words_of_rabbitmq_and_artemis() -> None:
    for server, name, value in (
        ("RabbitMQ/3.10", "x-first-death-queue", "a"),
        ("ActiveMQ-Artemis/2", "_AMQ_ORIG_ADDRESS", A),
    ):
        with Broker(server_name=server) as broker:
            broker.publish("/queue/DLQ", "x", {name: value})
            assert run("move", "/queue/DLQ", "-u", broker.uri, *IDLE).exit_code == 0
            assert bodies(broker, A) == [b"x"]


@pytest.mark.parametrize(("server", "begun"), [("ActiveMQ/5.18.3", 3), ("RabbitMQ/3.10", 0), ("ActiveMQ-Artemis/2", 0)])
def test_move_uses_transactions_only_where_they_hold_acknowledgements_too(server: str, begun: int) -> None:
    with Broker(server_name=server) as broker:
        fill(broker, 250)
        assert run("move", A, B, "-u", broker.uri, *IDLE).exit_code == 0
        assert broker.depth(B) == 250
        assert len(broker.frames(command="BEGIN")) == begun
        if not begun:
            frames = [frame.command for frame in broker.frames() if frame.command in ("SEND", "ACK")]
            assert frames[:101] == ["SEND"] * 100 + ["ACK"]


@pytest.mark.parametrize("server", ["ActiveMQ/5.18.3", "RabbitMQ/3.10"])
def test_what_the_other_queue_refuses_stays(server: str) -> None:
    with Broker(server_name=server) as broker:
        fill(broker, 3)
        broker.error_next("COMMIT" if "Active" in server else "SEND", "full", close=False)
        result = run("move", A, B, "-u", broker.uri, *IDLE)
        assert result.exit_code == 1
        assert "full" in result.stderr
        broker.wait_for(lambda: broker.depth(A) + broker.depth(B) >= 3 and not broker.unacknowledged(A))
        assert broker.depth(A) == 3


def test_where_is_wrong_use_on_a_broker_without_selectors() -> None:
    with Broker(server_name="RabbitMQ/3.10") as broker:
        for command in (("move", A, B), ("purge", A, "-y"), ("dump", A), ("browse", A)):
            result = run(*command, "--where", "n = 1", "-u", broker.uri)
            assert result.exit_code == 2
            assert "RabbitMQ cannot do" in result.stderr


# dump and restore


def filled_with_everything(broker: Broker) -> None:
    broker.publish(A, "grüß\n\t€ \U0001f355\0", {"a:b": "c\\d\ne", "leer": "", "ü": "ß"})
    broker.publish(A, bytes(range(256)), {"content-type": "application/x-any", "persistent": "true", "priority": "7"})
    broker.publish(A, b"")
    broker.publish(A, '{"a": [1]}', {"content-type": "application/json", "content-encoding": "gzip"})


@pytest.mark.parametrize("server", ["stomplistener-testing/1", "RabbitMQ/3.10", "ActiveMQ/5.18.3"])
def test_dump_takes_nothing_and_restore_makes_every_byte_again(server: str, tmp_path: Path) -> None:
    with Broker(server_name=server) as broker:
        filled_with_everything(broker)
        dumped = run("dump", A, "-u", broker.uri, *IDLE)
        assert dumped.exit_code == 0
        assert dumped.stdout.isascii()
        assert "4 messages" in dumped.stderr
        shows = server.startswith("stomplistener")
        assert ("does not show whole queues" in dumped.stderr) is not shows
        broker.wait_for(lambda: broker.depth(A) == 4)
        result = run("restore", B, "-u", broker.uri, stdin=dumped.stdout)
        assert result.exit_code == 0, result.stderr
        for before, after in zip(broker.messages(A), broker.messages(B), strict=True):
            assert after.body == before.body
            assert dict(after.headers.pairs) == dict(before.headers.pairs)


def test_dump_some_and_take_them(broker: Broker) -> None:
    fill(broker, 10)
    result = run("dump", A, "--take", "--count", "3", "--where", "kind = 'odd'", "-u", broker.uri, *IDLE)
    assert [json.loads(line)["headers"]["n"] for line in result.stdout.splitlines()] == ["1", "3", "5"]
    assert "3 messages of /queue/a written and taken" in result.stderr
    broker.wait_for(lambda: broker.depth(A) == 7)
    assert len(run("dump", A, "-n", "2", "-u", broker.uri).stdout.splitlines()) == 2


def test_restore_to_where_each_came_from(broker: Broker) -> None:
    fill(broker, 2)
    fill(broker, 1, B)
    lines = run("dump", A, "--take", "-u", broker.uri, *IDLE).stdout
    lines += run("dump", B, "--take", "-u", broker.uri, *IDLE).stdout
    assert (broker.depth(A), broker.depth(B)) == (0, 0)
    assert run("restore", "-u", broker.uri, stdin=lines).exit_code == 0
    assert (broker.depth(A), broker.depth(B)) == (2, 1)
    assert run("restore", A, "--from", "3", "-q", "-u", broker.uri, stdin=lines).stderr == ""
    assert broker.depth(A) == 3


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("no JSON", "Expecting value"),
        ("[]", "not a JSON object"),
        ('{"headers": {"a": 1}, "body": ""}', "not an object of strings"),
        ('{"headers": {}}', "neither body nor body_base64"),
        ('{"body_base64": "?"}', "base64"),
        ('{"body": "x", "destination": 7}', "destination is not a string"),
    ],
)
def test_a_line_that_holds_no_message_is_told_and_the_others_are_sent(broker: Broker, line: str, why: str) -> None:
    result = run("restore", A, "-u", broker.uri, stdin=f'{{"body": "1"}}\n{line}\n\n{{"body": "2"}}\n')
    assert result.exit_code == 1
    assert "line 2 has no valid message" in result.stderr
    assert why in result.stderr
    assert bodies(broker, A) == [b"1", b"2"]


def test_restore_says_where_to_go_on(broker: Broker) -> None:
    broker.error_next("SEND", "full", close=False)
    result = run("restore", A, "-u", broker.uri, stdin='\n{"body": "1"}\n{"body": "2"}\n')
    assert result.exit_code == 1
    assert "--from 2" in result.stderr
    nowhere = run("restore", "-u", broker.uri, stdin='{"body": "1"}\n')
    assert nowhere.exit_code == 2
    assert "name a QUEUE" in nowhere.stderr


def test_dump_through_a_pipe_into_restore(broker: Broker) -> None:
    fill(broker, 300)
    result = shell("$C dump /queue/a -q --idle 0.5 | $C restore /queue/b -q", broker.uri)
    assert (result.returncode, result.stderr) == (0, "")
    assert bodies(broker, B) == bodies(broker, A)
