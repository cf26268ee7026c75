"""Connect through an HTTP (CONNECT) or SOCKS5 proxy, with the ``python-socks`` package (extra ``proxy``)."""

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

# The keys of urllib.request.getproxies, in this order: first the ones for tunnels, then the one for everything.
_FROM_ENVIRONMENT = ("socks", "https", "all")

# An HTTP proxy answers CONNECT with a status line and a few headers.
_MAX_ANSWER = 65536


@dataclass(frozen=True)
class ProxyAddress:
    """The address of a proxy, with a ``str`` and ``repr`` that contain no password."""

    type: ProxyType
    host: str
    port: int
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def secrets(self) -> set[str]:
        """The values that no text may show, even if the proxy sends them."""
        basic = b64encode(f"{self.username}:{self.password}".encode()).decode()
        return secrets_in({"password": self.password or "", "authorization": basic})

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.type.name.lower()}://{host}:{self.port}"


def choose(option: str, host: str) -> ProxyAddress | None:
    """Return the proxy of an endpoint's option; None if the environment has none for this host.

    Args:
        option: ``http://user:password@host:port`` or ``socks5://...``; or ``env``: the first of ``socks_proxy``,
            ``https_proxy`` and ``all_proxy``, unless ``no_proxy`` names the host.
        host: the broker's host.

    Raises:
        InvalidURI: the option is neither. The text does not repeat the option, which may contain a password.
    """
    if option != "env":
        return parse(option)
    known = urllib.request.getproxies()
    url = next((known[each] for each in _FROM_ENVIRONMENT if each in known), None)
    if url is None or urllib.request.proxy_bypass(host):
        return None
    # Many people write "proxy:3128" and mean HTTP.
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
    # Give both or none: a user without a password has an empty password.
    username = None if parts.username is None else unquote(parts.username)
    return ProxyAddress(type_, host, port, username, None if username is None else unquote(parts.password or ""))


def tunnel(
    sock: socket.socket, proxy: ProxyAddress, host: str, port: int, *, deadline: float, interrupt: Interrupt
) -> socket.socket:
    """Let a proxy connect the socket to a host. The proxy looks up the name of the host.

    Args:
        sock: connected to the proxy; it is closed if this fails.
        proxy: the address of the proxy.
        host: the host to reach.
        port: the port of the host.
        deadline: a time of ``time.monotonic()``.
        interrupt: ends the wait when set.

    Returns:
        The socket that sends to the host and receives from it.

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
    # Raise outside the handler: its error has the original answer, which may quote what we sent.
    raise refusal


def _refusal(what: str, error: Exception) -> ConnectFailed:
    hint = ""
    if getattr(error, "error_code", None) == 407 or "auth" in str(error).lower():
        hint = " (it requires a user and a password, or rejects these: http://user:password@host:port)"
    return ConnectFailed(what + hint)


class _Connected(Proxy):
    """Stands for a proxy in front of the proxy: python-socks then uses our connection instead of making one.

    Our connection was made within the deadline, through any address of the proxy, and can be interrupted.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._connected = sock

    def connect(self, *_: Any, **__: Any) -> socket.socket:
        return self._connected


class _BoundedSocket(socket.socket):
    """A socket whose calls together end at a deadline, or when another socket becomes readable.

    python-socks has only timeouts for single calls.
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
        # python-socks takes the result of the first recv for the whole answer. The second piece of an answer would be
        # taken for the broker's bytes. Read one byte at a time, so that no byte of the broker is consumed.
        answer = b""
        while not answer.endswith(b"\r\n\r\n") and len(answer) < _MAX_ANSWER:
            byte = self._recv(1)
            if not byte:
                break
            answer += byte
        return answer
