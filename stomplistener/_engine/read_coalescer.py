"""When bytes are let gather before the next read.

A broker under load writes each message by itself, and a client that is quick reads each by itself: a system call, two
context switches and cold caches, which together cost several times what the message does. Where many small reads follow
each other and nothing is sent in between, nobody waits for a single message; so the reading thread pauses for a moment
and then reads a dozen together. Network cards moderate their interrupts for the same reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable

PAUSE_SECONDS = 0.001
"""How long bytes gather: the most by which a message in the middle of a stream comes later."""

STREAM_READS = 16
"""How many reads have to follow each other at once before the first pause: a few messages together never wait."""

SMALL_BYTES = 16384
"""A read that brings this much is worth what it costs."""


WAIT_FACTOR = 8
"""A read follows the one before at once if its bytes were there within so many times what it took to work off the
bytes before: then the thread wakes and sleeps again for little work, all the time."""


class ReadCoalescer:
    """Looks at the reads and pauses between them. For one thread at a time.

    Args:
        clock: seconds.
        sleep: pauses.
    """

    __slots__ = ("_began", "_clock", "_ended", "_quick", "_sleep", "_worked")

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._began = self._ended = self._worked = 0.0
        self._quick = 0

    @property
    def pauses(self) -> bool:
        """Whether the next read waits for bytes to gather."""
        return self._quick >= STREAM_READS

    def before_read(self) -> None:
        """Called before each read: pause if that is worth it."""
        self._began = self._clock()
        self._worked = self._began - self._ended
        if self._quick >= STREAM_READS:
            self._sleep(PAUSE_SECONDS)
            self._began += PAUSE_SECONDS

    def after_read(self, size: int, *, answers: bool) -> None:
        """Note a read.

        Args:
            size: bytes that it brought.
            answers: whether something was sent since the read before: then a thread may wait for what comes.
        """
        self._ended = self._clock()
        if answers:
            self._quick = 0
        elif size < SMALL_BYTES and self._ended - self._began <= WAIT_FACTOR * self._worked:
            self._quick = min(self._quick + 1, 2 * STREAM_READS)
        else:
            # A broker pauses, too: a stream is not over with its first gap.
            self._quick = max(self._quick - 2, 0)
