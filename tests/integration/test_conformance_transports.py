"""The core of conformance over TLS and WebSocket, on every broker that serves them."""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from conformance import VERSIONS, World, received

from stomplistener import ConnectFailed, Connection, StompError
from stomplistener.testing.containers import BrokerContainer


@pytest.fixture
def trust(certs: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certs / "ca.pem"))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("scheme", ["ssl", "ws", "wss"])
def test_messages_acknowledgements_and_transactions(world: World, scheme: str, trust: ssl.SSLContext) -> None:
    queue = world.queue()
    options: dict[str, Any] = {"uri": world.broker.uris[scheme]}
    if scheme in ("ssl", "wss"):
        options["ssl_context"] = trust
    with world.connection(**options) as connection:
        assert connection.session.version == world.spoken
        # Within what each broker takes over WebSocket, and what Artemis sends ahead of an ACK (10 KiB).
        bodies = [(b"\xff\0" if scheme == "ssl" else b"\0 text ") * 900, "текст".encode(), b""]
        with connection.transaction() as transaction:
            for body in bodies:
                transaction.send(queue, body, {"name": "a: b"}, persistent=True)
        messages = received(connection.consume(queue, ack=world.individual), 3)  # type: ignore[arg-type]
        # Apollo does not always keep the order of a transaction over WebSocket.
        assert sorted(message.body for message in messages) == sorted(bodies)
        assert messages[0].ack()
        # A reply, both ways over this transport.
        connection.subscribe(ask := world.queue(), lambda message: connection.reply(message, "yes"), confirm=True)
        assert connection.request(ask, "?").text == "yes"
    with world.connection(**options) as connection:
        left = received(connection.consume(queue, ack=world.individual), 2)  # type: ignore[arg-type]
        assert sorted(message.body for message in left) == sorted(message.body for message in messages[1:])
        for message in left:
            message.ack()


@pytest.mark.parametrize("version", VERSIONS)
def test_large_over_websocket(world: World) -> None:
    queue, body = world.queue(), b"0123456\0" * (1 << 17)
    outcome = "yes"
    with world.connection(uri=world.broker.uris["ws"], reconnect=False) as connection:
        consumer = connection.consume(queue, ack="auto")
        try:
            connection.send(queue, body, confirm=True)
            assert [message.body for message in received(consumer)] == [body]
        except StompError:
            outcome = "connection ends"
    world.check("large over WebSocket", outcome)


@pytest.mark.parametrize("version", VERSIONS)
def test_binary_over_websocket(world: World) -> None:
    queue, body = world.queue(), bytes(range(256)) * 4
    with world.connection(uri=world.broker.uris["ws"], reconnect=False) as connection:
        consumer = connection.consume(queue, ack="auto")
        consumer.subscription.wait_active()
        connection.send(queue, body)
        found = [message.body for message in received(consumer, timeout=world.patience("binary over WebSocket"))]
    world.check("binary over WebSocket", "yes" if found == [body] else "damaged or lost")


@pytest.mark.parametrize("scheme", ["ssl", "wss"])
def test_a_broker_that_cannot_be_verified_is_refused(real_broker: BrokerContainer, scheme: str) -> None:
    start = time.monotonic()
    with pytest.raises(ConnectFailed, match=r"(?i)certificate"):
        Connection(real_broker.uris[scheme]).connect()
    assert time.monotonic() - start < 5
