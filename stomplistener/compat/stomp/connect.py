"""The connection classes: the commands of a program, on a transport that is restored after a loss.

Their arguments are those of stomp.py and have the same meaning, with three exceptions. ``timeout`` (30 s if None)
limits each whole connection attempt. ``keepalive`` as a tuple only switches keepalive on. ``heart_beat_receive_scale``
has no effect: a silence of two and a half intervals means a connection loss, whatever listeners do. Three more
arguments are keyword-only. ``restore`` says whether a lost connection is restored; the default is ``stomp.restore``.
``ssl_context`` and ``proxy`` are those of :class:`stomplistener.Connection` and its URIs.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from stomplistener.compat.stomp.arguments import with_more_arguments
from stomplistener.compat.stomp.listener import Publisher, WaitingListener
from stomplistener.compat.stomp.protocol import *  # noqa: F403
from stomplistener.compat.stomp.protocol import Protocol10, Protocol11, Protocol12
from stomplistener.compat.stomp.settings import HostAndPort
from stomplistener.compat.stomp.transport import *  # noqa: F403
from stomplistener.compat.stomp.transport import Transport
from stomplistener.compat.stomp.utils import get_uuid
from stomplistener.connection import Connection


class BaseConnection(Publisher):
    """The common part of all versions. As a context manager it disconnects at the end, but does not connect.

    Thread-safe, listeners included.
    """

    transport: Any

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    @property
    def stomplistener(self) -> Connection:
        """The underlying :class:`stomplistener.Connection`, from ``connect()`` to ``disconnect()``.

        The object has methods that stomp.py does not have: ``request()``, ``consume()``, ``statistics()``. After a
        loss,
        ``connect()`` of the program makes a new object.

        Raises:
            NotConnectedException: there is no connection.
        """
        engine: Connection = self.transport.engine
        return engine

    def __enter__(self) -> Self:
        self.disconnect_receipt_id = get_uuid()
        self.disconnect_listener = WaitingListener(self.disconnect_receipt_id)
        self.set_listener("ZZZZZ-disconnect-listener", self.disconnect_listener)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect(self.disconnect_receipt_id)

    def disconnect(self, receipt: str | None = None, headers: Any = None, **keyword_headers: Any) -> None:
        raise NotImplementedError

    def set_listener(self, name: str, listener: Any) -> None:
        self.transport.set_listener(name, listener)

    def remove_listener(self, name: str) -> None:
        self.transport.remove_listener(name)

    def get_listener(self, name: str) -> Any:
        return self.transport.get_listener(name)

    def is_connected(self) -> bool:
        """Whether the connection is ready now; False while the connection is being restored."""
        return bool(self.transport.is_connected())

    def set_receipt(self, receipt_id: str, value: Any) -> None:
        """Call ``on_receipt`` for this receipt if ``value`` is true."""
        self.transport.set_receipt(receipt_id, value)

    def set_ssl(self, *args: Any, **kwargs: Any) -> None:
        """See :meth:`stomplistener.compat.stomp.transport.Transport.set_ssl`."""
        self.transport.set_ssl(*args, **kwargs)

    def get_ssl(self, host_and_port: HostAndPort | None = None) -> dict[str, Any] | None:
        """Return the settings of ``set_ssl`` for a broker; None means the broker of the connection."""
        settings: dict[str, Any] | None = self.transport.get_ssl(host_and_port)
        return settings


class StompConnection10(Protocol10, BaseConnection):
    """A connection of STOMP 1.0."""

    @with_more_arguments
    def __init__(
        self,
        host_and_ports: Iterable[HostAndPort] | None = None,
        prefer_localhost: bool = True,
        try_loopback_connect: bool = True,
        reconnect_sleep_initial: float = 0.1,
        reconnect_sleep_increase: float = 0.5,
        reconnect_sleep_jitter: float = 0.1,
        reconnect_sleep_max: float = 60.0,
        reconnect_attempts_max: float = 3,
        timeout: float | None = None,
        keepalive: Any = None,
        auto_decode: bool = True,
        encoding: str = "utf-8",
        auto_content_length: bool = True,
        bind_host_port: HostAndPort | None = None,
    ) -> None:
        transport = Transport(
            host_and_ports,
            prefer_localhost,
            try_loopback_connect,
            reconnect_sleep_initial,
            reconnect_sleep_increase,
            reconnect_sleep_jitter,
            reconnect_sleep_max,
            reconnect_attempts_max,
            timeout,
            keepalive,
            None,
            auto_decode,
            encoding,
            bind_host_port=bind_host_port,
        )
        BaseConnection.__init__(self, transport)
        Protocol10.__init__(self, transport, auto_content_length)


class StompConnection11(Protocol11, BaseConnection):
    """A connection of STOMP 1.1, or 1.0 if the broker knows no newer version."""

    @with_more_arguments
    def __init__(
        self,
        host_and_ports: Iterable[HostAndPort] | None = None,
        prefer_localhost: bool = True,
        try_loopback_connect: bool = True,
        reconnect_sleep_initial: float = 0.1,
        reconnect_sleep_increase: float = 0.5,
        reconnect_sleep_jitter: float = 0.1,
        reconnect_sleep_max: float = 60.0,
        reconnect_attempts_max: float = 3,
        timeout: float | None = None,
        heartbeats: tuple[int, int] = (0, 0),
        keepalive: Any = None,
        vhost: str | None = None,
        auto_decode: bool = True,
        encoding: str = "utf-8",
        auto_content_length: bool = True,
        heart_beat_receive_scale: float = 1.5,
        bind_host_port: HostAndPort | None = None,
    ) -> None:
        transport = self._make_transport(
            host_and_ports,
            prefer_localhost,
            try_loopback_connect,
            reconnect_sleep_initial,
            reconnect_sleep_increase,
            reconnect_sleep_jitter,
            reconnect_sleep_max,
            reconnect_attempts_max,
            timeout,
            keepalive,
            vhost,
            auto_decode,
            encoding,
            bind_host_port=bind_host_port,
        )
        BaseConnection.__init__(self, transport)
        Protocol11.__init__(self, transport, heartbeats, auto_content_length, heart_beat_receive_scale)

    def _make_transport(self, *args: Any, **kwargs: Any) -> Transport:
        return Transport(*args, **kwargs)


class StompConnection12(Protocol12, StompConnection11):
    """A connection of STOMP 1.2, or the newest version that the broker knows."""

    @staticmethod
    def is_eol(c: bytes) -> bool:
        """Whether these bytes are a line end."""
        return c in (b"\n", b"\r\n")
