"""Connections over WebSocket; they need the extra ``websocket``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stomplistener.compat.stomp.arguments import with_more_arguments
from stomplistener.compat.stomp.connect import *  # noqa: F403
from stomplistener.compat.stomp.connect import StompConnection12
from stomplistener.compat.stomp.exception import *  # noqa: F403
from stomplistener.compat.stomp.settings import HostAndPort
from stomplistener.compat.stomp.transport import Transport


class WSTransport(Transport):
    """A transport over WebSocket.

    Attributes:
        ws_path: the path of the URL.
        header: more headers of the HTTP request.
    """

    _scheme = "ws"

    def __init__(
        self,
        *args: Any,
        ws_path: str | None = None,
        header: Mapping[str, str] | Iterable[str] | None = None,
        binary_mode: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.ws_path = ws_path
        self.header = header

    @property
    def _WSTransport__host_and_ports(self) -> list[HostAndPort]:  # programs read it
        return self.host_and_ports

    @property
    def _path(self) -> str:  # type: ignore[override]
        return "/" + (self.ws_path or "").lstrip("/")

    @property
    def _http_headers(self) -> Mapping[str, str]:  # type: ignore[override]
        return _headers(self.header)


class WSStompConnection(StompConnection12):
    """A connection of STOMP 1.2 over WebSocket.

    Args:
        ws: has no effect, as in stomp.py.
        ws_path: the path of the URL.
        header: more headers of the HTTP request: a mapping, or lines such as ``"Cookie: a=b"``.
        binary_mode: has no effect. Frames are sent as text unless a body is not UTF-8; every broker accepts this.

    The other arguments are those of :class:`~stomplistener.compat.stomp.connect.StompConnection12`.
    """

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
        ws: Any = None,
        ws_path: str | None = None,
        header: Mapping[str, str] | Iterable[str] | None = None,
        binary_mode: bool = False,
    ) -> None:
        self._websocket: dict[str, Any] = {"ws_path": ws_path, "header": header, "binary_mode": binary_mode}
        super().__init__(
            host_and_ports,
            prefer_localhost,
            try_loopback_connect,
            reconnect_sleep_initial,
            reconnect_sleep_increase,
            reconnect_sleep_jitter,
            reconnect_sleep_max,
            reconnect_attempts_max,
            timeout,
            heartbeats,
            keepalive,
            vhost,
            auto_decode,
            encoding,
            auto_content_length,
            heart_beat_receive_scale,
            bind_host_port,
        )

    def _make_transport(self, *args: Any, **kwargs: Any) -> Transport:
        return WSTransport(*args, **kwargs, **self._websocket)


def _headers(header: Mapping[str, str] | Iterable[str] | None) -> dict[str, str]:
    if isinstance(header, Mapping):
        return dict(header)
    pairs = (line.partition(":") for line in header or ())
    return {name.strip(): value.strip() for name, _, value in pairs}
