"""The parts of a client, joined: its queues, its lives, and its end, without a broker."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from engine_support import FakeTransport, Running, make_config, make_message, wait_until

from stomplistener import ConnectFailed, ConnectionLost, Frame, Limits, Message, NotConnected, ProtocolError, TimedOut
from stomplistener._engine import engine as module
from stomplistener._engine.connection_cycle import ENDED
from stomplistener._engine.dispatch_queue import Event
from stomplistener._engine.engine import Engine, live_engines
from stomplistener._engine.life import Life
from stomplistener._engine.receipts import Receipt
from stomplistener._engine.shutdown import CLOSED
from stomplistener._util.deadline import Deadline
from stomplistener._util.timer import timer
from stomplistener.errors import ClosedAfterFork
from stomplistener.listener import Listeners
from stomplistener.policy import SettlePolicy
from stomplistener.states import ConnectionState, SettlementState

SOON = 10.0


class Idle(Life):
    """A life without threads: the test moves the state, and takes the last step of the receiver."""

    def start(self) -> None:
        self.interrupt.step = "the answer to CONNECT"

    def finish(self) -> None:
        self._ended(self)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setattr(module, "Life", Idle)
    engine = Engine(make_config(limits=Limits(max_unconfirmed_messages=1)), Listeners())
    yield engine
    if engine in live_engines():
        engine.shutdown.close()
        assert isinstance(engine.life, Idle)
        engine.life.finish()
    timer().unwatch(engine)


def begin(engine: Engine) -> Idle:
    life = engine.begin_life()
    assert isinstance(life, Idle)
    return life


def move(engine: Engine, state: ConnectionState) -> None:
    with engine.context.lock:
        engine.context.move(state)


def open_connection(engine: Engine) -> FakeTransport:
    """Let the engine write to a transport, as after a login at RabbitMQ."""
    begin(engine)
    context, transport = engine.context, FakeTransport()
    connected = Frame("CONNECTED", {"version": "1.2", "server": "RabbitMQ/4.1"})
    with context.lock:
        context.session.connect(host="/")
        context.session.connected(connected)
        context.session.restored()
        context.profile = context.config.dialect.profile(connected)
        engine.writer.attach(transport)  # type: ignore[arg-type]
        context.move(ConnectionState.CONNECTED)
    return transport


def send_later(engine: Engine, receipt: Receipt | None = None, timeout: float = SOON) -> None:
    """Send a message that waits for a connection."""
    engine.sender.send_confirmed("/queue/a", b"body", None, receipt, timeout, {}, wait=False)


# The parts


def test_a_received_message_reaches_its_listener_in_the_dispatcher(engine: Engine) -> None:
    assert engine.statistics().reconnects == 0
    heard: list[tuple[bytes, str]] = []

    def listener(message: Message) -> None:
        heard.append((message.body, threading.current_thread().name))

    engine.context.listeners.add(listener)
    open_connection(engine)
    engine._inbound.dispatch([Frame("MESSAGE", {"destination": "/queue/a", "message-id": "1"}, b"hello")])
    wait_until(lambda: engine.statistics().messages_received == 1 and engine.statistics().pending == 0)
    assert heard == [(b"hello", engine.context.config.name)]


def test_a_sent_frame_reaches_the_transport(engine: Engine) -> None:
    transport = open_connection(engine)
    engine.sender.send(Frame("SEND", {"destination": "/queue/a"}, b"hello"), SOON)
    assert transport.data.startswith(b"SEND\n")
    counts = engine.statistics()
    assert (counts.messages_sent, counts.bytes_sent) == (1, len(transport.data))
    session = engine.session_snapshot()
    assert (session.epoch, session.version, session.server) == (1, "1.2", "RabbitMQ/4.1")


def test_a_message_that_a_listener_refuses_goes_to_the_dead_letters(engine: Engine) -> None:
    def refuse(_message: Message) -> None:
        raise ValueError("refused")

    transport = open_connection(engine)
    policy = SettlePolicy(settle=True, error_destination="/queue/dead")
    subscription = SimpleNamespace(
        policy=policy, ack="client", on_message=refuse, has_ended=False, hook=lambda _name: (), queue=engine.main
    )
    with engine.context.lock:
        engine.main.line_up([make_message(b"letter", subscription, epoch=1, message_id="1", ack="1")])
    engine.main.begin()
    wait_until(lambda: b"destination:/queue/dead" in transport.data)
    assert b"letter" in transport.data


def test_a_rejected_subscription_is_counted(engine: Engine) -> None:
    open_connection(engine)
    subscription = SimpleNamespace(queue=engine.main, hook=lambda _name: ())
    with engine.context.lock:
        _, frame = engine.context.session.subscribe("/queue/a", context=subscription)
    assert frame is not None
    engine._inbound.dispatch([Frame("ERROR", {"receipt-id": frame.headers["receipt"], "message": "no"})])
    assert engine.cycle.rejections == 1


def test_a_failed_write_breaks_the_connection(engine: Engine) -> None:
    open_connection(engine).nowait = OSError("gone")
    with engine.context.lock:
        engine.writer.append(b"frame")
    engine.writer.schedule()
    assert str(engine.cycle.reason(OSError("closed"))) == "gone"


def test_cancelled_requests_and_sends_wait_for_no_answer(engine: Engine) -> None:
    open_connection(engine)
    reply = engine.requests.start(lambda headers: Frame("SEND", headers), Deadline(SOON), "request")
    assert reply.cancel()
    assert not engine.withdraw(reply)
    receipt = engine.new_receipt()
    send_later(engine, receipt)
    # Limits allows one unconfirmed message, so the next one waits for the end of this one.
    sending = Running(lambda: send_later(engine, timeout=60.0))
    wait_until(lambda: engine.context.answers.gates)
    done: list[object] = []
    receipt.add_done_callback(done.append)
    assert receipt.cancel()
    sending.result()
    wait_until(lambda: done)
    assert not engine.withdraw(receipt)


def test_each_subscription_gets_its_queue(engine: Engine) -> None:
    assert engine.subscription_queue("plain", 1, None, None) is engine.main
    workers = engine.subscription_queue("workers", 2, None, None)
    ordered = engine.subscription_queue("ordered", 1, "key", None)
    assert engine.queues()[:2] == (engine.main, workers)
    # The ordered queue is in front of a queue with threads.
    assert len(engine.queues()) == 3
    assert ordered not in engine.queues()
    workers.stop()
    consumer = engine.new_queue("consumer", 0)
    assert workers not in engine.queues()
    assert engine.queues()[-1] is consumer


@pytest.mark.parametrize("ordered_by", [None, "key"])
def test_the_listener_of_a_subscription_with_call_in_runs_in_the_other_thread(
    engine: Engine, ordered_by: str | None
) -> None:
    heard: list[threading.Thread] = []
    engine.context.listeners.add(lambda message: heard.append(threading.current_thread()))
    handed: list[Event] = []
    queue = engine.subscription_queue("gui", 1, ordered_by, handed.append)
    with engine.context.lock:
        queue.line_up([make_message(key="1")])
    queue.begin()
    wait_until(lambda: handed)
    handed[0]()
    assert heard == [threading.current_thread()]
    queue.stop()


def test_a_handler_of_a_signal_that_interrupted_a_call_is_recognized(engine: Engine) -> None:
    assert not engine.is_interrupted
    for lock in (engine.context.lock, engine._life_lock):
        with lock:
            assert engine.is_interrupted
            assert Running(lambda: engine.is_interrupted).result() is False


# Lives


def test_only_one_life_goes_on_and_the_process_knows_it(engine: Engine) -> None:
    life = begin(engine)
    assert engine.begin_life() is None
    assert engine in live_engines()
    life.give_up(NotConnected("ended"))
    life.finish()
    assert engine not in live_engines()
    assert engine not in timer()._watches
    assert engine.main.is_over
    begin(engine)
    assert not engine.main.is_over


def test_a_new_life_forgets_how_the_last_one_ended(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    # The timer does not carry out the request.
    monkeypatch.setattr(engine.shutdown, "look_for_stop", lambda: None)
    engine.shutdown.stop()
    engine.settlement.move(SettlementState.DRAINING)
    begin(engine)
    assert not engine.shutdown._stop_asked
    assert not engine.settlement.is_draining


def test_the_end_of_an_old_life_does_not_touch_the_next_one(engine: Engine) -> None:
    old = begin(engine)
    engine.shutdown.close()
    begin(engine)
    with engine.context.lock:
        engine.context.session.subscribe("/queue/a")
    receipt = engine.new_receipt()
    send_later(engine, receipt)
    engine._end_life(old, NotConnected("late"))
    old.finish()
    assert not engine.main.is_over
    assert len(engine.session_snapshot().subscriptions) == 1
    assert engine.context.state is ConnectionState.CONNECTING
    assert engine in live_engines()
    assert not receipt.done()


@pytest.mark.parametrize("begun", [False, True])
def test_close_ends_subscriptions_and_queues(engine: Engine, begun: bool) -> None:
    with engine.context.lock:
        engine.context.session.subscribe("/queue/a")
    if begun:
        begin(engine)
    engine.shutdown.close()
    assert (engine.context.state, str(engine.context.failure)) == (ConnectionState.CLOSED, CLOSED)
    assert engine.session_snapshot().subscriptions == ()
    assert engine.main.is_over


def test_the_timer_ends_a_life_that_a_signal_handler_stops(engine: Engine) -> None:
    begin(engine)
    engine.shutdown.stop()
    wait_until(lambda: engine.context.state is ConnectionState.CLOSED)
    assert str(engine.context.failure) == ENDED


def test_messages_that_are_never_sent_are_reported_at_the_end(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    open_connection(engine)
    receipt = engine.new_receipt()
    with engine.context.lock:
        engine.context.session.lost([Frame("SEND", {"destination": name}) for name in ("/queue/a", "/queue/b")])
        for context in (receipt, None, None):
            engine.context.session.send(Frame("SEND", {"destination": "/queue/b"}), confirm=True, context=context)
    with caplog.at_level(logging.WARNING, "stomplistener"):
        engine.shutdown.close()
        assert isinstance(engine.life, Idle)
        engine.life.finish()
    failure = receipt.exception(0)
    assert isinstance(failure, ConnectionLost)
    assert str(failure) == f"SEND: the connection was closed before the broker's receipt came: {CLOSED}"
    assert not failure.outcome_unknown
    assert "2 messages kept by trackMessages had no receipt at the end" in caplog.text
    assert "not sent before the end: 2 messages" in caplog.text


@pytest.mark.parametrize("refuse", ["refuse_half_a_patch", "refuse_without_threads"])
def test_an_interpreter_without_our_threads_begins_no_life(
    engine: Engine, refuse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError(refuse)

    monkeypatch.setattr(module, refuse, fail)
    with pytest.raises(RuntimeError, match=refuse):
        engine.begin_life()
    assert (engine.context.state, engine.life) == (ConnectionState.NEW, None)


@pytest.mark.parametrize(
    ("error", "raised", "text"),
    [
        (RuntimeError("can't start new thread"), ConnectFailed, "the system refuses a thread: can't start new thread"),
        (KeyboardInterrupt("interrupted"), KeyboardInterrupt, "^interrupted$"),
    ],
)
def test_a_life_whose_thread_cannot_start_is_over(
    engine: Engine, error: BaseException, raised: type[BaseException], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_life: Idle) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Idle, "start", fail)
        with pytest.raises(raised, match=text):
            engine.begin_life()
    assert engine.context.state is ConnectionState.CLOSED
    assert isinstance(engine.context.failure, ConnectFailed)
    assert engine not in live_engines()
    begin(engine)


# Waiting for the connection


def connecting(engine: Engine, seconds: float = SOON) -> Running:
    return Running(lambda: engine.connect(Deadline(seconds)))


def test_connect_waits_until_the_connection_is_ready(engine: Engine) -> None:
    waiting = connecting(engine)
    wait_until(lambda: engine.context.changes.gates)
    move(engine, ConnectionState.CONNECTED)
    assert waiting.result() is None


def test_connect_that_times_out_ends_its_life_and_names_the_step(engine: Engine) -> None:
    engine.context.last_error = OSError("refused")
    with pytest.raises(TimedOut) as late:
        engine.connect(Deadline(0.01))
    expected = "connect() to tcp://localhost:1 timed out after 0.01 s, waiting for the answer to CONNECT"
    assert str(late.value) == f"{expected}; the last failure: refused"
    assert engine.life is not None
    assert engine.life.interrupt.is_set()
    assert (engine.context.state, engine.context.failure) == (ConnectionState.CLOSED, late.value)


def test_connect_that_times_out_leaves_the_life_of_another_thread(engine: Engine) -> None:
    begin(engine)
    with pytest.raises(TimedOut):
        engine.connect(Deadline(0.01))
    assert engine.context.state is ConnectionState.CONNECTING


def test_connect_that_is_interrupted_ends_its_life(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_condition: Callable[[], bool], _deadline: Deadline) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine.context, "wait_until", interrupt)
    with pytest.raises(KeyboardInterrupt):
        engine.connect(Deadline(SOON))
    assert engine.context.state is ConnectionState.CLOSED
    assert str(engine.context.failure) == "connect() was interrupted"


def test_connect_raises_why_its_life_ended(engine: Engine) -> None:
    waiting = connecting(engine)
    wait_until(lambda: engine.context.changes.gates)
    assert engine.life is not None
    engine.life.give_up(ConnectFailed("no broker"))
    with pytest.raises(ConnectFailed, match="no broker"):
        waiting.result()


def test_connect_begins_another_life_if_a_thread_ends_the_earlier_one(engine: Engine) -> None:
    first = begin(engine)
    waiting = connecting(engine)
    wait_until(lambda: engine.context.changes.gates)
    engine.shutdown.close()
    wait_until(lambda: engine.life is not first and engine.context.changes.gates)
    move(engine, ConnectionState.CONNECTED)
    waiting.result()


def test_connect_raises_the_rejection_of_a_subscription_only_to_the_thread_that_began_the_life(engine: Engine) -> None:
    began = connecting(engine)
    wait_until(lambda: engine.life is not None and engine.context.changes.gates)
    joined = connecting(engine)
    wait_until(lambda: len(engine.context.changes.gates) == 2)
    engine.cycle.rejected_at_start.append(ProtocolError("no selectors"))
    move(engine, ConnectionState.CONNECTED)
    with pytest.raises(ProtocolError, match="no selectors"):
        began.result()
    joined.result()
    assert engine.context.state is ConnectionState.CONNECTED


# The end of the program, and forks


def test_finish_ends_gracefully_if_everything_was_sent(engine: Engine) -> None:
    begin(engine)
    assert Running(lambda: engine.finish(60.0)).result() == 0
    assert str(engine.context.failure) == ENDED


def line_up_frame(engine: Engine) -> None:
    with engine.context.lock:
        engine.writer.append(b"frame")


@pytest.mark.parametrize("line_up", [send_later, line_up_frame])
def test_finish_gives_up_after_its_time_and_counts_unsent_messages(
    engine: Engine, line_up: Callable[[Engine], object]
) -> None:
    begin(engine)
    line_up(engine)
    assert engine.finish(0.01) == 1
    assert str(engine.context.failure) == CLOSED


def test_the_child_of_a_fork_uses_nothing_of_the_parent_and_takes_no_lock(engine: Engine) -> None:
    open_connection(engine)
    reply = engine.requests.start(lambda headers: Frame("SEND", headers), Deadline(SOON), "request")
    receipt = engine.new_receipt()
    send_later(engine, receipt)
    with engine.context.lock:
        Running(engine.abandon).result()
    for future in (reply, receipt):
        assert isinstance(future.exception(0), ClosedAfterFork)
    assert engine not in live_engines()
    for call in (engine.statistics, engine.session_snapshot, engine.begin_life, engine.main.stop, engine.writer.stop):
        with pytest.raises(ClosedAfterFork):
            call()
