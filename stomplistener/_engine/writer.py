"""Frames on their way to the socket: their order, their bound, and which thread writes them at what time.

A frame is added to the queue under the lock of the connection, in the same step as the change of the session. So the
order on the wire is the order of these changes.

The thread that appends a frame writes it at once in three cases:

- something was received since the last write, so the frame may be an answer, or its sender may wait for one; or
- the last write ended longer ago than ``GATHER_FACTOR`` times its duration, so writes are rare; or
- the frame is large, or many bytes wait with it, so gathering more would save nothing.

Frames of a transaction linger, since they have no effect before COMMIT. Lingering frames go out with the next frame
that does not linger, or ``LINGER_SECONDS`` later.

In all other cases frames follow each other in a burst: they gather, and the writer thread sends them together. A thread
with its own deadline is never inside a write that blocks, unless the writer thread cannot be started.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from time import monotonic

from stomplistener._engine.context import Context
from stomplistener._util.deadline import Deadline
from stomplistener._util.locks import Changes, cannot_wait
from stomplistener.protocol import Decoder, Frame, Limits
from stomplistener.states import WRITE_MOVES, WRITER_MOVES, WriterState, WriteState
from stomplistener.transport import Owing, Transport
from stomplistener.transport.base import FEW

GATHER_FACTOR = 4
"""Frames gather if an immediate write would follow the last write within this factor times its duration.

