"""The arguments of a connection: checked once, never changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from stomplistener._util import arguments
from stomplistener._util.callables import refuse_unrun
from stomplistener._util.masking import secrets_in
from stomplistener._util.record import Record
from stomplistener.brokers import Dialect
from stomplistener.failover import Broker, BrokerURI, parse
from stomplistener.protocol import Limits
from stomplistener.protocol.spec import version_rules
from stomplistener.transport import Transport

if TYPE_CHECKING:
    import ssl


class ConnectOptions:
    """The values of one attempt to connect, which ``before_connect`` may change.

    Attributes:
        broker: the broker of this attempt, without secrets; read-only.
        attempt: the number of the attempt since the start or the loss, from 1.
        login: the login for CONNECT; None sends none.
        passcode: the passcode for CONNECT; None sends none.
        host: the virtual host.
        headers: additional headers for CONNECT.
        http_headers: additional headers for the HTTP request of a WebSocket.
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
        """Return the values for one broker: the values of its URI win over the others."""
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
        """The secrets that no text may show, even if the broker quotes them; the longest come first."""
        own = {"passcode": self.passcode} if self.passcode is not None and self.passcode != self.login else {}
        found = secrets_in(own) | secrets_in(self.headers) | secrets_in(self.http_headers)
        return tuple(sorted(found, key=len, reverse=True))

    def check(self) -> None:
        """Refuse invalid values from ``before_connect``.

        Raises:
            TypeError: a value is of the wrong kind; the text names the value, and shows no secret.
        """
        self.login = arguments.optional_text("ConnectOptions.login", self.login)
        self.passcode = arguments.optional_secret("ConnectOptions.passcode", self.passcode)
        self.host = arguments.optional_text("ConnectOptions.host", self.host)
        self.headers = arguments.headers(self.headers, "ConnectOptions.headers")
        self.http_headers = arguments.headers(self.http_headers, "ConnectOptions.http_headers")

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

    warnings: tuple[str, ...] = ()

    @classmethod
    def checked(
        cls,
        *,
        uri: Any,
        versions: Any,
        heartbeat: Any,
        headers: Any,
        limits: Any,
        broker: Any,
        duplicate_header: Any,
        **others: Any,
    ) -> Config:
        """Check the arguments of an application.

        Raises:
            InvalidURI: the URI is malformed.
            TypeError: another argument is of the wrong kind; the text names the argument, and shows no secret.
            ValueError: another argument is out of range, or two contradict each other.
        """
        parsed = uri if isinstance(uri, BrokerURI) else parse(uri)
        headers = arguments.headers(headers)
        warnings = [*parsed.warnings]
        for name in ("login", "host", "name"):
            others[name] = arguments.optional_text(name, others[name])
        others["passcode"] = arguments.optional_secret("passcode", others["passcode"])
        _check_callables(others["before_connect"], others["connect_transport"])
        arguments.flag("reconnect", others["reconnect"])
        if limits is not None and not isinstance(limits, Limits):
            raise TypeError(f"limits must be a Limits, not {limits!r}: Limits(max_body=…)")
        _check_tls(parsed, others["ssl_context"])
        return cls(
            uri=parsed,
            versions=_checked_versions(versions, headers),
            heartbeat=_checked_heartbeat(heartbeat, headers, warnings),
            headers=headers,
            limits=limits or Limits(),
            # The headers from before_connect are not known yet: if a client-id is missing, the broker reports it.
            dialect=Dialect(
                arguments.optional_text("broker", broker),
                headers.get("client-id", "" if others["before_connect"] else None),
                arguments.optional_text("duplicate_header", duplicate_header),
            ),
            warnings=tuple(warnings),
            **{**others, "timeout": arguments.seconds("timeout", others["timeout"])},
        )

    @property
    def restores(self) -> bool:
        """Whether the client reconnects after a connection loss at all."""
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
        """Return the values for one attempt at one broker."""
        return ConnectOptions.of(broker, self.login, self.passcode, self.host, self.headers, attempt)

    def guessed_host(self, broker: Broker) -> str | None:
        """Return the virtual host guessed from the broker's host name; None if the application gave one."""
        given = broker.virtual_host or self.host
        return None if given else broker.host or "localhost"

    def seconds(self, timeout: Any) -> float | None:
        """Check and return the timeout of a call, or the timeout of the connection if the call has none."""
        return self.timeout if timeout is DEFAULT else arguments.seconds("timeout", timeout)

    def check_ack(self, mode: str, *, settle: bool) -> None:
        """Raise ValueError unless one of the offered STOMP versions has this ack mode."""
        arguments.one_of("ack", mode, ACK_MODES)
        if not any(mode in version_rules(version).ack_modes for version in self.versions):
            raise ValueError(f"ack={mode!r} exists in no STOMP version that is offered: {self.versions}")
        if settle and mode != "client-individual":
            raise ValueError("settle=True settles each message separately: it needs ack='client-individual'")


def _check_callables(before_connect: Any, transport: Any) -> None:
    if before_connect is not None and not callable(before_connect):
        raise TypeError(f"before_connect must be callable, not {before_connect!r}")
    if not callable(transport):
        raise TypeError(f"transport must be callable, not {transport!r}")
    for function in (before_connect, transport):
        refuse_unrun(function)


