"""The frames of all connections, up to a bound."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import Literal, NamedTuple

from stomplistener.protocol import HEARTBEAT, Decoder, Frame

Direction = Literal["in", "out"]

MAX_FRAMES = 200_000
MAX_BYTES = 64 * 1024 * 1024


class Logged(NamedTuple):
    """A logged frame: ``time`` of the monotonic clock in seconds, the number of the connection, ``in`` or ``out``."""

    time: float
    connection: int
    direction: Direction
    frame: Frame


class _Entry(NamedTuple):
    time: float
    connection: int
    direction: Direction
    frame: Frame | bytes
    version: str | None


class Log:
    """The last frames of all connections. Call all methods under the broker's lock.

    Sent frames are kept as the bytes that were written, and are decoded only when a test reads them.
    """

    def __init__(self) -> None:
        self._entries: deque[_Entry] = deque()
        self._bytes = 0

    def received(self, connection: int, frame: Frame) -> None:
        self._add(_Entry(time.monotonic(), connection, "in", frame, None), len(frame.body))

    def sent(self, connection: int, version: str | None, frames: Iterable[bytes]) -> None:
        now = time.monotonic()
        for frame in frames:
            self._add(_Entry(now, connection, "out", frame, version), len(frame))

    def _add(self, entry: _Entry, size: int) -> None:
        self._entries.append(entry)
        self._bytes += size
        while len(self._entries) > MAX_FRAMES or (self._bytes > MAX_BYTES and len(self._entries) > 1):
            dropped = self._entries.popleft().frame
            self._bytes -= len(dropped) if isinstance(dropped, bytes) else len(dropped.body)

    def entries(self) -> list[_Entry]:
        return list(self._entries)

    def clear(self) -> None:
        self._entries.clear()
        self._bytes = 0


def command(entry: _Entry) -> str:
    """Return the command of an entry, or HEARTBEAT; cheaper than decoding the frame."""
    frame = entry.frame
    name = frame.command if isinstance(frame, Frame) else frame.partition(b"\n")[0].decode()
    return name or "HEARTBEAT"


def read(entries: Iterable[_Entry]) -> list[Logged]:
    """Decode the entries. Takes no lock: the bytes of a frame never change."""
    return [Logged(*entry[:3], _frame(entry)) for entry in entries]


def _frame(entry: _Entry) -> Frame:
    if isinstance(entry.frame, Frame):
        return entry.frame
    if entry.frame == b"\n":
        return HEARTBEAT
    return Decoder(entry.version).feed(entry.frame)[0]
