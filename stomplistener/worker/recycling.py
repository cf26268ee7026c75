"""End a process after a number of messages, or above an amount of memory."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from stomplistener.worker.handling import Tasks
from stomplistener.worker.options import RunOptions

MIB = 1024 * 1024


class Recycling:
    """Decides when a process ends so that another one takes over. Thread-safe.

    Args:
        options: the settings with the limits.
        tasks: counts the attempts.
    """

    def __init__(self, options: RunOptions, tasks: Tasks) -> None:
        self._max_messages = options.max_messages
        self._max_memory = options.max_memory
        self._tasks = tasks

    def why(self) -> str | None:
        """Return the reason why the process has to end now; None if it may go on."""
        if self._max_messages is not None and self._tasks.ended >= self._max_messages:
            return f"it has handled {self._tasks.ended} messages"
        if self._max_memory is not None and (held := memory()) > self._max_memory * MIB:
            return f"it holds {held // MIB} MiB of memory"
        return None


def memory() -> int:
    """Return the memory of this process in bytes: the present value on Linux, the peak on other systems."""
    with suppress(OSError, ValueError, IndexError):
        import resource

        if sys.platform == "linux":
            return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return 0
