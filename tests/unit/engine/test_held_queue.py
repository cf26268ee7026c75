"""The queue of a paused subscription: it keeps messages, counts them, and gives them back in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from engine_support import Running, make_flow, make_message, wait_until

from stomplistener._engine.dispatch_queue import Batch, DispatchQueue, Item
from stomplistener._engine.held_queue import HeldQueue
from stomplistener._util.deadline import Deadline
from stomplistener._util.locks import is_owned


class Rig:
    """A paused queue, the queue behind it, and the messages that count as stale."""

    def __init__(self, workers: int = 0) -> None:
        self.context, self.flow = make_flow()
        self.stale: list[Item] = []
        self.ran: list[Item] = []
        self.broken: list[BaseException] = []
        self.behind = DispatchQueue(self.context, self.flow, self, self.broken.append, "test", workers)
        self.held = HeldQueue(self.context, self.flow, self.is_stale, self.behind)

    def run(self, items: Batch) -> None:
        self.ran.extend(items)

    def is_stale(self, item: Item) -> bool:
        return item in self.stale

    def line_up(self, *items: Item) -> None:
        with self.context.lock:
            self.held.line_up(list(items))
        self.held.begin()

    def release(self) -> list[Item]:
        with self.context.lock:
            return self.held.release()

    @property
    def counted(self) -> tuple[int, int]:
        return self.flow.messages, self.flow.bytes


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.behind.stop()
    assert rig.broken == []


def sizes(*messages: Any) -> tuple[int, int]:
    return len(messages), sum(message.frame.size for message in messages)


def test_messages_count_until_they_are_released_in_order(rig: Rig) -> None:
    first, second = make_message(b"12345"), make_message(b"1")
    rig.line_up(first)
    rig.line_up(second)
    assert rig.counted == sizes(first, second)
    assert rig.release() == [first, second]
    assert rig.counted == (0, 0)
    assert rig.release() == []
    assert rig.counted == (0, 0)


def test_messages_that_a_thread_gives_back_come_first_in_their_order(rig: Rig) -> None:
    later, *taken = (make_message(b"x" * size) for size in range(4))
    rig.line_up(later)
    with rig.context.lock:
        rig.held.keep_first(taken[:2])
        rig.held.keep_first(taken[2:])
    assert rig.counted == sizes(later, *taken)
    assert rig.release() == [*taken, later]
    assert rig.counted == (0, 0)


def test_a_pause_moves_waiting_messages_out_of_the_queue_behind(rig: Rig) -> None:
    """As ``Subscription.pause`` does it: an item for which ``keep`` returns True leaves the queue behind."""
    messages: list[Item] = [make_message(b"1"), make_message(b"22")]
    with rig.context.lock:
        rig.behind.line_up(messages)
    before = rig.counted
    rig.behind.discard(rig.held.keep)
    assert rig.counted == before
    assert rig.behind.take(Deadline(0.0)) is None
    assert rig.release() == messages


def test_an_event_is_not_kept(rig: Rig) -> None:
    with rig.context.lock:
        assert rig.held.keep(lambda: None) is True
    assert rig.counted == (0, 0)
    assert rig.release() == []


def test_new_messages_push_out_the_stale_ones(rig: Rig) -> None:
    stale_first, stale, kept, new = (make_message(b"x" * size) for size in range(4))
    rig.line_up(stale, kept)
    with rig.context.lock:
        rig.held.keep_first([stale_first])
    rig.stale = [stale_first, stale]
    rig.line_up(new)
    assert rig.counted == sizes(kept, new)
    assert rig.release() == [kept, new]


def test_discard_drops_items_here_and_behind_with_the_lock_held(rig: Rig) -> None:
    first, held, behind, kept = (make_message(b"x" * size) for size in range(4))
    with rig.context.lock:
        rig.behind.line_up([behind])
    rig.line_up(held, kept)
    with rig.context.lock:
        rig.held.keep_first([first])
    asked: list[Item] = []

    def unwanted(item: Item) -> bool:
        assert is_owned(rig.context.lock)
        asked.append(item)
        return item is not kept

    rig.held.discard(unwanted)
    assert asked == [first, held, kept, behind]
    assert rig.counted == sizes(kept)
    assert rig.behind.take(Deadline(0.0)) is None
    assert rig.release() == [kept]


@pytest.mark.parametrize("keep", ["line_up", "keep_first"])
def test_a_message_that_a_signal_handler_adds_during_a_discard_is_not_lost(rig: Rig, keep: str) -> None:
    """The lock is reentrant, so a handler may call into the queue between any two steps of ``discard``."""
    dropped, kept, new = make_message(), make_message(), make_message()
    rig.line_up(dropped, kept)
    add: Callable[[list[Any]], object] = getattr(rig.held, keep)

    def unwanted(item: Item) -> bool:
        if item is dropped:
            add([new])
        return item is dropped

    rig.held.discard(unwanted)
    assert rig.counted == sizes(kept, new)
    assert set(rig.release()) == {kept, new}


def test_a_paused_subscription_delivers_nothing_until_the_queue_behind_gets_a_message(rig: Rig) -> None:
    message = make_message()
    rig.line_up(message)
    assert rig.held.take(Deadline(0.0)) is None
    taking = Running(lambda: rig.held.take(Deadline(10.0)))
    wait_until(lambda: rig.behind._changes.gates)
    # As ``Subscription.resume`` does it, while a consumer still waits in the paused queue.
    with rig.context.lock:
        rig.behind.line_up(rig.held.release())
    assert taking.result() is message


def test_a_message_in_a_paused_queue_starts_no_thread() -> None:
    rig = Rig(workers=1)
    rig.line_up(make_message())
    rig.behind.stop()
    assert rig.behind.is_over
    assert rig.ran == []


def test_stop_ends_the_threads_of_the_queue_behind(rig: Rig) -> None:
    taking = Running(lambda: rig.held.take(Deadline(10.0)))
    wait_until(lambda: rig.behind._changes.gates)
    assert not rig.held.is_over
    rig.held.stop()
    assert taking.result() is None
    assert rig.held.is_over
