"""A transport on top of another one, whose bytes an engine without I/O changes on their way (TLS, WebSocket).

Locks, in the order in which they are taken:

1. ``_writing``, held by whoever sends on the inner transport, also while that blocks. The order of bytes on the wire is
   the order in which the engine made them, since only its holder takes them out.
2. ``_engine``, held while the engine is used, never while anything blocks: the reader so is never behind a writer.

What the engine makes of its own accord while bytes are received (the answer to a ping, to a key update) is left in
``_output``. The reader sends it when ``_writing`` is free and the inner transport takes it without waiting; else it
goes with whatever is sent next. Whoever releases ``_writing`` looks whether something came meanwhile.
"""

from __future__ import annotations

import math
import threading
import time
from abc import ABC, abstractmethod
from contextlib import suppress

from stomplistener.transport.base import FEW, Guided, Transport
from stomplistener.transport.interrupt import remaining


class Layer(ABC):
    """What TLS and WebSocket share: everything but the engine. Threads as ``Transport`` says, and ``send`` wholly.

    A subclass implements ``_encode``, ``_feed``, ``_read``, ``_drain`` and ``_farewell``; all are called with
    ``_engine`` held. It sets ``_ended`` where no more data will come, and ``_failure`` where that is an error.
    """

    frame_per_send = False

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self._writing = threading.Lock()
        self._engine = threading.Condition(threading.Lock())
        # Guarded by _engine: what the engine made and nobody has taken to the inner transport yet.
        self._output: list[bytes] = []
        # Guarded by _writing: taken, and not yet sent.
        self._owed = memoryview(b"")
        # Guarded by _engine: how often bytes were received, for a writer that the engine keeps waiting for them.
        self._fed = 0
        # The reader's own: data that came together with the last bytes of the handshake.
        self._early = b""
        self._ended = False
        self._failure: OSError | None = None
        self._timeout: float | None = None

    @abstractmethod
    def _encode(self, data: memoryview) -> int:
        """Take some of the data, and return how much: 0 if bytes must be received first."""

    @abstractmethod
    def _feed(self, raw: bytes) -> None:
        """Give the engine bytes from the inner transport."""

    @abstractmethod
    def _read(self) -> bytes:
        """All the data that the engine can give without more bytes."""

    @abstractmethod
    def _drain(self) -> bytes:
        """The bytes that the engine wants sent."""

    @abstractmethod
    def _farewell(self) -> None:
        """Have the engine make its goodbye, if it still can."""

    def _meaning(self, error: OSError) -> str | None:  # noqa: ARG002 (for those who know more)
        """A better text for an error of the inner transport, where the layer knows one."""
        return None

    def receive(self) -> bytes:
        """See Transport."""
        if self._early:
            data, self._early = self._early, b""
            return data
        deadline = math.inf if self._timeout is None else time.monotonic() + self._timeout
        while not self._ended:
            data = self._receive_some()
            if self._has_output():
                self._flush_if_free()
            if data:
                return data
            # Bytes that hold no data do not prolong the wait for ever.
            remaining(deadline)
        if self._failure is not None:
            raise self._failure
        return b""

    def send(self, data: bytes | memoryview) -> int:
        """See Transport."""
        with self._writing:
            count = self._encode_some(memoryview(data))
            try:
                self._flush()
            except ConnectionError as error:
                self._explain(error)
                raise
        if self._has_output():
            self._flush_if_free()
        return count

    def send_nowait(self, data: bytes) -> bool:
        """See Transport. True also if the bytes found no room once they were encoded: they go before what follows."""
        if not self._writing.acquire(blocking=False):
            return False
        try:
            if not self._flush_now():
                return False
            with self._engine:
                count = self._encode(memoryview(data))
                self._collect()
            self._flush_now()
            return count > 0
        finally:
            self._writing.release()

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
        return isinstance(self._inner, Guided) and self._inner.limit_wait(seconds)

    def shutdown(self) -> None:
        """See Transport."""
        self._end()
        self._inner.shutdown()

    def close(self) -> None:
        """See Transport. Says goodbye first, if that is possible without waiting."""
        if self._writing.acquire(blocking=False):
            try:
                with self._engine:
                    self._farewell()
                    self._collect()
                with suppress(OSError):
                    self._flush_now()
            finally:
                self._writing.release()
        self._inner.close()
        self._end()

    def abandon(self) -> None:
        """See Transport."""
        self._inner.abandon()

    def _receive_by(self, deadline: float) -> bytes:
        """Bytes of a handshake. Raises TimeoutError and OSError."""
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
        """Keep the data that came with the end of the handshake, and answer what came with it."""
        self._early = self._read()
        if self._failure is not None and not self._early:
            raise self._failure
        self._send_by(deadline)

    def _receive_some(self) -> bytes:
        try:
            raw = self._inner.receive()
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
            self._collect()
            self._fed += 1
            self._engine.notify_all()
        return data

    def _explain(self, error: OSError) -> None:
        # After our own shutdown there is nothing to explain.
        meaning = None if self._ended else self._meaning(error)
        if meaning is not None:
            raise ConnectionAbortedError(meaning) from error

    def _end(self) -> None:
        with self._engine:
            self._ended = True
            self._engine.notify_all()

    def _encode_some(self, data: memoryview) -> int:
        while True:
            with self._engine:
                seen = self._fed
                count = self._encode(data)
                self._collect()
            if count or not data:
                return count
            # The engine is in the middle of something with the peer. Its output must go, or the peer waits for ever.
            self._flush()
            with self._engine:
                if not self._engine.wait_for(lambda: self._ended or self._fed != seen, self._timeout):  # noqa: B023
                    raise TimeoutError("the peer did not finish its handshake in time")
                if self._ended:
                    raise ConnectionAbortedError("the connection ended during a handshake")

    def _collect(self) -> None:
        output = self._drain()
        if output:
            self._output.append(output)

    def _has_output(self) -> bool:
        return bool(self._output or self._owed)

    def _take(self) -> bool:
        if not self._owed:
            with self._engine:
                self._owed = memoryview(b"".join(self._output))
                self._output.clear()
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
        # Again after the release: what another thread left while we held the lock is ours to send.
        while self._has_output() and self._writing.acquire(blocking=False):
            try:
                if not self._flush_now():
                    return
            except OSError:
                # Broken. The next receive says so, after what the peer sent before.
                return
            finally:
                self._writing.release()
