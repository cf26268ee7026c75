"""How long to wait before something that ended is started again."""

from __future__ import annotations

FIRST = 0.5
MOST = 30.0
STABLE = 10.0


class BackOff:
    """Doubles the wait after each quick end, and begins again after a life that was long enough. Times are seconds.

    Args:
        first: the wait after the first end.
        most: the longest wait.
        stable: a life as long as this is no failure of the start.
    """

    def __init__(self, first: float = FIRST, most: float = MOST, stable: float = STABLE) -> None:
        self._first = first
        self._most = most
        self._stable = stable
        self._next = first

    def delay(self, lived: float) -> float:
        """How long to wait after a life of so many seconds."""
        if lived >= self._stable:
            self._next = self._first
        delay, self._next = self._next, min(self._next * 2, self._most)
        return delay
