"""What a port speaks whose first bytes are not what was expected. Pure: bytes in, a sentence out."""

from __future__ import annotations

import re
from typing import NamedTuple

STOMP_PORTS = "ActiveMQ's STOMP is 61613, Amazon MQ's 61614 with ssl://"
"""The ports of STOMP that most people look for."""


class _Protocol(NamedTuple):
    name: str
    begins: bytes
    advice: str


def foreign_protocol(first_bytes: bytes) -> str | None:
    """Name the protocol that a port speaks, and say what to do.

    Args:
        first_bytes: what the port sent first, before or after a request that it did not understand.

    Returns:
        a phrase that names the protocol and the port of STOMP. None if the bytes are not known. STOMP itself is known,
        for a client that expected TLS or HTTP.
    """
    for protocol in _PROTOCOLS:
        if re.match(protocol.begins, first_bytes, re.DOTALL):
            return f"this port speaks {protocol.name}; {protocol.advice}"
    return None


# The patterns are compiled when the first foreign port is met: most programs never meet one.
_PROTOCOLS = (
    # The size of the command, unless the broker leaves that out, then type 1 (WIREFORMAT_INFO) and its magic.
    _Protocol("OpenWire", rb"(?:\0\0..)?\x01ActiveMQ", STOMP_PORTS),
    # AMQP 1.0 has the version 1.0.0, behind protocol id 0 (AMQP), 2 (TLS) or 3 (SASL); 0-9-1 has 0 0 9 1.
    _Protocol("AMQP 1.0", rb"AMQP[\x00\x02\x03]\x01\x00\x00", STOMP_PORTS),
    _Protocol(
        "AMQP",
        rb"AMQP",
        "RabbitMQ's STOMP is 61613, or 61614 with ssl://, once its plugin is enabled "
        "(rabbitmq-plugins enable rabbitmq_stomp)",
    ),
    # RFC 8446, section 5.1: an alert or a part of a handshake, then the version of the record.
    _Protocol("TLS", rb"[\x15\x16]\x03[\x00-\x04]", "use ssl:// instead of tcp://, wss:// instead of ws://"),
    # CONNACK: its length is 2 in MQTT 3.1.1 and more in 5.0, behind which stand a flag and the reason.
    _Protocol("MQTT", rb"\x20[\x02-\x7f][\x00\x01][\x00-\x05\x80-\x9f]", STOMP_PORTS),
    # Some servers answer what they do not understand with the page of an error alone.
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
