"""Wakes the one thread that drains events, and an event loop that watches a file descriptor for it."""

from __future__ import annotations

import socket
from contextlib import suppress


class Bell:
    """A bell that any thread rings and one thread waits for. It counts nothing: several rings may be heard as one.

    The waiting thread looks for events after every ring, so that a ring while it looks only makes it look again.
    """

    def __init__(self) -> None:
        self._hear, self._strike = socket.socketpair()
        self._strike.setblocking(False)
        self._rung = False

    def fileno(self) -> int:
        """The descriptor that becomes readable."""
        return self._hear.fileno()

    def ring(self) -> None:
        """Wake the waiting thread. Thread-safe; never blocks."""
        if self._rung:
            return
        self._rung = True
        # Full: then the other side wakes anyway. Closed: then nothing waits.
        with suppress(OSError):
            self._strike.send(b"!")

    def wait(self, timeout: float | None) -> bool:
        """Wait for a ring.

        Args:
            timeout: seconds to wait; None waits forever.

        Returns:
            whether it rang.
        """
        self._hear.settimeout(timeout)
        try:
            self._hear.recv(64)
        except (TimeoutError, BlockingIOError):
            return False
        # Cleared before the events are looked for: a ring from now on sends its own byte.
        self._rung = False
        return True

    def close(self) -> None:
        """Give the descriptors back."""
        self._hear.close()
        self._strike.close()
