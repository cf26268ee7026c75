"""One time limit carried across several waits."""

from __future__ import annotations

import time


class Deadline:
    """A point on the monotonic clock, ``timeout`` seconds from now; None never comes. Immutable, so thread-safe."""

    __slots__ = ("at", "began", "timeout")

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout
        self.began = time.monotonic()
        self.at = None if timeout is None else self.began + timeout

    def remaining(self) -> float | None:
        """Seconds left, never negative; None forever."""
        return None if self.at is None else max(0.0, self.at - time.monotonic())

    @property
    def expired(self) -> bool:
        return self.at is not None and time.monotonic() >= self.at

    def sooner(self, timeout: float | None) -> Deadline:
        """This deadline, or one ``timeout`` seconds from now if that comes first."""
        other = Deadline(timeout)
        if self.at is None or (other.at is not None and other.at < self.at):
            return other
        return self
