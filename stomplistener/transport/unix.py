"""Connect to a Unix domain socket."""

from __future__ import annotations

import socket

from stomplistener.errors import ConnectFailed, TimedOut
from stomplistener.transport.interrupt import ConnectInterrupted, Interrupt, remaining
from stomplistener.transport.socket_errors import told

_RETRY = 0.02


def dial(path: str, *, deadline: float, interrupt: Interrupt) -> socket.socket:
    """Return a connected Unix stream socket, in non-blocking mode.

    Args:
        path: the path of the socket's file.
        deadline: a time of ``time.monotonic()``.
        interrupt: ends the wait when set.

    Raises:
        ConnectFailed: the socket does not exist, no program listens on it, permission is denied, or the platform has no
            Unix sockets.
        TimedOut: the deadline passed.
        ConnectInterrupted: the interrupt was set.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise ConnectFailed(f"unix:{path}: this platform has no Unix sockets in Python")
    interrupt.step = f"a connection to unix:{path}"
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        _connect(sock, path, deadline, interrupt)
    except BaseException:
        sock.close()
        raise
    return sock


def _connect(sock: socket.socket, path: str, deadline: float, interrupt: Interrupt) -> None:
    while True:
        try:
            return sock.connect(path)
        except BlockingIOError:
            # The listener's backlog is full. Linux then offers no event to wait for (connect(2), EAGAIN): only another
            # try shows whether there is room.
            pass
        except OSError as error:
            raise ConnectFailed(f"cannot connect to unix:{path}: {told(error)}") from error
        try:
            interrupted = interrupt.wait(min(_RETRY, remaining(deadline)))
        except TimeoutError as error:
            raise TimedOut(f"no connection to unix:{path} in time: its backlog is full") from error
        if interrupted:
            raise ConnectInterrupted(f"interrupted while connecting to unix:{path}")
