"""Keeps one connection honest: sends a beat when nothing else was sent, calls for help when nothing was received."""

from __future__ import annotations

import time
from typing import Protocol

from stomplistener._util.timer import Entry, timer
from stomplistener.protocol.heartbeat import TOLERANCE, HeartBeat


class Watched(Protocol):
    """The connection, as seen from here. Nothing here may block."""

    last_received: float

    @property
    def last_write(self) -> float: ...

    def beat(self) -> None:
        """Send a heart-beat unless bytes are on their way."""

    def has_unread(self) -> bool:
        """Whether bytes wait that nobody has read yet: also a sign of life."""

    def heartbeat_missed(self, silence: float) -> None:
        """Nothing was received for ``silence`` seconds: break the connection."""

    def check_pace(self, now: float) -> float:
        """Break the connection if a frame takes too long to come; when to look again."""


class Heartbeater:
    """Watches one connection from CONNECTED to its end, on the timer thread of the process."""

    def __init__(self, watched: Watched, tolerance: float = TOLERANCE) -> None:
        self._watched = watched
        self._tolerance = tolerance
        self._entry: Entry | None = None
        self._beats = HeartBeat(0.0, 0.0)

    def start(self, beats: HeartBeat) -> None:
        """Watch, with what was negotiated."""
        self.stop()
        self._beats = beats
        self._entry = timer().call_at(self._next(), self._look)

    def stop(self) -> None:
        entry, self._entry = self._entry, None
        if entry is not None:
            timer().cancel(entry)

    def _look(self) -> float | None:
        watched, now = self._watched, time.monotonic()
        if now >= self._beats.dead_at(watched.last_received, self._tolerance):
            if not watched.has_unread():
                watched.heartbeat_missed(now - watched.last_received)
                return None
            watched.last_received = now
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
            watched.check_pace(time.monotonic()),
        )
