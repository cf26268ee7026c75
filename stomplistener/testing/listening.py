"""A port that accepts connections, or refuses them while it stays reserved."""

from __future__ import annotations

import os
import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from stomplistener.testing.wire import waiter


class Listening:
    """Accepts connections in a separate thread, and passes each to ``serve``, which must not block.

    While connections are refused, the port stays bound to a socket that does not listen. Otherwise the system might
    give the port to a client that tries to reach it: the client would then connect to itself.

    Methods may be called from any thread.
    """

    def __init__(self, host: str, port: int, serve: Callable[[socket.socket], None], name: str) -> None:
        self.host = host
        self._port = port
        self._serve = serve
        self._name = name
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._wake: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port; 0 while none was needed."""
        return self._port

    def open(self) -> None:
        """Accept connections. Do nothing if the port is open already. OSError if another program has the port."""
        with self._lock:
            if self._thread is not None:
                return
            self._bind()
            assert self._socket is not None
            self._socket.listen(128)
            self._wake, woken = socket.socketpair()
            self._thread = threading.Thread(
                target=self._accept, args=(self._socket, woken), name=f"{self._name}-accept", daemon=True
            )
            self._thread.start()

    def refuse(self) -> None:
        """Let the system refuse connections, including those that wait to be accepted."""
        with self._lock:
            self._stop()
            self._bind()

    def close(self) -> None:
        """Give up the port."""
        with self._lock:
            self._stop()
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _bind(self) -> None:
        if self._socket is not None:
            return
        bound = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            if os.name == "posix":
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((self.host, self._port))
        except OSError:
            bound.close()
            raise
        self._socket = bound
        self._port = bound.getsockname()[1]

    def _stop(self) -> None:
        if self._thread is None:
            return
        assert self._wake is not None
        self._wake.close()
        self._thread.join()
        self._thread = self._wake = self._socket = None

    def _accept(self, listening: socket.socket, woken: socket.socket) -> None:
        # A connection may vanish between the selector and accept(), which then must not block the thread.
        listening.setblocking(False)
        with listening, woken, waiter(selectors.EVENT_READ, listening, woken) as selector:
            while not any(key.fileobj is woken for key, _ in selector.select()):
                try:
                    connection, _address = listening.accept()
                except OSError:
                    # A process without a free descriptor also gets here, and needs a while to recover.
                    woken.settimeout(0.02)
                    with suppress(TimeoutError):
                        woken.recv(1, socket.MSG_PEEK)
                    continue
                self._serve(connection)
