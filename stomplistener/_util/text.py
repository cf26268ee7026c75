"""Data from the network as text for people: shortened, and without control characters."""

from __future__ import annotations

SHOWN_BYTES = 60
"""How much of what a stranger sent a text shows, in bytes or characters."""


def shorten(data: bytes | str, limit: int = SHOWN_BYTES) -> str:
    """The repr of data, cut in the middle so that no more than about ``limit`` of it is shown."""
    if len(data) <= limit:
        return repr(data)
    half = limit // 2
    return f"{data[:half]!r}...{data[-half:]!r} ({len(data):,} in all)"


def counted(number: int, noun: str) -> str:
    """A number of things: ``1 message``, ``2 messages``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """The text with control characters escaped: a sender can neither forge a log line nor control a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
