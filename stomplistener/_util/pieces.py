"""Waits that Ctrl-C can end on every platform.

On Windows, a signal does not interrupt a wait for a lock: its handler runs only after the wait. So the main thread, in
which Python runs handlers, divides its waits into pieces on Windows. Every wait of the library in a thread of the
application uses ``in_pieces``; a wait of a few seconds need not.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from stomplistener._util.deadline import Deadline

PIECE_SECONDS: float | None = 0.2 if sys.platform == "win32" else None
"""How long Ctrl-C may take to end a wait of the main thread; None if the system ends the wait at once."""


def in_pieces(wait: Callable[[float | None], bool], seconds: float | None) -> bool:
    """Wait in a way that lets a signal handler run soon.

    Args:
        wait: waits for a number of seconds, or without a limit; returns whether the awaited event came.
        seconds: the total time to wait; None waits forever.

    Returns:
        The result of the last call of ``wait``.
    """
    if PIECE_SECONDS is None or threading.current_thread() is not threading.main_thread():
        return wait(seconds)
    deadline = Deadline(seconds)
    while True:
        left = deadline.remaining()
        if left is not None and left <= PIECE_SECONDS:
            return wait(left)
        if wait(PIECE_SECONDS):
            return True
