"""Ports that speak something else: named by their first bytes, and in what connect() raises."""

from __future__ import annotations

import socket
import time

import pytest
from transport_servers import Background, Place, listening, soon

from stomplistener.errors import ConnectFailed, TimedOut
from stomplistener.transport import connect
from stomplistener.transport.foreign import foreign_protocol

# Taken from brokers: ActiveMQ 5.18.3 greets so, whatever it is sent.
OPENWIRE = (
    b"\x00\x00\x01R\x01ActiveMQ\x00\x00\x00\x0c\x01\x00\x00\x01@\x00\x00\x00\r\x00\x11StackTraceEnabled\x01\x01\x00"
    b"\x0fPlatformDetails\t\x00\x04Java\x00\x0cCacheEnabled\x01\x01\x00\x11TcpNoDelayEnabled\x01\x01\x00\x12"
    b"SizePrefixDisabled\x01\x00\x00\tCacheSize\x05\x00\x00\x04\x00\x00\x0cProviderName\t\x00\x08ActiveMQ"
)
SAMPLES = [
    (OPENWIRE, "OpenWire"),
    (OPENWIRE[4:], "OpenWire"),  # SizePrefixDisabled
    (b"AMQP\x00\x00\t\x01", "AMQP;"),  # RabbitMQ 3.10 to CONNECT, and to TLS
    (b"AMQP\0\1\0\0", "AMQP 1.0"),
    (b"AMQP\3\1\0\0", "AMQP 1.0"),  # SASL first: ActiveMQ, Artemis
    (b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", "HTTP"),  # RabbitMQ's WebSocket
    (b"HTTP/1.0 400 Bad request\r\n", "HTTP"),
    (b"<html>\r\n<head><title>400 Bad Request</title></head>\r\n", "HTTP"),  # nginx to what is not HTTP
    (b"<!DOCTYPE HTML PUBLIC", "HTTP"),
    (b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u2\r\n", "SSH"),
    (b"SSH-1.99-Cisco-1.25\r\n", "SSH"),
    (b"\x15\x03\x03\x00\x02\x02\n", "TLS"),  # ActiveMQ's port with TLS to CONNECT
    (b"\x15\x03\x01\x00\x02\x02\n", "TLS"),  # RabbitMQ's
    (b"\x15\x03\x01\0\2\2\x46", "TLS"),  # alert: protocol_version
    (b"\x16\x03\x03\0\x7a\2", "TLS"),
    (b"\x20\2\0\1", "MQTT"),  # CONNACK of 3.1.1: unacceptable protocol version
    (b"\x20\3\0\x84\0", "MQTT"),  # CONNACK of 5.0: unsupported protocol version
    (b'INFO {"server_id":"NA"', "NATS"),
    (b"-ERR unknown command 'CONNECT'\r\n", "Redis"),
    (b"220 mail.test ESMTP Postfix\r\n", "SMTP"),
    (b"ERROR\nmessage:Unknown STOMP action\n\n\0", "STOMP without TLS"),
    (b"\nERROR\r\nmessage:x\r\n\r\n\0", "STOMP without TLS"),
]


@pytest.mark.parametrize(("first_bytes", "name"), SAMPLES)
def test_known_protocols(first_bytes: bytes, name: str) -> None:
    told = foreign_protocol(first_bytes)
    assert told is not None
    assert told.startswith(f"this port speaks {name}")


@pytest.mark.parametrize("first_bytes", [b"", b"\n", b"A", b"AMQ", b"junk", bytes(range(255, 0, -1)), b"\0" * 100])
def test_unknown_ones(first_bytes: bytes) -> None:
    assert foreign_protocol(first_bytes) is None


def test_the_server_of_a_stomp_broker_is_not_taken_for_openwire() -> None:
    told = foreign_protocol(b"CONNECTED\nserver:ActiveMQ/5.18.3\n\n\0")
    assert told is not None
    assert "OpenWire" not in told


def test_the_advice() -> None:
    assert foreign_protocol(OPENWIRE) == (
        "this port speaks OpenWire; ActiveMQ's STOMP is 61613, Amazon MQ's 61614 with ssl://"
    )
    assert "rabbitmq_stomp" in (foreign_protocol(b"AMQP\0\0\x09\1") or "")
    assert "ssl://" in (foreign_protocol(b"\x15\x03\x01\0\2\2\x46") or "")


@pytest.mark.parametrize("scheme", ["ssl", "ws"])
@pytest.mark.parametrize(
    ("first_bytes", "told"),
    [
        (OPENWIRE, "OpenWire; ActiveMQ's STOMP is 61613"),
        (b"AMQP\0\0\x09\1", "this port speaks AMQP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "this port speaks SSH"),
        (b"ERROR\nmessage:what?\n\n\0", "this port speaks STOMP without TLS and WebSocket; use tcp://"),
    ],
)
def test_a_handshake_with_a_foreign_port(scheme: str, first_bytes: bytes, told: str) -> None:
    if scheme == "ws":
        pytest.importorskip("websockets")
    with listening() as server:
        attempt = Background(connect, Place(scheme, port=server.getsockname()[1]), deadline=soon())
        peer, _ = server.accept()
        with peer:
            peer.sendall(first_bytes)
            with pytest.raises(ConnectFailed, match=told):
                attempt.result()


def test_websocket_to_a_port_with_tls() -> None:
    pytest.importorskip("websockets")
    with listening() as server:
        attempt = Background(connect, Place("ws", port=server.getsockname()[1]), deadline=soon())
        peer, _ = server.accept()
        with peer:
            peer.sendall(b"\x15\x03\x01\0\2\2\x46")
            with pytest.raises(ConnectFailed, match=r"speaks TLS; use ssl:// .*wss://"):
                attempt.result()


@pytest.mark.parametrize(("scheme", "what"), [("ssl", "the TLS handshake"), ("ws", "the WebSocket handshake")])
@pytest.mark.parametrize("closes", [False, True])
def test_a_port_that_says_nothing(scheme: str, what: str, closes: bool) -> None:
    """MQTT brokers, Kafka, and STOMP ports that wait for the rest of a frame."""
    if scheme == "ws":
        pytest.importorskip("websockets")
    with listening() as server:
        place = Place(scheme, port=server.getsockname()[1])
        attempt = Background(connect, place, deadline=soon() if closes else time.monotonic() + 0.2)
        peer, _ = server.accept()
        with peer:
            if closes:
                peer.recv(100_000)
                peer.shutdown(socket.SHUT_RDWR)
            with pytest.raises(ConnectFailed if closes else TimedOut) as failure:
                attempt.result()
    text = str(failure.value)
    assert f"cannot connect to {scheme}://127.0.0.1:" in text
    assert what[4:] in text
    assert closes or f"no answer in time to {what}" in text
    assert "use tcp:// or" in text
