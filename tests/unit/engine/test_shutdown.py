"""The ends of a client: what a graceful end waits for, what calls it off, and requests of signal handlers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from engine_support import DEADLINE_SECONDS, Running, make_context, make_message, wait_until

from stomplistener import ConnectionLost, Frame
from stomplistener._engine import shutdown as module
from stomplistener._engine.connection_cycle import ENDED
from stomplistener._engine.dispatch_queue import Batch, DispatchQueue, Event
from stomplistener._engine.elsewhere import Elsewhere
from stomplistener._engine.flow_control import FlowControl
from stomplistener._engine.sender import Note
from stomplistener._engine.shutdown import CLOSED, Shutdown
from stomplistener._util.deadline import Deadline
from stomplistener.states import ConnectionState, SettlementState

SOON = 10.0


class Rig:
    """A connection with one queue. The rig stands for the other parts, and notes what happens in ``steps``.

    Attributes:
        gate: holds up the listeners of the queue while it is closed.
        ends: each life that was ended, and why.
        refusal: what the wait for the receipt of DISCONNECT raises.
    """

    def __init__(self) -> None:
        self.context = make_context(timeout=7.0)
        self.session = self.context.session
        self.flow = FlowControl(self.context)
        self.steps: list[str] = []
        self.frames: list[Frame] = []
        self.ends: list[tuple[object, str]] = []
        self.broken: list[BaseException] = []
        self.gate = threading.Event()
        self.gate.set()
        self.refusal: Exception | None = None
        self.state = SettlementState.RUNNING
        self.has_deferred = False
        self.on_disconnecting: Callable[[], object] = lambda: None
        self.life: Any = object()
        self.queues = [DispatchQueue(self.context, self.flow, self, self.broken.append, "test")]
        me: Any = self
        receipt: Any = object
        self.shutdown = Shutdown(
            self.context, me, me, me, me, receipt, lambda: self.queues, lambda: self.life, self.end
        )

    def connect(self, state: ConnectionState = ConnectionState.CONNECTED) -> None:
        """Begin a connection; in state CONNECTING it still restores its subscriptions."""
        with self.context.lock:
            self.context.move(ConnectionState.CONNECTING)
            self.session.connect(host="/")
            self.session.connected(Frame("CONNECTED", {"version": "1.2"}))
            if state is ConnectionState.CONNECTED:
                self.session.restored()
                self.context.move(state)

    def handle(self, event: Event = lambda: None) -> None:
        """Let a listener wait for the gate, and then call ``event``."""
        self.queues[0].call(event)

    def disconnect(self, seconds: float | None = SOON) -> Running:
        return Running(lambda: self.shutdown.disconnect(Deadline(seconds)))

    @property
    def is_awaited(self) -> bool:
        """Whether a thread waits for the listeners of the queue."""
        return bool(self.queues[0]._changes.gates)

    def draining(self) -> bool:
        return self.state is SettlementState.DRAINING

    # The other parts

    def run(self, items: Batch) -> None:
        for item in items:
            assert self.gate.wait(DEADLINE_SECONDS)
            if callable(item):
                item()
            self.steps.append("listener")

    def notify(self, hook: str) -> None:
        self.steps.append(hook)
        self.on_disconnecting()

    def flush(self, _deadline: Deadline) -> None:
        self.steps.append("flush")

    def transmit_now(self, note: Note, _context: object = None) -> bool:
        with self.context.lock:
            frame = note(self.session)
        if frame is not None:
            self.frames.append(frame)
            self.steps.append(frame.command)
        return frame is not None

    def await_receipt(self, _receipt: object, _deadline: Deadline, what: str) -> None:
        if self.refusal is not None and what == "DISCONNECT":
            raise self.refusal

    def wait_for_answers(self, condition: Callable[[], bool], deadline: Deadline) -> None:
        if self.context.answers.wait_for(condition, deadline):
            self.steps.append("answers")

    def move(self, state: SettlementState) -> None:
        self.state = state

    def discard_stale(self, _queues: object) -> None:
        self.steps.append("discard")

    def end(self, life: object, failure: Exception) -> None:
        self.ends.append((life, str(failure)))
        for queue in self.queues:
            queue.stop()
        with self.context.lock:
            if self.context.state is not ConnectionState.CLOSED:
                self.context.move(ConnectionState.CLOSED)


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.gate.set()
    for queue in rig.queues:
        queue.stop()
        assert queue.join(Deadline(SOON), lambda: False)
    assert rig.broken == []


def test_disconnect_is_sent_after_the_listeners_returned_and_the_receipts_arrived(rig: Rig) -> None:
    rig.connect()
    with rig.context.lock:
        rig.session.send(Frame("SEND", {"destination": "/queue/a", "receipt": "mine"}), confirm=True)
    rig.gate.clear()
    rig.handle()
    ending = rig.disconnect()
    wait_until(rig.draining)
    rig.gate.set()
    wait_until(lambda: rig.context.answers.gates)
    assert "DISCONNECT" not in rig.steps
    with rig.context.lock:
        rig.session.receive(Frame("RECEIPT", {"receipt-id": "mine"}))
        rig.context.answers.notify_all()
    ending.result()
    assert rig.steps == ["on_disconnecting", "discard", "listener", "flush", "answers", "DISCONNECT"]
    assert rig.ends == [(rig.life, ENDED)]
    assert rig.queues[0].is_over


def test_subscriptions_in_mode_auto_end_before_disconnect_and_its_headers(rig: Rig) -> None:
    rig.connect()
    with rig.context.lock:
        for ack in ("auto", "client-individual"):
            rig.session.subscribe("/queue/a", id=ack, ack=ack)
        rig.session.assume_active()
    rig.shutdown.disconnect(Deadline(SOON), {"reason": "night"})
    unsubscribe, disconnect = rig.frames
    assert (unsubscribe.command, unsubscribe.headers["id"]) == ("UNSUBSCRIBE", "auto")
    assert (disconnect.command, disconnect.headers["reason"]) == ("DISCONNECT", "night")


def test_without_a_connection_nothing_is_sent(rig: Rig) -> None:
    rig.shutdown.disconnect(Deadline(SOON))
    rig.shutdown.disconnect(Deadline(SOON))
    assert rig.steps == []
    assert rig.ends == [(rig.life, ENDED)] * 2


def test_a_life_that_was_given_up_gets_no_disconnect(rig: Rig) -> None:
    rig.connect()
    with rig.context.lock:
        rig.context.move(ConnectionState.CLOSED)
    # The receiver has not ended the session yet.
    rig.shutdown.disconnect(Deadline(SOON))
    assert rig.steps == []
    assert rig.ends == [(rig.life, ENDED)]


def test_a_connection_that_ends_in_the_middle_gets_no_disconnect(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    def lose() -> None:
        with rig.context.lock:
            rig.session.lost()
            rig.context.move(ConnectionState.CLOSED)

    rig.connect()
    rig.on_disconnecting = lose
    with caplog.at_level(logging.WARNING, "stomplistener"):
        rig.shutdown.disconnect(Deadline(SOON))
    assert (rig.frames, caplog.records) == ([], [])
    assert rig.ends == [(rig.life, ENDED)]


def test_a_graceful_end_that_fails_is_logged_and_ends_the_client(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.connect()
    rig.refusal = ConnectionLost("gone")
    with caplog.at_level(logging.WARNING, "stomplistener"):
        rig.shutdown.disconnect(Deadline(SOON))
    assert "the graceful end did not complete: gone" in caplog.text
    assert rig.ends == [(rig.life, ENDED)]


def test_a_listener_that_runs_for_too_long_is_logged(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.connect()
    rig.gate.clear()
    rig.handle()
    with caplog.at_level(logging.WARNING, "stomplistener"):
        rig.shutdown.disconnect(Deadline(0.05))
    assert "a listener has not ended within 0.05 s" in caplog.text
    assert rig.frames[-1].command == "DISCONNECT"


def test_a_life_that_a_hook_begins_goes_on(rig: Rig) -> None:
    rig.connect()
    old, new = rig.life, object()
    rig.on_disconnecting = lambda: setattr(rig, "life", new)
    rig.shutdown.disconnect(Deadline(SOON))
    assert rig.ends == [(old, ENDED)]


# While the subscriptions are restored


@pytest.mark.parametrize("held_back", ["settlement", "sends"])
def test_an_end_waits_for_held_back_frames_and_later_listeners(rig: Rig, held_back: str) -> None:
    rig.connect(ConnectionState.CONNECTING)
    receipt = object()
    with rig.context.lock:
        if held_back == "sends":
            rig.session.send(Frame("SEND", {"destination": "/queue/a"}), confirm=True, context=receipt)
        rig.has_deferred = held_back == "settlement"
    ending = rig.disconnect()
    wait_until(lambda: rig.context.changes.gates)
    assert rig.steps == ["discard"]
    rig.gate.clear()
    rig.handle()
    with rig.context.lock:
        rig.session.restored()
        rig.session.forget(receipt)
        rig.context.changes.notify_all()
    wait_until(lambda: rig.is_awaited or ending.is_over)
    rig.gate.set()
    ending.result()
    assert rig.steps == ["discard", "listener", "flush", "answers", "DISCONNECT"]


def test_a_replay_that_holds_back_nothing_is_not_awaited(rig: Rig) -> None:
    rig.connect(ConnectionState.CONNECTING)
    with rig.context.lock:
        rig.session.subscribe("/queue/a", ack="client")
    rig.disconnect().result()
    assert rig.frames[-1].command == "DISCONNECT"
    # The broker does not know the subscription on this connection: the replay must not wait for it.
    assert not rig.session.subscriptions


# Several ends at a time


def test_a_second_end_waits_for_the_first_one(rig: Rig) -> None:
    rig.connect()
    rig.gate.clear()
    rig.handle()
    first = rig.disconnect()
    wait_until(rig.draining)
    second = rig.disconnect()
    wait_until(lambda: rig.context.changes.gates)
    assert rig.ends == []
    rig.gate.set()
    first.result()
    second.result()
    assert rig.ends == [(rig.life, ENDED)] * 2
    assert rig.steps.count("DISCONNECT") == 1


def test_a_listener_does_not_wait_for_an_end_that_waits_for_the_listener(rig: Rig) -> None:
    rig.connect()
    rig.gate.clear()
    rig.handle(lambda: rig.shutdown.disconnect(Deadline(None)))
    ending = rig.disconnect()
    wait_until(rig.draining)
    rig.gate.set()
    ending.result()
    assert rig.ends == [(rig.life, ENDED)]


def test_a_listener_in_another_thread_may_end_the_client(rig: Rig) -> None:
    handed: list[Event] = []

    class Handler:
        def run(self, items: Batch) -> None:
            rig.shutdown.disconnect(Deadline(SOON))

        def is_stale(self, item: object) -> bool:
            return False

    elsewhere = Elsewhere(rig.context, Handler(), handed.append)
    rig.queues.append(DispatchQueue(rig.context, rig.flow, elsewhere, rig.broken.append, "gui"))
    rig.connect()
    with rig.context.lock:
        rig.queues[1].line_up([make_message()])
    rig.queues[1].begin()
    wait_until(lambda: handed)
    handed[0]()
    # The dispatcher did not wait for the listener until the deadline.
    assert rig.queues[1].is_over
    assert rig.steps[-1] == "DISCONNECT"


def test_close_ends_at_once_in_the_middle_of_a_graceful_end(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.connect()
    rig.gate.clear()
    rig.handle()
    ending = rig.disconnect(None)
    wait_until(rig.draining)
    with caplog.at_level(logging.WARNING, "stomplistener"):
        rig.shutdown.close()
        ending.result()
    assert rig.ends[0] == (rig.life, CLOSED)
    assert "listener" not in rig.steps
    assert caplog.records == []


def test_the_next_life_waits_for_its_listeners_again(rig: Rig) -> None:
    rig.connect()
    rig.shutdown.close()
    rig.session.lost()
    rig.queues[0].restart()
    rig.shutdown.begin_life()
    rig.connect()
    rig.gate.clear()
    rig.handle()
    ending = rig.disconnect()
    wait_until(lambda: rig.is_awaited or ending.is_over)
    rig.gate.set()
    ending.result()
    assert rig.steps.index("listener") < rig.steps.index("DISCONNECT")


# Requests of signal handlers


@pytest.fixture
def pokes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the pokes of the timer."""
    pokes: list[int] = []
    monkeypatch.setattr(module, "timer", lambda: SimpleNamespace(poke=lambda: pokes.append(1)))
    return pokes


