"""The connections: what a program says, on a transport that restores itself.

Their arguments are stomp.py's, and mean the same with these exceptions: ``reconnect_attempts_max`` bounds the first
connect alone; ``timeout`` (30 s where None) bounds an attempt as a whole; ``keepalive`` as a tuple only switches on;
``heart_beat_receive_scale`` has no effect, silence means a loss after two and a half intervals, whatever listeners do;
``bind_host_port`` raises ValueError.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from stomplistener.compat.stomp.listener import Publisher
from stomplistener.compat.stomp.protocol import Protocol10, Protocol11, Protocol12
from stomplistener.compat.stomp.settings import HostAndPort
from stomplistener.compat.stomp.transport import Transport
from stomplistener.compat.stomp.utils import get_uuid


class BaseConnection(Publisher):
    """What all versions have in common. As a context manager it disconnects at the end; it does not connect.

    Thread-safe, listeners included.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect(get_uuid())

    def disconnect(self, receipt: str | None = None, headers: Any = None, **keyword_headers: Any) -> None:
        raise NotImplementedError

    def set_listener(self, name: str, listener: Any) -> None:
        self.transport.set_listener(name, listener)

    def remove_listener(self, name: str) -> None:
        self.transport.remove_listener(name)

    def get_listener(self, name: str) -> Any:
        return self.transport.get_listener(name)

    def is_connected(self) -> bool:
        """Whether the connection is ready now; not while it is being restored."""
        return self.transport.is_connected()

    def set_receipt(self, receipt_id: str, value: Any) -> None:
        """Have ``on_receipt`` tell of this receipt; with a false value, not."""
        self.transport.set_receipt(receipt_id, value)

    def set_ssl(self, *args: Any, **kwargs: Any) -> None:
        """See :meth:`stomplistener.compat.stomp.transport.Transport.set_ssl`."""
        self.transport.set_ssl(*args, **kwargs)

    def get_ssl(self, host_and_port: HostAndPort | None = None) -> dict[str, Any] | None:
        """What ``set_ssl`` was told for a broker, that of the connection where None."""
        return self.transport.get_ssl(host_and_port)


class StompConnection10(Protocol10, BaseConnection):
    """A connection of STOMP 1.0."""

    def __init__(
        self,
        host_and_ports: Iterable[HostAndPort] | None = None,
        prefer_localhost: bool = True,
        try_loopback_connect: bool = True,
        reconnect_sleep_initial: float = 0.1,
        reconnect_sleep_increase: float = 0.5,
        reconnect_sleep_jitter: float = 0.1,
        reconnect_sleep_max: float = 60.0,
        reconnect_attempts_max: int = 3,
        timeout: float | None = None,
        keepalive: Any = None,
        auto_decode: bool = True,
        encoding: str = "utf-8",
        auto_content_length: bool = True,
        bind_host_port: HostAndPort | None = None,
    ) -> None:
        transport = Transport(
            host_and_ports,
            version="1.0",
            prefer_localhost=prefer_localhost,
            try_loopback_connect=try_loopback_connect,
            reconnect_sleep_initial=reconnect_sleep_initial,
            reconnect_sleep_increase=reconnect_sleep_increase,
            reconnect_sleep_jitter=reconnect_sleep_jitter,
            reconnect_sleep_max=reconnect_sleep_max,
            reconnect_attempts_max=reconnect_attempts_max,
            timeout=timeout,
            keepalive=keepalive,
            auto_decode=auto_decode,
            encoding=encoding,
            bind_host_port=bind_host_port,
        )
        BaseConnection.__init__(self, transport)
        Protocol10.__init__(self, transport, auto_content_length)


class StompConnection11(Protocol11, BaseConnection):
    """A connection of STOMP 1.1, or 1.0 where the broker knows no more."""

    def __init__(
        self,
        host_and_ports: Iterable[HostAndPort] | None = None,
        prefer_localhost: bool = True,
        try_loopback_connect: bool = True,
        reconnect_sleep_initial: float = 0.1,
        reconnect_sleep_increase: float = 0.5,
        reconnect_sleep_jitter: float = 0.1,
        reconnect_sleep_max: float = 60.0,
        reconnect_attempts_max: int = 3,
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
        transport = Transport(
            host_and_ports,
            version=self.version,
            prefer_localhost=prefer_localhost,
            try_loopback_connect=try_loopback_connect,
            reconnect_sleep_initial=reconnect_sleep_initial,
            reconnect_sleep_increase=reconnect_sleep_increase,
            reconnect_sleep_jitter=reconnect_sleep_jitter,
            reconnect_sleep_max=reconnect_sleep_max,
            reconnect_attempts_max=reconnect_attempts_max,
            timeout=timeout,
            heartbeats=heartbeats,
            keepalive=keepalive,
            vhost=vhost,
            auto_decode=auto_decode,
            encoding=encoding,
            bind_host_port=bind_host_port,
            **self._transport_options(),
        )
        BaseConnection.__init__(self, transport)
        Protocol11.__init__(self, transport, heartbeats, auto_content_length, heart_beat_receive_scale)

    def _transport_options(self) -> dict[str, Any]:
        return {}


class StompConnection12(Protocol12, StompConnection11):
    """A connection of STOMP 1.2, or an older version where the broker knows no more."""
