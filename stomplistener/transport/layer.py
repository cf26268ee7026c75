"""A transport over another one. An engine without I/O (TLS, WebSocket) converts the bytes between them.

Locks, in the order in which they are taken:

1. ``_writing`` guards the order of bytes on the wire. Only the holder of this lock takes bytes from the engine to the
   inner transport, even while that blocks.
2. ``_engine`` guards the engine. No thread holds this lock during a wait, so the reader never waits for a writer.

While it receives bytes, the engine may make answers (to a ping, to a key update). The reader leaves these answers in
``_output``. The reader sends answers if ``_writing`` is free and the inner transport takes them without waiting.
Otherwise the answers go out with the next send. A thread that releases ``_writing`` checks for new answers.

A signal handler may interrupt a thread anywhere in this code, and may call ``shutdown`` and ``send_nowait``.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from contextlib import suppress

from stomplistener._util.deadline import Deadline
from stomplistener._util.locks import TryLock
from stomplistener.transport.base import FEW, Guided, Owing, Transport
from stomplistener.transport.interrupt import remaining

MAX_ANSWERS = 1 << 20
"""How many bytes of answers to pings a peer may leave unread before it counts as hostile."""


class Layer(ABC):
    """The common part of TLS and WebSocket: everything except the engine.

    Threads as in ``Transport``; in addition, any thread may call ``send``.

    A subclass implements ``_encode``, ``_feed``, ``_read``, ``_drain`` and ``_farewell``, which are called with
    ``_engine`` held. A subclass sets ``_ended`` when no more data will arrive, and ``_failure`` if that is an error.
    """

    frame_per_send = False

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self._writing = TryLock()
        self._engine = TryLock()
        # Only for waiting, with _engine held. Entering the condition instead of the lock would not be safe. The methods
        # of a condition are written in Python, so an exception of a signal handler could leave the lock taken.
        self._engine_fed = threading.Condition(self._engine)
        # Guarded by _engine: bytes of the engine that no thread has taken to the inner transport yet.
        self._output: list[bytes] = []
        # Guarded by _engine: how many of these bytes are answers, which the reader left there.
        self._answers = 0
        # Guarded by _writing: bytes that were taken and not sent yet.
        self._owed = memoryview(b"")
        # Guarded by _engine: how often bytes were received. A writer reads this count if the engine makes the writer
        # wait for bytes.
        self._fed = 0
        # Used only by the reader: data that arrived together with the last bytes of the handshake.
        self._early = b""
        # Guarded by _engine: no more data will arrive. Only the end of the peer's stream sets this mark, so that
        # earlier data is delivered first.
        self._ended = False
        self._failure: OSError | None = None
        # Set by shutdown(): no thread may send or wait any more.
        self._is_shut_down = False
        self._timeout: float | None = None
        self._limit: float | None = None

    @abstractmethod
    def _encode(self, data: memoryview) -> int:
        """Take some of the data. Return how much: 0 if bytes must be received first."""

    @abstractmethod
    def _feed(self, raw: bytes) -> None:
        """Give bytes from the inner transport to the engine."""

    @abstractmethod
    def _read(self) -> bytes:
        """Return all data that the engine has without more bytes."""

    @abstractmethod
    def _drain(self) -> bytes:
        """Return the bytes that the engine wants to send."""

    @abstractmethod
    def _farewell(self) -> None:
        """Let the engine make its closing bytes, if it still can."""

    def _meaning(self, error: OSError) -> str | None:  # noqa: ARG002 (for those who know more)
        """Return a better text for an error of the inner transport, if the layer has one."""
        return None

    @property
    def owes(self) -> bool:
        """See Owing."""
        return self._has_output() or (isinstance(self._inner, Owing) and bool(self._inner.owes))

    def receive(self) -> bytes:
        """See Transport."""
        if self._early:
            data, self._early = self._early, b""
            return data
        deadline = None
        while not self._ended:
            data = self._receive_some(deadline)
            if self._has_output():
                self._flush_if_free()
            if data:
                return data
            # Bytes without data do not extend the wait.
            if deadline is None and self._timeout is not None:
                deadline = Deadline(self._timeout)
        if self._failure is not None:
            raise self._failure
        return b""

    def send(self, data: bytes | memoryview) -> int:
        """See Transport."""
        if self._writing.held or self._engine.held:
            raise RuntimeError("send() was called by a signal handler that interrupted this transport in its thread")
        try:
            with self._writing:
                count = self._encode_some(memoryview(data))
                self._flush()
                if not data:
                    # Empty data means: wait until all owed bytes have left, including those in the inner transport.
                    self._inner.send(b"")
            if self._has_output():
                self._flush_if_free()
        except ConnectionError as error:
            self._explain(error)
            raise
        except OSError:
            raise
        except BaseException:
            # A signal handler raised. How many bytes have left is unknown: the next bytes might continue a torn frame.
            self.shutdown()
            raise
        return count

    def send_nowait(self, data: bytes) -> bool:
        """See Transport. True also if encoded bytes found no room: these bytes leave before any later ones."""
        # More bytes might be taken in part, which the result cannot express. If this thread uses the engine, the caller
        # is a signal handler.
        if len(data) > FEW or self._engine.held:
            return False
        try:
            taken = self._writing.attempt(self._send_now, data)
            if self._has_output():
                self._flush_if_free()
            return taken
        except OSError:
            raise
        except BaseException:
            self.shutdown()  # as in send
            raise

    def unread(self) -> bool:
        """See Transport."""
        return bool(self._early) or self._inner.unread()

    def settimeout(self, seconds: float | None) -> None:
        """See Transport."""
        self._timeout = seconds
        self._inner.settimeout(seconds)

    def expect(self, size: int) -> None:
        """See Guided."""
        if isinstance(self._inner, Guided):
            self._inner.expect(size)

    def limit_wait(self, seconds: float | None) -> bool:
        """See Guided."""
        self._limit = seconds
        return isinstance(self._inner, Guided) and self._inner.limit_wait(seconds)

    def shutdown(self) -> None:
        """See Transport."""
        self._is_shut_down = True
        # Data that arrived before is still received: the inner transport ends the stream after it.
        with self._engine:
            self._engine_fed.notify_all()
        self._inner.shutdown()

    def close(self) -> None:
        """See Transport. Before closing, send the closing bytes if that is possible without waiting."""
        if not self._engine.held:
            self._writing.attempt(self._say_goodbye)
        self._inner.close()
        self._end()

    def abandon(self) -> None:
        """See Transport."""
        self._inner.abandon()

    def _receive_by(self, deadline: float) -> bytes:
        """Receive bytes of a handshake. Raises TimeoutError and OSError."""
        self._inner.settimeout(remaining(deadline))
        return self._inner.receive()

    def _send_by(self, deadline: float) -> None:
        """Send the output of a handshake. Raises TimeoutError and OSError."""
        with self._engine:
            self._collect()
        self._inner.settimeout(remaining(deadline))
        with self._writing:
            self._flush()

    def _take_early(self, deadline: float) -> None:
        """Keep the data that arrived with the end of the handshake, and send the answers to it."""
        self._early = self._read()
        if self._failure is not None and not self._early:
            raise self._failure
        self._send_by(deadline)

    def _send_now(self, data: bytes) -> bool:
        if not self._flush_now():
            return False
        with self._engine:
            count = self._encode(memoryview(data))
            self._collect()
        self._flush_now()
        return count > 0

    def _say_goodbye(self) -> bool:
        with self._engine:
            self._farewell()
            self._collect()
        with suppress(OSError):
            self._flush_now()
        return True

    def _receive_raw(self, deadline: Deadline | None) -> bytes:
        """Receive from the inner transport. The deadline applies if the timeout of the inner one would end later."""
        if deadline is None or not isinstance(self._inner, Guided):
            return self._inner.receive()
        left = deadline.remaining()
        is_last = self._limit is None or (left is not None and left < self._limit)
        self._inner.limit_wait(left if is_last else self._limit)
        try:
            return self._inner.receive()
        except BlockingIOError as error:
            if is_last:
                raise TimeoutError("the peer sent no data in time") from error
            raise
        finally:
            self._inner.limit_wait(self._limit)

    def _receive_some(self, deadline: Deadline | None) -> bytes:
        try:
            raw = self._receive_raw(deadline)
        except (TimeoutError, BlockingIOError):
            raise
        except OSError as error:
            try:
                self._explain(error)
            finally:
                self._end()
            raise
        with self._engine:
            self._feed(raw)
            data = self._read()
            if not raw:
                self._ended = True
            self._answers += self._collect()
            if self._answers > MAX_ANSWERS:
                self._ended = True
                self._failure = ConnectionAbortedError("the peer sends pings and does not read the answers")
            self._fed += 1
            self._engine_fed.notify_all()
        return data

    def _explain(self, error: OSError) -> None:
        # After our own shutdown, there is nothing to explain.
        meaning = None if self._ended or self._is_shut_down else self._meaning(error)
        if meaning is not None:
            raise ConnectionAbortedError(meaning) from error

    def _end(self) -> None:
        with self._engine:
            self._ended = True
            self._engine_fed.notify_all()

    def _encode_some(self, data: memoryview) -> int:
        while True:
            with self._engine:
                seen = self._fed
                count = self._encode(data)
                self._collect()
            if count or not data:
                return count
            # The engine is in the middle of an exchange with the peer. Send the engine's output, or the peer waits
            # forever.
            self._flush()
            with self._engine:
                if not self._engine_fed.wait_for(lambda: self._is_over() or self._fed != seen, self._timeout):  # noqa: B023
                    raise TimeoutError("the peer did not finish its handshake in time")
                if self._is_over():
                    raise ConnectionAbortedError("the connection ended during a handshake")

    def _is_over(self) -> bool:
        return self._ended or self._is_shut_down

    def _collect(self) -> int:
        """Collect the bytes that the engine wants to send. Return their number."""
        output = self._drain()
        if output:
            self._output.append(output)
        return len(output)

    def _has_output(self) -> bool:
        return bool(self._output or self._owed)

    def _take(self) -> bool:
        # Read without the lock: a thread that adds output at this moment also tries to send this output.
        if not self._owed and self._output:
            with self._engine:
                self._owed = memoryview(b"".join(self._output))
                self._output.clear()
                self._answers = 0
        return bool(self._owed)

    def _flush(self) -> None:
        while self._take():
            self._owed = self._owed[self._inner.send(self._owed) :]

    def _flush_now(self) -> bool:
        while self._take():
            if not self._inner.send_nowait(bytes(self._owed[:FEW])):
                return False
            self._owed = self._owed[FEW:]
        return True

    def _flush_if_free(self) -> None:
        # Ignore a broken connection here: the next receive reports it, after the data that the peer sent before.
        with suppress(OSError):
            # Check again after the release: this thread must send the output that another thread left meanwhile.
            while self._has_output() and self._writing.attempt(self._flush_now):
                pass
