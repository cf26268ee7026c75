"""Handle messages with the same value of a header in order, and messages with different values in parallel.

All messages share the threads of one queue. The first message of a value holds the *turn* of this value. Later messages
with the same value wait here until the first one is finished, including its retries. So a thread never waits for
another one.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from stomplistener._engine.context import Context
from stomplistener._engine.dispatch_queue import Batch, DispatchQueue, Item, Runner
from stomplistener._engine.flow_control import FlowControl
from stomplistener._util.deadline import Deadline
from stomplistener.message import Message


@dataclass(eq=False)
class Turn:
    """The messages of one value: the head, which is queued, runs or waits for a retry, and those behind it.

    Attributes:
        runs: how many threads handle the head. They are two for a moment if its retry has no delay.
    """

    head: Message
    runs: int = 0
    behind: collections.deque[Message] = field(default_factory=collections.deque)


class OrderedQueue:
    """Replaces a ``DispatchQueue``, and stands in front of one.

    Args:
        context: the context of the connection; its lock guards the turns.
        flow: counts the messages that wait here.
        runner: handles messages.
        is_stale: whether the broker will deliver a message again.
        header: the header; messages with the same value of it stay in order.
        make: makes the queue for a given runner.
    """

    def __init__(
        self,
        context: Context,
        flow: FlowControl,
        runner: Runner,
        is_stale: Callable[[Item], bool],
        header: str,
        make: Callable[[Runner], DispatchQueue],
    ) -> None:
        self._lock = context.lock
        self._flow = flow
        self._runner = runner
        self._is_stale = is_stale
        self._header = header
        self._turns: dict[str, Turn] = {}
        self._queue = make(self)

    def line_up(self, batch: list[Item]) -> None:
        """Line up messages, each behind the others with its value. Call with the lock held."""
        if ready := [item for item in batch if self._has_turn(item)]:
            self._queue.line_up(ready)

    def begin(self) -> None:
        """Start threads as ``DispatchQueue.begin`` does."""
        self._queue.begin()

    def _has_turn(self, item: Item) -> bool:
        key = self._key(item)
        if key is None or not isinstance(item, Message):
            return True
        turn = self._turns.get(key)
        if turn is None:
            self._turns[key] = Turn(item)
            return True
        if turn.head is item:
            return True
        turn.behind.append(item)
        self._flow.add(1, item.frame.size)
        return False

    def _key(self, item: Item) -> str | None:
        return item.headers.get(self._header) if isinstance(item, Message) else None

    def run(self, items: Batch) -> None:
        """Handle items, then give the turn to the next message of each value. Runs in the threads of the queue."""
        for item in items:
            key = self._key(item)
            if key is None or not isinstance(item, Message):
                self._runner.run([item])
                continue
            tries = item.attempts + item.postponed
            self._note_begin(key, item)
            self._runner.run([item])
            if item.attempts + item.postponed == tries or item.settled:
                self._pass_on(key, item)
            else:
                self._wait_for_retry(key, item)

    def _turn_of(self, key: str, item: Message) -> Turn | None:
        """The turn that a message holds; None if it is another one's. Call with the lock held."""
        turn = self._turns.get(key)
        return turn if turn is not None and turn.head is item else None

    def _note_begin(self, key: str, item: Message) -> None:
        with self._lock:
            turn = self._turn_of(key, item)
            if turn is not None:
                turn.runs += 1

    def _wait_for_retry(self, key: str, item: Message) -> None:
        """Keep the turn for a retry, unless the broker will deliver the message again.

        From now on the message does not run, so ``discard`` may drop it. But a retry without delay may already run in
        another thread, which then decides at its own end.
        """
        with self._lock:
            turn = self._turn_of(key, item)
            if turn is None:
                return
            turn.runs -= 1
            is_over = not turn.runs and self._is_stale(item)
        if is_over:
            self._pass_on(key, item)

    def _pass_on(self, key: str, head: Message) -> None:
        """Give the turn to the next message: the head is finished, or the broker will deliver it again."""
        with self._lock:
            turn = self._turn_of(key, head)
            if turn is not None:
                self._follow(key, turn)
        self._queue.begin()

    def _follow(self, key: str, turn: Turn) -> None:
        if not turn.behind:
            del self._turns[key]
            return
        turn.head, turn.runs = turn.behind.popleft(), 0
        self._flow.remove(1, turn.head.frame.size)
        self._queue.line_up([turn.head])

    def discard(self, unwanted: Callable[[Item], bool]) -> None:
        """Drop the waiting items for which ``unwanted`` is true; it is called with the lock held.

        ``Settlement`` keeps a head that waits for a retry, and does not report when it forgets the message.
        ``Settlement`` forgets messages only after a connection loss, which also leads to a call of this method.
        """
        dropped: set[int] = set()

        def drop(item: Item) -> bool:
            if drops := unwanted(item):
                dropped.add(id(item))
            return drops

        with self._lock:
            self._queue.discard(drop)
            self._drop(unwanted, dropped)
        self._queue.begin()

    def _drop(self, unwanted: Callable[[Item], bool], dropped: Collection[int]) -> None:
        for key, turn in list(self._turns.items()):
            self._sift(turn, unwanted)
            if id(turn.head) in dropped or (not turn.runs and self._is_stale(turn.head)):
                self._follow(key, turn)

    def _sift(self, turn: Turn, unwanted: Callable[[Item], bool]) -> None:
        behind, turn.behind = turn.behind, collections.deque()
        for item in behind:
            if unwanted(item):
                self._flow.remove(1, item.frame.size)
            else:
                turn.behind.append(item)

    def take(self, deadline: Deadline, called_off: Callable[[], bool] = lambda: False) -> Item | None:
        """Take an item as ``DispatchQueue.take`` does."""
        return self._queue.take(deadline, called_off)

    def stop(self) -> None:
        """Let the threads end when the queue is empty."""
        self._queue.stop()

    @property
    def is_over(self) -> bool:
        """Whether the queue was stopped and its threads have ended."""
        return self._queue.is_over
