"""Asking and answering from the command line."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cli_process import run, started

from stomplistener import Connection, Message
from stomplistener.testing import Broker

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(os.name != "posix", reason="commands of a POSIX shell"),
]
QUEUE = "/queue/ask"


@contextmanager
def answering(broker: Broker, *options: str) -> Iterator[None]:
    """``reply`` as a process, from when it listens."""
    with started("reply", QUEUE, "-u", broker.uri, *options):
        broker.wait_for(lambda: broker.subscriptions, 25, "reply listens")
        yield


def test_request_shows_the_answer_of_a_command(broker: Broker) -> None:
    with answering(broker, "--command", "tr a-z A-Z"):
        assert run("request", QUEUE, "grüße", "--body", "-u", broker.uri).stdout == "GRüßE\n"
        whole = json.loads(run("request", QUEUE, "x", "--answer-json", "-u", broker.uri).stdout)
        assert whole["body"] == "X"
        assert whole["headers"]["content-type"].startswith("text/plain")
        assert "X" in run("request", QUEUE, "-u", broker.uri, stdin="x").stdout
        broker.wait_for(lambda: len(broker.frames(command="ACK")) == 3)


def test_the_command_has_the_headers_and_its_status_is_told(broker: Broker) -> None:
    command = 'printf "%s" "$STOMP_HEADERS"; exit 3'
    with answering(broker, "--command", command, "-t", "application/json"):
        result = run("request", QUEUE, "{}", "--json", "-H", "kind:x", "--answer-json", "-u", broker.uri)
        answer = json.loads(result.stdout)
        assert answer["headers"]["exit-status"] == "3"
        assert answer["headers"]["content-type"] == "application/json"
        assert json.loads(answer["body"])["kind"] == "x"
        assert json.loads(answer["body"])["content-type"] == "application/json"


def test_bytes_go_through(broker: Broker) -> None:
    with answering(broker, "--command", "cat"), Connection(broker.uri) as connection:
        assert connection.request(QUEUE, b"\0\xff" * 50_000).body == b"\0\xff" * 50_000


def test_a_message_that_asks_for_no_answer_is_worked_off_all_the_same(broker: Broker) -> None:
    broker.publish(QUEUE, "x")
    result = run("reply", QUEUE, "--command", "cat >&2", "--count", "1", "-u", broker.uri)
    assert result.exit_code == 0
    assert "has no reply-to" in result.stderr
    assert broker.depth(QUEUE) == 0


def test_no_answer_is_4(broker: Broker) -> None:
    result = run("request", QUEUE, "x", "--timeout", "0.3", "-u", broker.uri)
    assert (result.exit_code, result.stdout) == (4, "")
    assert "no answer" in result.stderr


def test_reply_ends_when_nothing_comes_and_by_a_signal(broker: Broker) -> None:
    assert run("reply", QUEUE, "-c", "cat", "--idle", "0.2", "-u", broker.uri).exit_code == 0
    with started("reply", QUEUE, "-u", broker.uri, "-c", "cat") as process:
        broker.wait_for(lambda: broker.subscriptions, 25, "reply listens")
        process.send_signal(signal.SIGINT)
        assert process.wait(25) == 130


def test_a_request_that_is_not_answered_comes_again(broker: Broker) -> None:
    with Connection(broker.uri) as connection:
        with answering(broker, "--command", "sleep 60"):
            answer = connection.request_async(QUEUE, "x")
            broker.wait_for(lambda: broker.unacknowledged(QUEUE), 25)
        with connection.consume(QUEUE) as consumer:
            message = consumer.receive(25)
            assert isinstance(message, Message)
            connection.reply(message, "by another one")
            message.ack()
        assert answer.result(25).text == "by another one"
