"""The wait for a non-blocking socket: by ``poll`` where the platform has it, else by ``select``."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable

Ready = Callable[[float | None], object]
"""Waits up to so many milliseconds, or without a limit; true if the socket is ready, or broken."""


def readable(sock: socket.socket) -> Ready:
    """Make the wait for bytes to receive. One thread at a time may use it."""
    if not hasattr(select, "poll"):
        return lambda ms: select.select([sock], [], [], _seconds(ms))[0]
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return poll.poll


def writable(sock: socket.socket) -> Ready:
    """Make the wait for room to send. One thread at a time may use it."""
    if not hasattr(select, "poll"):
        # Windows counts a broken socket among the exceptional ones.
        return lambda ms: any(select.select([], [sock], [sock], _seconds(ms)))
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    return poll.poll


def closed(_ms: float | None) -> object:
    """Take the place of both once the socket is closed: its number may be another socket's by then."""
    raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def milliseconds(seconds: float | None) -> float | None:
    """What ``Ready`` takes for a time in seconds."""
    return None if seconds is None else 1000.0 * seconds


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else ms / 1000.0
