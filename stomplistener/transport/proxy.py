"""Connecting through an HTTP (CONNECT) or SOCKS5 proxy, by the ``python-socks`` package (extra ``proxy``)."""

from __future__ import annotations

import selectors
import socket
import urllib.request
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from stomplistener._util.masking import hidden, secrets_in
from stomplistener.errors import ConnectFailed, InvalidURI, TimedOut
from stomplistener.transport.extras import MissingExtra
from stomplistener.transport.interrupt import ConnectInterrupted, Interrupt, remaining
from stomplistener.transport.stream import Selector

try:
    from python_socks import ProxyError, ProxyType
    from python_socks.sync import Proxy
except ImportError as error:
    raise MissingExtra("a proxy", "proxy") from error

_TYPES = {"http": ProxyType.HTTP, "socks5": ProxyType.SOCKS5, "socks5h": ProxyType.SOCKS5}

# Of urllib.request.getproxies, in this order: those that are meant for tunnels, then the one for everything.
_FROM_ENVIRONMENT = ("socks", "https", "all")

# An HTTP proxy's answer to CONNECT is a status line and a few headers.
_MAX_ANSWER = 65536


@dataclass(frozen=True)
class ProxyAddress:
    """A proxy; its ``str`` and ``repr`` have no password."""

    type: ProxyType
    host: str
    port: int
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def secrets(self) -> set[str]:
        """What no text may show though the proxy says it."""
        basic = b64encode(f"{self.username}:{self.password}".encode()).decode()
        return secrets_in({"password": self.password or "", "authorization": basic})

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.type.name.lower()}://{host}:{self.port}"


def choose(option: str, host: str) -> ProxyAddress | None:
    """The proxy that an endpoint's option names; None where the environment has none for this host.

    Args:
        option: ``http://user:password@host:port`` or ``socks5://...``; or ``env``: the first of ``socks_proxy``,
            ``https_proxy`` and ``all_proxy``, unless ``no_proxy`` names the host.
        host: the broker's.

    Raises:
        InvalidURI: it is neither; the message does not repeat it, since it may hold a password.
    """
    if option != "env":
        return parse(option)
    known = urllib.request.getproxies()
    url = next((known[each] for each in _FROM_ENVIRONMENT if each in known), None)
    if url is None or urllib.request.proxy_bypass(host):
        return None
    # Many write "proxy:3128", meaning HTTP.
    return parse(url if "://" in url else f"http://{url}")


def parse(url: str) -> ProxyAddress:
    """Read the URL of a proxy. Raises InvalidURI, without repeating the URL."""
    try:
        parts = urlsplit(url)
        host, port, type_ = parts.hostname, parts.port, _TYPES.get(parts.scheme)
    except ValueError:
        host = port = type_ = None
    if type_ is None or not host or not port:
        raise InvalidURI("a proxy must be http://host:port or socks5://host:port, with user:password@ if need be")
    # Both or none: the user "name" without a password has an empty one.
    username = None if parts.username is None else unquote(parts.username)
    return ProxyAddress(type_, host, port, username, None if username is None else unquote(parts.password or ""))


def tunnel(
    sock: socket.socket, proxy: ProxyAddress, host: str, port: int, *, deadline: float, interrupt: Interrupt
) -> socket.socket:
    """Have a proxy connect us to a host, whose name it looks up itself.

    Args:
        sock: connected to the proxy; it is closed if this fails.
        proxy: what it is.
        host: where to go.
        port: there.
        deadline: in seconds of ``time.monotonic()``.
        interrupt: ends it when set.

    Returns:
        The socket from which and to which the host's bytes now go.

    Raises:
        ConnectFailed: the proxy refused, or could not connect.
        TimedOut: the deadline passed.
        ConnectInterrupted: the interrupt was set.
    """
    is_http = proxy.type is ProxyType.HTTP
    with sock, interrupt.waking() as wake, _BoundedSocket(sock, deadline, wake, is_http=is_http) as bounded:
        what = f"the proxy {proxy}, asked for {host}:{port},"
        try:
            Proxy(
                proxy.type,
                proxy.host,
                proxy.port,
                proxy.username,
                proxy.password,
                rdns=True,
                forward=_Connected(bounded),
            ).connect(host, port, timeout=remaining(deadline))
        except TimeoutError as error:
            raise TimedOut(f"{what} has not answered in time") from error
        except (ProxyError, OSError, ValueError, IndexError) as error:
            refusal = _refusal(f"{what} answered: {hidden(str(error), proxy.secrets)}", error)
        else:
            return socket.socket(fileno=bounded.detach())
    # Not from within the handler: its error has the answer as it came, which may quote what we sent.
    raise refusal


def _refusal(what: str, error: Exception) -> ConnectFailed:
    hint = ""
    if getattr(error, "error_code", None) == 407 or "auth" in str(error).lower():
        hint = " (it wants a user and a password, or others: http://user:password@host:port)"
    return ConnectFailed(what + hint)


class _Connected(Proxy):
    """Stands for a proxy before the proxy: python-socks then uses our connection, and does not make its own.

    Ours was made within the deadline, from all the addresses of the proxy, and can be interrupted.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._connected = sock

    def connect(self, *_: Any, **__: Any) -> socket.socket:
        return self._connected


class _BoundedSocket(socket.socket):
    """A socket on which everything together ends by a deadline, or when another socket becomes readable.

    python-socks knows only timeouts of single calls.
    """

    def __init__(self, sock: socket.socket, deadline: float, wake: socket.socket, *, is_http: bool) -> None:
        super().__init__(fileno=sock.detach())
        self.setblocking(False)
        self._deadline = deadline
        self._wake = wake
        self._is_http = is_http

    def sendall(self, data: Any, *_: Any) -> None:
        view = memoryview(data)
        while view:
            self._wait(selectors.EVENT_WRITE)
            with suppress(BlockingIOError):
                view = view[super().send(view) :]

    def recv(self, *args: Any) -> bytes:
        return self._http_answer() if self._is_http else self._recv(*args)

    def _recv(self, *args: Any) -> bytes:
        while True:
            self._wait(selectors.EVENT_READ)
            with suppress(BlockingIOError):
                return super().recv(*args)

    def _wait(self, event: int) -> None:
        with Selector() as selector:
            selector.register(self, event)
            selector.register(self._wake, selectors.EVENT_READ)
            ready = [key.fileobj for key, _ in selector.select(remaining(self._deadline))]
        if self._wake in ready:
            raise ConnectInterrupted("interrupted while waiting for the proxy")
        if not ready:
            raise TimeoutError("the deadline has passed")

    def _http_answer(self) -> bytes:
        # python-socks takes what the first recv gives for the whole answer. The rest of one that came in two pieces
        # would then be taken for the broker's. One byte at a time, so that nothing of the broker's own is swallowed.
        answer = b""
        while not answer.endswith(b"\r\n\r\n") and len(answer) < _MAX_ANSWER:
            byte = self._recv(1)
            if not byte:
                break
            answer += byte
        return answer
