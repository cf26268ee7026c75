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
    """Return the current stack of a thread, as text for the log."""
    frame = sys._current_frames().get(ident)
    return "the thread has ended" if frame is None else _format(frame)


def dump_on_signal() -> None:
    """Write the stacks of all threads to stderr on SIGUSR2. Do nothing on Windows or outside the main thread."""
    if hasattr(signal, "SIGUSR2"):
        with suppress(ValueError):
            signal.signal(signal.SIGUSR2, lambda _number, _frame: dump())


def dump() -> None:
    """Write the stacks of all threads of this process to stderr. Safe in a signal handler."""
    # Do not use the handler of faulthandler: it reads the frames of running threads, and crashed a worker. `enumerate`
    # is safe in a signal handler, because its lock is re-entrant.
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    texts = [
        f"thread {names.get(ident, ident)} (most recent call last):\n{_format(frame)}\n"
        for ident, frame in sys._current_frames().items()
    ]
    text = "".join([f"stacks of process {os.getpid()}:\n", *texts])
    # Bypass the buffer of sys.stderr: the interrupted thread may be writing to it.
    with suppress(AttributeError, ValueError, OSError):
        os.write(sys.stderr.fileno(), text.encode("utf-8", "backslashreplace"))


def _format(frame: FrameType) -> str:
    return "".join(traceback.format_stack(frame)).rstrip()
