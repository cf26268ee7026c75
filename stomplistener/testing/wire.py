"""A connected socket: one thread reads it, another one writes to it, and a third one may cut it."""

from __future__ import annotations

import selectors
import socket
import ssl
import struct
import threading
import time
from contextlib import suppress

READ_SIZE = 64 * 1024
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class Wire:
    """A plain connection. One thread calls ``receive``, ``drain`` and ``close``; one other thread calls ``send``."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        # Outgoing bytes are gathered before they reach this socket: waiting for more would only delay them.
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connected
        self._readable = waiter(selectors.EVENT_READ, connected)
        self._writable = waiter(selectors.EVENT_WRITE, connected)
        self._silence: float | None = None
        self._blocked = False
        self._is_cut = False

    def handshake(self) -> None:
        """Do all steps before the first byte of STOMP. Raises OSError."""

    def expect_within(self, seconds: float | None) -> None:
        """Let ``receive`` raise TimeoutError after ``seconds`` of silence."""
        self._silence = seconds

    def receive(self) -> bytes:
        """Return the next bytes, ``b""`` at the end. Raises OSError, and TimeoutError after too much silence."""
        while True:
            if not self._readable.select(self._silence):
                raise TimeoutError
            with suppress(BlockingIOError):
                return self._socket.recv(READ_SIZE)

    def send(self, data: bytes) -> None:
        """Send all bytes. Raises OSError if the connection is cut meanwhile."""
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                # This thread sets its mark and then reads the mark of cut(); cut() also sets its own mark first. So at
                # least one of the two sees the other mark.
                self._blocked = True
                if self._is_cut:
                    raise ConnectionAbortedError from None
                self._writable.select()
                self._blocked = False

    def half_close(self) -> None:
        """End the stream towards the peer."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def cut(self, *, reset: bool) -> None:
        """End the connection from any thread, with RST or FIN. A blocked ``receive`` or ``send`` ends."""
        self._is_cut = True
        with suppress(OSError):
            if reset:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
            # Closing the socket sends no RST after a FIN. But only a shutdown of both directions frees a blocked send,
            # and then the FIN waits behind the bytes of that send.
            self._socket.shutdown(socket.SHUT_RD if reset and not self._blocked else socket.SHUT_RDWR)

    def drain(self) -> None:
        """Read and drop bytes until the peer closes or a second has passed.

        Closing a socket with unread bytes resets the connection, and the peer might never see the last sent bytes.
        """
        deadline = time.monotonic() + 1.0
        with suppress(OSError):
            while (left := deadline - time.monotonic()) > 0 and not self._is_cut:
                if self._readable.select(left) and not self._socket.recv(READ_SIZE):
                    return

    def close(self) -> None:
        """Free the socket."""
        self._readable.close()
        self._writable.close()
        self._socket.close()


def waiter(event: int, *sockets: socket.socket) -> selectors.BaseSelector:
    """Make a selector that needs no descriptor and, if possible, has no limit on the number of sockets."""
    selector: selectors.BaseSelector = getattr(selectors, "PollSelector", selectors.SelectSelector)()
    for each in sockets:
        selector.register(each, event)
    return selector


class TLSWire(Wire):
    """A TLS connection. A lock, which is not held over I/O, guards the engine, which does not allow two threads."""

    def __init__(self, connected: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(connected)
        self._lock = threading.Lock()
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._engine = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def handshake(self) -> None:
        while True:
            try:
                self._engine.do_handshake()
            except ssl.SSLWantReadError:
                super().send(self._outgoing.read())
                raw = super().receive()
                if not raw:
                    raise ConnectionError("the peer went away during the TLS handshake") from None
                self._incoming.write(raw)
            except ssl.SSLError:
                # Send the alert that tells the peer the reason.
                super().send(self._outgoing.read())
                raise
            else:
                super().send(self._outgoing.read())
                return

    def receive(self) -> bytes:
        while True:
            try:
                with self._lock:
                    return self._engine.read(READ_SIZE)
            except ssl.SSLWantReadError:
                raw = super().receive()
            except ssl.SSLZeroReturnError:
                return b""
            if not raw:
                return b""
            with self._lock:
                self._incoming.write(raw)

    def send(self, data: bytes) -> None:
        with self._lock:
            self._engine.write(data)
            encrypted = self._outgoing.read()
        super().send(encrypted)
