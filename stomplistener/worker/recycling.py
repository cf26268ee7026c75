"""Processes that end before they grow old: after so many messages, or with so much memory."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from stomplistener.worker.handling import Tasks
from stomplistener.worker.options import RunOptions

MIB = 1024 * 1024


class Recycling:
    """Says when a process is to end for another one. Thread-safe.

    Args:
        options: with the bounds.
        tasks: counts the attempts.
    """

    def __init__(self, options: RunOptions, tasks: Tasks) -> None:
        self._max_messages = options.max_messages
        self._max_memory = options.max_memory
        self._tasks = tasks

    def why(self) -> str | None:
        """Return why the process is to end now; None if it is not."""
        if self._max_messages is not None and self._tasks.ended >= self._max_messages:
            return f"it has handled {self._tasks.ended} messages"
        if self._max_memory is not None and (held := memory()) > self._max_memory * MIB:
            return f"it holds {held // MIB} MiB of memory"
        return None


def memory() -> int:
    """Return how many bytes of memory this process holds: now on Linux, at the most so far on other systems."""
    with suppress(OSError, ValueError, IndexError):
        import resource

        if sys.platform == "linux":
            return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return 0
