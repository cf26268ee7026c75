"""Connect to a broker as the engine does, or from a local address that the program chooses."""

from __future__ import annotations

import socket
import ssl
import time
from typing import Any

from stomplistener.failover import Broker
from stomplistener.transport import Transport as Bytes
from stomplistener.transport import connect
from stomplistener.transport.stream import SocketTransport
from stomplistener.transport.tls import TLSTransport

SECURE = {"tcp": "ssl", "ws": "wss"}


def dial(broker: Broker, source: tuple[str, int] | None, context: ssl.SSLContext | None, arguments: Any) -> Bytes:
    """Connect to one broker.

    Args:
        broker: the broker to connect to.
        source: the local address; None for any. As in stomp.py, the address applies to TCP and TLS, not to WebSocket.
        context: the TLS context; None for no TLS.
        arguments: the arguments of ``stomplistener.transport.connect``.
    """
    if context is not None:
        broker = broker.replace(scheme=SECURE[broker.scheme])
        arguments["ssl_context"] = context
    if source is None or broker.scheme not in ("tcp", "ssl"):
        return connect(broker, **arguments)
    return _dial_from(source, broker, context, arguments["deadline"])


def _dial_from(source: tuple[str, int], broker: Broker, context: ssl.SSLContext | None, deadline: float) -> Bytes:
    remaining = max(0.001, deadline - time.monotonic())
    bottom = SocketTransport(socket.create_connection((broker.host, broker.port), remaining, source))
    if context is None:
        return bottom
    try:
        secured = TLSTransport(bottom, context, broker.host)
        secured.handshake(deadline)
    except BaseException:
        bottom.close()
        raise
    secured.settimeout(None)
    return secured


def socket_of(transport: Any) -> socket.socket | None:
    """Return the socket below a transport and its layers."""
    while transport is not None:
        found = getattr(transport, "_sock", None)
        if found is not None:
            return found if isinstance(found, socket.socket) else None
        transport = getattr(transport, "inner", None) or getattr(transport, "_inner", None)
    return None
