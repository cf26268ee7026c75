"""A connected stream socket as a transport: TCP and Unix."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import struct
import sys
import threading
import time
from contextlib import suppress

from stomplistener._util import greenlets
from stomplistener.turn import Turn

# Asked for where much came the last time. A quarter of it costs large messages a quarter of their speed; more would be
# so many small messages at once that no bound holds back any more.
RECEIVE_SIZE = 262144

# Asked for in the middle of a body that needs it, where this is one message all the same.
RECEIVE_LARGE = 4 * RECEIVE_SIZE

# Asked for at first, and behind a heart-beat. Python allocates before it waits: whoever waits for the next beat would
# hold room for a burst, of which hundreds of connections touch ever new pages.
RECEIVE_IDLE = 2048
_BEATS = 16

# A process may have given SIGPIPE back its default action, to kill (command line tools do); a lost broker must not.
# Plain integers: the operators of the enumeration that they belong to are written in Python, and cost a send as much
# again when its processor has slept.
_NO_SIGNAL = int(getattr(socket, "MSG_NOSIGNAL", 0))
_DONT_WAIT = int(getattr(socket, "MSG_DONTWAIT", 0))
_AT_ONCE = _NO_SIGNAL | _DONT_WAIT

# poll() has no limit of 1,024 descriptors and, unlike epoll, needs none of its own.
Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)

# shutdown() frees a blocked send() at once. Were there a platform where it does not, close() must not hang for ever.
_PATIENCE = 5.0


class SocketTransport:
    """A connected stream socket, which it owns from now on. Thread-safe as ``Transport`` says, and ``send`` wholly.

    The socket always stays in blocking mode and Python's own timeout is never used: that one is a property of the
    socket, and changing it in one thread while another is blocked would change the other's call, too.
    """

    frame_per_send = False

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        self._sock = sock
        self._timeout: float | None = None
        self._receive_size = RECEIVE_IDLE
        self._expected = 0
        # Guards the order of what is sent. close() takes it, so that no descriptor is freed, and perhaps given to
        # another socket of the process, while a send is about to use it.
        self._sending = Turn()
        # The same for the calls that do not block. Order: _sending, then _using.
        self._using = threading.Lock()
        # The rest of a send_nowait of which the kernel took only a part: it goes before anything else.
        self._owed = b""

    def receive(self) -> bytes:
        """See Transport."""
        if self._timeout is not None:
            self._wait(selectors.EVENT_READ, self._timeout)
        data = self._sock.recv(self._expected or self._receive_size)
        self._expected = 0
        if len(data) >= RECEIVE_IDLE:
            self._receive_size = RECEIVE_SIZE
        elif len(data) < _BEATS:
            self._receive_size = RECEIVE_IDLE
        return data

    def send(self, data: bytes | memoryview) -> int:
        """See Transport."""
        with self._sending:
            while self._owed:
                self._owed = self._owed[self._send(self._owed) :]
            return self._send(data)

    def send_nowait(self, data: bytes) -> bool:
        """See Transport."""
        free = self._sending.free
        try:
            free.pop()
        except IndexError:
            return False
        try:
            if not (_DONT_WAIT or _ready(self._sock, selectors.EVENT_WRITE, 0)):
                return False
            owed = self._owed
            sent = self._sock.send(owed + data if owed else data, _AT_ONCE)
            if not owed and sent == len(data):
                return True
            begun = sent > len(owed)
            self._owed = (owed + data)[sent:] if begun else owed[sent:]
            return begun
        except BlockingIOError:
            return False
        finally:
            free.append(None)

    def unread(self) -> bool:
        """See Transport."""
        with self._using:
            if self._sock.fileno() < 0 or not (_DONT_WAIT or _ready(self._sock, selectors.EVENT_READ, 0)):
                return False
            try:
                return bool(self._sock.recv(1, socket.MSG_PEEK | _DONT_WAIT))
            except OSError:
                return False

    def settimeout(self, seconds: float | None) -> None:
        """See Transport."""
        self._timeout = seconds

    def expect(self, size: int) -> None:
        """See Guided."""
        self._expected = min(size, RECEIVE_LARGE) if size > RECEIVE_SIZE else 0

    def limit_wait(self, seconds: float | None) -> bool:
        """See Guided. The kernel counts, so that a read costs no more for it."""
        if greenlets.are_used() or sys.platform == "win32":
            return False
        whole, part = divmod(seconds or 0.0, 1.0)
        timeval = struct.pack("@ll", int(whole), int(part * 1e6))
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        except OSError:
            # Broken or closed, as the next receive will say; or a platform with a timeval of another shape.
            return False
        return True

    def shutdown(self) -> None:
        """See Transport."""
        # It fails where the socket is closed, or the peer was quicker: it is broken all the same.
        with self._using, suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """See Transport."""
        self.shutdown()
        alone = self._sending.acquire(timeout=_PATIENCE)
        with self._using:
            self._sock.close()
        if alone:
            self._sending.release()

    def abandon(self) -> None:
        """See Transport."""
        self._sock.close()

    def _send(self, data: bytes | memoryview) -> int:
        if self._timeout is None:
            return self._sock.send(data, _NO_SIGNAL)
        deadline = time.monotonic() + self._timeout
        while True:
            self._wait(selectors.EVENT_WRITE, deadline - time.monotonic())
            try:
                # Without DONT_WAIT the kernel would block until it has room for all, and forget the deadline.
                return self._sock.send(data, _AT_ONCE)
            except BlockingIOError:
                continue

    def _wait(self, event: int, seconds: float) -> None:
        if self._sock.fileno() < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if not _ready(self._sock, event, max(seconds, 0.0)):
            raise TimeoutError(f"the peer {'sent' if event == selectors.EVENT_READ else 'took'} nothing in time")


def _ready(sock: socket.socket, event: int, seconds: float) -> bool:
    with Selector() as selector:
        selector.register(sock, event)
        return bool(selector.select(seconds))
