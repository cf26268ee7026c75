"""Selectors: the part of SQL 92 that all brokers support and that tests need.

``a = 'x' AND (b <> 3 OR c IS NOT NULL)``: comparisons of a header with a string or number, ``IS [NOT] NULL``, ``AND``,
``OR``, ``NOT`` and parentheses. A missing header is NULL, and a comparison with NULL is unknown (None).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping

Selector = Callable[[Mapping[str, str]], bool]
_Term = Callable[[Mapping[str, str]], bool | None]

_TOKEN = re.compile(
    r"\s*(?:(?P<string>'(?:[^']|'')*')|(?P<number>-?\d+(?:\.\d+)?)|(?P<operator><>|<=|>=|[=<>()])|(?P<name>[\w$.-]+))"
)
_COMPARE: Mapping[str, Callable[[str | float, str | float], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


def EVERYTHING(_headers: Mapping[str, str]) -> bool:  # noqa: N802 (a constant that happens to be callable)
    """The selector of a subscription without a selector: it matches every message."""
    return True


def parse(text: str | None) -> Selector:
    """Return a selector as a function of a message's headers; ValueError if the text is not a selector."""
    if text is None or not text.strip():
        return EVERYTHING
    parser = _Parser(text)
    term = parser.any_of()
    parser.expect_end()
    return lambda headers: term(headers) is True


class _Parser:
    """Recursive descent: any_of > all_of > negation > comparison."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        position = 0
        while position < len(text.rstrip()):
            match = _TOKEN.match(text, position)
            if match is None:
                raise ValueError(f"selector {text!r}: cannot read {text[position:]!r}")
            self._tokens.append((str(match.lastgroup), match[match.lastgroup or 0]))
            position = match.end()
        self._tokens.append(("end", ""))

    def any_of(self) -> _Term:
        terms = [self._all_of()]
        while self._keyword("OR"):
            terms.append(self._all_of())
        return terms[0] if len(terms) == 1 else lambda headers: _or([term(headers) for term in terms])

    def _all_of(self) -> _Term:
        terms = [self._negation()]
        while self._keyword("AND"):
            terms.append(self._negation())
        return terms[0] if len(terms) == 1 else lambda headers: _and([term(headers) for term in terms])

    def _negation(self) -> _Term:
        if not self._keyword("NOT"):
            return self._comparison()
        term = self._negation()
        return lambda headers: None if (value := term(headers)) is None else not value

    def _comparison(self) -> _Term:
        kind, token = self._take()
        if token == "(":
            term = self.any_of()
            if self._take()[1] != ")":
                raise ValueError(f"selector {self._text!r}: a parenthesis is not closed")
            return term
        if kind != "name":
            raise ValueError(f"selector {self._text!r}: expected the name of a header, not {token or 'the end'!r}")
        if self._keyword("IS"):
            negated = self._keyword("NOT")
            if not self._keyword("NULL"):
                raise ValueError(f"selector {self._text!r}: IS needs NULL or NOT NULL")
            return lambda headers: (token in headers) is negated
        return self._compare(token)

    def _compare(self, name: str) -> _Term:
        compare = _COMPARE.get(self._take()[1])
        kind, literal = self._take()
        if compare is None or kind not in ("string", "number"):
            raise ValueError(f"selector {self._text!r}: {name} is compared with no string and no number")
        if kind == "string":
            wanted = literal[1:-1].replace("''", "'")
            return lambda headers: compare(headers[name], wanted) if name in headers else None
        return lambda headers: None if (value := _number(headers.get(name))) is None else compare(value, float(literal))

    def expect_end(self) -> None:
        if self._tokens[0][0] != "end":
            raise ValueError(f"selector {self._text!r}: did not expect {self._tokens[0][1]!r}")

    def _take(self) -> tuple[str, str]:
        return self._tokens.pop(0) if len(self._tokens) > 1 else self._tokens[0]

    def _keyword(self, word: str) -> bool:
        kind, token = self._tokens[0]
        found = kind == "name" and token.upper() == word
        if found:
            self._take()
        return found


def _or(values: list[bool | None]) -> bool | None:
    return True if True in values else None if None in values else False


def _and(values: list[bool | None]) -> bool | None:
    return False if False in values else None if None in values else True


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
