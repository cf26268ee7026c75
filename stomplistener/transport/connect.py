"""Make one attempt to connect to one endpoint: first the socket, then TLS, then WebSocket."""

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

# The names that IANA registered for STOMP. The newest comes first, since the order is the preference.
SUBPROTOCOLS = ("v12.stomp", "v11.stomp", "v10.stomp")

# The largest WebSocket message, which is buffered as a whole before any limit on frames applies.
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

    The returned transport has no timeout. Call ``settimeout`` to apply the same deadline to later steps.

    Args:
        endpoint: the place to connect to, with its options.
        deadline: limits all steps, from the name look-up to the last handshake; a time of ``time.monotonic()``.
        interrupt: ends the attempt at once when any thread sets it.
        ssl_context: for ``ssl`` and ``wss``; replaces the context from the endpoint's options, and is used unchanged.
        headers: additional headers for the HTTP request of ``ws`` and ``wss``: cookies, tokens.
        subprotocols: the WebSocket sub-protocols to offer, in order of preference.
        max_message: the largest WebSocket message to accept, in bytes; a larger one ends the connection.

    Raises:
        ConnectFailed: no connection could be made; the text names the step, the reason and a possible remedy.
        TimedOut: the deadline passed.
        ConnectInterrupted: the interrupt was set.
        MissingExtra: the scheme or an option needs a package that is not installed.
    """
    layers = _SCHEMES.get(endpoint.scheme)
    if layers is None:
        raise ConnectFailed(f"unknown scheme {endpoint.scheme!r}: one of {', '.join(_SCHEMES)} is needed")
    if layers.websocket:
        # Import only if needed, since the package may be missing. Import first, so that the error comes before any
        # wait.
        from stomplistener.transport.websocket import PLAIN, WebSocketTransport
    interrupt = interrupt or Interrupt()
    step = f"cannot connect to {_shown(endpoint)}"
    with _told(step, interrupt):
        bottom = SocketTransport(_dial(endpoint, deadline, interrupt))
    transport: Transport = bottom
    try:
        # Breaking the socket ends every call that blocks on it, in all layers above.
        with interrupt.doing(bottom.shutdown), _told(step, interrupt):
            if layers.tls:
                # Import here: most programs never need TLS, and OpenSSL takes a tenth of the time of all imports.
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
        # Import only if needed, as above.
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
    """Return the endpoint without its possible secrets: the query of a WebSocket path may contain a token."""
    if endpoint.scheme == "unix":
        return f"unix:{endpoint.path}"
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"{endpoint.scheme}://{host}:{endpoint.port}"


@contextmanager
def _told(step: str, interrupt: Interrupt) -> Iterator[None]:
    """Convert any exception of a step to an exception of this library that names the step."""
    try:
        yield
    except (OSError, StompError, MemoryError) as error:
        if isinstance(error, ConnectInterrupted):
            raise
        if interrupt.is_set():
            # The interrupt breaks the socket, so the step may fail in many ways.
            raise ConnectInterrupted(f"{step}: interrupted") from error
        if isinstance(error, StompError):
            raise
        if isinstance(error, TimeoutError):
            raise TimedOut(f"{step}: {error}") from error
        raise ConnectFailed(f"{step}: {socket_errors.told(error)}") from error
