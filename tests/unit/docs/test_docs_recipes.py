"""The recipes for other people's libraries do what the manual says."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import sentry_sdk
import structlog
from docs_support import DOCS, blocks

from stomplistener import Connection
from stomplistener.testing import Broker

PAGE = DOCS / "howto" / "logging.md"


def run(word: str, connection: Connection) -> dict[str, Any]:
    """Run the block of the page that has this word."""
    [block] = [block for block in blocks(PAGE) if f"import {word}" in block.text]
    namespace: dict[str, Any] = {"__name__": "recipe", "connection": connection}
    exec(compile(block.text, str(PAGE), "exec"), namespace)
    return namespace


@pytest.fixture
def connection(broker: Broker) -> Iterator[Connection]:
    with Connection(broker.uri, name="shop-mq") as connection:
        yield connection


def test_sentry_gets_one_event_for_a_listener_that_raises(
    connection: Connection, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Any] = []
    init = sentry_sdk.init

    def kept(event: Any, hint: Any) -> None:
        events.append(event)

    monkeypatch.setattr(sentry_sdk, "init", lambda: init("http://key@127.0.0.1:1/1", before_send=kept))
    try:
        run("sentry_sdk", connection)

        def broken(message: object) -> None:
            raise LookupError("no such item")

        connection.subscribe("/queue/a", broken, settle=True, error_destination="/queue/dead")
        with connection.consume("/queue/dead") as dead:
            connection.send("/queue/a", "x")
            assert dead.receive(10) is not None
        # The log line of the failure is written by another thread.
        connection.disconnect()
        [event] = events
        assert event["exception"]["values"][0]["type"] == "LookupError"
        assert event["tags"]["destination"] == "/queue/a"
        assert event["contexts"]["message"]["redelivered"] is False
    finally:
        init()


def test_structlog_renders_the_librarys_lines_and_the_listeners(connection: Connection, broker: Broker) -> None:
    def is_done() -> bool:
        return not broker.messages("/queue/orders") and not broker.unacknowledged("/queue/orders")

    root = logging.getLogger()
    before = list(root.handlers)
    try:
        output = run("structlog", connection)["output"]
        # What the page sent is booked, too.
        broker.wait_for(is_done, what="the page's own message")
        stream = io.StringIO()
        output.setStream(stream)
        connection.send("/queue/orders", "two", confirm=True)
        broker.wait_for(is_done, what="the acknowledgement")
        logging.getLogger("stomplistener").warning("%s", "of the library", extra={"connection": "shop-mq"})
        lines = []
        for line in stream.getvalue().splitlines():
            with suppress(ValueError):
                lines.append(json.loads(line))
    finally:
        structlog.reset_defaults()
        root.handlers[:] = before
    [booked] = [line for line in lines if line["event"] == "booked"]
    assert booked["destination"] == "/queue/orders"
    assert booked["size"] == 3
    assert booked["message_id"]
    assert any(line.get("connection") == "shop-mq" and line["event"] == "of the library" for line in lines)
