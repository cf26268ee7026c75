"""The stacks of threads, to find out where a worker hangs."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from types import FrameType


def of_thread(ident: int) -> str:
    """Return where a thread is now; a text for the log."""
    frame = sys._current_frames().get(ident)
    return "it has ended" if frame is None else _format(frame)


def dump_on_signal() -> None:
    """Write the stacks of all threads to stderr on SIGUSR2. Nothing on Windows, and outside the main thread."""
    if hasattr(signal, "SIGUSR2"):
        with suppress(ValueError):
            signal.signal(signal.SIGUSR2, lambda _number, _frame: dump())


def dump() -> None:
    """Write the stacks of all threads of this process to stderr; also for a signal handler."""
    # Not by faulthandler's own handler: it walks the frames of threads that run on meanwhile, and crashed a worker.
    # `enumerate` in a signal handler: its lock is re-entrant.
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    texts = [
        f"thread {names.get(ident, ident)} (most recent call last):\n{_format(frame)}\n"
        for ident, frame in sys._current_frames().items()
    ]
    text = "".join([f"stacks of process {os.getpid()}:\n", *texts])
    # Past sys.stderr's buffer, which the thread that the signal interrupts may be writing to.
    with suppress(AttributeError, ValueError, OSError):
        os.write(sys.stderr.fileno(), text.encode("utf-8", "backslashreplace"))


def _format(frame: FrameType) -> str:
    return "".join(traceback.format_stack(frame)).rstrip()
