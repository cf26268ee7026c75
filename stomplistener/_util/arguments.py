"""Check the arguments of a call before it changes anything: the error names the argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isnan
from typing import Any


def text(what: str, value: Any) -> str:
    """Return a ``str`` by its value: an enum that is also a ``str`` must not be written as its name.

    Raises:
        TypeError: the value is not a ``str``.
    """
    if type(value) is str:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    raise TypeError(f"{what} must be a str, not {_kind(value)}: {value!r:.80}")


def optional_text(what: str, value: Any) -> str | None:
    """Return a ``str`` by its value, or None."""
    return None if value is None else text(what, value)


def optional_secret(what: str, value: Any) -> str | None:
    """Return a ``str`` by its value, or None. No error shows the value."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {_kind(value)}")
    return optional_text(what, value)


def headers(value: Any, what: str = "headers") -> dict[str, str]:
    """Copy a mapping of header names and values, and check each; empty for None.

    Raises:
        TypeError: the value is not a mapping, or a name or value is not a ``str``. A secret value is not shown.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"{what} must be a mapping of str to str, not {_kind(value)}")
    checked = {}
    for name, content in value.items():
        where = "" if what == "headers" else f" in {what}"
        name = text(f"header name{where}", name)
        if not isinstance(content, str):
            hint = "; leave it out" if content is None else ""
            raise TypeError(f"header {name!r}{where} must be a str, not {_kind(content)}{hint}")
        checked[name] = text("header", content)
    return checked


def seconds(what: str, value: Any) -> float | None:
    """Return a number of seconds, 0 or more, or None.

    Raises:
        TypeError: the value is not a number.
        ValueError: the value is negative or NaN.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{what} must be a number of seconds, not {_kind(value)}: {value!r:.80}")
    if value < 0 or isnan(value):
        raise ValueError(f"{what} must be 0 seconds or more, not {value!r}")
    return value


def count(what: str, value: Any, least: int) -> int:
    """Return a whole number of at least ``least``.

    Raises:
        TypeError: the value is not a whole number.
        ValueError: the value is less than ``least``.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} must be an int, not {_kind(value)}: {value!r:.80}")
    if value < least:
        raise ValueError(f"{what} must be at least {least}, not {value}")
    return value


def flag(what: str, value: Any) -> bool:
    """Return True or False.

    Raises:
        TypeError: the value is neither.
    """
    if isinstance(value, bool):
        return value
    raise TypeError(f"{what} must be True or False, not {_kind(value)}: {value!r:.80}")


def one_of(what: str, value: Any, allowed: Iterable[str]) -> str:
    """Return one of the allowed words.

    Raises:
        TypeError: the value is not a ``str``.
        ValueError: the word is not allowed; the text names the most similar one.
    """
    allowed = tuple(allowed)
    word = text(what, value)
    if word not in allowed:
        raise ValueError(
            f"{what} must be {', '.join(map(repr, allowed[:-1]))} or {allowed[-1]!r}, not {word!r}"
            f"{did_you_mean(word, allowed)}"
        )
    return word


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean x?"``, or an empty text."""
    import difflib  # rarely needed, and takes half a millisecond

    near = difflib.get_close_matches(word, tuple(known), 1, 0.7)
    return f"; did you mean {near[0]}?" if near else ""


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__
