"""A connected stream socket as a transport: TCP and Unix."""

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

# A read asks for this much after a read that brought much. A quarter of it costs large messages a quarter of their
# speed; more would be so many small messages at once that no bound holds back any more.
RECEIVE_SIZE = 262144

# A read in the middle of a large body asks for this much: the body is one message all the same.
RECEIVE_LARGE = 4 * RECEIVE_SIZE

# The first read asks for this much, and a read after a heartbeat. Python allocates what a read asks for, and returns
# the rest: with hundreds of idle connections, a large block would touch ever new pages for each heartbeat.
RECEIVE_IDLE = 2048
_BEATS = 16

# A program may have given SIGPIPE its default action back, to kill (command line tools do); a lost broker must not.
# A plain integer: the operators of the enumeration that it belongs to are written in Python.
_NO_SIGNAL = int(getattr(socket, "MSG_NOSIGNAL", 0))

# poll() has no limit of 1,024 descriptors and, unlike epoll, needs none of its own.
Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)

# Where shutdown() does not end the wait of another thread, a wait is cut in pieces of so many seconds. Linux and the
# BSDs, macOS among them, end the wait; Windows promises nothing.
WAIT_PIECE_SECONDS: float | None = 0.2 if sys.platform == "win32" else None

# shutdown() ends a blocked send() at once. If a platform did not, close() must not hang forever.
_CLOSE_PATIENCE_SECONDS = 5.0


class SocketTransport:
    """A connected stream socket, which it owns from now on. Thread-safe as ``Transport`` says, and ``send`` wholly.

    The socket is always non-blocking, and a thread that has to wait polls it. The other ways are not good enough: XNU
    looks at the flag of the socket and not at MSG_DONTWAIT, and Python's own timeout belongs to the socket, so that two
    threads would change each other's.

    Locks, in the order in which they are taken; a signal handler may call every method but ``close`` at any time:

    1. ``_sending`` guards the order of the bytes on the wire. A ``send`` holds it while it waits for room.
    2. ``_using`` guards the descriptor in calls that never wait: ``close`` frees no descriptor that another thread is
       about to use, and that the kernel may have given to another socket meanwhile.
    """

    frame_per_send = False

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._readable = readiness.readable(sock)
        self._writable: Ready | None = None
        self._timeout: float | None = None
        self._limit: float | None = None
        # The shorter of the two, as it is needed for each read.
        self._receive_wait: float | None = None
        self._receive_size = RECEIVE_IDLE
        self._expected = 0
        # The last read brought less than it asked for.
        self._is_drained = False
        self._sending = TryLock()
        self._using = ReentrantLock()
        # Guarded by _sending: the rest of a send_nowait of which the kernel took a part. It goes before anything else.
        self.owes: bytes | memoryview = b""
        """See Owing."""
        # Set by shutdown() and never reset. A thread that reads it late finds the socket broken all the same, or, where
        # shutdown() does not end a wait, reads it again after the next piece of its wait.
        self._is_shut_down = False
        self._is_closed = False

    def receive(self) -> bytes:
        """See Transport."""
        size = self._expected or self._receive_size
        while True:
            # While bytes keep coming, a read without a wait is one call of the kernel. A read that brought less than it
            # asked for has most likely left nothing: the next read would fail, and give up the interpreter's lock to
            # a thread that this one then waits for.
            if not self._is_drained:
                try:
                    data = self._sock.recv(size)
                    break
                except BlockingIOError:
                    pass
                except OSError:
                    # Linux gives what came before the shutdown and then the end. Others may give an error for it.
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
            # Of a signal handler. Nobody knows how much has left: the next bytes might continue a torn frame.
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
        # It fails where the socket is closed, or the peer was quicker: it is broken all the same.
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
            # A view: of a large message this is most, and it leaves in many parts.
            self.owes = memoryview(data)[sent:]
        return True

    def _pay(self) -> bool:
        """Give the kernel what is owed, as far as it takes it; whether it took all. BlockingIOError if nothing."""
        self.owes = self.owes[self._sock.send(self.owes, _NO_SIGNAL) :]
        return not self.owes

    def _wait(self, ready: Ready, seconds: float | None) -> bool:
        """Wait until the socket is ready, or shut down, or the time is over; whether it was not the time."""
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
