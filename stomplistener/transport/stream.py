"""A connected stream socket as a transport, for TCP and Unix."""

from __future__ import annotations

import errno
import selectors
import socket
import sys
from contextlib import suppress

from stomplistener._util.deadline import Deadline
from stomplistener._util.locks import ReentrantLock, TryLock
from stomplistener.transport import readiness
from stomplistener.transport.readiness import Ready, milliseconds

# The size of a read after a read that brought much. A quarter of this size would cost large messages a quarter of their
# speed. With a larger size, so many small messages would arrive at once that no bound would hold them back.
RECEIVE_SIZE = 262144

# The size of a read in the middle of a large body: the body is one message in any case.
RECEIVE_LARGE = 4 * RECEIVE_SIZE

# The size of the first read, and of a read after a heartbeat. Python allocates the requested size, and then frees the
# unused part. With hundreds of idle connections, a large block would touch new memory pages for each heartbeat.
RECEIVE_IDLE = 2048
_BEATS = 16

# A program may have restored the default action of SIGPIPE, which kills it, as command line tools do. A lost broker
# must not kill the program. The flag is a plain integer, since the operators of the enumeration are written in Python.
_NO_SIGNAL = int(getattr(socket, "MSG_NOSIGNAL", 0))

# poll() has no limit of 1,024 descriptors and, unlike epoll, needs no descriptor.
Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)

# If shutdown() does not end the wait of another thread, a wait is divided into pieces of this length. Linux and the
# BSDs, including macOS, end the wait; Windows promises nothing.
WAIT_PIECE_SECONDS: float | None = 0.2 if sys.platform == "win32" else None

# shutdown() ends a blocked send() at once. This limit keeps close() from hanging on a platform where the send() goes
# on.
_CLOSE_PATIENCE_SECONDS = 5.0


