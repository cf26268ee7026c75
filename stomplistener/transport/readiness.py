"""Wait for a non-blocking socket: with ``poll`` if the platform has it, otherwise with ``select``."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable

Ready = Callable[[float | None], object]
"""Waits up to a number of milliseconds, or without a limit; true if the socket is ready or broken."""


def readable(sock: socket.socket) -> Ready:
    """Make a function that waits for bytes to receive, for one thread at a time."""
    if not hasattr(select, "poll"):
        return lambda ms: select.select([sock], [], [], _seconds(ms))[0]
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return poll.poll


def writable(sock: socket.socket) -> Ready:
    """Make a function that waits for room to send, for one thread at a time."""
    if not hasattr(select, "poll"):
        # Windows reports a broken socket in the exceptional set.
        return lambda ms: any(select.select([], [sock], [sock], _seconds(ms)))
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    return poll.poll


def closed(_ms: float | None) -> object:
    """Replaces both functions once the socket is closed: its number may belong to another socket by then."""
    raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def milliseconds(seconds: float | None) -> float | None:
    """Convert seconds to the argument of ``Ready``."""
    return None if seconds is None else 1000.0 * seconds


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else ms / 1000.0
