"""Waits that Ctrl-C can end on every platform.

On Windows a signal does not interrupt a wait for a lock: its handler runs only when the wait is over. So the main
thread, in which Python runs handlers, waits there in pieces. Every wait of ours in a thread of the application goes
through ``in_pieces``; a wait for at most a few seconds need not.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from stomplistener._util.deadline import Deadline

PIECE_SECONDS: float | None = 0.2 if sys.platform == "win32" else None
"""How long Ctrl-C may take to end a wait of the main thread; None where the system ends the wait at once."""


def in_pieces(wait: Callable[[float | None], bool], seconds: float | None) -> bool:
    """Wait, and let the handler of a signal run soon.

    Args:
        wait: waits for so many seconds, or without a limit; returns whether what it waits for came.
        seconds: how long to wait in all; None waits forever.

    Returns:
        What ``wait`` returned the last time.
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
