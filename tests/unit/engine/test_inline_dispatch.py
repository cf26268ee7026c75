"""The dispatcher reads while its listeners return at once, and gives the reading back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from engine_support import DEADLINE_SECONDS, Running, make_flow, wait_until

from stomplistener._engine import inline_dispatch as module
from stomplistener._engine.dispatch_queue import Batch, DispatchQueue
from stomplistener._engine.inline_dispatch import QUICK_BATCHES, InlineDispatch
from stomplistener._util.deadline import Deadline

Step = Callable[[], Exception | None]


class Wire:
    """A transport that can, or cannot, limit the wait for bytes."""

    def __init__(self, *, can_limit: bool = True) -> None:
        self._can_limit = can_limit
        self.limits: list[float | None] = []

    def expect(self, size: int) -> None:
        raise AssertionError("nothing is read here")

    def limit_wait(self, seconds: float | None) -> bool:
        self.limits.append(seconds)
        return self._can_limit


class Rig:
    """The real queue of the dispatcher; reads that go as they are told, the last one in vain."""

    def __init__(self) -> None:
        self.context, self.flow = make_flow(max_pending_messages=10)
        self.broken: list[BaseException] = []
        self.main = self.queue()
        self.queues = [self.main]
        self.steps: list[Step] = []
        self.readers: list[bool] = []
        self.gate = threading.Event()
        self.inline = InlineDispatch(self.context, self.flow, self, self.main, lambda: self.queues)  # type: ignore[arg-type]
        self.wire = Wire()

    def queue(self) -> DispatchQueue:
        return DispatchQueue(self.context, self.flow, self, self.broken.append, "test")

    def run(self, items: Batch) -> None:
        for item in items:
            item()  # type: ignore[operator]

    def read(self) -> Exception | None:
        self.readers.append(self.main.is_mine)
        if not self.steps:
            raise TimeoutError
        return self.steps.pop(0)()

    def hand_over(self, *steps: Step) -> Exception | None:
        self.steps = list(steps)
        self.main.quick_batches = QUICK_BATCHES
        return self.inline.hand_over(self.wire)  # type: ignore[arg-type]

    def fill(self) -> None:
        with self.context.lock:
            self.flow.add(10, 0)

    def run_a_listener(self) -> None:
        """A message arrives whose listener does not return before the gate is open."""
        self.main.call(lambda: self.gate.wait(DEADLINE_SECONDS))


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.gate.set()
    rig.main.stop()
    assert rig.main.join(Deadline(DEADLINE_SECONDS), lambda: False)
    assert rig.broken == []


@pytest.fixture
def looks(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Whenever the receiver looks; no listener takes long."""
    looks: list[float] = []

    def is_kept(patience: float) -> bool:
        looks.append(patience)
        return False

    monkeypatch.setattr(rig.main, "is_kept", is_kept)
    return looks


def look_twice(looks: list[float]) -> None:
    seen = len(looks)
    # The first of these looks may have begun before.
    wait_until(lambda: len(looks) >= seen + 2)


def nothing() -> None:
    return None


OBSTACLES: dict[str, Callable[[Rig], object]] = {
    "a thread waits for an answer": lambda rig: rig.flow.expect(rig),
    "the connection has to end": lambda rig: rig.flow.interrupt(),
    "the bound is reached": lambda rig: rig.fill(),
    "another queue gets messages": lambda rig: rig.queues.append(rig.queue()),
}


def test_reading_is_handed_over_after_many_quick_batches(rig: Rig) -> None:
    rig.main.quick_batches = QUICK_BATCHES - 1
    assert not rig.inline.is_worthwhile
    rig.main.quick_batches += 1
    assert rig.inline.is_worthwhile
    ended = rig.queue()
    ended.stop()
    rig.queues.append(ended)
    assert rig.inline.is_worthwhile


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_reading_is_not_handed_over_against_an_obstacle(rig: Rig, obstacle: str) -> None:
    rig.main.quick_batches = QUICK_BATCHES
    OBSTACLES[obstacle](rig)
    assert not rig.inline.is_worthwhile


