"""One attempt to connect to one endpoint: the socket first, then TLS on it, then WebSocket on that."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from stomplistener.errors import ConnectFailed, StompError, TimedOut
from stomplistener.transport import socket_errors, tcp, unix
from stomplistener.transport.base import Endpoint, EndpointOptions, Transport
from stomplistener.transport.interrupt import ConnectInterrupted, Interrupt
from stomplistener.transport.stream import SocketTransport

if TYPE_CHECKING:
    import ssl

# Registered with IANA for STOMP; the newest first, as the order is that of preference.
SUBPROTOCOLS = ("v12.stomp", "v11.stomp", "v10.stomp")

# Of one WebSocket message, which is buffered whole before any limit on frames can see it.
MAX_MESSAGE = 257 * 1024 * 1024


class _Layers(NamedTuple):
    tls: bool = False
    websocket: bool = False


_SCHEMES = {
    "tcp": _Layers(),
    "unix": _Layers(),
    "ssl": _Layers(tls=True),
    "ws": _Layers(websocket=True),
    "wss": _Layers(tls=True, websocket=True),
}


def connect(
    endpoint: Endpoint,
    *,
    deadline: float,
    interrupt: Interrupt | None = None,
    ssl_context: ssl.SSLContext | None = None,
    headers: Mapping[str, str] | None = None,
    subprotocols: Sequence[str] = SUBPROTOCOLS,
    max_message: int | None = MAX_MESSAGE,
) -> Transport:
    """Connect once to one endpoint.

    The transport has no timeout when it is returned; to let the same deadline hold further, call ``settimeout``.

    Args:
        endpoint: where to, and with what options.
        deadline: for all of it, from the name look-up to the last handshake, in seconds of ``time.monotonic()``.
        interrupt: ends it at once when set, from any thread.
        ssl_context: for ``ssl`` and ``wss``; used as it is, in place of what the endpoint's options would make.
        headers: more headers for the HTTP request of ``ws`` and ``wss``: cookies, tokens.
        subprotocols: the WebSocket sub-protocols to offer, in order of preference.
        max_message: the largest WebSocket message to take, in bytes; a larger one ends the connection.

    Raises:
        ConnectFailed: no connection could be made; the message says at which step, why, and what may help.
        TimedOut: the deadline passed.
        ConnectInterrupted: the interrupt was set.
        MissingExtra: the scheme or option needs a package that is not installed.
    """
    layers = _SCHEMES.get(endpoint.scheme)
    if layers is None:
        raise ConnectFailed(f"unknown scheme {endpoint.scheme!r}: one of {', '.join(_SCHEMES)} is needed")
    if layers.websocket:
        # Only where it is needed, as it imports a package that may be missing; first, to say so before any waiting.
        from stomplistener.transport.websocket import PLAIN, WebSocketTransport
    interrupt = interrupt or Interrupt()
    step = f"cannot connect to {_shown(endpoint)}"
    with _told(step, interrupt):
        bottom = SocketTransport(_dial(endpoint, deadline, interrupt))
    transport: Transport = bottom
    try:
        # Breaking the socket ends whatever blocks on it, in any layer above.
        with interrupt.doing(bottom.shutdown), _told(step, interrupt):
            if layers.tls:
                # Not above: most programs never need it, and OpenSSL is a tenth of what importing all this costs.
                from stomplistener.transport import tls

                interrupt.step = f"the TLS handshake with {_shown(endpoint)}; {tls.PLAIN}"
                context = ssl_context or tls.default_context(endpoint.options)
                transport = secured = tls.TLSTransport(transport, context, endpoint.host)
                secured.handshake(deadline)
            if layers.websocket:
                transport = framed = WebSocketTransport(
                    transport, endpoint, headers=headers or {}, subprotocols=subprotocols, max_message=max_message
                )
                interrupt.step = f"the WebSocket handshake with {_shown(endpoint)}; {PLAIN}"
                framed.handshake(deadline)
    except BaseException:
        transport.close()
        raise
    transport.settimeout(None)
    return transport


def _dial(endpoint: Endpoint, deadline: float, interrupt: Interrupt) -> socket.socket:
    if endpoint.scheme == "unix":
        return unix.dial(endpoint.path, deadline=deadline, interrupt=interrupt)
    options = endpoint.options
    if options.proxy is not None:
        # For the same reason as WebSocket above.
        from stomplistener.transport import proxy

        chosen = proxy.choose(options.proxy, endpoint.host)
        if chosen is not None:
            try:
                sock = _dial_tcp(chosen.host, chosen.port, options, deadline, interrupt)
            except ConnectFailed as error:
                raise ConnectFailed(f"the proxy {chosen}: {error}", error.attempts) from error
            except TimedOut as error:
                raise TimedOut(f"the proxy {chosen}: {error}") from error
            interrupt.step = f"the answer of the proxy {chosen}"
            return proxy.tunnel(sock, chosen, endpoint.host, endpoint.port, deadline=deadline, interrupt=interrupt)
    return _dial_tcp(endpoint.host, endpoint.port, options, deadline, interrupt)


def _dial_tcp(host: str, port: int, options: EndpointOptions, deadline: float, interrupt: Interrupt) -> socket.socket:
    return tcp.dial(
        host,
        port,
        no_delay=options.tcp_no_delay,
        keep_alive=options.keep_alive,
        deadline=deadline,
        interrupt=interrupt,
    )


def _shown(endpoint: Endpoint) -> str:
    """The endpoint without what may be secret (the query of a WebSocket's path may hold a token)."""
    if endpoint.scheme == "unix":
        return f"unix:{endpoint.path}"
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"{endpoint.scheme}://{host}:{endpoint.port}"


@contextmanager
def _told(step: str, interrupt: Interrupt) -> Iterator[None]:
    """Turn whatever a step raises into an exception of ours that names the step."""
    try:
        yield
    except (OSError, StompError, MemoryError) as error:
        if isinstance(error, ConnectInterrupted):
            raise
        if interrupt.is_set():
            # The interrupt breaks the socket, and the step then fails in one of many ways.
            raise ConnectInterrupted(f"{step}: interrupted") from error
        if isinstance(error, StompError):
            raise
        if isinstance(error, TimeoutError):
            raise TimedOut(f"{step}: {error}") from error
        raise ConnectFailed(f"{step}: {socket_errors.told(error)}") from error
