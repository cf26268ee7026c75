"""Read and check the setting ``STOMPLISTENER``, and return it as objects.

``manage.py check`` reports each error in the setting as a check message of Django. A program that uses a wrong setting
gets the same text as ``ImproperlyConfigured``. No message contains a passcode.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from stomplistener._util import environment
from stomplistener._util.environment import DEFAULT
from stomplistener.brokers.table import PROFILES
from stomplistener.connection import Connection
from stomplistener.errors import InvalidURI

NAME = "STOMPLISTENER"
_NUMBER = (int, float)

_CONNECTION: Mapping[str, tuple[type, ...]] = {
    "URL": (str,),
    "LOGIN": (str,),
    "PASSCODE": (str,),
    "PASSCODE_FILE": (str,),
    "HOST": (str,),
    "OPTIONS": (Mapping,),
}
_ROOT: Mapping[str, tuple[type, ...]] = {
    **_CONNECTION,
    "CONNECTIONS": (Mapping,),
    "ATOMIC": (bool,),
    "PUBLISH_TIMEOUT": _NUMBER,
    "BACKEND": (str,),
    "OUTBOX": (Mapping,),
    "INBOX": (Mapping,),
}

_OLD = {"URI": "URL"}
"""Old names of keys, which still work."""

BACKENDS = ("broker", "locmem")
"""The values of ``BACKEND``: send to the broker, or keep messages in memory for tests."""


@dataclass(frozen=True, kw_only=True)
class OutboxSettings:
    """The settings of the relay. Durations are in seconds.

    Attributes:
        batch: the number of rows that are published together.
        poll: the pause when no row is due.
        timeout: how long a row may wait for its receipt.
        attempts: the number of refusals by the broker after which a row is marked as failed.
        first_delay: the pause after the first refusal of a row; it doubles with each further refusal.
        most_delay: the longest pause after a refusal.
        keep: how long published rows are kept; None keeps them forever.
    """

    batch: int = 100
    poll: float = 1.0
    timeout: float = 10.0
    attempts: int = 10
    first_delay: float = 1.0
    most_delay: float = 300.0
    keep: float | None = 7 * 24 * 3600.0

    def delay(self, refusals: int) -> float:
        """Return the pause, in seconds, after this number of refusals."""
        return min(self.first_delay * 2.0 ** min(refusals - 1, 60), self.most_delay)


KEEP_INBOX = 7 * 24 * 3600.0
"""Seconds that rows of the inbox are kept, unless ``INBOX`` sets another time."""

_INBOX: Mapping[str, tuple[type, ...]] = {"KEEP": _NUMBER}
_OUTBOX: Mapping[str, tuple[type, ...]] = {
    each.name.upper(): (int,) if each.name in ("batch", "attempts") else _NUMBER for each in fields(OutboxSettings)
}


@dataclass(frozen=True, kw_only=True)
class ConnectionSettings:
    """The settings of one connection: its URI (None if it is not set) and the other arguments of ``Connection``."""

    name: str
    uri: str | None = field(repr=False)
    options: Mapping[str, Any] = field(repr=False)

    def broker_uri(self) -> str:
        """The broker URI.

        Raises:
            ImproperlyConfigured: the URI is not set.
        """
        if self.uri is None:
            raise ImproperlyConfigured(f"connection {self.name!r} has no broker URI: {_where(self.name)}")
        return self.uri

    @property
    def detects_duplicates(self) -> bool | None:
        """Whether the broker detects duplicates, by the options. None: the broker's name in CONNECTED decides."""
        if self.options.get("duplicate_header"):
            return True
        profile = PROFILES.get(self.options.get("broker", ""))
        return None if profile is None else profile.options["duplicate_id"].headers is not None

    def make(self) -> Connection:
        """Return a connection that is not connected yet. Raises the same as ``broker_uri``."""
        return Connection(self.broker_uri(), **self.options)


@dataclass(frozen=True, kw_only=True)
class StompSettings:
    """The whole setting.

    Attributes:
        backend: one of ``BACKENDS``; None lets the environment decide.
        keep_inbox: seconds that rows of the inbox are kept; None keeps them forever.
    """

    connections: Mapping[str, ConnectionSettings]
    atomic: bool
    publish_timeout: float
    backend: str | None
    outbox: OutboxSettings
    keep_inbox: float | None

    def connection(self, name: str) -> ConnectionSettings:
        """Return the settings of a connection by its name.

        Raises:
            ImproperlyConfigured: there is no connection of that name.
        """
        if name not in self.connections:
            known = ", ".join(self.connections)
            raise ImproperlyConfigured(f"{NAME}['CONNECTIONS'] has no connection {name!r}; there are {known}")
        return self.connections[name]


@functools.cache
def stomp_settings() -> StompSettings:
    """Return the setting as objects.

    Raises:
        ImproperlyConfigured: the setting has errors; the text names all of them.
    """
    raw = getattr(settings, NAME, {})
    errors = [problem for problem in problems(raw) if problem.is_serious()]
    if errors:
        raise ImproperlyConfigured("; ".join(str(error.msg) for error in errors))
    outbox = {key.lower(): value for key, value in raw.get("OUTBOX", {}).items()}
    return StompSettings(
        connections={name: _connection(name, each) for name, each in _connections(raw)},
        atomic=raw.get("ATOMIC", False),
        publish_timeout=raw.get("PUBLISH_TIMEOUT", 10.0),
        backend=raw.get("BACKEND"),
        outbox=OutboxSettings(**outbox),
        keep_inbox=raw.get("INBOX", {}).get("KEEP", KEEP_INBOX),
    )


