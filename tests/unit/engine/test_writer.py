"""The write queue by itself: order, what is taken back, who writes when, and what is left at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from engine_support import FakeTransport, Running, make_context, wait_until

from stomplistener._engine import writer as writer_module
from stomplistener._engine.writer import GATHER_BYTES, GATHER_FACTOR, JOIN_SECONDS, MAX_WAITING_BYTES, Writer
from stomplistener._util.deadline import Deadline
from stomplistener.states import IllegalMove, WriterState, WriteState
from stomplistener.transport.base import FEW


class Clock:
    """Stands still until it is told to go on; each look may cost something."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.cost = 0.0

    def __call__(self) -> float:
        self.now += self.cost
        return self.now


class Rig:
    """A writer, its transport, and the reasons for which it broke the connection."""

    def __init__(self) -> None:
        self.context = make_context()
        self.broken: list[BaseException] = []
        self.epochs: list[int] = []
        self.writer = Writer(self.context, self.note)
        self.transport = FakeTransport()

    def note(self, error: BaseException, epoch: int) -> None:
        self.broken.append(error)
        self.epochs.append(epoch)

    def attach(self) -> Rig:
        with self.context.lock:
            self.writer.attach(self.transport)  # type: ignore[arg-type]
        return self

    def append(self, *frames: bytes) -> None:
        with self.context.lock:
            for frame in frames:
                self.writer.append(frame)

    def detach(self) -> tuple[list[bytes], bool]:
        with self.context.lock:
            return self.writer.detach()


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    if rig.transport.gate is not None:
        rig.transport.gate.set()
    rig.writer.stop()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(writer_module, "monotonic", clock)
    return clock


