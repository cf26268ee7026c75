"""Broker URIs: one broker, or ActiveMQ's ``failover:`` with a list of brokers and options for choosing the next one.

::

    uri     = broker [ "?" options ] | "failover:" [ "//" ] ( "(" list ")" | list ) [ "?" options ]
    list    = broker *( "," broker )
    broker  = scheme "://" [ login [ ":" passcode ] "@" ] host ":" port [ "/" virtual-host ] [ "?" options ]
    options = option *( ( "&" | "," ) option )

For ``ws`` and ``wss`` the path is that of the URL; ``unix:///path`` names a socket. This module finds every error in
the text, without a look-up and without reading a file. No exception repeats a part that may be a secret. The rules are
those of ActiveMQ's failover transport reference, but this parser is strict where ActiveMQ's client overlooks errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from stomplistener._util.record import Record
from stomplistener.errors import InvalidURI
from stomplistener.failover.options import (
    FACTOR,
    FLAG,
    LOCATION,
    MASK,
    PATH,
    PATIENCE,
    PROXY,
    SECRET,
    Kind,
    Options,
    count,
    milliseconds,
    option,
    table,
    written,
)
from stomplistener.failover.query import Said, Vocabulary, nearest
from stomplistener.failover.text import Piece

_SCHEMES = {name: name for name in ("tcp", "ssl", "ws", "wss", "unix")} | {"stomp": "tcp", "stomp+ssl": "ssl"}
_NAMES_OF_OTHERS = {
    **dict.fromkeys(("tls", "stomps", "stomp+tls", "stomp+nio+ssl", "nio+ssl", "tcp+ssl", "tcps"), "ssl"),
    **dict.fromkeys(("nio", "stomp+nio", "stomp+tcp", "auto"), "tcp"),
    "http": "ws",
    "https": "wss",
    "stomp+ws": "ws",
    "stomp+wss": "wss",
}
"""Schemes that brokers and other clients use, and our schemes for them."""
_OTHER_PROTOCOLS = frozenset(
    {"amqp", "amqps", "amqp+ssl", "mqtt", "mqtts", "mqtt+ssl", "openwire", "kafka", "redis", "nats"}
)
_EXAMPLE = "write a broker as in tcp://host:61613"
_FAILOVER = re.compile(r"failover:(?://)?", re.IGNORECASE)
_BRACKET = re.compile(r"[()]")
_DOTTED_NUMBERS = r"[0-9]+(\.[0-9]+){3}"
_IPV6 = r"[0-9A-Fa-f:.]+(%[\w.-]+)?"
_HOST_NAME = re.compile(r"[\w.-]+")
_PORT = re.compile(r"[0-9]{1,5}")
_TLS = "ssl wss"


class BrokerOptions(Options):
    """The options of one broker. The prefix ``nested.`` gives an option to every broker of a list.

    Attributes:
        connection_timeout: ``connectionTimeout``, seconds for one attempt, from the name look-up to CONNECTED.
        tcp_no_delay: ``tcpNoDelay``, send small packets at once.
        keep_alive: ``keepAlive``, let the kernel probe an idle connection.
        ca_file: ``caFile``, the certificates to trust; those of the system if None.
        cert_file: ``certFile``, the client's own certificate.
        key_file: ``keyFile``, the key of the client's certificate, if ``cert_file`` does not contain the key.
        key_password: ``keyPassword``, the password of the key.
        verify_hostname: ``verifyHostname``, check that the certificate names the host.
        proxy: ``proxy``, the URL of a proxy; ``env`` uses the proxy of the environment.
    """

    connection_timeout: float = option("connectionTimeout", milliseconds(1), 30.0)
    tcp_no_delay: bool = option("tcpNoDelay", FLAG, True)
    keep_alive: bool = option("keepAlive", FLAG, True)
    ca_file: str | None = option("caFile", PATH, None, schemes=_TLS)
    cert_file: str | None = option("certFile", PATH, None, schemes=_TLS)
    key_file: str | None = option("keyFile", PATH, None, schemes=_TLS)
    key_password: str | None = option("keyPassword", SECRET, None, schemes=_TLS)
    verify_hostname: bool = option("verifyHostname", FLAG, True, schemes=_TLS)
    proxy: str | None = option("proxy", PROXY, None, schemes="tcp ssl ws wss")


class Broker(Record):
    """One broker: its address and its login. ``str`` and ``repr`` show no secret.

    Attributes:
        scheme: tcp, ssl, ws, wss or unix (``stomp`` is tcp, ``stomp+ssl`` is ssl).
        host: name or address, in small letters and without brackets; empty for unix.
        port: 1 to 65535; 0 for unix.
        path: the path of a WebSocket URL, or of the socket for unix; empty for tcp and ssl.
        virtual_host: the virtual host for CONNECT; None if the URI has none.
        login: the user name for this broker; None if the URI has none.
        passcode: the passcode for this broker; None if the URI has none.
        options: all other options.
    """

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    virtual_host: str | None = None
    login: str | None = None
    passcode: str | None = None
    options: BrokerOptions = BrokerOptions()

    @property
    def identity(self) -> tuple[str, str, int, str]:
        """The values that identify the broker: scheme, host, port and path, but no options."""
        return self.scheme, self.host, self.port, self.path

    def with_options(self, changes: Iterable[tuple[str, Any]]) -> Broker:
        """Return the same broker with these options, given as pairs of field name and value."""
        return self.replace(options=self.options.replace(**dict(changes)))

    @property
    def address(self) -> str:
        """The URI without its options, with the passcode masked."""
        login = "" if self.login is None else quote(self.login, safe="")
        passcode = "" if self.passcode is None else f":{MASK}"
        at = "" if self.login is None else "@"
        host = f"[{self.host.replace('%', '%25')}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port else ""
        virtual_host = "" if self.virtual_host is None else "/" + quote(self.virtual_host, safe="")
        path = quote(self.path) if self.scheme == "unix" else self.path
        return f"{self.scheme}://{login}{passcode}{at}{host}{port}{virtual_host}{path}"

    def __str__(self) -> str:
        options = str(self.options)
        return f"{self.address}?{options}" if options else self.address

    def __repr__(self) -> str:
        return f"Broker({str(self)!r})"


class FailoverOptions(Options):
    """The options for choosing the next broker. In a URI the names are ActiveMQ's, and times are milliseconds.

    A pass tries each broker of the list once. Delays are in seconds.

    Attributes:
        initial_reconnect_delay: the wait before the first pass after a loss, and between the first two passes of a
            start.
        max_reconnect_delay: the maximum of every wait, including jitter.
        use_exponential_back_off: False: every wait is ``initial_reconnect_delay``.
        reconnect_delay_exponent: the factor by which each wait grows; ``backOffMultiplier`` is the same option.
        reconnect_delay_jitter: a random time up to this value is added to each wait; the jitter does not grow.
        max_reconnect_attempts: the failed passes allowed after a loss; -1 for no limit, 0 to never reconnect.
        startup_max_reconnect_attempts: the failed passes allowed before the first success; -1 uses
            ``max_reconnect_attempts``, 0 allows one pass.
        timeout: how long a SEND waits for a connection; None forever.
        randomize: shuffle the list before each pass.
        priority_backup: return to a preferred broker when it is available again.
        priority_uris: the preferred brokers; if empty, the first one of the list.
        backup: keep standby connections to other brokers.
        backup_pool_size: the number of standby connections.
        warn_after_reconnect_attempts: warn at the first failed pass, and again after this many passes; 0 or less for no
            warning.
        track_messages: ask for a receipt of every SEND and keep the message until the receipt arrives.
        max_cache_size: the bound on the messages that ``track_messages`` keeps, in bytes.
        update_uris_url: a file of further brokers, read before each pass: a path or ``file:`` URL.
        nested: the options for every broker, as pairs of a field of BrokerOptions and a value. The brokers of the URI
            have them already; brokers from another source need ``Broker.with_options``.
    """

    initial_reconnect_delay: float = option("initialReconnectDelay", milliseconds(), 0.01)
    max_reconnect_delay: float = option("maxReconnectDelay", milliseconds(), 30.0)
    use_exponential_back_off: bool = option("useExponentialBackOff", FLAG, True)
    reconnect_delay_exponent: float = option("reconnectDelayExponent", FACTOR, 2.0, aliases=("backOffMultiplier",))
    reconnect_delay_jitter: float = option("reconnectDelayJitter", milliseconds(), 0.0)
    max_reconnect_attempts: int = option("maxReconnectAttempts", count(-1), -1)
    startup_max_reconnect_attempts: int = option("startupMaxReconnectAttempts", count(-1), -1)
    timeout: float | None = option("timeout", PATIENCE, None)
    randomize: bool = option("randomize", FLAG, True)
    priority_backup: bool = option("priorityBackup", FLAG, False)
    priority_uris: tuple[Broker, ...] = option(
        "priorityURIs",
        # The functions are wrapped in lambdas, since the parser of a list needs the names of these options.
        Kind("URIs with commas between them", lambda value: _priority(value), lambda brokers: _joined(brokers)),
        (),
    )
    backup: bool = option("backup", FLAG, False)
    backup_pool_size: int = option("backupPoolSize", count(1), 1)
    warn_after_reconnect_attempts: int = option("warnAfterReconnectAttempts", count(-(2**31)), 10)
    track_messages: bool = option("trackMessages", FLAG, False)
    max_cache_size: int = option("maxCacheSize", count(1), 131072)
    update_uris_url: str | None = option("updateURIsURL", LOCATION, None)
    nested: tuple[tuple[str, Any], ...] = ()

    def written(self, default: Options | None = None) -> str:
        """Return the options that differ from ``default``, in the form of a query."""
        own = super().written(default)
        shared = (f"nested.{written(table(BrokerOptions)[key], value)}" for key, value in self.nested)
        return "&".join(filter(None, [own, *shared]))


_PLAIN_DEFAULTS = FailoverOptions(startup_max_reconnect_attempts=0)


class BrokerURI(Record):
    """The result of ``parse``. ``str`` returns a URI, with secrets masked.

    Attributes:
        brokers: the brokers in the order of the URI, without exact repeats; empty only with ``update_uris_url``.
        options: the options for choosing the next broker.
        is_failover: whether the URI begins with ``failover:``.
        warnings: one text for each option that was accepted and has no effect.
    """

    brokers: tuple[Broker, ...]
    options: FailoverOptions = FailoverOptions()
    is_failover: bool = True
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        brokers = _joined(self.brokers)
        options = self.options.written(None if self.is_failover else _PLAIN_DEFAULTS)
        if self.is_failover:
            return f"failover:({brokers})" + (options and f"?{options}")
        return brokers + (options and f"{'&' if '?' in brokers else '?'}{options}")

    def __repr__(self) -> str:
        return f"BrokerURI({str(self)!r})"


_VOCABULARY = Vocabulary(broker=BrokerOptions, failover=FailoverOptions)


def parse(uri: str, defaults: Mapping[str, Any] | None = None) -> BrokerURI:
    """Read a broker URI.

    The form and the options are those of ActiveMQ's failover transport reference. A URI without ``failover:`` names one
    broker. The client tries its first connect once (unless it has ``startupMaxReconnectAttempts``), and reconnects
    without limit after a loss.

    Args:
        uri: ``tcp://host:61613`` or ``failover:(tcp://mq1:61613,ssl://mq2:61614)?randomize=false``.
        defaults: the options of :class:`FailoverOptions`, by field, that the URI does not give.

    Returns:
        The brokers and options, with a warning for each option that was accepted and has no effect.

    Raises:
        InvalidURI: the text is not a broker URI. The exception has the position, counted from 0.
    """
    whole = _text(uri)
    if not whole.text:
        raise whole.error("no broker", hint=_EXAMPLE)
    prefix = _FAILOVER.match(uri)
    body = whole.cut(prefix.end()) if prefix else whole
    return _failover(body, defaults or {}) if prefix else _plain(body, defaults or {})


def parse_brokers(text: str) -> tuple[Broker, ...]:
    """Read a list of brokers without ``failover:``, as in a file of ``updateURIsURL``: URIs with commas between them.

    Raises:
        InvalidURI: the text is not such a list. The exception has the position, counted from 0.
    """
    return _list(_text(text), [])


def _text(text: object) -> Piece:
    if not isinstance(text, str):
        raise InvalidURI(f"a broker URI is a str, not {type(text).__name__}: {_EXAMPLE}")
    whole = Piece.of(text)
    for at, character in enumerate(text):
        if character == "#" or character == " " or not character.isprintable():
            what = "a #" if character == "#" else "a space or control character"
            raise whole.error(
                what, offset=at, hint=f"write it percent-encoded, as {quote(character, errors='replace')}"
            )
    return whole


def _plain(whole: Piece, defaults: Mapping[str, Any]) -> BrokerURI:
    address, query = whole.partition("?")
    if "," in address.text:
        hint = "several brokers are written failover:(tcp://a:61613,tcp://b:61613)"
        raise address.error("a comma", offset=address.text.index(","), hint=hint)
    said = _VOCABULARY.read(query, refused={})
    warnings: list[str] = []
    broker = _broker(address, said, warnings)
    return _assembled(
        [broker], said, warnings, {"startup_max_reconnect_attempts": 0} | dict(defaults), is_failover=False
    )


def _failover(body: Piece, defaults: Mapping[str, Any]) -> BrokerURI:
    in_brackets = body.text.startswith("(")
    listed, query = _bracketed(body) if in_brackets else _unbracketed(body)
    hint = "give it to every broker as nested., or to one broker within the brackets of failover:(...)"
    said = _VOCABULARY.read(query, refused={"broker": hint})
    warnings: list[str] = []
    needs_none = in_brackets and not listed.text and "update_uris_url" in said.failover
    brokers = () if needs_none else _list(listed, warnings)
    return _assembled(brokers, said, warnings, defaults, is_failover=True)


def _bracketed(body: Piece) -> tuple[Piece, Piece | None]:
    closing = _BRACKET.search(body.text, 1)
    if closing is None:
        raise body.error("a bracket that is never closed")
    if closing[0] == "(":
        raise body.error("a bracket within brackets", offset=closing.start(), hint="within a broker it is written %28")
    rest = body.cut(closing.end())
    if rest.text and not rest.text.startswith("?"):
        raise rest.error("text after the closing bracket", hint="only ? and options may follow")
    return body.cut(1, closing.start()), rest.cut(1) if rest.text else None


def _unbracketed(body: Piece) -> tuple[Piece, Piece | None]:
    """Give the final query to the failover if it contains an option of the failover: a broker has none of these."""
    ours = _VOCABULARY.failover_option(body.text)
    question = body.text.rfind("?", 0, ours) if ours >= 0 else -1
    listed, query = (body, None) if question < 0 else (body.cut(0, question), body.cut(question + 1))
    if stray := _BRACKET.search(listed.text):
        hint = "brackets enclose the whole list, failover:(...)"
        raise listed.error("a bracket without its partner", offset=stray.start(), hint=hint)
    return listed, query


def _assembled(
    brokers: Iterable[Broker], said: Said, warnings: list[str], defaults: Mapping[str, Any], *, is_failover: bool
) -> BrokerURI:
    nested = tuple(said.nested.items())
    if "priority_uris" in said.failover:
        said.failover["priority_uris"] = _distinct(each.with_options(nested) for each in said.failover["priority_uris"])
    return BrokerURI(
        brokers=_distinct(each.with_options(nested) for each in brokers),
        options=FailoverOptions(**{**defaults, **said.failover}, nested=nested),
        is_failover=is_failover,
        warnings=tuple(dict.fromkeys([*warnings, *said.ignored.values()])),
    )


def _distinct(brokers: Iterable[Broker]) -> tuple[Broker, ...]:
    return tuple(dict.fromkeys(brokers))


def _joined(brokers: Iterable[Broker]) -> str:
    return ",".join(map(str, brokers))


def _priority(value: Piece) -> tuple[Broker, ...]:
    text = value.decoded()
    return _list(value if text == value.text else Piece.of(text, fixed=value.start), [])


def _list(listed: Piece, warnings: list[str]) -> tuple[Broker, ...]:
    hint = "it is an option of the failover: write it after the list, failover:(...)?..."
    brokers = []
    for each in listed.split(_VOCABULARY.between_brokers(listed.text)):
        address, query = each.partition("?")
        said = _VOCABULARY.read(query, refused={"failover": hint, "nested": hint})
        brokers.append(_broker(address, said, warnings))
        warnings.extend(said.ignored.values())
    return _distinct(brokers)


def _broker(address: Piece, said: Said, warnings: list[str]) -> Broker:
    scheme, rest = _scheme(address)
    slash = rest.text.find("/")
    authority, path = (rest, rest.cut(len(rest.text))) if slash < 0 else (rest.cut(0, slash), rest.cut(slash))
    login, passcode, place = _login(authority)
    host, port = _no_host(place) if scheme == "unix" else _host_and_port(place)
    for key, given in table(BrokerOptions).items():
        if key in said.broker and given.schemes and scheme not in given.schemes:
            warnings.append(f"{given.name} has no effect on {scheme}://, only on {', '.join(sorted(given.schemes))}")
    return Broker(
        scheme=scheme,
        host=host,
        port=port,
        path=_path(scheme, path),
        virtual_host=path.cut(1).decoded() or None if scheme in ("tcp", "ssl") and path.text else None,
        login=login,
        passcode=passcode,
        options=BrokerOptions(**said.broker),
    )


def _scheme(address: Piece) -> tuple[str, Piece]:
    if _FAILOVER.match(address.text):
        raise address.error("failover: within failover:", hint="write all the brokers in one list")
    name, rest = address.partition("://")
    if rest is None:
        raise address.error("a broker without scheme" if address.text else "an empty broker", hint=_EXAMPLE)
    scheme = _SCHEMES.get(name.text.lower())
    if scheme is None:
        raise name.error(f"unknown scheme{name.quoted}", hint=f"{_advice(name.text.lower())} ({', '.join(_SCHEMES)})")
    return scheme, rest


def _advice(name: str) -> str:
    """Return what to write instead of an unknown scheme."""
    if (ours := _NAMES_OF_OTHERS.get(name)) is not None:
        return f"did you mean {ours}?"
    if name in _OTHER_PROTOCOLS:
        return "this client speaks STOMP, so name the broker's port for STOMP, often 61613 with tcp:// or 61614 with ssl://"
    return nearest(name, _SCHEMES) or "known are"


def _login(authority: Piece) -> tuple[str | None, str | None, Piece]:
    """Split at the last @. A passcode with an unencoded @ is an error, but must not be shown as a host."""
    at = authority.text.rfind("@")
    if at < 0:
        return None, None, authority
    login, passcode = authority.cut(0, at).partition(":")
    if not login.text:
        raise login.error("an empty login", hint="write login:passcode@host:port")
    return login.decoded(), None if passcode is None else passcode.decoded(), authority.cut(at + 1)


def _no_host(place: Piece) -> tuple[str, int]:
    if place.text:
        raise place.error("a host in a unix URI", hint="write unix:///path, with three slashes")
    return "", 0


def _host_and_port(place: Piece) -> tuple[str, int]:
    closing = place.text.find("]") if place.text.startswith("[") else -1
    colon = place.text.find(":", closing) if closing >= 0 else place.text.rfind(":")
    if colon < 0:
        raise place.error("no port", offset=len(place.text), hint=_EXAMPLE)
    host, port = place.cut(0, colon), place.cut(colon + 1)
    if not _PORT.fullmatch(port.text) or not 1 <= int(port.text) <= 65535:
        raise port.error(
            "a port must be a number from 1 to 65535,", hint="/ ? : and @ in a passcode are percent-encoded"
        )
    return _host(host), int(port.text)


def _host(host: Piece) -> str:
    text = host.text
    if not text:
        raise host.error("an empty host", hint=_EXAMPLE)
    if text.startswith("["):
        closed = text.endswith("]")
        text = host.cut(1, len(text) - 1).decoded()
        valid = closed and re.fullmatch(_IPV6, text) is not None and _is_address(text)
    elif re.fullmatch(_DOTTED_NUMBERS, text):
        valid = _is_address(text)
    else:
        valid = _is_name(text)
    if not valid:
        raise host.error("not a host name or address", hint="an IPv6 address is written [::1]")
    return text.lower()


def _is_address(text: str) -> bool:
    # Imported here, since most URIs have host names rather than addresses.
    from ipaddress import ip_address

    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_name(text: str) -> bool:
    try:
        text.encode("idna")
    except UnicodeError:
        return False
    return _HOST_NAME.fullmatch(text) is not None


def _path(scheme: str, path: Piece) -> str:
    text = path.decoded()
    # An unencoded / in a passcode makes the login the host, and shows the passcode as a port.
    if "@" in path.text and scheme != "unix":
        raise path.error("an @ after the host", hint="write it as %40, and a / in a passcode as %2F")
    if scheme == "unix":
        if len(text) < 2 or "\0" in text:
            raise path.error("no path of a socket", hint="write unix:///path")
        return text
    if scheme in ("ws", "wss"):
        # The path is copied into the request line, so its percent-encoding stays.
        return quote(path.text, safe="/%:@!$&'()*+,;=~") or "/"
    return ""
