"""Makes this process as much like one on Windows as the standard library lets it. Import it before anything of ours.

Each difference is one that the client meets: there is no ``poll``, no SIGHUP, no fork and no Unix socket; no flag makes
one call non-blocking; the clock ticks every 15.6 ms; ``shutdown`` wakes no other thread; and a signal ends no wait of
the main thread. ``python -m pytest -p pretended_windows`` runs tests so.
"""

from __future__ import annotations

import math
import os
import select
import selectors
import signal
import socket
import threading
import time

TICK_SECONDS = 0.0156
PIECE_SECONDS = 0.2

_ABSENT: dict[object, tuple[str, ...]] = {
    select: ("poll", "epoll"),
    selectors: ("PollSelector", "EpollSelector"),
    signal: ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "setitimer"),
    socket: ("MSG_DONTWAIT", "MSG_NOSIGNAL"),
    os: ("fork", "forkpty", "register_at_fork"),
}

_fine = time.monotonic


def _coarse() -> float:
    return math.floor(_fine() / TICK_SECONDS) * TICK_SECONDS


def _shutdown(sock: socket.socket, how: int) -> None:
    """Tell the peer that the end has come, and wake no thread that reads here."""
    _kernels_shutdown(sock, socket.SHUT_WR if how == socket.SHUT_RDWR else how)


_kernels_shutdown = socket.socket.shutdown


def pretend() -> None:
    """Change the standard library, and then what ours has decided by the name of the system."""
    for module, names in _ABSENT.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    selectors.DefaultSelector = selectors.SelectSelector  # type: ignore[assignment,misc]
    time.monotonic = _coarse
    socket.socket.shutdown = _shutdown  # type: ignore[assignment,method-assign]
    from stomplistener._util import pieces
    from stomplistener.transport import stream

    pieces.PIECE_SECONDS = stream.WAIT_PIECE_SECONDS = PIECE_SECONDS


def deafen() -> None:
    """Let no signal end a wait of this thread, as on Windows; its handler runs as soon as the wait is over."""
    ready = threading.Event()

    def hear() -> None:
        ready.set()
        # Another thread takes the signals: Python notes them, and the main thread goes on to wait.
        threading.Event().wait()

    threading.Thread(target=hear, daemon=True, name="hears signals").start()
    ready.wait()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})


pretend()
