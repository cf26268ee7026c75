"""Keep the messages of a paused subscription, unacknowledged, until the subscription resumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from stomplistener._engine.context import Context
from stomplistener._engine.dispatch_queue import Item
from stomplistener._engine.flow_control import FlowControl
from stomplistener._util.deadline import Deadline
from stomplistener.message import Message


class SubscriptionQueue(Protocol):
    """The methods of a queue that a subscription needs."""

    def line_up(self, batch: list[Item]) -> None: ...
    def begin(self) -> None: ...
    def take(self, deadline: Deadline, called_off: Callable[[], bool] = lambda: False) -> Item | None: ...
    def discard(self, unwanted: Callable[[Item], bool]) -> None: ...
    def stop(self) -> None: ...
    @property
    def is_over(self) -> bool: ...


class HeldQueue:
    """Replaces a subscription's queue while the subscription is paused. The messages kept here count towards the bound.

    Args:
        context: the context of the connection; its lock guards the queue.
        flow: counts the messages.
        is_stale: whether the broker will deliver a message again.
        behind: the queue that gets the messages afterwards.
    """

    def __init__(
        self, context: Context, flow: FlowControl, is_stale: Callable[[Item], bool], behind: SubscriptionQueue
    ) -> None:
        self._lock = context.lock
        self._flow = flow
        self._is_stale = is_stale
        self._held: list[Message] = []
        self._first: list[Message] = []
        self.behind = behind

    def line_up(self, batch: list[Item]) -> None:
        """Keep messages, except those that the broker will deliver again. Call with the lock held."""
        self._sift(self._is_stale)
        for item in batch:
            self.keep(item)

    def begin(self) -> None:
        """Do nothing: the counterpart of ``DispatchQueue.begin``."""

    def keep(self, item: Item) -> bool:
        """Keep one item. Always returns True. Call with the lock held."""
        if isinstance(item, Message):
            self._held.append(item)
            self._flow.add(1, item.frame.size)
        return True

    def keep_first(self, messages: Sequence[Message]) -> None:
        """Keep messages that a thread had taken and not begun, in front of all others. Call with the lock held."""
        for message in messages:
            self._first.append(message)
            self._flow.add(1, message.frame.size)

    def release(self) -> list[Item]:
        """Remove and return all kept items, in order. Call with the lock held."""
        held, self._first, self._held = [*self._first, *self._held], [], []
        for message in held:
            self._flow.remove(1, message.frame.size)
        return list(held)

    def discard(self, unwanted: Callable[[Item], bool]) -> None:
        """Drop the items, here and in ``behind``, for which ``unwanted`` is true; it is called with the lock held."""
        with self._lock:
            self._sift(unwanted)
        self.behind.discard(unwanted)

    def _sift(self, unwanted: Callable[[Item], bool]) -> None:
        for kept in (self._first, self._held):
            before = kept.copy()
            kept.clear()
            for message in before:
                if unwanted(message):
                    self._flow.remove(1, message.frame.size)
                else:
                    kept.append(message)

    def take(self, deadline: Deadline, called_off: Callable[[], bool] = lambda: False) -> Item | None:
        """Wait until the deadline and return None: a paused subscription delivers nothing."""
        return self.behind.take(deadline, called_off)

    def stop(self) -> None:
        """Let the threads end when the queue is empty."""
        self.behind.stop()

    @property
    def is_over(self) -> bool:
        """Whether the queue was stopped and its threads have ended."""
        return self.behind.is_over
