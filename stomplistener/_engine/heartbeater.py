"""Watch one connection: send a heartbeat when nothing was sent, break the connection when nothing was received."""

from __future__ import annotations

import time
from typing import Protocol

from stomplistener._util.timer import Entry, timer
from stomplistener.errors import ProtocolError
from stomplistener.protocol.heartbeat import TOLERANCE, HeartBeat


class Watched(Protocol):
    """The part of the connection that the heartbeater uses. No method may block."""

    @property
    def last_write(self) -> float:
        """``time.monotonic()`` of the last write."""

    def beat(self) -> None:
        """Send a heartbeat unless bytes are being written."""

    def has_unread(self) -> bool:
        """Whether received bytes are unread; they are a sign of life, too."""

    def heartbeat_missed(self, silence: float, epoch: int) -> None:
        """Break the connection if it still has this epoch: nothing was received for ``silence`` seconds."""

    def overdue(self, now: float) -> tuple[float, ProtocolError | None]:
        """Return when to check the current frame again, and the error if the frame takes too long."""

    def broken(self, reason: BaseException, epoch: int) -> None:
        """Break the connection if it still has this epoch."""

    last_received: float


class Heartbeater:
    """Watches one connection from CONNECTED to its end, on the timer thread of the process.

    Each connection has its own heartbeater. A heartbeater that is stopped while the timer calls it finds ``_entry``
    gone and does nothing.

    Args:
        watched: the connection.
        beats: the negotiated heartbeats.
        epoch: the epoch of the connection. The connection may end, and the next one begin, between two steps of a
            check.
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
        """Stop watching."""
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
        # The timer may call a little early, together with other entries. A heartbeat that is nearly due goes out now.
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