def no_wake(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count wake-ups of the writer thread in place of making them."""
    woken: list[int] = []
    monkeypatch.setattr(writer, "wake", lambda: woken.append(1))
    return woken


def test_a_lone_frame_is_written_by_the_thread_that_appends_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    woken = no_wake(rig.attach().writer, monkeypatch)
    rig.append(b"one")
    rig.writer.schedule()
    assert (rig.transport.sent, woken) == ([b"one"], [])
    assert not rig.writer.waiting
    assert rig.writer.waiting == 0
    assert rig.writer.bytes_written == 3


def test_frames_of_a_burst_gather(rig: Rig, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    woken = no_wake(rig.attach().writer, monkeypatch)
    clock.cost = 0.5
    rig.append(b"one")
    rig.writer.schedule()
    clock.cost = 0.0
    rig.append(b"two")
    rig.writer.schedule()
    assert (rig.transport.sent, woken) == ([b"one"], [1])
    # Longer after the last write than that took, several times.
    clock.now += 0.5 * GATHER_FACTOR + 0.1
    rig.append(b"three")
    rig.writer.schedule()
    assert rig.transport.sent == [b"one", b"twothree"]


def test_a_large_frame_is_written_by_its_sender_in_a_burst_too(
    rig: Rig, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gathering would save nothing, and another thread would only have to fetch the bytes from another cache."""
    woken = no_wake(rig.attach().writer, monkeypatch)
    clock.cost = 0.5
    rig.append(b"one")
    rig.writer.schedule()
    clock.cost = 0.0
    large = b"x" * (FEW + 1)
    for frame in b"two", large, large:
        rig.append(frame)
        rig.writer.schedule()
    assert (rig.transport.sent, woken) == ([b"one", b"two" + large, large], [1])


def test_large_frames_that_wait_are_not_copied_to_be_written_together(rig: Rig) -> None:
    small, large = b"s" * 100, b"x" * GATHER_BYTES
    rig.attach().append(small, small, large, large, small)
    rig.writer.write_all()
    assert rig.transport.sent == [small + small, large, large, small]


def test_an_answer_is_written_at_once(rig: Rig, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    woken = no_wake(rig.attach().writer, monkeypatch)
    clock.cost = 0.5
    rig.append(b"one")
    rig.writer.schedule()
    clock.cost = 0.0
    rig.context.last_received = clock.now + 0.001
    rig.append(b"two")
    rig.writer.schedule()
    assert (rig.transport.sent, woken) == ([b"one", b"two"], [])


def test_what_the_kernel_does_not_take_is_taken_back_in_order(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    woken = no_wake(rig.attach().writer, monkeypatch)
    rig.transport.nowait = False
    rig.append(b"one", b"two")
    rig.writer.schedule()
    assert (rig.transport.sent, woken) == ([], [1])
    assert rig.writer.waiting == 2
    rig.append(b"three")
    rig.writer.write_all()
    assert rig.transport.sent == [b"onetwothree"]


def test_a_transport_that_takes_little_gets_the_rest(rig: Rig) -> None:
    rig.attach().transport.takes = 4
    rig.append(b"first", b"second")
    rig.writer.write_all()
    assert rig.transport.sent == [b"firs", b"tsec", b"ond"]
    assert rig.writer.bytes_written == 11


def test_a_frame_a_send_where_the_transport_wants_that(rig: Rig) -> None:
    rig.transport.frame_per_send = True
    rig.attach().append(b"one", b"two")
    rig.writer.write_all()
    assert rig.transport.sent == [b"one", b"two"]


def test_the_writer_thread_writes_in_order(rig: Rig) -> None:
    rig.attach()
    expected = [b"%d;" % number for number in range(500)]
    for frame in expected:
        rig.append(frame)
        rig.writer.wake()
    assert rig.writer.flush(Deadline(10.0))
    assert rig.transport.data == b"".join(expected)


def test_detach_returns_what_was_not_written(rig: Rig) -> None:
    rig.attach().append(b"one", b"two")
    assert rig.detach() == ([b"one", b"two"], False)
    assert not rig.writer.waiting
    assert rig.detach() == ([], False)


@pytest.mark.parametrize(
    ("takes", "expected"),
    [(3, ([b"two", b"three"], True)), (5, ([b"two", b"three"], True)), (6, ([b"three"], True))],
)
def test_a_frame_that_was_cut_counts_as_not_written(
    rig: Rig, takes: int, expected: tuple[list[bytes], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.attach().append(b"one", b"two", b"three")
    first = True

    def send(data: Any) -> int:
        nonlocal first
        if not first:
            raise OSError("cut")
        first = False
        return takes

    monkeypatch.setattr(rig.transport, "send", send)
    rig.writer.write_all()
    assert [str(error) for error in rig.broken] == ["cut"]
    assert rig.writer.state is WriteState.FAILED
    assert rig.detach() == expected
    assert rig.writer.state is not WriteState.FAILED


def test_what_a_thread_writes_that_lost_the_transport_is_ignored(rig: Rig) -> None:
    rig.transport.gate = threading.Event()
    rig.attach().append(b"old")
    writing = Running(rig.writer.write_all)
    assert rig.transport.entered.wait(10.0)
    assert rig.detach() == ([b"old"], True)
    second = FakeTransport()
    with rig.context.lock:
        rig.writer.attach(second)  # type: ignore[arg-type]
    rig.append(b"new")
    rig.transport.gate.set()
    writing.result()
    rig.writer.write_all()
    assert second.data == b"new"
    assert rig.writer.bytes_written == 3
    assert rig.broken == []


def test_a_failed_write_is_reported_with_its_epoch() -> None:
    """The report may come when the next connection has begun."""
    rig = Rig().attach()
    rig.context.session.epoch = 7
    rig.transport.nowait = OSError("gone")
    with rig.context.lock:
        rig.writer.append(b"frame")
    rig.writer.schedule()
    assert ([str(error) for error in rig.broken], rig.epochs) == (["gone"], [7])


def test_a_failed_write_breaks_the_connection_once(rig: Rig) -> None:
    rig.attach().transport.nowait = ConnectionResetError("gone")
    rig.append(b"one")
    rig.writer.schedule()
    assert [str(error) for error in rig.broken] == ["gone"]
    rig.append(b"two")
    rig.writer.schedule()
    assert len(rig.broken) == 1
    assert rig.detach() == ([b"one", b"two"], True)


def test_what_a_signal_handler_raises_reaches_the_caller(rig: Rig) -> None:
    rig.attach().transport.nowait = KeyboardInterrupt()
    rig.append(b"one")
    with pytest.raises(KeyboardInterrupt):
        rig.writer.schedule()
    assert rig.writer.state is WriteState.FAILED
    assert len(rig.broken) == 1


def test_a_batch_gathers_until_its_outermost_end(rig: Rig) -> None:
    writer = rig.attach().writer
    writer.cork()
    writer.cork()
    rig.append(b"one")
    writer.schedule()
    writer.uncork()
    rig.append(b"two")
    writer.schedule()
    assert rig.transport.sent == []
    writer.uncork()
    assert rig.transport.data == b"onetwo"
    # One too many changes nothing.
    writer.uncork()


def test_a_batch_holds_no_other_thread(rig: Rig) -> None:
    rig.attach().writer.cork()

    def send() -> None:
        rig.append(b"other")
        rig.writer.schedule()

    Running(send).result()
    wait_until(lambda: rig.transport.data == b"other")
    rig.writer.uncork()


def test_the_bound(rig: Rig) -> None:
    rig.attach().append(b"x" * MAX_WAITING_BYTES)
    assert not rig.writer.is_full
    rig.append(b"y")
    assert rig.writer.is_full
    assert rig.writer.wait_for_room(Deadline(10.0))
    assert not rig.writer.is_full


def test_no_room_in_time(rig: Rig) -> None:
    # Without a connection nobody waits; the writer says at once that there is nothing to wait for.
    rig.append(b"x" * (MAX_WAITING_BYTES + 1))
    assert rig.writer.wait_for_room(Deadline(0.0))


def test_a_flush_waits_for_what_was_appended_before(rig: Rig) -> None:
    rig.transport.gate = threading.Event()
    rig.transport.nowait = False
    rig.attach().append(b"one")
    assert not rig.writer.flush(Deadline(0.01))
    rig.transport.gate.set()
    assert rig.writer.flush(Deadline(10.0))
    assert rig.transport.data == b"one"


def test_a_heart_beat(rig: Rig) -> None:
    rig.writer.beat()
    rig.attach().writer.beat()
    assert rig.transport.sent == [b"\n"]
    # Not behind frames: they say as much.
    rig.append(b"frame")
    rig.writer.beat()
    assert rig.transport.sent == [b"\n"]
    rig.writer.write_all()
    rig.transport.nowait = OSError("gone")
    rig.writer.beat()
    assert [str(error) for error in rig.broken] == ["gone"]


def test_what_lingers_is_written_with_the_next_frame_or_when_it_is_much(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "LINGER_SECONDS", 60.0)
    rig.attach().append(b"one")
    rig.writer.schedule(lingers=True)
    rig.append(b"two")
    rig.writer.schedule(lingers=True)
    assert rig.transport.sent == []
    rig.append(b"three")
    rig.writer.schedule()
    assert rig.writer.flush(Deadline(10.0))
    assert rig.transport.sent == [b"onetwothree"]
    much = b"x" * (FEW + 1)
    rig.append(much)
    rig.writer.schedule(lingers=True)
    assert rig.writer.flush(Deadline(10.0))
    assert b"".join(rig.transport.sent) == b"onetwothree" + much


def test_what_lingers_in_a_batch_gathers_until_its_end(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    woken = no_wake(rig.attach().writer, monkeypatch)
    rig.writer.cork()
    rig.append(b"one")
    rig.writer.schedule(lingers=True)
    assert (rig.transport.sent, woken) == ([], [])
    rig.writer.uncork()
    assert (rig.transport.sent, woken) == ([b"one"], [])


def test_what_lingers_is_written_soon(rig: Rig) -> None:
    rig.attach()
    for number in range(3):
        rig.append(b"%d" % number)
        rig.writer.schedule(lingers=True)
        wait_until(lambda: not rig.writer.waiting)
    assert rig.transport.sent == [b"0", b"1", b"2"]


def test_the_end_does_not_wait_for_what_lingers(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "LINGER_SECONDS", 60.0)
    rig.attach().append(b"one")
    rig.writer.schedule(lingers=True)
    began = time.monotonic()
    rig.writer.stop()
    assert time.monotonic() - began < JOIN_SECONDS


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_what_lingers_may_become_urgent_at_any_moment(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """Before the writer thread naps, while it does, and as it wakes by itself."""
    monkeypatch.setattr(writer_module, "LINGER_SECONDS", seconds)
    rig.attach()
    for number in range(200):
        wait_until(lambda: rig.writer._thread_state in (WriterState.ABSENT, WriterState.ASLEEP))
        rig.append(b"%d" % number)
        rig.writer.schedule(lingers=True)
        if number % 2:
            wait_until(lambda: rig.writer._thread_state is not WriterState.LINGERING)
        rig.append(b"x")
        rig.writer.wake()
        assert rig.writer.flush(Deadline(10.0))
    assert not rig.broken
    assert b"".join(rig.transport.sent) == b"".join(b"%dx" % number for number in range(200))


def test_where_the_system_refuses_a_thread_the_callers_thread_writes(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    rig.attach().append(b"one")
    rig.writer.wake()
    assert rig.transport.sent == [b"one"]
    rig.append(b"two")
    rig.writer.wake()
    assert rig.transport.sent == [b"one", b"two"]
    monkeypatch.undo()
    rig.append(b"three")
    rig.writer.wake()
    assert rig.writer.flush(Deadline(10.0))
    assert not rig.broken


def test_two_transports_at_a_time_are_a_bug(rig: Rig) -> None:
    rig.attach()
    with pytest.raises(IllegalMove):
        rig.attach()
