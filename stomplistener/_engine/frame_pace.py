"""How long a frame takes to come: a broker that sends a byte now and then must not hold a connection forever."""

from __future__ import annotations

from stomplistener.errors import ProtocolError


class FramePace:
    """Watches whether the frame that has begun comes to its end in time. One thread notes, any thread may ask.

    Args:
        limit: seconds that a frame may take, ``Limits.frame_timeout``.
    """

    __slots__ = ("_began", "_limit")

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._began: float | None = None

    def note(self, now: float, *, complete: bool, partial: bool) -> None:
        """Bytes came.

        Args:
            now: on the monotonic clock.
            complete: whether frames ended among them.
            partial: whether a frame has begun that has not ended.

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
        """What was not read until now is our own delay."""
        if self._began is not None:
            self._began = now

    def overdue_at(self) -> float:
        """When the frame that has begun takes too long; infinity if none has."""
        began = self._began
        return float("inf") if began is None else began + self._limit

    def offence(self) -> ProtocolError:
        """What is wrong then."""
        return ProtocolError(f"a frame was not complete {self._limit} s after its first byte (Limits.frame_timeout)")
