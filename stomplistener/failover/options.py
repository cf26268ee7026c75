"""The options of a URI: the name of each, how its text is read, how it is shown, and its default.

The records of options are the table that the parser uses: ``option`` declares each field.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple
from urllib.parse import quote, unquote

from stomplistener._util.record import Record
from stomplistener.errors import InvalidURI
from stomplistener.failover.text import Piece

MASK = "***"

# The largest Java int, the type of the counts in ActiveMQ. As milliseconds this is 24 days, a wait that every platform
# accepts.
_MOST = 2**31 - 1
_INTEGER = r"-?[0-9]{1,10}"
_DECIMAL = r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?"
_SCHEME = r"([A-Za-z][A-Za-z0-9+.-]+):"
_FROM_ENVIRONMENT = "env"
_PROXY = r"[A-Za-z][A-Za-z0-9+.-]*://[^/]+/?"


class Kind(NamedTuple):
    """A type of value.

    Attributes:
        expected: the form of the text, for the exception.
        read: makes the value from the text; raises ValueError.
        show: makes the text from the value, without secrets.
    """

    expected: str
    read: Callable[[Piece], Any]
    show: Callable[[Any], str] = str


class Option(NamedTuple):
    """One option.

    Attributes:
        name: its name in a URI.
        kind: its type.
        default: the value if the URI does not give one.
        aliases: other names for it.
        schemes: the only schemes that support the option; None for all.
    """

    name: str
    kind: Kind
    default: Any = None
    aliases: tuple[str, ...] = ()
    schemes: frozenset[str] | None = None

    def read(self, value: Piece) -> Any:
        """Return the value of a text. Raises InvalidURI."""
        try:
            return self.kind.read(value)
        except InvalidURI:
            raise
        except ValueError:
            pass
        raise value.error(f"{self.name} must be {self.kind.expected},")


def option(name: str, kind: Kind, default: object, *, aliases: tuple[str, ...] = (), schemes: str = "") -> Any:
    """Declare a field of a record that a URI may set."""
    return Option(name, kind, default, aliases, frozenset(schemes.split()) or None)


def table(options: type[Options]) -> Mapping[str, Option]:
    """Return the options that a record declares, by field name."""
    return options._options


class Options(Record):
    """Base of the records of options. A record is shown as in a URI, without secrets and defaults."""

    _options: ClassVar[Mapping[str, Option]] = {}

    def __init_subclass__(cls) -> None:
        cls._options = {name: value for name, value in vars(cls).items() if isinstance(value, Option)}
        for name, each in cls._options.items():
            setattr(cls, name, each.default)
        super().__init_subclass__()

    def written(self, default: Options | None = None) -> str:
        """Return the options that differ from ``default``, in the form of a query."""
        default = default or type(self)()
        mine = ((each, getattr(self, key), getattr(default, key)) for key, each in table(type(self)).items())
        return "&".join(written(each, value) for each, value, usual in mine if value != usual)

    def __str__(self) -> str:
        return self.written()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.written()!r})"


def written(option: Option, value: object) -> str:
    """Return ``name=value`` in the form of a query, with secrets masked."""
    return f"{option.name}={quote(option.kind.show(value), safe=':/@*[]')}"


def path_of(location: str) -> str:
    """Return the path that a path or ``file:`` URL names. Raises ValueError."""
    scheme = re.match(_SCHEME, location)
    if scheme is None:
        return _some_text(location)
    path = re.sub(r"\A//(localhost)?(?=/)", "", location[scheme.end() :])
    if scheme[1].lower() != "file" or path.startswith("//"):
        raise ValueError
    return _some_text(unquote(path, errors="strict"))


def count(least: int) -> Kind:
    """A whole number."""
    return Kind(f"a whole number from {least} to {_MOST}", lambda value: _integer(value.decoded(), least))


def milliseconds(least: int = 0) -> Kind:
    """Milliseconds in the URI, seconds in Python."""
    return Kind(
        f"milliseconds, a whole number from {least} to {_MOST}",
        lambda value: _integer(value.decoded(), least) / 1000,
        _in_milliseconds,
    )


def _integer(text: str, least: int) -> int:
    if not re.fullmatch(_INTEGER, text) or not least <= int(text) <= _MOST:
        raise ValueError
    return int(text)


def _in_milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


def _patience(text: str) -> float | None:
    limit = _integer(text, -1)
    return limit / 1000 if limit > 0 else None


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError
    return text == "true"


def _factor(text: str) -> float:
    if not re.fullmatch(_DECIMAL, text) or not 1 <= float(text) < math.inf:
        raise ValueError
    return float(text)


def _some_text(text: str) -> str:
    # No file name and no password can contain a NUL. Without this check, Python would report the NUL only when it opens
    # the file.
    if not text or "\0" in text:
        raise ValueError
    return text


def _proxy(text: str) -> str:
    if text != _FROM_ENVIRONMENT and not re.fullmatch(_PROXY, text):
        raise ValueError
    return text


def _location(text: str) -> str:
    path_of(text)
    return text


def _masked(url: str) -> str:
    scheme, slashes, rest = url.partition("://")
    login, at, host = rest.rpartition("@")
    user, colon, _ = login.partition(":")
    return f"{scheme}{slashes}{user}{colon and ':' + MASK}{at}{host}"


FLAG = Kind("true or false", lambda value: _flag(value.decoded()), lambda flag: str(flag).lower())
FACTOR = Kind("a number not less than 1", lambda value: _factor(value.decoded()))
PATIENCE = Kind(
    f"milliseconds, a whole number up to {_MOST}, or 0 or -1 for no limit",
    lambda value: _patience(value.decoded()),
    lambda seconds: "0" if seconds is None else _in_milliseconds(seconds),
)
PATH = Kind("the path of a file", lambda value: _some_text(value.decoded()))
SECRET = Kind("some text", lambda value: _some_text(value.decoded()), lambda _: MASK)
PROXY = Kind("a URL such as http://proxy:3128, percent-encoded, or env", lambda value: _proxy(value.decoded()), _masked)
LOCATION = Kind("a path or a file: URL", lambda value: _location(value.decoded()))
