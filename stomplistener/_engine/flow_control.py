"""Count the received messages that are not handled yet, and decide when the receiver stops reading.

When a bound in messages or bytes is reached, the receiver pauses, and TCP holds the broker back. The receiver reads on
while a thread waits for an answer of the broker, since the answer may lie behind unread messages.
"""

from __future__ import annotations

from collections.abc import Callable

from stomplistener._engine.context import Context
from stomplistener._util.deadline import Deadline
from stomplistener._util.locks import Changes

OVERSHOOT_BYTES = 8
LEAST_OVERSHOOT_BYTES = 64 * 1024 * 1024
OVERSHOOT_MESSAGES = 100_000
"""How far the bound may be exceeded while a thread waits for an answer.

The bytes may exceed their bound by a factor, or by 64 MiB if that is more. The messages may exceed theirs by a number.

A listener that waits for a receipt for every message reads part of the broker's backlog into memory each time. Beyond
this limit, reading stops, and the wait ends at its deadline.
"""

RESUME_SHARE = 0.5
"""Paused reading resumes when the load is below this share of the bound. Otherwise each single message would wake the
receiver."""


class FlowControl:
    """The bound that all dispatch queues of a connection share, guarded by the lock of the connection."""

    def __init__(self, context: Context) -> None:
        limits = context.config.limits
        self._lock = context.lock
        self._max_messages = limits.max_pending_messages
        self._max_bytes = limits.max_pending_bytes
        self._most_bytes = max(limits.max_pending_bytes * OVERSHOOT_BYTES, LEAST_OVERSHOOT_BYTES)
        self._changes = Changes(context.lock)
        self._awaiting: set[object] = set()
        self._is_open = True
        self.messages = 0
        self.bytes = 0
        self.has_room = True
        """Whether the receiver may read; exact only with the lock held."""

    # Call with the lock held

    def add(self, messages: int, size: int) -> None:
        """Count received messages."""
        self.messages += messages
        self.bytes += size
        if self.messages >= self._max_messages or self.bytes >= self._max_bytes:
            self.has_room = False

    def remove(self, messages: int, size: int) -> None:
        """Count handled messages."""
        self.messages -= messages
        self.bytes -= size
        if not self.has_room and self._is_below(RESUME_SHARE):
            self.has_room = True
            self._changes.notify_all()

    def _is_below(self, share: float) -> bool:
        return self.messages < self._max_messages * share and self.bytes < self._max_bytes * share

    @property
    def is_urgent(self) -> bool:
        """Whether a thread waits for an answer that may be unread, or the receiver has to check the connection."""
        return bool(self._awaiting) or not self._is_open

    @property
    def is_paused(self) -> bool:
        """Whether the bound keeps the receiver from reading."""
        return bool(self._changes.gates)

    # Call without the lock

    def wait_for_room(self, deadline: Deadline) -> bool:
        """Block while the bound is reached: the receiver's only wait for listeners. False at the deadline."""
        return self._changes.wait_for(self._may_read, deadline)

    def _may_read(self) -> bool:
        if self.has_room or not self._is_open:
            return True
        return bool(self._awaiting) and (
            self.messages < self._max_messages + OVERSHOOT_MESSAGES and self.bytes < self._most_bytes
        )

    def open(self) -> None:
        """Reset for a new connection."""
        with self._lock:
            self._is_open = True

    def interrupt(self) -> None:
        """End the receiver's pause, since the connection broke or has to be closed."""
        with self._lock:
            self._is_open = False
            self._changes.notify_all()

    def wait_reading(self, changes: Changes, condition: Callable[[], bool], deadline: Deadline) -> bool:
        """Wait until an answer of the broker makes ``condition`` true; the receiver reads on meanwhile."""
        waiting = object()
        try:
            self.expect(waiting)
            return changes.wait_for(condition, deadline)
        finally:
            self.unexpect(waiting)

    def expect(self, waiting: object) -> None:
        """Keep reading for ``waiting`` until ``unexpect``, which belongs in a ``finally``. Idempotent."""
        with self._lock:
            self._awaiting.add(waiting)
            if self._changes.gates:
                self._changes.notify_all()

    def unexpect(self, waiting: object) -> None:
        """Undo ``expect``; do nothing if it was not called."""
        with self._lock:
            self._awaiting.discard(waiting)
