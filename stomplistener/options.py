"""What a connection was made with: checked once, never changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from stomplistener._util.masking import secrets_in
from stomplistener._util.record import Record
from stomplistener.brokers import Dialect
from stomplistener.failover import Broker, BrokerURI
from stomplistener.protocol import Limits
from stomplistener.transport import Transport

if TYPE_CHECKING:
    import ssl


class ConnectOptions:
    """One attempt to connect, as ``before_connect`` may change it.

    Attributes:
        broker: which one, without secrets; to look at only.
        attempt: the number of the attempt since the start or the loss, from 1.
        login: for CONNECT; None sends none.
        passcode: likewise.
        host: the virtual host.
        headers: more headers for CONNECT.
        http_headers: more headers for the HTTP request of a WebSocket.
    """

    def __init__(
        self,
        *,
        broker: str,
        attempt: int,
        login: str | None,
        passcode: str | None,
        host: str | None,
        headers: dict[str, str],
        http_headers: dict[str, str] | None = None,
    ) -> None:
        self.broker = broker
        self.attempt = attempt
        self.login = login
        self.passcode = passcode
        self.host = host
        self.headers = headers
        self.http_headers = {} if http_headers is None else http_headers

    @classmethod
    def of(
        cls,
        broker: Broker,
        login: str | None,
        passcode: str | None,
        host: str | None,
        headers: Mapping[str, str],
        attempt: int = 1,
    ) -> ConnectOptions:
        """The values for one broker: what its URI says goes before the others."""
        chosen: str | None = broker.virtual_host or host
        return cls(
            broker=str(broker),
            attempt=attempt,
            login=broker.login if broker.login is not None else login,
            passcode=broker.passcode if broker.passcode is not None else passcode,
            host=chosen or broker.host or "localhost",
            headers=dict(headers),
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no text may show though the broker says it: brokers quote what they refuse. The longest come first."""
        own = {"passcode": self.passcode} if self.passcode is not None and self.passcode != self.login else {}
        found = secrets_in(own) | secrets_in(self.headers) | secrets_in(self.http_headers)
        return tuple(sorted(found, key=len, reverse=True))

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if isinstance(other, ConnectOptions) else NotImplemented

    def __repr__(self) -> str:
        return (
            f"ConnectOptions(broker={self.broker!r}, attempt={self.attempt}, login={self.login!r}, host={self.host!r})"
        )


class Config(Record):
    """The arguments of :class:`stomplistener.Connection`."""

    _secret = frozenset({"passcode", "headers"})

    uri: BrokerURI
    login: str | None
    passcode: str | None
    host: str | None
    versions: tuple[str, ...]
    heartbeat: tuple[float, float]
    headers: Mapping[str, str]
    before_connect: Callable[[ConnectOptions], object] | None
    ssl_context: ssl.SSLContext | None
    reconnect: bool
    timeout: float | None
    limits: Limits
    name: str
    connect_transport: Callable[..., Transport]
    dialect: Dialect = Dialect()

    @property
    def restores(self) -> bool:
        """Whether a lost connection is restored at all."""
        return self.reconnect and self.uri.options.max_reconnect_attempts != 0

    @property
    def track_messages(self) -> bool:
        return self.uri.options.track_messages

    @property
    def max_unconfirmed_bytes(self) -> int:
        if self.track_messages:
            return min(self.limits.max_unconfirmed_bytes, self.uri.options.max_cache_size)
        return self.limits.max_unconfirmed_bytes

    def connect_options(self, broker: Broker, attempt: int) -> ConnectOptions:
        """The values for one attempt at one broker."""
        return ConnectOptions.of(broker, self.login, self.passcode, self.host, self.headers, attempt)

    def seconds(self, timeout: Any) -> float | None:
        """A call's timeout, or the connection's where the call left it open."""
        return self.timeout if timeout is DEFAULT else timeout


class SendOptions(TypedDict, total=False):
    """What a SEND may ask of its broker, whatever that broker calls it."""

    persistent: bool | None
    expires: float | None
    priority: int | None
    delay: float | None
    duplicate_id: str | None


class _Default:
    def __repr__(self) -> str:
        return "..."


DEFAULT: Any = _Default()
"""The timeout of a call that leaves it to the connection."""