@pytest.fixture
def threads(pokes: list[int], monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Event]]:
    """Keep name and target of each thread in place of starting it."""
    threads: list[tuple[str, Event]] = []

    def make(target: Event, name: str, daemon: bool) -> SimpleNamespace:
        return SimpleNamespace(start=lambda: threads.append((name, target)))

    monkeypatch.setattr(module, "threading", SimpleNamespace(Thread=make))
    return threads


def test_stop_takes_no_lock_and_the_timer_begins_one_graceful_end(
    rig: Rig, threads: list[tuple[str, Event]], pokes: list[int]
) -> None:
    rig.connect()
    rig.shutdown.look_for_stop()
    with rig.context.lock:
        Running(rig.shutdown.stop).result()
    assert (pokes, threads) == ([1], [])
    rig.shutdown.look_for_stop()
    rig.shutdown.look_for_stop()
    ((name, run),) = threads
    assert name == f"{rig.context.config.name}-stop"
    run()
    assert rig.ends == [(rig.life, ENDED)]
    assert rig.steps[-1] == "DISCONNECT"


def test_a_new_life_forgets_a_request_to_stop(rig: Rig, threads: list[tuple[str, Event]]) -> None:
    rig.shutdown.stop()
    rig.shutdown.begin_life()
    rig.shutdown.look_for_stop()
    assert threads == []


def test_without_a_thread_for_a_graceful_end_the_life_ends_at_once(
    rig: Rig, pokes: list[int], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module, "threading", SimpleNamespace(Thread=lambda **_: SimpleNamespace(start=refuse)))
    failures: list[Exception] = []
    for life in (SimpleNamespace(give_up=failures.append), None):
        rig.life = life
        rig.shutdown.stop()
        with caplog.at_level(logging.ERROR, "stomplistener"):
            rig.shutdown.look_for_stop()
    assert [str(failure) for failure in failures] == [CLOSED]
    assert "closing at once: no thread for a graceful end: can't start new thread" in caplog.text
