"""The wait before a process or connection that ended is started again."""

from __future__ import annotations

FIRST = 0.5
MOST = 30.0
STABLE = 10.0


class BackOff:
    """Doubles the wait after each quick end, and resets it after a run that lasted long enough. Times are in seconds.

    Args:
        first: the wait after the first end.
        most: the longest wait.
        stable: the shortest run that resets the wait.
    """

    def __init__(self, first: float = FIRST, most: float = MOST, stable: float = STABLE) -> None:
        self._first = first
        self._most = most
        self._stable = stable
        self._next = first

    def delay(self, lived: float) -> float:
        """Return the wait after a run of this many seconds."""
        if lived >= self._stable:
            self._next = self._first
        delay, self._next = self._next, min(self._next * 2, self._most)
        return delay
