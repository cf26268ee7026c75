"""Recognize the protocol of a port whose first bytes were unexpected. Pure: bytes in, a text out."""

from __future__ import annotations

import re
from typing import NamedTuple

STOMP_PORTS = "ActiveMQ's STOMP is 61613, Amazon MQ's 61614 with ssl://"
"""The STOMP ports that users need most often."""


class _Protocol(NamedTuple):
    name: str
    begins: bytes
    advice: str


def foreign_protocol(first_bytes: bytes) -> str | None:
    """Name the protocol of a port, and advise what to do.

    Args:
        first_bytes: the first bytes from the port, before or after a request that it did not understand.

    Returns:
        a text that names the protocol and the port of STOMP. None if the bytes are unknown. STOMP itself is recognized
        for a client that expected TLS or HTTP.
    """
    for protocol in _PROTOCOLS:
        if re.match(protocol.begins, first_bytes, re.DOTALL):
            return f"this port speaks {protocol.name}; {protocol.advice}"
    return None


# The patterns are compiled for the first foreign port: most programs never need them.
_PROTOCOLS = (
    # OpenWire begins with the size of the command (which a broker may omit), type 1 (WIREFORMAT_INFO) and a magic.
    _Protocol("OpenWire", rb"(?:\0\0..)?\x01ActiveMQ", STOMP_PORTS),
    # AMQP 1.0 has the version 1.0.0, after protocol id 0 (AMQP), 2 (TLS) or 3 (SASL); 0-9-1 has 0 0 9 1.
    _Protocol("AMQP 1.0", rb"AMQP[\x00\x02\x03]\x01\x00\x00", STOMP_PORTS),
    _Protocol(
        "AMQP",
        rb"AMQP",
        "RabbitMQ's STOMP is 61613, or 61614 with ssl://, once its plugin is enabled "
        "(rabbitmq-plugins enable rabbitmq_stomp)",
    ),
    # RFC 8446, section 5.1: an alert or a part of a handshake, then the version of the record.
    _Protocol("TLS", rb"[\x15\x16]\x03[\x00-\x04]", "use ssl:// instead of tcp://, wss:// instead of ws://"),
    # CONNACK: its length is 2 in MQTT 3.1.1 and more in 5.0. A flag and the reason follow.
    _Protocol("MQTT", rb"\x20[\x02-\x7f][\x00\x01][\x00-\x05\x80-\x9f]", STOMP_PORTS),
    # Some servers answer an unknown request with nothing but an error page.
    _Protocol(
        "HTTP",
        rb"HTTP/\d|\s*<(?i:!doctype|html)\b",
        f"use ws:// with the path of the broker's WebSocket, or another port: {STOMP_PORTS}",
    ),
    _Protocol("SSH", rb"SSH-\d", STOMP_PORTS),
    _Protocol("NATS", rb"INFO \{", STOMP_PORTS),
    _Protocol("Redis", rb"-(?:ERR|NOAUTH|DENIED) ", STOMP_PORTS),
    _Protocol("SMTP or FTP", rb"220[ -]", STOMP_PORTS),
    _Protocol("STOMP without TLS and WebSocket", rb"\s*(?:ERROR|CONNECTED)\r?\n", "use tcp://"),
)