def test_the_dispatcher_reads_until_no_bytes_arrive(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    # The dispatcher wakes the receiver, which does not look in between here.
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 60.0)
    assert Running(lambda: rig.hand_over(nothing, nothing)).result() is None
    assert rig.readers == [True] * 3
    assert rig.wire.limits == [60.0, None]
    assert (rig.main.idle_work, rig.main.quick_batches) == (None, 0)


def test_the_receiver_learns_why_the_connection_has_ended(rig: Rig) -> None:
    end = ConnectionResetError("gone")
    assert rig.hand_over(nothing, lambda: end) is end
    assert rig.readers == [True] * 2
    # The next connection has not ended.
    assert rig.hand_over(rig.run_a_listener) is None


@pytest.mark.parametrize("wire", [Wire(can_limit=False), object()])
def test_a_transport_that_cannot_limit_its_wait_stays_with_the_receiver(rig: Rig, wire: Any) -> None:
    rig.wire = wire
    assert rig.hand_over(nothing) is None
    assert (rig.readers, rig.main.quick_batches) == ([], 0)


@pytest.mark.parametrize("obstacle", OBSTACLES)
@pytest.mark.parametrize("reads", [0, 1])
def test_an_obstacle_ends_the_dispatchers_reading(rig: Rig, obstacle: str, reads: int) -> None:
    """It comes before the first read, or during it."""

    def meet() -> None:
        OBSTACLES[obstacle](rig)

    if not reads:
        meet()
    assert rig.hand_over(meet, nothing) is None
    assert len(rig.readers) == reads


def test_the_receiver_reads_again_when_a_listener_takes_long(rig: Rig) -> None:
    assert rig.hand_over(rig.run_a_listener, nothing) is None
    assert (rig.main.is_running, rig.main.idle_work) == (True, None)
    rig.gate.set()
    assert rig.main.drain(Deadline(DEADLINE_SECONDS), lambda: False)
    # The dispatcher does not read beside the receiver.
    assert rig.readers == [True]


@pytest.mark.parametrize("urges", [lambda rig: rig.flow.expect(rig), lambda rig: rig.flow.interrupt()])
def test_the_receiver_does_not_wait_for_a_running_listener_if_reading_is_urgent(
    rig: Rig, looks: list[float], urges: Callable[[Rig], object]
) -> None:
    receiver = Running(lambda: rig.hand_over(rig.run_a_listener, nothing))
    wait_until(lambda: rig.main.is_running)
    look_twice(looks)
    assert not receiver.is_over
    urges(rig)
    assert receiver.result() is None
    assert (rig.main.is_running, rig.main.idle_work, rig.readers) == (True, None, [True])


@pytest.mark.parametrize("end", ["stopped", "refused"])
def test_the_receiver_reads_again_if_the_dispatcher_has_no_thread(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    if end == "stopped":
        rig.main.stop()
        monkeypatch.setattr(rig.main, "offer_idle_work", lambda work: setattr(rig.main, "idle_work", work))
    else:
        start = threading.Thread.start

        def refuse(thread: threading.Thread) -> None:
            if thread.name == "test":
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", refuse)
    handing_over = Running(lambda: rig.hand_over(nothing))
    assert handing_over.result() is None
    assert rig.main.idle_work is None
    assert [str(error) for error in rig.broken] == ["can't start new thread"] * (end == "refused")
    rig.broken.clear()


def test_the_receiver_does_not_read_beside_a_read_of_the_dispatcher(rig: Rig, looks: list[float]) -> None:
    reading = threading.Event()

    def read() -> None:
        reading.set()
        assert rig.gate.wait(DEADLINE_SECONDS)

    receiver = Running(lambda: rig.hand_over(read, nothing))
    assert reading.wait(DEADLINE_SECONDS)
    rig.flow.expect(rig)
    look_twice(looks)
    assert not receiver.is_over
    rig.gate.set()
    assert receiver.result() is None
    assert rig.readers == [True]
