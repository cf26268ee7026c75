"""Decide when bytes gather before the next read.

A broker under load writes each message separately, and a quick client reads each separately. Each message then costs a
system call, two context switches and cold caches, together several times as much as the message itself. If many small
reads follow each other and nothing is sent in between, no thread waits for a single message. So the reading thread
pauses for a moment, and then reads a dozen messages together. Network cards moderate their interrupts for this reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable

PAUSE_SECONDS = 0.001
"""How long bytes gather. A message in the middle of a stream is at most this much later."""

STREAM_READS = 16
"""How many reads must follow each other at once before the first pause. A few messages together never wait."""

SMALL_BYTES = 16384
"""A read that brings this many bytes is worth its cost."""


WAIT_FACTOR = 8
"""A read is quick if it waited for its bytes no longer than this factor times the work on the bytes before. Without a
pause, the thread would keep waking and sleeping for little work."""


class ReadCoalescer:
    """Watches the reads and pauses between them; used by one thread at a time.

    Args:
        clock: returns seconds.
        sleep: pauses for seconds.
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
        """Whether bytes gather before the next read."""
        return self._quick >= STREAM_READS

    def before_read(self) -> None:
        """Pause if bytes should gather. Call before each read."""
        self._began = self._clock()
        self._worked = self._began - self._ended
        if self._quick >= STREAM_READS:
            self._sleep(PAUSE_SECONDS)
            self._began += PAUSE_SECONDS

    def after_read(self, size: int, *, answers: bool) -> None:
        """Note a read.

        Args:
            size: the number of bytes read.
            answers: whether frames were sent since the last read, so that a thread may wait for the answer.
        """
        self._ended = self._clock()
        if answers:
            self._quick = 0
        elif size < SMALL_BYTES and self._ended - self._began <= WAIT_FACTOR * self._worked:
            self._quick = min(self._quick + 1, 2 * STREAM_READS)
        else:
            # A broker pauses, too: the first gap does not end a stream.
            self._quick = max(self._quick - 2, 0)
