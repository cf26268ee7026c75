"""Wake the thread that drains events, or an event loop that watches a file descriptor."""

from __future__ import annotations

import socket
from contextlib import suppress


class Bell:
    """A bell that any thread rings and one thread waits for. Several rings may wake the waiting thread only once.

    The waiting thread looks for events after every ring. A ring during that look makes it look again.
    """

    def __init__(self) -> None:
        self._hear, self._strike = socket.socketpair()
        self._strike.setblocking(False)
        self._rung = False

    def fileno(self) -> int:
        """Return the file descriptor that becomes readable after a ring."""
        return self._hear.fileno()

    def ring(self) -> None:
        """Wake the waiting thread. Thread-safe; never blocks."""
        if self._rung:
            return
        self._rung = True
        # If the socket is full, the waiting thread wakes anyway. If the socket is closed, no thread waits.
        with suppress(OSError):
            self._strike.send(b"!")

    def wait(self, timeout: float | None) -> bool:
        """Wait for a ring.

        Args:
            timeout: seconds to wait; None waits forever.

        Returns:
            whether the bell rang within the time.
        """
        self._hear.settimeout(timeout)
        try:
            self._hear.recv(64)
        except (TimeoutError, BlockingIOError):
            return False
        # Clear the flag before the thread looks for events, so that every later ring sends a byte.
        self._rung = False
        return True

    def close(self) -> None:
        """Close the sockets."""
        self._hear.close()
        self._strike.close()