def _check_tls(uri: BrokerURI, context: object) -> None:
    if context is None:
        return
    import ssl

    if not isinstance(context, ssl.SSLContext):
        raise TypeError(f"ssl_context must be an ssl.SSLContext, not {type(context).__name__}")
    if uri.brokers and not any(broker.scheme in ("ssl", "wss") for broker in uri.brokers):
        raise ValueError(f"ssl_context is given, but no broker of {uri} uses TLS: write ssl:// (or wss://)")


def _checked_versions(versions: Any, headers: Mapping[str, str]) -> tuple[str, ...]:
    if isinstance(versions, str):
        raise TypeError(f'versions must be a sequence of versions, not {versions!r}: versions=("{versions}",)')
    try:
        checked = tuple(version_rules(arguments.text("a version in versions", version)).name for version in versions)
    except ValueError as error:
        raise ValueError(f"versions: {error}") from None
    if not checked:
        raise ValueError("versions must name at least one STOMP version")
    if "accept-version" in headers and set(headers["accept-version"].split(",")) != set(checked):
        raise ValueError(f"the header accept-version contradicts versions={checked}: leave the header out")
    return checked


def _checked_heartbeat(heartbeat: Any, headers: Mapping[str, str], warnings: list[str]) -> tuple[float, float]:
    try:
        ours, theirs = heartbeat
    except (TypeError, ValueError):
        raise TypeError(f"heartbeat must be two numbers of seconds, (ours, the broker's), not {heartbeat!r}") from None
    checked = []
    for what, value in (("heartbeat[0]", ours), ("heartbeat[1]", theirs)):
        if value is None:
            raise TypeError(f"{what} must be a number of seconds, 0 for none, not None")
        checked.append(arguments.seconds(what, value) or 0.0)
    if any(value == float("inf") for value in checked):
        raise ValueError(f"heartbeat must be finite, not {heartbeat!r}; 0 for none")
    if max(checked) > LONGEST_HEARTBEAT:
        warnings.append(f"heartbeat={heartbeat!r} is in seconds: were milliseconds meant?")
    if "heart-beat" in headers:
        raise ValueError("the header heart-beat contradicts heartbeat=: give seconds there, and leave the header out")
    return checked[0], checked[1]


LONGEST_HEARTBEAT = 600.0
"""Above this number of seconds, a heartbeat interval looks like milliseconds."""


AckMode = Literal["auto", "client", "client-individual"]
"""How messages of a subscription are acknowledged (STOMP 1.2, SUBSCRIBE ack Header)."""

ACK_MODES: tuple[AckMode, ...] = ("auto", "client", "client-individual")


class BrokerOptions(TypedDict, total=False):
    """The options of a SEND whose headers differ from broker to broker.

    Attributes:
        persistent: whether the broker should keep the message on disk; None uses the broker's default.
        expires: seconds after which the broker no longer delivers it.
        priority: 0 to 9, where 9 is the highest, if the broker's queue has priorities.
        delay: seconds before the broker delivers it.
        duplicate_id: a permanent name of the message, such as a UUID. A broker that detects duplicates stores only the
            first of several messages with the same name. So a confirmed message is stored exactly once.
    """

    persistent: bool | None
    expires: float | None
    priority: int | None
    delay: float | None
    duplicate_id: str | None


class SendOptions(BrokerOptions, total=False):
    """The options of every call that sends a message, by keyword.

    Attributes:
        content_type: the MIME type of the body.
        auto_content_length: whether to send a content-length. None sends a content-length, except with text for
            ActiveMQ and Artemis. Both brokers make a JMS BytesMessage of a SEND with the header, and a TextMessage of
            one without it.
        json: a value that is sent as JSON, with its content-type, instead of ``body``.
    """

    content_type: str | None
    auto_content_length: bool | None
    json: Any


BROKER_OPTIONS = frozenset(BrokerOptions.__annotations__)
_KNOWN = frozenset((*BROKER_OPTIONS, "content_type", "auto_content_length", "json"))


def refuse_unknown(options: SendOptions) -> None:
    """Raise TypeError for an option of ``send`` that does not exist."""
    if not _KNOWN.issuperset(options):
        name = next(name for name in options if name not in _KNOWN)
        raise TypeError(f"send() has no option {name!r}{arguments.did_you_mean(name, _KNOWN)}")


def json_body(value: Any) -> bytes:
    """Return a value as JSON.

    Raises:
        TypeError: JSON cannot express the value.
        ValueError: the value contains NaN or an infinity, which JSON does not have.
    """
    import json

    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


class _Default:
    def __repr__(self) -> str:
        return "..."


DEFAULT: Any = _Default()
"""The timeout of a call that uses the connection's timeout."""


def with_persistence(headers: Mapping[str, str] | None, persistent: bool) -> dict[str, str]:
    """Return a copy of the headers that requests storage on disk, unless they already have that header.

    All supported brokers use ``persistent:true``, and others ignore the header. The option ``persistent`` of
    ``Connection.send`` would raise for a broker that the library does not know.
    """
    return {"persistent": "true", **(headers or {})} if persistent else dict(headers or {})
