"""Messages with one value of a header are handled in order, messages with different values in parallel."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from engine_support import DEADLINE_SECONDS, Running, make_flow, make_message

from stomplistener import Message
from stomplistener._engine.dispatch_queue import Batch, DispatchQueue, Item
from stomplistener._engine.ordered_queue import OrderedQueue
from stomplistener._util.deadline import Deadline
from stomplistener.states import MessageState


class Rig:
    """An ordered queue in front of a queue without threads: the test takes the items and runs them.

    Attributes:
        outcome: called with each message in place of its listener; None: the listener only returns.
        stale: the messages that the broker will deliver again.
    """

    def __init__(self, workers: int = 0) -> None:
        self.context, self.flow = make_flow()
        self.ran: list[Item] = []
        self.broken: list[BaseException] = []
        self.outcome: Callable[[Message], object] | None = None
        self.stale: list[Item] = []
        self.begun = 0

        def make(ordered: Any) -> DispatchQueue:
            return DispatchQueue(self.context, self.flow, ordered, self.broken.append, "test", workers, self.begin)

        self.queue = OrderedQueue(self.context, self.flow, self, self.is_stale, "key", make)

    def begin(self) -> None:
        self.begun += 1

    def run(self, items: Batch) -> None:
        self.ran.extend(items)
        if self.outcome is not None and isinstance(items[0], Message):
            self.outcome(items[0])

    def is_stale(self, item: Item) -> bool:
        return item in self.stale

    def put(self, *items: Item) -> None:
        with self.context.lock:
            self.queue.line_up(list(items))
        self.queue.begin()

    def ready(self) -> list[Item]:
        """Take all items whose turn it is."""
        taken: list[Item] = []
        while (item := self.queue.take(Deadline(0.0))) is not None:
            taken.append(item)
        return taken


@pytest.fixture
def rig() -> Rig:
    return Rig()


def of(key: str, size: int = 0) -> Message:
    return make_message(b"x" * size, key=key)


def test_a_message_waits_until_the_earlier_one_of_its_value_is_finished(rig: Rig) -> None:
    first, second, third, other = of("a"), of("a", 3), of("a", 5), of("b")
    rig.put(first, second, other, third)
    assert rig.ready() == [first, other]
    assert (rig.flow.messages, rig.flow.bytes) == (2, second.frame.size + third.frame.size)
    before = rig.begun
    rig.queue.run([first])
    # A thread must start for the message that is ready now.
    assert rig.begun > before
    assert rig.ready() == [second]
    assert rig.flow.messages == 1
    rig.queue.run([second])
    assert rig.ready() == [third]
    rig.queue.run([third])
    assert (rig.flow.messages, rig.flow.bytes) == (0, 0)
    # No turn is left behind, so the next message of this value does not wait.
    rig.put(again := of("a"))
    assert rig.ready() == [again]


def test_items_without_a_value_never_wait(rig: Rig) -> None:
    items: list[Item] = [make_message(), make_message(), lambda: None]
    rig.put(of("a"), *items)
    assert rig.ready()[1:] == items
    rig.queue.run(items)
    assert rig.ran == items


@pytest.mark.parametrize("count", ["attempts", "postponed"])
def test_a_message_keeps_its_turn_until_its_retry_is_finished(rig: Rig, count: str) -> None:
    head, second = of("a"), of("a")
    rig.put(head, second)
    rig.ready()
    rig.outcome = lambda message: setattr(message, count, getattr(message, count) + 1)
    rig.queue.run([head])
    assert rig.ready() == []
    rig.put(head)
    assert rig.ready() == [head]
    rig.outcome = None
    rig.queue.run([head])
    assert rig.ready() == [second]


def test_a_message_that_was_settled_in_spite_of_a_failure_gives_its_turn_away(rig: Rig) -> None:
    def settle(message: Message) -> None:
        message.attempts += 1
        message.state = MessageState.NACKED

    head, second = of("a"), of("a")
    rig.put(head, second)
    rig.ready()
    rig.outcome = settle
    rig.queue.run([head])
    assert rig.ready() == [second]


def test_a_failed_message_that_the_broker_delivers_again_gives_its_turn_away(rig: Rig) -> None:
    def lose(message: Message) -> None:
        message.attempts += 1
        rig.stale.append(message)

    head, second = of("a"), of("a")
    rig.put(head, second)
    rig.ready()
    rig.outcome = lose
    rig.queue.run([head])
    assert rig.ready() == [second]


def test_a_thread_gives_away_only_the_turn_of_its_own_message(rig: Rig) -> None:
    """A retry without a delay may be finished by another thread before the first thread looks at its message again."""
    head, second, third = of("a"), of("a"), of("a")

    def fail(message: Message) -> None:
        message.attempts += 1
        rig.outcome = lambda message: setattr(message, "state", MessageState.ACKED)
        rig.put(message)
        rig.queue.run(rig.ready())

    rig.put(head, second, third)
    rig.ready()
    rig.outcome = fail
    rig.queue.run([head])
    assert rig.ran == [head, head]
    assert rig.ready() == [second]


def test_discard_drops_messages_that_wait_for_their_turn(rig: Rig) -> None:
    head, dropped, kept = of("a"), of("a", 7), of("a", 9)
    rig.put(head, dropped, kept)
    rig.ready()
    rig.queue.discard(lambda item: item is dropped)
    assert (rig.flow.messages, rig.flow.bytes) == (1, kept.frame.size)
    rig.queue.run([head])
    assert rig.ready() == [kept]


def test_the_turn_of_a_dropped_message_goes_to_the_next_one_that_stays(rig: Rig) -> None:
    head, dropped, kept, alone = of("a"), of("a"), of("a"), of("b")
    rig.put(head, dropped, kept, alone)
    before = rig.begun
    rig.queue.discard(lambda item: item in (head, dropped, alone))
    assert rig.begun > before
    assert rig.ready() == [kept]
    assert rig.flow.messages == 0
    rig.put(new := of("b"))
    assert rig.ready() == [new]


def test_a_stale_message_that_waits_for_a_retry_loses_its_turn_at_the_next_discard(rig: Rig) -> None:
    head, second = of("a"), of("a")
    rig.put(head, second)
    rig.ready()
    rig.outcome = lambda message: setattr(message, "attempts", 1)
    rig.queue.run([head])
    rig.queue.discard(rig.is_stale)
    assert rig.ready() == []
    # The connection is lost. ``Settlement`` forgets the message and does not report that.
    rig.stale.append(head)
    rig.queue.discard(rig.is_stale)
    assert rig.ready() == [second]


def test_a_stale_message_keeps_its_turn_while_its_listener_runs(rig: Rig) -> None:
    head, redelivered = of("a"), of("a")

    def lose(message: Message) -> None:
        rig.stale.append(head)
        rig.queue.discard(rig.is_stale)
        rig.put(redelivered)
        assert rig.ready() == []

    rig.put(head)
    rig.ready()
    rig.outcome = lose
    rig.queue.run([head])
    assert rig.ready() == [redelivered]


def test_a_turn_stays_while_another_thread_runs_a_retry_without_delay(rig: Rig) -> None:
    head, redelivered = of("a"), of("a")
    entered, release = threading.Event(), threading.Event()
    others: list[Running] = []

    def fail_once(message: Message) -> None:
        if message.attempts:
            entered.set()
            assert release.wait(DEADLINE_SECONDS)
            return
        message.attempts += 1
        rig.put(message)
        others.append(Running(lambda: rig.queue.run(rig.ready())))
        assert entered.wait(DEADLINE_SECONDS)

    rig.outcome = fail_once
    rig.put(head)
    rig.queue.run(rig.ready())
    # The first thread has ended; the second one is still in the listener when the connection is lost.
    rig.stale.append(head)
    rig.queue.discard(rig.is_stale)
    rig.put(redelivered)
    assert rig.ready() == []
    release.set()
    others[0].result()
    assert rig.ready() == [redelivered]


def test_a_message_that_a_signal_handler_adds_during_a_discard_is_not_lost(rig: Rig) -> None:
    """The lock is reentrant, so a handler may call into the queue between any two steps of ``discard``."""
    head, dropped, kept, new = of("a"), of("a"), of("a"), of("a")
    rig.put(head, dropped, kept)
    rig.ready()

    def unwanted(item: Item) -> bool:
        if item is dropped:
            rig.put(new)
        return item is dropped

    rig.queue.discard(unwanted)
    assert rig.flow.messages == 2
    rig.queue.run([head])
    following = rig.ready()
    rig.queue.run(following)
    assert {*following, *rig.ready()} == {kept, new}


def test_values_run_in_parallel_and_the_messages_of_each_in_order() -> None:
    rig, both = Rig(workers=4), threading.Barrier(2)
    messages = {key: [of(key) for _ in range(20)] for key in "ab"}
    firsts = [queue[0] for queue in messages.values()]
    running: list[str] = []
    clashes: list[str] = []

    def work(message: Message) -> None:
        key = message.headers["key"]
        clashes.extend(other for other in running if other == key)
        running.append(key)
        if message in firsts:
            both.wait(DEADLINE_SECONDS)
        running.remove(key)

    rig.outcome = work
    rig.put(*(message for pair in zip(*messages.values(), strict=True) for message in pair))
    inner = rig.queue._queue
    assert inner.drain(Deadline(DEADLINE_SECONDS), lambda: False)
    for key, expected in messages.items():
        assert [item for item in rig.ran if isinstance(item, Message) and item.headers["key"] == key] == expected
    assert (clashes, rig.broken, rig.flow.messages) == ([], [], 0)
    rig.queue.stop()
    assert inner.join(Deadline(DEADLINE_SECONDS), lambda: False)
    assert rig.queue.is_over
