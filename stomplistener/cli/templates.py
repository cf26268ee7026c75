"""Texts with fields in braces, such as ``order {n}``."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

_FIELD = re.compile(r"\{([\w.-]+)\}")
_ESCAPE = re.compile(r"\\([nrt\\])")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}


def fill(text: str, value_of: Callable[[str], str | None]) -> str:
    """Replace each ``{name}`` by its value.

    Args:
        text: braces around anything but a name stay, so that JSON can be filled.
        value_of: gives the value of a name; None leaves the field as it is.
    """

    def replaced(field: re.Match[str]) -> str:
        value = value_of(field[1])
        return field[0] if value is None else value

    return _FIELD.sub(replaced, text)


def unescaped(text: str) -> str:
    r"""The text with ``\n``, ``\r``, ``\t`` and ``\\`` as the characters that they stand for."""
    return _ESCAPE.sub(lambda escape: _ESCAPED[escape[1]], text)


def outgoing(number: int) -> Callable[[str], str | None]:
    """The fields of a message that is to be sent: ``n`` counts from 1, ``uuid`` and ``now`` are made at each use."""

    def value_of(name: str) -> str | None:
        if name == "n":
            return str(number)
        if name == "uuid":
            return str(uuid.uuid4())
        if name == "now":
            return datetime.now(UTC).isoformat(timespec="milliseconds")
        return None

    return value_of
