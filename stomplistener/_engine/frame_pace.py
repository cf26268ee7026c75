"""Limit how long a frame takes: a broker that sends a byte now and then must not hold a connection forever."""

from __future__ import annotations

from stomplistener.errors import ProtocolError


class FramePace:
    """Watches whether the frame that has begun ends in time. One thread calls ``note``; any thread may ask.

    Args:
        limit: the longest time for a frame in seconds, ``Limits.frame_timeout``.
    """

    __slots__ = ("_began", "_limit")

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._began: float | None = None

    def note(self, now: float, *, complete: bool, partial: bool) -> None:
        """Note that bytes arrived.

        Args:
            now: the time on the monotonic clock.
            complete: whether a frame ended in these bytes.
            partial: whether a frame has begun and not ended.

        Raises:
            ProtocolError: a frame takes too long.
        """
        if not partial:
            self._began = None
        elif self._began is None or complete:
            self._began = now
        elif now - self._began > self._limit:
            raise self.offence()

    def restart(self, now: float) -> None:
        """Restart the clock: bytes that were not read until now waited for the client, not for the broker."""
        if self._began is not None:
            self._began = now

    def overdue_at(self) -> float:
        """When the frame that has begun is too late; infinity if none has begun."""
        began = self._began
        return float("inf") if began is None else began + self._limit

    def offence(self) -> ProtocolError:
        """Return the exception for a frame that is too late."""
        return ProtocolError(f"a frame was not complete {self._limit} s after its first byte (Limits.frame_timeout)")
