"""When bytes are let gather before the next read.

A broker under load writes each message by itself, and a client that is quick reads each by itself: a call of the
system, two changes of threads, and caches gone cold meanwhile, which together cost several times what the message does.
Where many small reads follow each other and nothing is said in between, nobody waits for a single one of them; so who
reads pauses for a moment, and then reads a dozen together. Network cards moderate their interrupts for that reason.
"""

from __future__ import annotations

PAUSE = 0.001
"""Seconds to let bytes gather: the most that a message in the middle of a stream comes later for it."""

STREAM = 16
"""How many reads have to follow each other at once before a pause: a few messages together never wait."""

AT_ONCE = 0.0003
"""Seconds that a read may wait for its bytes and still follow the one before at once."""

SMALL = 16384
"""Bytes from which a read is worth what it costs."""


class Gathering:
    """Looks at the reads, and says when to pause. For one thread; time comes in as an argument."""

    def __init__(self) -> None:
        self._quick = 0

    def has_read(self, size: int, waited: float, *, answers: bool) -> None:
        """Note a read.

        Args:
            size: bytes that it brought.
            waited: seconds until they were there.
            answers: whether something was said since the read before: then somebody may wait for what comes.
        """
        if answers:
            self._quick = 0
        elif size < SMALL and waited < AT_ONCE:
            self._quick = min(self._quick + 1, 2 * STREAM)
        else:
            # A broker pauses, too: a stream is not over with its first gap.
            self._quick = max(self._quick - 2, 0)

    @property
    def pause(self) -> float:
        """Seconds to wait before the next read."""
        return PAUSE if self._quick >= STREAM else 0.0