Written one at a time, such frames would cost their sender more than a fifth of its time in system calls.
"""

LINGER_SECONDS = 0.005
"""How much later a lingering frame may be written: most transactions end sooner."""

GATHER_BYTES = 64 * 1024
"""The largest size in bytes of frames joined into one write: at this size the system call itself costs little."""

MAX_WAITING_BYTES = 256 * 1024
"""How many bytes may wait to be written. Beyond this bound a sender waits, and so slows down to the speed of the
wire."""

JOIN_SECONDS = 1.0
"""How long ``stop`` waits for the writer thread."""

_LETS_GATHER = (WriterState.LINGERING, WriterState.NAPPING)

_BEHIND_GATE = (WriterState.ASLEEP, WriterState.NAPPING)
"""The states in which the writer thread waits until another thread opens the gate; the writer thread then shuts the
gate."""


class Writer:
    """The outgoing half of a connection.

    Args:
        context: the context of the connection; its lock guards the state of this object.
        broken: called without the lock after a failed write, with the error and the epoch; it must break the
            connection of this epoch. The next connection may have begun meanwhile.
    """

    def __init__(self, context: Context, broken: Callable[[BaseException, int], None]) -> None:
        self._context = context
        self._lock = context.lock
        self._broken = broken
        self._progress = Changes(context.lock)
        self._transport: Transport | None = None
        self._owing: Owing | None = None
        self.state = WriteState.DETACHED
        # The thread that writes, and the frames that it took.
        self._owner = 0
        self._in_flight: list[bytes] = []
        self._accepted = 0
        self._frames: list[bytes] = []
        self._size = 0
        self.is_full = False
        """Whether the waiting bytes exceed their bound."""
        # How many frames were ever appended, and how many of these are finished: a flush compares both numbers.
        self._appended = self._done = 0
        self._corked: dict[int, int] = {}
        self._thread: threading.Thread | None = None
        self._gate = threading.Lock()
        self._thread_state = WriterState.ABSENT
        self._write_seconds = 0.0
        self.last_write = 0.0
        self.bytes_written = 0

    # Call with the lock held

    def append(self, data: bytes) -> None:
        """Line up the bytes of one frame. Call ``schedule`` after the lock is released."""
        size = len(data)
        self._frames.append(data)
        self._appended += 1
        self._size += size
        if self._size > MAX_WAITING_BYTES:
            self.is_full = True

    def attach(self, transport: Transport) -> None:
        """Write to this transport from now on."""
        self.state = WRITE_MOVES[self.state, WriteState.IDLE]
        self._transport = transport
        self._owing = transport if isinstance(transport, Owing) else None

    def detach(self) -> tuple[list[bytes], bool]:
        """Stop writing. Return the frames that were not fully written, and whether the first one was begun.

        A thread that is still inside a write has lost its frames: its later report is ignored.
        """
        # Bytes of a write under way may have left already, whatever the thread has reported.
        begun = bool(self._in_flight)
        unsent, position = [], 0
        for data in self._in_flight:
            position += len(data)
            # A frame that was cut in the middle counts as not written, although it may have arrived as a whole.
            if position > self._accepted:
                unsent.append(data)
        unsent += self._frames
        if self.state is not WriteState.DETACHED:
            self.state = WRITE_MOVES[self.state, WriteState.DETACHED]
        self._transport = self._owing = None
        self._owner = 0
        self._frames, self._in_flight = [], []
        self._size = self._accepted = 0
        self.is_full = False
        self._done = self._appended
        self._progress.notify_all()
        return unsent, begun and bool(unsent)

    @property
    def is_forgotten(self) -> bool:
        """Whether frames wait, and the writer thread is not about to write them."""
        return bool(self._frames) and self._thread_state in (WriterState.ABSENT, WriterState.ASLEEP)

    @property
    def waiting(self) -> int:
        """How many frames wait to be written, or are being written."""
        return self._appended - self._done

    @property
    def is_writing_here(self) -> bool:
        """Whether the calling thread is inside a write: then a signal handler called this and interrupted the write."""
        return self._owner == threading.get_ident()

    # Call without the lock

    def schedule(self, lingers: bool = False) -> None:
        """Have the appended frames written: here and now, or soon by the writer thread. Never blocks.

        Args:
            lingers: whether the frame may wait for the next one that does not linger. A full queue does not wait.
        """
        if self._thread_state is WriterState.AWAKE:
            return
        if self._corked and threading.get_ident() in self._corked and not self.is_full:
            return
        if lingers and self._size <= FEW:
            if self._thread_state not in _LETS_GATHER:
                self.wake(lingers)
            return
        # The module's text explains the three cases.
        is_lone = (
            self._size > FEW
            or self._context.last_received > self.last_write
            or monotonic() - self.last_write > GATHER_FACTOR * self._write_seconds
        )
        if not (is_lone and self._write_now()):
            self.wake()

    def wake(self, lingers: bool = False) -> None:
        """Let the writer thread write the appended frames, at once or after a moment."""
        try:
            with self._lock:
                former = self._thread_state
                if self._transport is None or not self._frames or former is WriterState.AWAKE:
                    # There is nothing to write, or no transport. Without a transport, the end of the epoch takes over
                    # the frames.
                    return
                if lingers and former in _LETS_GATHER:
                    return
                starting = self._thread is None
                if starting:
                    self._thread = threading.Thread(
                        target=self._run, name=f"{self._context.config.name}-writer", daemon=True
                    )
                    self._gate = threading.Lock()
                    self._gate.acquire()
                wanted = WriterState.LINGERING if lingers else WriterState.AWAKE
                self._thread_state = WRITER_MOVES[former, wanted]
                if former in _BEHIND_GATE:
                    self._gate.release()
            if starting:
                self._start()
        except BaseException:
            # A signal handler raised. No thread may wait for a writer thread that never began.
            self._forget_unborn()
            raise

    def _start(self) -> None:
        thread = self._thread
        if thread is None:
            return
        try:
            thread.start()
        except Exception:
            # The system refuses another thread, as Python 3.12 and later do at the end of the program. So this thread
            # writes, and may have to wait until the broker reads. It does not wait for another write: that one's thread
            # comes here, too, if frames are left behind it.
            self._forget_unborn()
            self.write_all(block=False)

    def _forget_unborn(self) -> None:
        with self._lock:
            if self._thread is not None and self._thread.ident is None:
                self._thread = None
                self._thread_state = WriterState.ABSENT

    def flush(self, deadline: Deadline) -> bool:
        """Wait until all frames appended before this call are written; False if the deadline came first.

        If the connection breaks, this call does not wait: the next connection sends these frames, or they are never
        sent.
        """
        with self._lock:
            mine = self._appended
            if self._done >= mine:
                return True
        self.check_may_wait()
        if not self._write_now():
            self.wake()
        return self._progress.wait_for(lambda: self._done >= mine or not self._is_usable, deadline)

    def check_may_wait(self) -> None:
        """Raise TimedOut in a signal handler that interrupted a write of this thread."""
        if self._owner == threading.get_ident():
            raise cannot_wait()

    def wait_for_room(self, deadline: Deadline) -> bool:
        """Wait until the queue is within its bound or the connection ended; False if the deadline came first."""
        self.check_may_wait()
        self.wake()
        # After a failed write, the queue is empty only when the receiver has detached the transport.
        return self._progress.wait_for(lambda: not self.is_full or self.state is WriteState.DETACHED, deadline)

    def wait_not_writing(self, deadline: Deadline) -> bool:
        """Wait until no other thread is inside a write; False if the deadline came first."""
        return self._progress.wait_for(
            lambda: self.state is not WriteState.WRITING or self._owner == threading.get_ident(), deadline
        )

    @property
    def _is_usable(self) -> bool:
        return self.state in (WriteState.IDLE, WriteState.WRITING)

    def write_all(self, *, block: bool = True) -> None:
        """Write the appended frames in this thread, however long that takes; for the receiver, before it reads.

        Args:
            block: whether to wait for the write of another thread, and then to write what is left.
        """
        while self._begin_write(block=block):
            self._write_taken()

    def beat(self) -> None:
        """Send a heartbeat unless bytes are being written. Never waits."""
        try:
            with self._lock:
                transport = self._transport
                if self.state is not WriteState.IDLE or self._frames or transport is None:
                    return
                self._take()
            sent = transport.send_nowait(b"\n")
            with self._lock:
                if self._owner == threading.get_ident():
                    self._end_write(1 if sent else 0, 0.0)
        except BaseException as error:
            self._fail(error)

    def cork(self) -> None:
        """Begin a batch: the frames that this thread appends gather until ``uncork``."""
        ident = threading.get_ident()
        try:
            with self._lock:
                self._corked[ident] = self._corked.get(ident, 0) + 1
        except BaseException:
            self.uncork()
            raise

    def hurry(self) -> None:
        """Have the frames of this thread's batch written, since the thread waits for an answer. Never blocks."""
        if self._corked and threading.get_ident() in self._corked:
            self.wake()

    def uncork(self) -> None:
        """End a batch, and let its frames be written."""
        ident = threading.get_ident()
        with self._lock:
            depth = self._corked.pop(ident, 0)
            if depth > 1:
                self._corked[ident] = depth - 1
        if depth == 1:
            self.schedule()

    def stop(self) -> None:
        """End the writer thread."""
        with self._lock:
            thread, self._thread = self._thread, None
            if self._thread_state in _BEHIND_GATE:
                self._gate.release()
            self._thread_state = WriterState.ABSENT
            self._progress.notify_all()
        if thread is not None and thread is not threading.current_thread() and thread.ident is not None:
            thread.join(JOIN_SECONDS)

    # Writing. The state WRITING and its owner take the place of a lock that is held over I/O. When a signal handler
    # raises, a state can be restored safely, but a lock cannot be released safely: see _util.locks.

    def _write_now(self) -> bool:
        """Write the waiting frames if that is possible without waiting. Return whether no frame is left to write."""
        try:
            with self._lock:
                transport = self._transport
                if self.state is not WriteState.IDLE or transport is None:
                    return False
                if transport.frame_per_send and len(self._frames) != 1:
                    return not self._frames
                if not self._frames:
                    return True
                self._take()
            frames = self._in_flight
            data = frames[0] if len(frames) == 1 else b"".join(frames)
            began = monotonic()
            sent = transport.send_nowait(data)
            with self._lock:
                if self._owner == threading.get_ident():
                    if not sent:
                        self._take_back()
                    self._end_write(len(data) if sent else 0, began)
                    if self._owing is not None and self._owing.owes:
                        # The last bytes have not left yet. An empty frame makes the writer thread wait until all bytes
                        # have left.
                        self.append(b"")
                    left = bool(self._frames)
            if sent and self._context.log.shows_frames():
                self._log(frames)
            return sent and not left
        except BaseException as error:
            self._fail(error)
            if not isinstance(error, Exception):
                raise
            return True

    def _begin_write(self, *, block: bool) -> Transport | None:
        """Take the waiting frames as soon as no other thread writes; None if there is nothing to do."""
        while True:
            with self._lock:
                if self.state is WriteState.IDLE and self._frames:
                    self._take()
                    return self._transport
                if self.state is not WriteState.WRITING or not block:
                    return None
            self._progress.wait_for(lambda: self.state is not WriteState.WRITING, Deadline(None))

    def _write_taken(self) -> None:
        """Write the frames that this thread took; wait while the broker does not read."""
        transport, frames = self._transport, self._in_flight
        if self._context.log.shows_frames():
            self._log(frames)
        try:
            if transport is None:
                return
            began = monotonic()
            for data in frames if transport.frame_per_send else _gathered(frames):
                self._write(transport, data)
            with self._lock:
                if self._owner == threading.get_ident():
                    self._end_write(0, began)
        except BaseException as error:
            self._fail(error)
            if not isinstance(error, Exception):
                raise

    def _write(self, transport: Transport, data: bytes) -> None:
        view = memoryview(data)
        if not data:
            transport.send(data)
        while len(view):
            accepted = transport.send(view)
            with self._lock:
                if self._owner == threading.get_ident():
                    self._accepted += accepted
                    self.bytes_written += accepted
            view = view[accepted:]

    def _take(self) -> None:
        """Make this thread the one that writes, and take the waiting frames."""
        owner, state = threading.get_ident(), WRITE_MOVES[self.state, WriteState.WRITING]
        # Nothing is called between these assignments, so no signal handler can raise there and leave a state without an
        # owner.
        self._owner, self.state = owner, state
        self._in_flight, self._frames = self._frames, []
        self._size = self._accepted = 0
        if self.is_full:
            self.is_full = False
            self._progress.notify_all()

    def _take_back(self) -> None:
        self._frames[:0] = self._in_flight
        self._size = sum(map(len, self._frames))
        self._in_flight = []

    def _end_write(self, size: int, began: float) -> None:
        count, now, state = len(self._in_flight), monotonic(), WRITE_MOVES[self.state, WriteState.IDLE]
        # Nothing is called between these assignments, as in _take.
        self._owner, self.state = 0, state
        self._done += count
        self._in_flight = []
        self._accepted = 0
        self.bytes_written += size
        if size or count:
            self.last_write = now
        if count:
            self._write_seconds = now - began
        if self._progress.gates:
            self._progress.notify_all()

    def _fail(self, error: BaseException) -> None:
        """Break the connection: a write failed, and how much of it arrived is unknown."""
        with self._lock:
            if self._owner != threading.get_ident():
                return
            self._owner = 0
            self.state = WRITE_MOVES[self.state, WriteState.FAILED]
            self._progress.notify_all()
            epoch = self._context.session.epoch
        self._broken(error, epoch)

    def _log(self, frames: list[bytes]) -> None:
        for frame in unsent_frames(frames, self._context.session.version):
            self._context.log.frame(">", frame)

    def _run(self) -> None:
        me = threading.current_thread()
        with self._lock:
            gate = self._gate
        while self._thread is me:
            self._linger(me, gate)
            try:
                self.write_all()
            except BaseException as error:  # a MemoryError, for example, costs only the connection
                self._broken(error, self._context.session.epoch)
            with self._lock:
                # This decision and the check of the queue are one step: a thread that appends later wakes the writer
                # again.
                if self._thread is not me:
                    return
                if self._frames and self._is_usable:
                    continue
                self._thread_state = WRITER_MOVES[self._thread_state, WriterState.ASLEEP]
            gate.acquire()

    def _linger(self, me: threading.Thread, gate: threading.Lock) -> None:
        """Wait a moment, or until a frame is urgent."""
        with self._lock:
            if self._thread is not me or self._thread_state is not WriterState.LINGERING:
                return
            self._thread_state = WRITER_MOVES[self._thread_state, WriterState.NAPPING]
        if gate.acquire(timeout=LINGER_SECONDS):
            return
        with self._lock:
            if self._thread is me and self._thread_state is WriterState.NAPPING:
                self._thread_state = WRITER_MOVES[self._thread_state, WriterState.AWAKE]
                return
        # Another thread opened the gate at the last moment. Shut the gate, so that it can be opened again.
        gate.acquire()


def _gathered(frames: list[bytes]) -> Iterator[bytes]:
    """Join frames into fewer pieces. A large frame stays separate, since joining would copy it."""
    few, size = list[bytes](), 0
    for frame in frames:
        if size + len(frame) > GATHER_BYTES and few:
            yield b"".join(few)
            few, size = [], 0
        few.append(frame)
        size += len(frame)
    yield b"".join(few)


_NO_LIMITS = Limits(**dict.fromkeys(Limits._fields, sys.maxsize))


def unsent_frames(data: list[bytes], version: str | None) -> list[Frame]:
    """Decode our own bytes."""
    return Decoder(version, _NO_LIMITS).feed(b"".join(data)) if data else []