class SocketTransport:
    """A connected stream socket, which it owns from now on.

    Threads as in ``Transport``; in addition, any thread may call ``send``.

    The socket is always non-blocking, and a thread that has to wait polls it. Two alternatives do not work. XNU looks
    at the flag of the socket and ignores MSG_DONTWAIT. Python's own timeout belongs to the socket, so two threads would
    change each other's timeout.

    Locks, in the order in which they are taken. A signal handler may call every method except ``close`` at any time.

    1. ``_sending`` guards the order of the bytes on the wire. A ``send`` holds this lock while it waits for room.
    2. ``_using`` guards the descriptor in calls that never wait. So ``close`` never frees a descriptor that another
       thread is about to use, and that the kernel could give to another socket.
    """

    frame_per_send = False

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._readable = readiness.readable(sock)
        self._writable: Ready | None = None
        self._timeout: float | None = None
        self._limit: float | None = None
        # The shorter of the two timeouts, which each read needs.
        self._receive_wait: float | None = None
        self._receive_size = RECEIVE_IDLE
        self._expected = 0
        # Whether the last read brought less than it asked for.
        self._is_drained = False
        self._sending = TryLock()
        self._using = ReentrantLock()
        # Guarded by _sending: the rest of a send_nowait of which the kernel took a part. These bytes leave before any
        # others.
        self.owes: bytes | memoryview = b""
        """See Owing."""
        # Set by shutdown() and never reset. A thread that reads this mark late finds the socket broken nevertheless. If
        # shutdown() does not end a wait, the thread reads the mark again after the next piece of its wait.
        self._is_shut_down = False
        self._is_closed = False

    def receive(self) -> bytes:
        """See Transport."""
        size = self._expected or self._receive_size
        while True:
            # While bytes keep arriving, a read without a wait is a single system call. A read that brought less than it
            # asked for has most likely left nothing. Another read would then fail, and would also give the
            # interpreter's lock to another thread, for which this thread has to wait.
            if not self._is_drained:
                try:
                    data = self._sock.recv(size)
                    break
                except BlockingIOError:
                    pass
                except OSError:
                    # Linux returns the bytes from before the shutdown, and then the end. Other systems may raise an
                    # error instead.
                    if self._is_shut_down and not self._is_closed:
                        return b""
                    raise
                if self._is_shut_down and not self._is_closed:
                    return b""
            if not self._wait(self._readable, self._receive_wait):
                raise self._nothing_came()
            self._is_drained = False
        self._expected = 0
        self._is_drained = len(data) < size
        if len(data) >= RECEIVE_IDLE:
            self._receive_size = RECEIVE_SIZE
        elif len(data) < _BEATS:
            self._receive_size = RECEIVE_IDLE
        if self.owes:
            with suppress(OSError):
                self._sending.attempt(self._pay)
        return data

    def send(self, data: bytes | memoryview) -> int:
        """See Transport."""
        if self._sending.held:
            raise RuntimeError("send() was called by a signal handler that interrupted another send of this thread")
        try:
            with self._sending:
                return self._send(data)
        except OSError:
            raise
        except BaseException:
            # A signal handler raised. How many bytes have left is unknown: the next bytes might continue a torn frame.
            self.shutdown()
            raise

    def send_nowait(self, data: bytes) -> bool:
        """See Transport."""
        try:
            return self._sending.attempt(self._send_now, data)
        except OSError:
            raise
        except BaseException:
            self.shutdown()  # as in send
            raise

    def unread(self) -> bool:
        """See Transport."""
        with self._using:
            if self._is_closed:
                return False
            try:
                return bool(self._sock.recv(1, socket.MSG_PEEK))
            except OSError:
                return False

    def settimeout(self, seconds: float | None) -> None:
        """See Transport."""
        self._timeout = seconds
        self._receive_wait = _shorter(seconds, self._limit)

    def expect(self, size: int) -> None:
        """See Guided."""
        self._expected = min(size, RECEIVE_LARGE) if size > RECEIVE_SIZE else 0

    def limit_wait(self, seconds: float | None) -> bool:
        """See Guided."""
        self._limit = seconds
        self._receive_wait = _shorter(seconds, self._timeout)
        return True

    def shutdown(self) -> None:
        """See Transport."""
        self._is_shut_down = True
        # The call fails if the socket is closed or the peer was faster. The socket is broken in any case.
        with self._using, suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """See Transport."""
        self.shutdown()
        try:
            self._sending.acquire(timeout=_CLOSE_PATIENCE_SECONDS)
            with self._using:
                self.abandon()
        finally:
            if self._sending.held:
                self._sending.release()

    def abandon(self) -> None:
        """See Transport."""
        self._is_closed = True
        self._readable = self._writable = readiness.closed
        self._sock.close()

    def _send(self, data: bytes | memoryview) -> int:
        deadline = None
        while True:
            try:
                if not self.owes:
                    return self._sock.send(data, _NO_SIGNAL)
                self._pay()
                continue
            except BlockingIOError:
                deadline = deadline or Deadline(self._timeout)
            if self._is_shut_down:
                raise ConnectionAbortedError(errno.ECONNABORTED, "the connection was shut down")
            if self._writable is None:
                self._writable = readiness.writable(self._sock)
            if not self._wait(self._writable, deadline.remaining()):
                raise TimeoutError("the peer took nothing in time")

    def _send_now(self, data: bytes) -> bool:
        try:
            if self.owes and not self._pay():
                return False
            sent = self._sock.send(data, _NO_SIGNAL)
        except BlockingIOError:
            return False
        if sent < len(data):
            # Keep a view instead of a copy: most of a large message is left, and it leaves in many parts.
            self.owes = memoryview(data)[sent:]
        return True

    def _pay(self) -> bool:
        """Give owed bytes to the kernel. Return whether the kernel took all; BlockingIOError if it took none."""
        self.owes = self.owes[self._sock.send(self.owes, _NO_SIGNAL) :]
        return not self.owes

    def _wait(self, ready: Ready, seconds: float | None) -> bool:
        """Wait until the socket is ready or shut down, or the time is over. Return False only if the time is over."""
        if WAIT_PIECE_SECONDS is None:
            return bool(ready(milliseconds(seconds)))
        deadline = Deadline(seconds)
        while not self._is_shut_down:
            if ready(milliseconds(_shorter(deadline.remaining(), WAIT_PIECE_SECONDS))):
                return True
            if deadline.expired:
                return False
        return True

    def _nothing_came(self) -> OSError:
        if self._limit is not None and self._receive_wait == self._limit:
            return BlockingIOError(errno.EAGAIN, "nothing came in the limited wait")
        return TimeoutError("the peer sent nothing in time")


def _shorter(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else min(one, other)
