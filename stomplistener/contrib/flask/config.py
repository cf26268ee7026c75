"""Make the arguments of connections from ``app.config``. Every error names the key, and none shows a secret."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stomplistener._util import environment
from stomplistener._util.arguments import did_you_mean
from stomplistener._util.environment import DEFAULT, tell_of_old_name
from stomplistener.connection import Connection
from stomplistener.errors import InvalidURI
from stomplistener.failover import parse

PREFIX = "STOMP_"
CONNECTIONS = "STOMP_CONNECTIONS"
SUPPRESS_SEND = "STOMP_SUPPRESS_SEND"


@dataclass(frozen=True, kw_only=True)
class ConnectionConfig:
    """The settings of one connection: its URI and the other arguments of ``Connection``."""

    uri: str = field(repr=False)
    options: Mapping[str, Any] = field(repr=False)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {type(value).__name__}; from_prefixed_env() reads JSON, so quote it there")
    return value


def _passcode(value: object) -> str:
    return environment.passcode_of(_text(value))


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise ValueError(f"must be a number of seconds, not {value!r}")
    return float(value)


def _timeout(value: object) -> float | None:
    return None if value is None else _seconds(value)


def _heartbeat(value: object) -> tuple[float, float]:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError(f"must be two numbers of seconds, to send and to receive, such as (10, 10), not {value!r}")
    send, receive = value
    return _seconds(send), _seconds(receive)


def _headers(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(each, str) for pair in value.items() for each in pair):
        raise ValueError("must be a mapping of text to text")
    return dict(value)


def _options(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a mapping of arguments of Connection, not {type(value).__name__}")
    known = list(inspect.signature(Connection).parameters)[1:]
    for name in value:
        if name not in known:
            raise ValueError(f"has {name!r}, which is not an argument of Connection; those are {', '.join(known)}")
    return dict(value)


_KEYS: Mapping[str, Callable[[object], object]] = {
    "LOGIN": _text,
    "PASSCODE": _text,
    "HOST": _text,
    "HEARTBEAT": _heartbeat,
    "TIMEOUT": _timeout,
    "HEADERS": _headers,
}
"""Each key and the argument of ``Connection`` that it sets."""

_ALL = dict.fromkeys(("URL", *_KEYS, "PASSCODE_FILE", "OPTIONS", "URI"))
"""The keys of one connection, the old name of ``URL`` last."""


def suppresses_send(config: Mapping[str, Any]) -> bool:
    """Whether to keep messages in memory instead of sending them; if not configured, only while testing.

    Raises:
        ValueError: the value is neither True, False nor None.
    """
    value = config.get(SUPPRESS_SEND)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"app.config[{SUPPRESS_SEND!r}] must be True, False or None, not {value!r}")
    return bool(config.get("TESTING")) if value is None else value


def read(config: Mapping[str, Any]) -> dict[str, ConnectionConfig]:
    """Return the connections of the configuration, by name.

    ``STOMP_URL`` and the other keys make the connection ``default``. ``STOMP_CONNECTIONS`` maps names of more
    connections to mappings, which have the same keys without the prefix. If a key is missing, the environment variable
    of that name is used, such as ``STOMP_URL`` or ``STOMP_LOGIN``, as for any worker.

    Args:
        config: ``app.config``.

    Raises:
        ValueError: a value is wrong, a key is unknown, or the broker is missing.
        InvalidURI: a URI is malformed.
    """
    own = {key.removeprefix(PREFIX): value for key, value in config.items() if key.startswith(PREFIX)}
    more = own.pop("CONNECTIONS", {})
    if not isinstance(more, Mapping) or not all(isinstance(each, Mapping) for each in more.values()):
        raise ValueError(
            f"app.config[{CONNECTIONS!r}] must map names of connections to mappings, "
            'such as {"billing": {"URL": "tcp://mq2:61613"}}'
        )
    for key in own.keys() - _ALL - {"SUPPRESS_SEND"}:
        known = [PREFIX + each for each in (*_ALL, "CONNECTIONS", "SUPPRESS_SEND")]
        hint = did_you_mean(PREFIX + key, known) or f"; there are {', '.join(known)}"
        raise ValueError(f"app.config[{PREFIX + key!r}] is no key of this extension{hint}")
    found = {DEFAULT: _connection(DEFAULT, own, lambda key: f"app.config[{PREFIX + key!r}]")}
    for name, keys in more.items():
        where = f"app.config[{CONNECTIONS!r}][{name!r}]"
        if unknown := keys.keys() - _ALL:
            raise ValueError(f"{where} has {min(unknown)!r}, which is none of {', '.join(_ALL)}")
        found[name] = _connection(name, keys, lambda key, where=where: f"{where}[{key!r}]")  # type: ignore[misc]
    return found


def _connection(name: str, keys: Mapping[str, Any], where: Callable[[str], str]) -> ConnectionConfig:
    if "URL" not in keys and "URI" in keys:
        tell_of_old_name(f"{where('URI')} is called {where('URL')} now; the old name will be removed")
        keys = {**keys, "URL": keys["URI"]}
    uri = keys.get("URL") or environment.url(name)
    if not uri:
        raise ValueError(f"{where('URL')} is missing: set it to the broker URI, such as tcp://localhost:61613")
    try:
        parse(_checked(_text, uri, where("URL")))
    except InvalidURI as error:
        raise InvalidURI(f"{where('URL')}: {error}") from None
    own = {key.lower(): _checked(check, keys[key], where(key)) for key, check in _KEYS.items() if key in keys}
    if "PASSCODE" not in keys and "PASSCODE_FILE" in keys:
        own["passcode"] = _checked(_passcode, keys["PASSCODE_FILE"], where("PASSCODE_FILE"))
    options = environment.credentials(name) | own
    return ConnectionConfig(uri=uri, options=options | _checked(_options, keys.get("OPTIONS", {}), where("OPTIONS")))


def _checked(check: Callable[[object], Any], value: object, where: str) -> Any:
    try:
        return check(value)
    except ValueError as error:
        raise ValueError(f"{where} {error}") from None
