"""A STOMP frame as a value: a command, headers that may repeat, a body of bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from stomplistener.errors import shorten

_SECRET_HEADERS = frozenset({"passcode", "authorization", "cookie", "token"})
_SECRET_LINE = re.compile(rb"(?i)((?:^|\n)(?:%b):)[^\n]*" % "|".join(sorted(_SECRET_HEADERS)).encode()).sub


# Whether a header of this name stands in a frame's bytes as it is, and nothing else can look like it.
_plain = re.compile(r"[^\\\n\r:]+").fullmatch


class Headers(Mapping[str, str]):
    """The headers of a frame: an immutable mapping in which the first of repeated headers counts.

    STOMP 1.2, Repeated Header Entries: only the first one is to be used; the others stay visible in ``pairs``.
    """

    __slots__ = ("_first", "pairs")

    def __init__(self, headers: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        if isinstance(headers, Headers):
            self.pairs: tuple[tuple[str, str], ...] = headers.pairs
            self._first: dict[str, str] = headers._first
            return
        self.pairs = tuple(headers.items() if isinstance(headers, Mapping) else headers)
        self._first = dict(self.pairs)
        if len(self._first) != len(self.pairs):
            self._first = {}
            for key, value in self.pairs:
                self._first.setdefault(key, value)

    def __getitem__(self, key: str) -> str:
        return self._first[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._first)

    def __len__(self) -> int:
        return len(self._first)

    def __contains__(self, key: object) -> bool:
        return key in self._first

    def getall(self, key: str) -> list[str]:
        """Every value of a header in the order of the frame, the one that counts first."""
        return [value for name, value in self.pairs if name == key]

    def __repr__(self) -> str:
        return f"Headers({dict(masked(self.items()))!r})"


def masked(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The pairs with the values of secrets replaced, for every text that a person may read."""
    for key, value in pairs:
        yield key, "***" if key.lower() in _SECRET_HEADERS else value


def masked_lines(head: bytes) -> bytes:
    """The same for the bytes of header lines, whole or not."""
    return _SECRET_LINE(rb"\1***", head)


class Frame:
    """One STOMP frame. Immutable by convention; threads may share it.

    Args:
        command: ``SEND``, ``MESSAGE``, …
        headers: a mapping, or pairs where a header repeats.
        body: bytes; copied unless they are ``bytes`` already, so the caller may reuse a bytearray.
    """

    __slots__ = ("_block", "_headers", "_unescape", "body", "command")

    def __init__(
        self,
        command: str,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: bytes | bytearray | memoryview = b"",
    ) -> None:
        self.command = command
        self._headers: Headers | None = Headers(headers)
        self._block = ""
        self._unescape: Callable[[str], str] | None = None
        self.body = bytes(body)

    @classmethod
    def of_block(cls, command: str, block: str, body: bytes, unescape: Callable[[str], str] | None = None) -> Frame:
        """A frame whose headers are split at their first use; the decoder has checked that they can be."""
        frame = cls.__new__(cls)
        frame.command = command
        frame._headers = None
        frame._block = block
        frame._unescape = unescape
        frame.body = body
        return frame

    @property
    def headers(self) -> Headers:
        headers = self._headers
        if headers is None:
            # Two threads may both get here: they build equal values, and either may win.
            headers = self._headers = Headers(self._split())
        return headers

    def header(self, key: str) -> str | None:
        """One header, or None. Cheaper than ``headers`` as long as nothing else of a received frame was looked at."""
        if self._headers is not None or not _plain(key):
            return self.headers.get(key)
        start = self._block.find(f"\n{key}:")
        if start < 0:
            return None
        start += len(key) + 2
        end = self._block.find("\n", start)
        value = self._block[start:] if end < 0 else self._block[start:end]
        return self._unescape(value) if self._unescape else value

    def _split(self) -> Iterator[tuple[str, str]]:
        unescape = self._unescape
        for line in self._block.split("\n")[1:]:
            key, _, value = line.partition(":")
            yield (key, value) if unescape is None else (unescape(key), unescape(value))

    @property
    def info(self) -> str:
        """The frame for a log line: no secret, no more than a glance at the body."""
        headers = " ".join(f"{key}:{value}" for key, value in masked(self.headers.pairs))
        if not headers.isprintable():
            # An end of line in a header would let a stranger write log lines of his own.
            headers = "".join(c if c.isprintable() else repr(c)[1:-1] for c in headers)
        body = f" body={shorten(self.body)}" if self.body else ""
        return f"{self.command} {headers}{body}".rstrip()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frame):
            return NotImplemented
        return self.command == other.command and self.headers.pairs == other.headers.pairs and self.body == other.body

    __hash__ = None  # type: ignore[assignment]  # equal by value, and values may be long

    def __repr__(self) -> str:
        body = f", body={shorten(self.body)}" if self.body else ""
        return f"Frame({self.command!r}, {dict(masked(self.headers.items()))!r}{body})"


HEARTBEAT: Final = Frame("")
"""What the decoder gives for an end of line between two frames. Compare by identity."""
