"""The stacks of threads, for whoever wants to know where a worker hangs."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import traceback
from contextlib import suppress


def of_thread(ident: int) -> str:
    """Return where a thread is now; a text for the log."""
    frame = sys._current_frames().get(ident)
    return "it has ended" if frame is None else "".join(traceback.format_stack(frame)).rstrip()


def dump_on_signal() -> None:
    """Write the stacks of all threads to stderr on SIGUSR2, even if no Python code can run. Nothing on Windows."""
    if hasattr(signal, "SIGUSR2"):
        # Where stderr has no descriptor there is nothing to write to.
        with suppress(ValueError, OSError, RuntimeError):
            faulthandler.register(signal.SIGUSR2, all_threads=True, chain=False)


def dump() -> None:
    """Write the stacks of all threads of this process to stderr."""
    with suppress(ValueError, OSError, RuntimeError):
        sys.stderr.write(f"stacks of process {os.getpid()}:\n")
        sys.stderr.flush()
        faulthandler.dump_traceback(all_threads=True)
