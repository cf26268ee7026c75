"""Limit the rate of messages."""

from __future__ import annotations

import time


class Pace:
    """Keeps a rate on average. After a delay, it catches up by at most the messages of one second.

    Args:
        rate: messages per second; None for no limit.
    """

    def __init__(self, rate: float | None) -> None:
        self._step = 1 / rate if rate else 0.0
        self._next = time.monotonic()

    def keep(self, count: int = 1) -> None:
        """Wait until this number of further messages may be sent."""
        if not self._step:
            return
        now = time.monotonic()
        if self._next > now:
            time.sleep(self._next - now)
        self._next = max(self._next, now - 1.0) + count * self._step
