"""Data of others as readable text: shortened, and without control characters."""

from __future__ import annotations

SHOWN_BYTES = 60
"""How many bytes or characters of received data an error text shows."""


def shorten(data: bytes | str, limit: int = SHOWN_BYTES) -> str:
    """Return the repr of data, cut in the middle so that about ``limit`` of it is shown."""
    if len(data) <= limit:
        return repr(data)
    half = limit // 2
    return f"{data[:half]!r}...{data[-half:]!r} ({len(data):,} in all)"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 message``, ``2 messages``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def text_of(error: BaseException) -> str:
    """Return the text of an exception, also if its own ``__str__`` raises, as a class of an application may do."""
    try:
        return str(error)
    except Exception:
        return "its text cannot be made"


def printable(text: str) -> str:
    """Escape control characters in the text: a sender can then neither forge a log line nor control a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
