"""One time limit for several waits."""

from __future__ import annotations

import time


class Deadline:
    """A time on the monotonic clock, ``timeout`` seconds from now, or never. Immutable, so thread-safe."""

    __slots__ = ("at", "began", "timeout")

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout
        self.began = time.monotonic()
        self.at = None if timeout is None else self.began + timeout

    def remaining(self) -> float | None:
        """The seconds left, never negative; None means forever."""
        return None if self.at is None else max(0.0, self.at - time.monotonic())

    @property
    def expired(self) -> bool:
        return self.at is not None and time.monotonic() >= self.at

    def sooner(self, timeout: float | None) -> Deadline:
        """Return this deadline, or one ``timeout`` seconds from now if that is sooner."""
        other = Deadline(timeout)
        if self.at is None or (other.at is not None and other.at < self.at):
            return other
        return self
