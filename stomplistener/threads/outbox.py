"""Frames on their way to the socket, in the order in which the session made them.

When nothing was written for a moment, the thread that puts a frame writes it at once, if the system takes it without
waiting. In a burst frames gather, bounded in bytes, and a writer thread sends them together: one system call for many
frames. What may block is the writer's: a broker that does not read holds no other thread beyond its deadline.

Locks: the one thread that writes has the ``_writing`` turn, over its I/O. The session's lock guards the queue, so that
queue and session change together; it is taken inside ``_writing``, never the other way round, and not over I/O.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from stomplistener.protocol.templates import Templates
from stomplistener.transport import Transport
from stomplistener.transport.base import FEW
from stomplistener.turn import Turn

_log = logging.getLogger("stomplistener")

QUIET = 0.00003
"""Seconds without a write after which the next frame is written at once, by the thread that puts it.

In a burst the next frame comes within 5 µs of the last write; who sends again when an answer has come is later than 50.
"""

BURST = 0.001
"""Seconds without a write within which the end of one more batch leaves the writing to the writer thread."""

MAX_GATHERED = 256 * 1024
"""Bytes that may gather; past it the thread that sends writes them itself, which holds it back to the wire's speed."""


class Outbox:
    """The outgoing half of a connection.

    Args:
        lock: the session's lock.
        broken: called without a lock when writing failed; it has to break the connection.
        name: for the writer thread.
        see: called with the frames that are about to be written, where the log is to show them.
    """

    def __init__(
        self, lock: threading.Lock, broken: Callable[[Exception], None], name: str, see: Callable[[list[bytes]], None]
    ) -> None:
        self._lock = lock
        self._broken = broken
        self._name = name
        self._see = see
        self._writing = Turn()
        self._transport: Transport | None = None
        self.templates: Templates | None = None
        """Those of the shortcut that may be taken; None while none may."""
        self._queue: list[bytes] = []
        self._gathered = 0
        self.is_full = False
        """Whether more has gathered than may."""
        self._in_flight: list[bytes] = []
        self._accepted = 0
        # Frames that somebody began to write, and those of them that are over: who waits for its own compares the two.
        self._begun_count = self._done_count = 0
        # On the lock; made by the first who waits, since it has a kilobyte, and who only listens never does.
        self._progress: threading.Condition | None = None
        self._waiting = 0
        self._failed = False
        self._wake: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.gathers = False
        """Whether the writer thread was told to write, so that frames may wait for it."""
        self._writer: threading.Thread | None = None
        self.batching: dict[int, int] = {}
        """The threads that are in a batch, and in how many."""
        self.written_alone = 0
        """Frames written by ``write_alone``."""
        self.last_write = 0.0
        self.bytes_written = 0

    # Under the session's lock

    @property
    def is_empty(self) -> bool:
        return not self._queue and not self._in_flight

    def put(self, data: bytes) -> bool:
        """Line up the bytes of one frame. Whether somebody will write it; else call ``push`` without the lock."""
        self._queue.append(data)
        self._gathered = gathered = self._gathered + len(data)
        if gathered > MAX_GATHERED:
            self.is_full = True
        return self.gathers or (bool(self.batching) and threading.get_ident() in self.batching)

    def open(self, transport: Transport) -> None:
        """Write to this transport from now on."""
        self._transport = transport
        self._failed = False

    @property
    def is_stuck(self) -> bool:
        """Whether more has gathered than may, and the connection that could take it is broken."""
        return self._failed and self.is_full

    # With the writing turn

    @contextmanager
    def ending(self) -> Iterator[list[bytes]]:
        """Stop writing; both locks are held while the caller has the frames that were not wholly written.

        The transport must be shut down already, so that a blocked write returns.
        """
        with self._writing, self._lock:
            unsent, position = [], 0
            for data in self._in_flight:
                position += len(data)
                # One that was cut in the middle may have arrived whole, or not: it counts as not written.
                if position > self._accepted:
                    unsent.append(data)
            unsent += self._queue
            self._begun_count += len(self._queue)
            self._done_count = self._begun_count
            self._queue, self._in_flight = [], []
            self._gathered = self._accepted = 0
            self.is_full = False
            self._transport = self.templates = None
            self._tell_progress()
            yield unsent

    # Without a lock

    def push(self, timeout: float | None = None) -> None:
        """See to it that what was put gets written: now and here, or soon by the writer thread.

        Blocks, up to ``timeout`` seconds, only where more has gathered than may.
        """
        if self.is_full:
            self.wait_for_room(timeout)
        elif self.batching and threading.get_ident() in self.batching:
            return
        elif monotonic() - self.last_write <= QUIET or not self._write_at_once():
            self.wake()

    def write_alone(self, data: bytes, templates: Templates) -> bool:
        """Write one frame here and now, past the queue and without the session's lock; whether it was written.

        For a caller that saw nothing gather, in a batch or for the writer thread. Not if that takes waiting, if
        something was written just now or waits to be, or if what the frame was made with is no more in use. While this
        thread writes neither the connection nor a goodbye can come between.
        """
        if len(data) > FEW or monotonic() - self.last_write <= QUIET:
            return False
        free = self._writing.free
        try:
            free.pop()
        except IndexError:
            return False
        try:
            # What this thread has put before is seen here without the lock, and before others it need not come.
            transport = self._transport
            if self._queue or self._failed or self.templates is not templates or transport is None:
                return False
            if not transport.send_nowait(data):
                return False
            # All else while the bytes travel already: who sends one at a time waits for the answer.
            self.last_write = monotonic()
            self.bytes_written += len(data)
            self.written_alone += 1
            if _log.isEnabledFor(logging.DEBUG):
                self._see([data])
            return True
        except OSError as error:
            self._failed = True
            self._broken(error)
            return False
        finally:
            free.append(None)

    def nudge(self) -> None:
        """As ``push``, for a caller whose ``put`` said that nobody will: it never blocks for room."""
        if self.is_full or monotonic() - self.last_write <= QUIET or not self._write_at_once():
            self.wake()

    def wake(self) -> None:
        """Let the writer thread write what was put."""
        if not self.gathers:
            self.gathers = True
            self._wake_writer()

    def flush(self, timeout: float | None) -> bool:
        """See all that was put before written; False if that took longer than ``timeout`` seconds.

        The writer thread does what may block: no thread with a deadline of its own is ever inside a blocking write.
        """
        if self._write_at_once():
            return True
        with self._lock:
            mine = self._begun_count + len(self._queue)
        return self._wait(lambda: self._done_count >= mine, timeout)

    def wait_for_room(self, timeout: float | None) -> bool:
        """Wait until no more has gathered than may; False if that took longer than ``timeout`` seconds."""
        return self._wait(lambda: not self.is_full, timeout)

    def _wait(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        self.wake()
        with self._lock:
            self._progress = progress = self._progress or threading.Condition(self._lock)
            self._waiting += 1
            try:
                # Where the connection broke, what was put goes out later or never: there is nothing to wait for here.
                return progress.wait_for(lambda: condition() or self._failed or self._transport is None, timeout)
            finally:
                self._waiting -= 1

    def write(self) -> None:
        """Write all that was put, in this thread, however long that takes: for the receiver, before it reads."""
        with self._writing:
            self._drain()

    def beat(self) -> None:
        """Send one heart-beat unless bytes are on their way anyway. Never waits."""
        if not self._writing.attempt():
            return
        try:
            transport = self._transport
            if transport is not None and not self._failed and transport.send_nowait(b"\n"):
                self.last_write = monotonic()
                self.bytes_written += 1
        except OSError as error:
            self._failed = True
            self._broken(error)
        finally:
            self._writing.give_back()

    def hold(self) -> None:
        """Begin a batch: what this thread puts gathers until ``release``."""
        ident = threading.get_ident()
        with self._lock:
            self.batching[ident] = self.batching.get(ident, 0) + 1

    def release(self) -> None:
        """End a batch, and write it."""
        ident = threading.get_ident()
        with self._lock:
            self.batching[ident] -= 1
            if not self.batching[ident]:
                del self.batching[ident]
        if not self.is_full and monotonic() - self.last_write <= BURST:
            self.wake()
        else:
            self.push()

    def stop(self) -> None:
        """End the writer thread."""
        with self._lock:
            writer, self._writer = self._writer, None
            wake, self._wake = self._wake, queue.SimpleQueue()
            self.gathers = False
        if writer is not None:
            wake.put(False)
            if writer is not threading.current_thread():
                writer.join()

    # Private

    def _write_at_once(self) -> bool:
        """Write what gathered if that is possible without waiting; whether nothing is left to write."""
        if not self._writing.attempt():
            return False
        try:
            if self._gathered > FEW or (transport := self._take()) is None:
                return not self._queue
            data = b"".join(self._in_flight)
            if len(self._in_flight) > 1 and transport.frame_per_send:
                self._take_back()
                return False
            if not transport.send_nowait(data):
                self._take_back()
                return False
            self._written(len(data))
            return True
        except OSError as error:
            self._failed = True
            self._broken(error)
            return True
        finally:
            self._writing.give_back()

    def _take(self) -> Transport | None:
        """Begin to write what is lined up, with the writing turn; None where there is nothing, or no way."""
        with self._lock:
            if self._transport is None or self._failed or not self._queue:
                return None
            self._in_flight, self._queue = self._queue, []
            self._begun_count += len(self._in_flight)
            self._gathered = self._accepted = 0
            self.is_full = False
            transport = self._transport
            self._tell_progress()
        # Asked once a write, not once a frame.
        if _log.isEnabledFor(logging.DEBUG):
            self._see(self._in_flight)
        return transport

    def _take_back(self) -> None:
        with self._lock:
            self._queue[:0] = self._in_flight
            self._begun_count -= len(self._in_flight)
            self._gathered += sum(map(len, self._in_flight))
            self._in_flight = []

    def _written(self, size: int) -> None:
        self.bytes_written += size
        self.last_write = monotonic()
        self._done_count += len(self._in_flight)
        self._in_flight = []
        if self._waiting:
            with self._lock:
                self._tell_progress()

    def _tell_progress(self) -> None:
        if self._progress is not None and self._waiting:
            self._progress.notify_all()

    def _drain(self) -> None:
        while (transport := self._take()) is not None:
            try:
                if transport.frame_per_send:
                    for frame in self._in_flight:
                        self._write(transport, frame)
                else:
                    self._write(transport, b"".join(self._in_flight))
            except OSError as error:
                self._failed = True
                self._broken(error)
                return
            self._written(0)

    def _write(self, transport: Transport, data: bytes | memoryview) -> None:
        self.bytes_written += len(data)
        size = len(data)
        accepted = transport.send(data)
        while accepted < size:
            self._accepted += accepted
            data = memoryview(data)[accepted:]
            size -= accepted
            accepted = transport.send(data)
        self._accepted += accepted
        self.last_write = monotonic()

    def _wake_writer(self) -> None:
        with self._lock:
            if self._transport is None:
                # Cut off: what was put is taken over by the end of the epoch, and there is nothing to write to.
                self.gathers = False
                return
            if self._writer is None:
                self._writer = threading.Thread(
                    target=self._run, args=(self._wake,), name=f"{self._name}-writer", daemon=True
                )
                self._writer.start()
            self._wake.put(True)

    def _run(self, wake: queue.SimpleQueue[bool]) -> None:
        while wake.get():
            # Cleared before the queue is looked at: who puts from here on wakes us again.
            self.gathers = False
            self.write()
