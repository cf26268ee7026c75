"""Arguments whose value cannot be right: refused where they are given, by an error that names them."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from application_support import SOON, connected, logged, still_works
from client_support import QUEUE, in_thread
from test_app_arguments import names_it

from stomplistener import Connection, Limits, Message
from stomplistener.testing import Broker

pytestmark = pytest.mark.timeout(30)

NAN = float("nan")
SETTLE: dict[str, Any] = {"ack": "client-individual", "settle": True}


def listen(message: Message) -> None:
    """A listener that does nothing."""


IN_VAIN: dict[str, tuple[str, Callable[[Connection], object]]] = {
    "retries": ("retries", lambda c: c.subscribe(QUEUE, listen, retries=-1, **SETTLE)),
    "retries, a text": ("retries", lambda c: c.subscribe(QUEUE, listen, retries="3", **SETTLE)),  # type: ignore[arg-type]
    "retries, a float": ("retries", lambda c: c.subscribe(QUEUE, listen, retries=1.5, **SETTLE)),  # type: ignore[arg-type]
    "retry_delay": ("retry_delay", lambda c: c.subscribe(QUEUE, listen, retries=1, retry_delay=-1.0, **SETTLE)),
    "retry_delay, NaN": ("retry_delay", lambda c: c.subscribe(QUEUE, listen, retries=1, retry_delay=NAN, **SETTLE)),
    "retry_delay, a text": ("retry_delay", lambda c: c.subscribe(QUEUE, listen, retry_delay="1", **SETTLE)),  # type: ignore[arg-type]
    "workers": ("workers", lambda c: c.subscribe(QUEUE, listen, workers=0)),
    "workers, a text": ("workers", lambda c: c.subscribe(QUEUE, listen, workers="2")),  # type: ignore[arg-type]
    "workers, a float": ("workers", lambda c: c.subscribe(QUEUE, listen, workers=1.5)),  # type: ignore[arg-type]
    "prefetch": ("prefetch", lambda c: c.subscribe(QUEUE, listen, prefetch=0)),
    "prefetch, a text": ("prefetch", lambda c: c.subscribe(QUEUE, listen, prefetch="10")),  # type: ignore[arg-type]
    "prefetch of a consumer": ("prefetch", lambda c: c.consume(QUEUE, prefetch=-1)),
    "ack, misspelt": ("ack", lambda c: c.subscribe(QUEUE, listen, ack="client_individual")),  # type: ignore[arg-type]
    "ack of a consumer": ("ack", lambda c: c.consume(QUEUE, ack="client_individual")),  # type: ignore[arg-type]
    "ack, upper case": ("ack", lambda c: c.subscribe(QUEUE, listen, ack="AUTO")),  # type: ignore[arg-type]
    "subscribe timeout": ("timeout", lambda c: c.subscribe(QUEUE, listen, confirm=True, timeout=-1)),
    "send timeout": ("timeout", lambda c: c.send(QUEUE, "x", timeout=-1)),
    "send timeout, NaN": ("timeout", lambda c: c.send(QUEUE, "x", timeout=NAN)),
    "send timeout, a text": ("timeout", lambda c: c.send(QUEUE, "x", timeout="1")),  # type: ignore[arg-type]
    "confirmed timeout": ("timeout", lambda c: c.send(QUEUE, "x", confirm=True, timeout=-1)),
    "send_async timeout": ("timeout", lambda c: c.send_async(QUEUE, "x", timeout=-1)),
    "request timeout": ("timeout", lambda c: c.request(QUEUE, "x", timeout=-1)),
    "flush timeout": ("timeout", lambda c: c.flush(timeout=-1)),
    "wait timeout": ("timeout", lambda c: c.wait(timeout=-1)),
    "receive timeout": ("timeout", lambda c: c.consume(QUEUE).receive(timeout=-1)),
    "disconnect timeout": ("timeout", lambda c: c.disconnect(timeout=-1)),
    "connect timeout": ("timeout", lambda c: c.connect(timeout=-1)),
    "priority": ("priority", lambda c: c.send(QUEUE, "x", priority=11)),
    "priority, a text": ("priority", lambda c: c.send(QUEUE, "x", priority="high")),  # type: ignore[arg-type]
    "expires": ("expires", lambda c: c.send(QUEUE, "x", expires=-1)),
    "delay": ("delay", lambda c: c.send(QUEUE, "x", delay=-1)),
    "persistent": ("persistent", lambda c: c.send(QUEUE, "x", persistent="yes")),  # type: ignore[arg-type]
    "headers, a list": ("headers", lambda c: c.send(QUEUE, "x", [("a", "b")])),  # type: ignore[arg-type]
    "headers, a text": ("headers", lambda c: c.send(QUEUE, "x", "a:b")),  # type: ignore[arg-type]
    "SUBSCRIBE headers": ("headers", lambda c: c.subscribe(QUEUE, listen, headers="a:b")),  # type: ignore[arg-type]
    "destination, empty": ("destination", lambda c: c.send("", "x")),
    "destination of SUBSCRIBE": ("destination", lambda c: c.subscribe("", listen)),
    "retry of a transaction": ("retry", lambda c: c.transaction(retry=-1)),
}


@pytest.mark.parametrize("case", IN_VAIN)
def test_a_call(case: str, broker: Broker) -> None:
    name, call = IN_VAIN[case]
    with connected(broker.uri) as connection:
        error = in_thread(lambda: call(connection)).done(SOON).error
        assert isinstance(error, (TypeError, ValueError)), f"{case}: {error!r}"
        assert not isinstance(error, TimeoutError)
        assert names_it(error, name), f"{name} is not named by: {error}"
        assert connection.is_connected
        still_works(connection)
        assert len(connection.session.subscriptions) == 1 + case.startswith("receive")


BODIES: dict[str, tuple[Any, str]] = {
    "a dict": ({"a": 1}, "json"),
    "a list": ([1], "json"),
    "an int": (5, "body"),
    "None": (None, "body"),
    "a path": (Path("x"), "body"),
    "a set": ({1}, "body"),
}
SENDS: dict[str, Callable[[Connection, Any], object]] = {
    "send": lambda c, body: c.send(QUEUE, body),
    "confirmed": lambda c, body: c.send(QUEUE, body, confirm=True),
    "with headers": lambda c, body: c.send(QUEUE, body, {"a": "b"}),
    "send_async": lambda c, body: c.send_async(QUEUE, body),
    "request_async": lambda c, body: c.request_async(QUEUE, body),
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("send", SENDS)
def test_a_body(send: str, body: str, broker: Broker) -> None:
    value, word = BODIES[body]
    with connected(broker.uri) as connection:
        error = in_thread(lambda: SENDS[send](connection, value)).done(SOON).error
        assert isinstance(error, TypeError), repr(error)
        assert "body" in str(error)
        assert word in str(error)
        still_works(connection)
        assert broker.depth(QUEUE) == 0


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "timeout": ("timeout", {"timeout": -1}),
    "timeout, a text": ("timeout", {"timeout": "30"}),
    "name": ("name", {"name": 5}),
    "versions, a text": ("versions", {"versions": "1.2"}),
    "versions, none": ("versions", {"versions": ()}),
    "versions, unknown": ("versions", {"versions": ("1.3",)}),
    "heartbeat, one number": ("heartbeat", {"heartbeat": 10}),
    "heartbeat, one of two": ("heartbeat", {"heartbeat": (10,)}),
    "heartbeat, negative": ("heartbeat", {"heartbeat": (-1, 0)}),
    "heartbeat, NaN": ("heartbeat", {"heartbeat": (NAN, 0)}),
    "heartbeat, a text": ("heartbeat", {"heartbeat": ("10", "10")}),
    "heart-beat header": ("heart-beat", {"headers": {"heart-beat": "0,0"}, "heartbeat": (10, 10)}),
    "accept-version header": ("accept-version", {"headers": {"accept-version": "1.0"}, "versions": ("1.2",)}),
    "ssl_context without TLS": ("ssl_context", {"ssl_context": ssl.create_default_context()}),
    "ssl_context, a path": ("ssl_context", {"ssl_context": "/etc/ssl/ca.pem"}),
    "before_connect": ("before_connect", {"before_connect": "token"}),
    "transport": ("transport", {"transport": "tcp"}),
    "limits": ("limits", {"limits": {"max_body": 5}}),
    "headers": ("headers", {"headers": ["client-id"]}),
    "reconnect": ("reconnect", {"reconnect": "no"}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_connection(case: str, broker: Broker) -> None:
    name, arguments = REFUSED[case]
    with pytest.raises((TypeError, ValueError)) as caught:
        Connection(broker.uri, **arguments)
    assert names_it(caught.value, name)


@pytest.mark.parametrize("uri", [None, 5, b"tcp://a:1", ["tcp://a:1"], Path("tcp://a:1")])
def test_a_uri(uri: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        Connection(uri)


def test_a_coroutine_before_connect(broker: Broker) -> None:
    async def before(options: object) -> None:
        """Nobody would await it."""

    with pytest.raises(TypeError, match="before_connect"):
        Connection(broker.uri, before_connect=before)


@pytest.mark.parametrize("value", [-1, 0, "5", NAN, True])
def test_limits(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="max_body"):
        Limits(max_body=value)


@pytest.mark.parametrize("heartbeat", [(10_000, 10_000), (0, 601), (601, 0)])
def test_a_heartbeat_in_milliseconds_is_warned_of(
    heartbeat: tuple[float, float], caplog: pytest.LogCaptureFixture
) -> None:
    Connection("tcp://127.0.0.1:1", heartbeat=heartbeat)
    assert logged(caplog, "heartbeat", "seconds")()


def test_a_heartbeat_of_ten_minutes_is_not(caplog: pytest.LogCaptureFixture) -> None:
    Connection("tcp://127.0.0.1:1", heartbeat=(600, 600))
    assert not logged(caplog, "heartbeat")()