def _forget(*, setting: str, **_: object) -> None:
    if setting == NAME:
        stomp_settings.cache_clear()


setting_changed.connect(_forget)


def _connections(raw: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield DEFAULT, raw
    yield from raw.get("CONNECTIONS", {}).items()


def _connection(name: str, raw: Mapping[str, Any]) -> ConnectionSettings:
    given = {key.lower(): raw[key] for key in ("LOGIN", "PASSCODE", "HOST") if raw.get(key) is not None}
    if "passcode" not in given and raw.get("PASSCODE_FILE"):
        given["passcode"] = environment.passcode_of(raw["PASSCODE_FILE"])
    uri = raw.get("URL") or raw.get("URI") or environment.url(name)
    options = {"name": f"django-{name}", **environment.credentials(name), **given, **raw.get("OPTIONS", {})}
    return ConnectionSettings(name=name, uri=uri or None, options=options)


# Checking


def problems(raw: object) -> list[CheckMessage]:
    """Return the errors in a value of the setting."""
    if not isinstance(raw, Mapping):
        hint = f"Write {NAME} = {{'URL': 'tcp://localhost:61613'}}."
        return [_error("E001", f"{NAME} is {type(raw).__name__}, not a dict", hint)]
    found = [*_shape(raw, _ROOT, NAME)]
    if any(problem.is_serious() for problem in found):
        return found
    found += _shape(raw.get("OUTBOX", {}), _OUTBOX, f"{NAME}['OUTBOX']")
    found += _shape(raw.get("INBOX", {}), _INBOX, f"{NAME}['INBOX']")
    found += _range(raw)
    if raw.get("BACKEND", "broker") not in (*BACKENDS, None):
        found.append(_error("E007", f"{NAME}['BACKEND'] is {raw['BACKEND']!r}", f"There are {', '.join(BACKENDS)}."))
    for name, each in _connections(raw):
        path = NAME if name == DEFAULT else f"{NAME}['CONNECTIONS'][{name!r}]"
        if not isinstance(each, Mapping):
            found.append(_error("E003", f"{path} is {type(each).__name__}, not a dict", "Give it at least a 'URL'."))
            continue
        shape = [] if name == DEFAULT else [*_shape(each, _CONNECTION, path)]
        found += shape
        if not any(problem.is_serious() for problem in shape):
            found += _makes(name, each, path)
    return found


def _shape(raw: Mapping[str, Any], allowed: Mapping[str, tuple[type, ...]], path: str) -> Iterator[CheckMessage]:
    for key, value in raw.items():
        if key in _OLD and _OLD[key] in allowed:
            hint = f"Write {_OLD[key]!r}: the old name will be removed."
            yield Warning(f"{path}[{key!r}] is called {_OLD[key]!r} now", hint=hint, id="stomplistener.W002")
        elif key not in allowed:
            near = difflib.get_close_matches(str(key).upper(), allowed, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(allowed)}."
            yield _error("E002", f"{path} has no key {key!r}", hint)
            continue
        wanted = allowed[_OLD.get(key, key)]
        optional = value is None and key not in ("OPTIONS", "CONNECTIONS", "OUTBOX", "INBOX", "ATOMIC")
        if not optional and (not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted)):
            names = "a dict" if wanted == (Mapping,) else " or ".join(each.__name__ for each in wanted)
            yield _error("E003", f"{path}[{key!r}] is {type(value).__name__}, not {names}", None)


def _range(raw: Mapping[str, Any]) -> Iterator[CheckMessage]:
    numbers = {
        f"{NAME}[{part!r}][{key!r}]": (key, value)
        for part in ("OUTBOX", "INBOX")
        for key, value in raw.get(part, {}).items()
    }
    if "PUBLISH_TIMEOUT" in raw:
        numbers[f"{NAME}['PUBLISH_TIMEOUT']"] = ("PUBLISH_TIMEOUT", raw["PUBLISH_TIMEOUT"])
    for path, (key, value) in numbers.items():
        least = 1 if key in ("BATCH", "ATTEMPTS") else 0
        if value is None and key != "KEEP":
            yield _error("E006", f"{path} is None", "Leave it out for its default.")
        elif isinstance(value, _NUMBER) and value < least:
            yield _error("E006", f"{path} is {value}, less than {least}", None)


def _makes(name: str, raw: Mapping[str, Any], path: str) -> Iterator[CheckMessage]:
    """Check whether these arguments make a ``Connection``. Making the object does not connect."""
    try:
        connection = _connection(name, raw)
    except ValueError as error:
        yield _error("E008", f"{path}: {error}", "Name a file whose first line is the passcode.")
        return
    if connection.uri is None:
        yield Warning(f"{path} has no broker URI", hint=_where(name), id="stomplistener.W001")
        return
    try:
        connection.make()
    except InvalidURI as error:
        key = next((key for key in ("URL", *_OLD) if raw.get(key)), None)
        given = f"{path}[{key!r}]" if key else f"the environment's {environment.variable('URL', name)}"
        yield _error("E004", f"{given} is not a broker URI: {error}", "Such as tcp://mq1:61613 or failover:(…,…).")
    except (TypeError, ValueError) as error:
        hint = "Its keys are arguments of stomplistener.Connection, such as 'heartbeat'."
        yield _error("E005", f"{path}['OPTIONS'] makes no connection: {error}", hint)


def _where(name: str) -> str:
    path = "" if name == DEFAULT else f"['CONNECTIONS'][{name!r}]"
    return f"Set {NAME}{path}['URL'], or {environment.variable('URL', name)} in the environment."


def _error(number: str, text: str, hint: str | None) -> CheckMessage:
    return Error(text, hint=hint, id=f"stomplistener.{number}")
