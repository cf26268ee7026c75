"""Templates: texts with fields in braces, such as ``order {n}``."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

_FIELD = re.compile(r"\{([\w.-]+)\}")
_ESCAPE = re.compile(r"\\([nrt\\])")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}


def fill(text: str, value_of: Callable[[str], str | None]) -> str:
    """Replace each ``{name}`` with its value.

    Args:
        text: the template. Braces around anything but a name are kept, so that JSON can be a template.
        value_of: returns the value of a name; None keeps the field unchanged.
    """

    def replaced(field: re.Match[str]) -> str:
        value = value_of(field[1])
        return field[0] if value is None else value

    return _FIELD.sub(replaced, text)


def unescaped(text: str) -> str:
    r"""Return the text with ``\n``, ``\r``, ``\t`` and ``\\`` replaced by the characters that they stand for."""
    return _ESCAPE.sub(lambda escape: _ESCAPED[escape[1]], text)


def outgoing(number: int) -> Callable[[str], str | None]:
    """Return the fields of a message to send.

    ``n`` counts from 1; each use of ``uuid`` and ``now`` makes a new value.
    """

    def value_of(name: str) -> str | None:
        if name == "n":
            return str(number)
        if name == "uuid":
            return str(uuid.uuid4())
        if name == "now":
            return datetime.now(UTC).isoformat(timespec="milliseconds")
        return None

    return value_of
