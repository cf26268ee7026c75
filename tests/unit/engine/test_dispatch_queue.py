"""Queues of messages and events, and their threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from engine_support import DEADLINE_SECONDS, Running, make_flow, make_message, wait_until

from stomplistener import Message
from stomplistener._engine.dispatch_queue import Batch, DispatchQueue, Item
from stomplistener._util.deadline import Deadline

SOON = 10.0


class Rig:
    """Makes queues whose runner notes what it is given, after the gate is open."""

    def __init__(self) -> None:
        self.context, self.flow = make_flow()
        self.ran: list[Any] = []
        self.broken: list[BaseException] = []
        self.gate = threading.Event()
        self.gate.set()
        self.queues: list[DispatchQueue] = []

    def run(self, items: Batch) -> None:
        for item in items:
            assert self.gate.wait(DEADLINE_SECONDS)
            if not isinstance(item, Message):
                item()
            self.ran.append(item)

    def queue(self, workers: int = 1, notify: Callable[[], object] | None = None) -> DispatchQueue:
        queue = DispatchQueue(self.context, self.flow, self, self.broken.append, "test", workers, notify)
        self.queues.append(queue)
        return queue


def put(queue: DispatchQueue, batch: list[Item]) -> None:
    """As the receiver does it."""
    with queue._lock:
        queue.line_up(batch)
    queue.begin()


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.gate.set()
    for queue in rig.queues:
        queue.stop()
        assert queue.join(Deadline(SOON), lambda: False)


def test_one_thread_keeps_the_order(rig: Rig) -> None:
    queue = rig.queue()
    messages = [make_message() for _ in range(50)]
    for start in range(0, 50, 5):
        put(queue, list(messages[start : start + 5]))
    assert queue.drain(Deadline(SOON), lambda: False)
    assert rig.ran == messages
    assert (rig.flow.messages, rig.flow.bytes) == (0, 0)


def test_workers_run_at_the_same_time(rig: Rig) -> None:
    barrier = threading.Barrier(4)
    queue = rig.queue(workers=4)
    put(queue, [lambda: barrier.wait(DEADLINE_SECONDS)] * 4)
    assert queue.drain(Deadline(SOON), lambda: False)
    assert len(rig.ran) == 4


def test_what_waits_and_what_runs_counts(rig: Rig) -> None:
    rig.gate.clear()
    queue = rig.queue()
    put(queue, [make_message(), make_message()])
    assert rig.flow.messages == 2
    assert not queue.drain(Deadline(0.01), lambda: False)
    rig.gate.set()
    assert queue.drain(Deadline(SOON), lambda: False)
    assert rig.flow.messages == 0


def test_discard(rig: Rig) -> None:
    rig.gate.clear()
    queue = rig.queue()
    put(queue, [make_message()])
    wait_until(lambda: queue.is_running)
    kept, dropped = make_message(), make_message()
    put(queue, [kept, dropped])
    put(queue, [dropped])
    queue.discard(lambda item: item is dropped)
    assert rig.flow.messages == 2
    rig.gate.set()
    assert queue.drain(Deadline(SOON), lambda: False)
    assert rig.ran[1:] == [kept]


def test_a_drain_that_is_called_off(rig: Rig) -> None:
    rig.gate.clear()
    queue = rig.queue()
    put(queue, [make_message()])
    wait_until(lambda: queue.is_running)
    called_off = threading.Event()
    draining = Running(lambda: queue.drain(Deadline(SOON), called_off.is_set))
    called_off.set()
    queue.stop()
    assert draining.result() is False


def test_a_drain_from_a_listener_does_not_wait_for_itself(rig: Rig) -> None:
    queue = rig.queue()
    drained: list[bool] = []
    put(queue, [lambda: drained.append(queue.drain(Deadline(SOON), lambda: False)), lambda: None])
    wait_until(lambda: drained)
    assert drained == [True]


def test_the_application_takes(rig: Rig) -> None:
    notified: list[int] = []
    queue = rig.queue(workers=0, notify=lambda: notified.append(1))
    assert queue.take(Deadline(0.0)) is None
    taking = Running(lambda: queue.take(Deadline(SOON)))
    message = make_message()
    put(queue, [message])
    assert taking.result() is message
    assert rig.flow.messages == 0
    assert notified == [1]
    taking = Running(lambda: queue.take(Deadline(SOON)))
    queue.stop()
    assert taking.result() is None
    assert queue.is_over


def test_stop_works_off_what_waits_and_restart_goes_on(rig: Rig) -> None:
    rig.gate.clear()
    queue = rig.queue()
    put(queue, [make_message()])
    put(queue, [make_message()])
    queue.stop()
    rig.gate.set()
    assert queue.join(Deadline(SOON), lambda: False)
    assert len(rig.ran) == 2
    assert queue.is_over
    queue.restart()
    put(queue, [make_message()])
    wait_until(lambda: len(rig.ran) == 3)


def test_a_thread_that_the_system_refuses(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    queue = rig.queue()
    put(queue, [make_message()])
    assert [str(error) for error in rig.broken] == ["can't start new thread"]
    monkeypatch.undo()
    put(queue, [make_message()])
    assert queue.drain(Deadline(SOON), lambda: False)
    assert len(rig.ran) == 2


def test_what_a_runner_raises_breaks_the_connection_and_not_the_thread(rig: Rig) -> None:
    def fail() -> None:
        raise MemoryError

    queue = rig.queue()
    put(queue, [fail])
    put(queue, [make_message()])
    assert queue.drain(Deadline(SOON), lambda: False)
    assert [type(error) for error in rig.broken] == [MemoryError]
    assert len(rig.ran) == 1


def test_idle_work(rig: Rig) -> None:
    queue = rig.queue()
    done: list[bool] = []

    def work() -> None:
        done.append(queue.is_mine)
        if len(done) == 3:
            queue.idle_work = None

    queue.offer_idle_work(work)
    wait_until(lambda: len(done) == 3)
    assert done == [True] * 3
    assert not queue.is_mine


def test_quick_batches_are_counted(rig: Rig) -> None:
    queue = rig.queue()
    put(queue, [make_message()])
    assert queue.drain(Deadline(SOON), lambda: False)
    assert not queue.is_kept(0.0)
    rig.gate.clear()
    put(queue, [make_message()])
    wait_until(lambda: queue.is_kept(0.006))
    rig.gate.set()
    assert queue.drain(Deadline(SOON), lambda: False)
    assert queue.quick_batches == 0
