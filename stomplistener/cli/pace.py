"""A bound on how fast messages go."""

from __future__ import annotations

import time


class Pace:
    """Keeps to a rate on the whole: what took too long once is not made up for by a burst of more than a second.

    Args:
        rate: messages per second; None for as fast as it goes.
    """

    def __init__(self, rate: float | None) -> None:
        self._step = 1 / rate if rate else 0.0
        self._next = time.monotonic()

    def keep(self, count: int = 1) -> None:
        """Wait until so many more messages may go."""
        if not self._step:
            return
        now = time.monotonic()
        if self._next > now:
            time.sleep(self._next - now)
        self._next = max(self._next, now - 1.0) + count * self._step
