"""Keeps one connection honest: sends a beat when nothing else was sent, breaks it when nothing was received."""

from __future__ import annotations

import time
from typing import Protocol

from stomplistener._util.timer import Entry, timer
from stomplistener.errors import ProtocolError
from stomplistener.protocol.heartbeat import TOLERANCE, HeartBeat


class Watched(Protocol):
    """The connection, as seen from here. Nothing here may block."""

    @property
    def last_write(self) -> float:
        """``time.monotonic()`` of the last bytes written."""

    def beat(self) -> None:
        """Send a heartbeat unless bytes are on their way."""

    def has_unread(self) -> bool:
        """Whether received bytes are unread: also a sign of life."""

    def heartbeat_missed(self, silence: float, epoch: int) -> None:
        """Nothing was received for ``silence`` seconds: break the connection, if it is still that of this epoch."""

    def overdue(self, now: float) -> tuple[float, ProtocolError | None]:
        """When to look again at a frame that takes long to come, and what is wrong if it takes too long."""

    def broken(self, reason: BaseException, epoch: int) -> None:
        """Break the connection, if it is still that of this epoch."""

    last_received: float


class Heartbeater:
    """Watches one connection from CONNECTED to its end, on the timer thread of the process.

    Each connection has its own: one that was stopped while the timer called it finds ``_entry`` gone and does nothing.

    Args:
        watched: the connection.
        beats: what was negotiated.
        epoch: of the connection. It may end, and the next one begin, between two steps of a look.
        tolerance: how many intervals of silence mean that the broker is dead.
    """

    def __init__(self, watched: Watched, beats: HeartBeat, epoch: int = 0, tolerance: float = TOLERANCE) -> None:
        self._watched = watched
        self._epoch = epoch
        self._tolerance = tolerance
        self._beats = beats
        self._entry: Entry | None = Entry(self._next(), self._look)
        timer().add(self._entry)

    def stop(self) -> None:
        """Watch no more."""
        entry, self._entry = self._entry, None
        if entry is not None:
            timer().cancel(entry)

    def _look(self) -> float | None:
        watched, now = self._watched, time.monotonic()
        if self._entry is None:
            return None
        if now >= self._beats.dead_at(watched.last_received, self._tolerance):
            if not watched.has_unread():
                watched.heartbeat_missed(now - watched.last_received, self._epoch)
                return None
            watched.last_received = now
        slow = watched.overdue(now)[1]
        if slow is not None:
            watched.broken(slow, self._epoch)
            return None
        # The timer may call a little early, together with others; a beat that is nearly due goes out now.
        if now + self._beats.send * 0.1 >= self._beats.send_due(watched.last_write):
            watched.beat()
            return max(self._next(), now + self._beats.send * 0.1)
        return self._next()

    def _next(self) -> float:
        watched = self._watched
        return min(
            self._beats.send_due(watched.last_write),
            self._beats.dead_at(watched.last_received, self._tolerance),
            watched.overdue(time.monotonic())[0],
        )
