"""The frames that wait to be written to one client, and the thread that writes them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from stomplistener.protocol import HeartBeat
from stomplistener.testing.faults import Faults
from stomplistener.testing.log import Log
from stomplistener.testing.messages import Delivery
from stomplistener.testing.watch import Watch
from stomplistener.testing.wire import Wire

CREDIT = 256 * 1024
"""How many bytes may be on their way to a client. Beyond that, messages stay in their queue."""


class Written(Protocol):
    """The client that gets the frames."""

    number: int
    name: str
    version: str | None

    def dispatch(self) -> None: ...
    def lost(self) -> None: ...


class Outgoing:
    """Writes all queued frames together, in a thread that holds no lock meanwhile.

    Call every method except ``run`` under the broker's lock.
    """

    def __init__(self, client: Written, watch: Watch, faults: Faults, log: Log, wire: Wire) -> None:
        self._client = client
        self._watch = watch
        self._faults = faults
        self._log = log
        self._wire = wire
        # A separate condition on the broker's lock: a change for one client need not wake the writers of others.
        self._wanted = threading.Condition(watch.lock)
        self._frames: list[bytes] = []
        self._unwritten: list[Delivery] = []
        self._bytes = 0
        self._starved = False
        self._last_sent = time.monotonic()
        self._at_end: Callable[[], None] | None = None
        self._discarded = False
        self.heartbeat = HeartBeat(0.0, 0.0)
        self.thread = threading.Thread(target=self.run, name=f"{client.name}-write", daemon=True)

    def has_credit(self) -> bool:
        """Whether the client can get more messages now."""
        if self._bytes < CREDIT:
            return True
        self._starved = True
        return False

    def put(self, frame: bytes, delivery: Delivery | None = None) -> None:
        """Queue a frame; ``delivery`` is a delivery that counts as acknowledged as soon as it is written."""
        if self._at_end is not None:
            return
        self._frames.append(frame)
        self._bytes += len(frame)
        if delivery is not None:
            self._unwritten.append(delivery)
        if len(self._frames) == 1:
            self._wanted.notify()

    def wake(self) -> None:
        """Let the thread check what to do."""
        self._wanted.notify()

    def finish(self, then: Callable[[], None]) -> None:
        """Write the queued frames and no later ones, then call ``then``."""
        if self._at_end is None:
            self._at_end = then
            self._wanted.notify()

    def discard(self) -> list[Delivery]:
        """Stop writing. Return the deliveries that count as not delivered."""
        self._discarded = True
        self._at_end = self._at_end or (lambda: None)
        unwritten, self._unwritten = self._unwritten, []
        self._frames.clear()
        self._wanted.notify()
        return unwritten

    def run(self) -> None:
        while batch := self._take():
            try:
                self._wire.send(batch)
            except OSError:
                with self._watch.lock:
                    self._client.lost()
                return
            self._sent(len(batch))
        if not self._discarded and self._at_end is not None:
            self._at_end()

    def _take(self) -> bytes:
        """Wait for bytes to write: all queued frames, or a heartbeat; ``b""`` at the end."""
        with self._watch.lock:
            while not self._discarded:
                due = self.heartbeat.send_due(self._last_sent) - time.monotonic()
                if self._faults.silent:
                    self._wanted.wait()
                elif self._frames:
                    return self._take_frames()
                elif self._at_end is not None:
                    return b""
                elif due > 0:
                    self._wanted.wait(None if due == float("inf") else due)
                else:
                    self._log.sent(self._client.number, self._client.version, [b"\n"])
                    return b"\n"
            return b""

    def _take_frames(self) -> bytes:
        frames, self._frames = self._frames, []
        self._unwritten.clear()
        self._log.sent(self._client.number, self._client.version, frames)
        return frames[0] if len(frames) == 1 else b"".join(frames)

    def _sent(self, size: int) -> None:
        with self._watch.lock:
            self._last_sent = time.monotonic()
            if size > 1:
                self._bytes -= size
            if self._starved and self._bytes < CREDIT // 2:
                self._starved = False
                self._client.dispatch()
            self._watch.changed()
