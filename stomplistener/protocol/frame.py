"""A STOMP frame as a value: a command, headers that may repeat, a body of bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from stomplistener._util.masking import masked
from stomplistener.errors import shorten

# Whether a header of this name stands in a frame's bytes as it is, and nothing else can look like it.
_LINES = {key: f"\n{key}:" for key in ("ack", "destination", "message-id", "receipt-id", "subscription")}
"""How the lines begin that are looked for in every message, without splitting its headers."""


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


def without(frame: Frame, secrets: Iterable[str]) -> Frame:
    """An ERROR with secrets that the peer quotes replaced; its content-length goes, since it need not fit.

    Args:
        frame: of any command; only an ERROR is changed.
        secrets: what is to be replaced, first those that others are a part of.
    """
    if frame.command != "ERROR" or not secrets:
        return frame
    body, pairs = frame.body, [pair for pair in frame.headers.pairs if pair[0] != "content-length"]
    for secret in secrets:
        body = body.replace(secret.encode(), b"***")
        pairs = [(key.replace(secret, "***"), value.replace(secret, "***")) for key, value in pairs]
    return Frame(frame.command, pairs, body)


def printable(text: str) -> str:
    """The text without what would let a stranger write log lines of his own, or steer a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class Frame:
    """One STOMP frame. Immutable by convention; threads may share it.

    Args:
        command: ``SEND``, ``MESSAGE``, …
        headers: a mapping, or pairs where a header repeats.
        body: bytes; copied unless they are ``bytes`` already, so the caller may reuse a bytearray.
    """

    __slots__ = ("_headers", "body", "command")

    def __init__(
        self,
        command: str,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: bytes | bytearray | memoryview = b"",
    ) -> None:
        self.command = command
        self._headers: Headers | None = Headers(headers)
        self.body = bytes(body)

    @property
    def headers(self) -> Headers:
        """The headers in the order of the wire, repeated ones included; split at the first use."""
        headers = self._headers
        if headers is None:
            # Two threads may both get here: they build equal values, and either may win.
            headers = self._headers = Headers(self._split())
        return headers

    def header(self, key: str) -> str | None:
        """One header, or None. Cheaper than ``headers`` as long as nothing else of a received frame was looked at."""
        return self.headers.get(key)

    @property
    def size(self) -> int:
        """What it holds, in bytes or characters: headers and body."""
        return len(self.body) + sum(len(key) + len(value) for key, value in self.headers.pairs)

    def _split(self) -> Iterable[tuple[str, str]]:
        raise NotImplementedError

    @property
    def info(self) -> str:
        """The frame for a log line: no secret, no more than a glance at the body."""
        headers = " ".join(f"{key}:{value}" for key, value in masked(self.headers.pairs))
        headers = printable(headers)
        body = f" body={shorten(self.body)}" if self.body else ""
        return f"{self.command} {headers}{body}".rstrip()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frame):
            return NotImplemented
        return self.command == other.command and self.headers.pairs == other.headers.pairs and self.body == other.body

    def __reduce__(self) -> tuple[type[Frame], tuple[object, ...]]:
        # By value: a received frame holds a part of the decoder that made it.
        return Frame, (self.command, self.headers.pairs, self.body)

    __hash__ = None  # type: ignore[assignment]  # equal by value, and values may be long

    def __repr__(self) -> str:
        body = f", body={shorten(self.body)}" if self.body else ""
        return f"Frame({self.command!r}, {dict(masked(self.headers.items()))!r}{body})"


class ReceivedFrame(Frame):
    """A frame as it came, whose headers are split at their first use: most listeners look at few of them.

    Args:
        command: its command.
        block: its header lines, each with the LF before it; the decoder has checked that they can be split.
        body: its body.
        unescape: undoes the escapes in a key or value; None where there are none.
    """

    __slots__ = ("_block", "_unescape")

    def __init__(self, command: str, block: str, body: bytes, unescape: Callable[[str], str] | None = None) -> None:
        self.command = command
        self._headers = None
        self.body = body
        self._block = block
        self._unescape = unescape

    @property
    def size(self) -> int:
        return len(self.body) + len(self._block)

    def header(self, key: str) -> str | None:
        if self._headers is not None or key not in _LINES:
            return self.headers.get(key)
        value = self.as_it_came(key)
        return value if self._unescape is None or value is None else self._unescape(value)

    def as_it_came(self, key: str) -> str | None:
        """One header with its escapes, or None. For those alone that every MESSAGE or RECEIPT is asked for."""
        block, line = self._block, _LINES[key]
        start = block.find(line)
        if start < 0:
            return None
        start += len(line)
        end = block.find("\n", start)
        return block[start:] if end < 0 else block[start:end]

    def _split(self) -> Iterable[tuple[str, str]]:
        lines = self._block.split("\n")[1:]
        pairs = [(key, value) for key, _, value in [line.partition(":") for line in lines]]
        if (unescape := self._unescape) is not None:
            return [(unescape(key), unescape(value)) for key, value in pairs]
        return pairs


HEARTBEAT: Final = Frame("")
"""What the decoder gives for an end of line between two frames. Compare by identity."""
