"""The query of a URI, after the question mark: split into options, each read by the kind of its declaration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from stomplistener.errors import InvalidURI
from stomplistener.failover.options import Kind, Option, Options, table
from stomplistener.failover.text import Piece

Scope = Literal["broker", "failover", "nested", "ignored"]

_NO_FRAME = "it needs an OpenWire command that STOMP has no frame for"
_IGNORED: Mapping[str, str] = {
    "reconnectDelay": "the library computes the current delay; initialReconnectDelay sets the first one",
    "trackTransactionProducers": "STOMP has no producers",
    "updateURIsSupported": _NO_FRAME,
    "rebalanceUpdateURIs": _NO_FRAME,
    "reconnectSupported": _NO_FRAME,
    "soTimeout": "a silent connection is found by STOMP's heartbeats",
    "trace": "the logging configuration of the program controls tracing",
}
_IGNORED_PREFIXES: Mapping[str, str] = {
    "jms.": "it configures the JMS layer, which STOMP does not have",
    "wireFormat.": "it configures OpenWire; a silent connection is found by STOMP's heartbeats",
}
_PREFIXED_NAME = r"(?:nested\.)?((?:jms|wireFormat)\.)[A-Za-z0-9_.]+"
# A separator between two options or two brokers, and the name of an option if one follows the separator.
_MARK = r"(?P<mark>[?&,])(?:(?=(?P<name>[A-Za-z0-9_.]+)=))?"
_MISTYPED = r",(?P<name>[A-Za-z][A-Za-z0-9_.]*)="


class Said:
    """The content of one query: values by field name for each scope, and warnings by option name for ``ignored``."""

    def __init__(self) -> None:
        self.broker: dict[str, Any] = {}
        self.failover: dict[str, Any] = {}
        self.nested: dict[str, Any] = {}
        self.ignored: dict[str, Any] = {}


class _Word(NamedTuple):
    scope: Scope
    key: str
    option: Option


class Vocabulary:
    """Every option name that a URI may use, and the commas that are separators rather than part of a value."""

    def __init__(self, *, broker: type[Options], failover: type[Options]) -> None:
        self._words: dict[str, _Word] = {}
        for key, option in table(broker).items():
            self._add("broker", key, option)
            self._add("nested", key, option, prefix="nested.")
        for key, option in table(failover).items():
            self._add("failover", key, option)
        for name, reason in _IGNORED.items():
            for full_name in (name, f"nested.{name}"):
                self._words[full_name] = _ignored(full_name, reason)

    def _add(self, scope: Scope, key: str, option: Option, prefix: str = "") -> None:
        for name in (option.name, *option.aliases):
            self._words[prefix + name] = _Word(scope, key, option._replace(name=prefix + name))

    def between_brokers(self, text: str) -> list[int]:
        """Return the positions of the commas in a list that end a broker."""
        return [at for at, mark, word in self._marks(text) if mark == "," and word is None]

    def failover_option(self, text: str) -> int:
        """Return the position of the first option of the failover, rather than of a broker; -1 if there is none."""
        ours = (at + 1 for at, _, word in self._marks(text) if word and word.scope in ("failover", "nested"))
        return next(ours, -1)

    def read(self, query: Piece | None, *, refused: Mapping[Scope, str]) -> Said:
        """Read a query.

        Args:
            query: the text after the question mark; None if there is none.
            refused: the scopes whose options are not allowed here, each with a hint for the exception.

        Raises:
            InvalidURI: an option is malformed, unknown, given twice or in the wrong place.
        """
        said = Said()
        for name, value in self._options(query):
            word = self._find(name)
            if word.scope in refused:
                raise name.error(f"{word.option.name} does not belong here,", hint=refused[word.scope])
            values: dict[str, Any] = getattr(said, word.scope)
            if word.key in values:
                raise name.error(f"{word.option.name} is given twice,")
            values[word.key] = self._value(word.option, value)
        return said

    def _options(self, query: Piece | None) -> Iterator[tuple[Piece, Piece]]:
        for part in query.split(self._between_options(query.text)) if query else ():
            name, value = part.partition("=")
            if value is None:
                raise part.error("an option without =," if part.text else "an empty option", hint="write name=value")
            yield name, value

    def _between_options(self, text: str) -> list[int]:
        return [at for at, mark, word in self._marks(text) if mark == "&" or (mark == "," and word is not None)]

    def _marks(self, text: str) -> Iterator[tuple[int, str, _Word | None]]:
        """Find each ``?``, ``&`` and comma: its position, the character, and the option whose name and ``=`` follow."""
        for found in re.finditer(_MARK, text):
            name = found["name"]
            yield found.start(), found["mark"], self._word(name) if name else None

    def _word(self, name: str) -> _Word | None:
        if word := self._words.get(name):
            return word
        prefixed = re.fullmatch(_PREFIXED_NAME, name)
        return _ignored(name, _IGNORED_PREFIXES[prefixed[1]]) if prefixed else None

    def _find(self, name: Piece) -> _Word:
        if word := self._word(name.decoded()):
            return word
        raise self._unknown(name)

    def _value(self, option: Option, value: Piece) -> Any:
        try:
            return option.read(value)
        except InvalidURI:
            # A comma before an unknown name is part of the value. But an invalid value with a comma usually consists of
            # two options, of which the second is misspelt.
            if found := re.search(_MISTYPED, value.text):
                raise self._unknown(value.cut(*found.span("name"))) from None
            raise

    def _unknown(self, name: Piece) -> InvalidURI:
        return name.error(f"unknown option{name.quoted}", hint=nearest(name.text, self._words))


def nearest(name: str, known: Mapping[str, object]) -> str:
    """Ask whether the most similar known name was meant; an empty text if no name is similar."""
    by_small_letters = {each.lower(): each for each in known}
    # Needed only after a typing error, since the import is slow.
    from difflib import get_close_matches

    found = get_close_matches(name[:64].lower(), by_small_letters, n=1)
    return f"did you mean {by_small_letters[found[0]]!r}?" if found else ""


def _ignored(name: str, reason: str) -> _Word:
    warning = f"{name} has no effect: {reason}"
    return _Word("ignored", name, Option(name, Kind("anything", lambda _: warning)))
