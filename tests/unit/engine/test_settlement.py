"""From the listeners of a message to its ACK, retry, dead letter or NACK."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from engine_support import DEADLINE_SECONDS, Running, make_flow, make_message, wait_until

from stomplistener import Backoff, ConnectionLost, Frame, Message
from stomplistener._engine import settlement as settlement_module
from stomplistener._engine.dispatch_queue import DispatchQueue, Event, Item
from stomplistener._engine.held_queue import HeldQueue
from stomplistener._engine.settlement import Settlement, TooManyDeliveries
from stomplistener._util.deadline import Deadline
from stomplistener._util.locks import is_owned
from stomplistener._util.timer import Entry
from stomplistener.listener import Hook
from stomplistener.policy import SettlePolicy, TryAgain
from stomplistener.states import ConnectionState, MessageState, SettlementState

NOW = Backoff.of("retry_delay", 0.0)


class Queue:
    """The queue of a subscription. It notes its calls, and checks whether the lock is held."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.lined_up: list[Item] = []
        self.begun = 0
        self.discarded: list[Callable[[Item], bool]] = []

    def line_up(self, batch: list[Item]) -> None:
        assert is_owned(self._rig.context.lock)
        self.lined_up += batch

    def begin(self) -> None:
        assert not is_owned(self._rig.context.lock)
        self.begun += 1

    def discard(self, unwanted: Callable[[Item], bool]) -> None:
        self.discarded.append(unwanted)


class Subscribed:
    """A subscription that settles, unless its policy is replaced."""

    def __init__(self, rig: Rig, on_message: Hook | None, **policy: Any) -> None:
        rules: dict[str, Any] = {"settle": True, "backoff": NOW, **policy}
        self.policy = SettlePolicy(**rules)
        self.ack = "client-individual"
        self.queue: Any = Queue(rig)
        self.on_message = on_message
        self.has_ended = False
        self.errors: list[BaseException] = []

    def hook(self, name: str) -> tuple[Hook, ...]:
        assert name == "on_listener_error"
        return (lambda message, error: self.errors.append(error),)


class Timer:
    """Keeps the entries until the test calls them."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.cancelled: list[Entry] = []
        self.add = self.entries.append
        self.cancel = self.cancelled.append


class Rig:
    """A settlement on a session that is ready.

    Attributes:
        done: ACK, NACK and the calls of listeners and events, in order.
        calls: the events for the dispatcher.
        forwarded: the calls of ``DeadLetters.forward``.
        failure: the exception that ACK and NACK raise.
    """

    def __init__(self) -> None:
        self.context, self.flow = make_flow()
        self.session = self.context.session
        self.done: list[str] = []
        self.calls: list[Event] = []
        self.forwarded: list[tuple[Message, str, BaseException]] = []
        self.failure: Exception | None = None
        self.settlement = Settlement(self.context, self.flow, self.calls.append)
        self.settlement.dead_letters = self  # type: ignore[assignment]
        self.connect()

    def connect(self, *, restored: bool = True) -> None:
        with self.context.lock:
            self.session.connect("localhost")
            self.session.connected(Frame("CONNECTED", {"version": "1.2"}))
            if restored:
                self.session.restored()

    def lose(self) -> None:
        with self.context.lock:
            self.session.lost()

    def subscribed(self, *outcomes: BaseException | None, **policy: Any) -> Subscribed:
        """A subscription whose listener raises these exceptions in turn; None: it returns."""
        turns = iter(outcomes)

        def listen(message: Message) -> None:
            self.done.append(message.text or "listener")
            if (error := next(turns, None)) is not None:
                raise error

        return Subscribed(self, listen, **policy)

    def message(self, subscription: Subscribed | None, body: bytes = b"", **headers: str) -> Message:
        message = make_message(body, subscription, self.session.epoch, **headers)
        message._settler = self  # type: ignore[assignment]
        return message

    def run(self, *items: Item) -> None:
        self.settlement.run(items)

    def settle(self, message: Message, *_: object, negative: bool, timeout: object) -> bool:
        if self.failure is not None:
            raise self.failure
        if not self.context.is_current(message.epoch):
            return False
        message.state = MessageState.NACKED if negative else MessageState.ACKED
        self.done.append("NACK" if negative else "ACK")
        return True

    def forward(self, message: Message, destination: str, error: BaseException) -> None:
        self.forwarded.append((message, destination, error))


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def timer(monkeypatch: pytest.MonkeyPatch) -> Timer:
    timer = Timer()
    monkeypatch.setattr(settlement_module, "timer", lambda: timer)
    return timer


# The outcome of the listeners


def test_a_message_is_acknowledged_when_all_its_listeners_have_returned(rig: Rig) -> None:
    rig.context.listeners.add(lambda message: rig.done.append("listener of the connection"))
    rig.run(rig.message(rig.subscribed()))
    assert rig.done == ["listener of the connection", "listener", "ACK"]


def test_without_settle_the_message_is_left_to_the_application(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    subscription = rig.subscribed(None, TryAgain("later"), settle=False)
    for _ in range(2):
        rig.run(rig.message(subscription))
    assert rig.done == ["listener", "listener"]
    # Without settle, TryAgain is an error like any other.
    assert [str(error) for error in subscription.errors] == ["later"]
    assert "listen raised on MESSAGE destination:/queue/a" in caplog.text


def test_a_message_that_its_listener_settled_is_left_alone(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    def listen(message: Message) -> None:
        message.nack()
        if message.body:
            raise ValueError("too late")

    subscription = Subscribed(rig, listen, retries=5)
    rig.run(rig.message(subscription), rig.message(subscription, b"x"))
    assert rig.done == ["NACK", "NACK"]
    assert subscription.queue.lined_up == []
    assert "it was settled by its listener" in caplog.text


def test_a_message_is_rejected_after_its_last_retry(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    subscription = rig.subscribed(ValueError("1"), ValueError("2"), ValueError("3"), retries=2)
    reported: list[object] = []
    rig.context.listeners.add(type("Errors", (), {"on_listener_error": lambda _, *args: reported.append(args)})())
    message = rig.message(subscription)
    for attempts in (1, 2):
        rig.run(message)
        assert message.attempts == attempts
        assert f"listen raised ValueError: {attempts}; attempt {attempts + 1} of 3 follows" in caplog.text
        assert subscription.queue.lined_up == [message] * attempts
        assert subscription.queue.begun == attempts
    rig.run(message)
    assert rig.done == ["listener", "listener", "listener", "NACK"]
    assert subscription.queue.lined_up == [message] * 2
    assert "attempt 3 of 3 failed; it is rejected" in caplog.text
    assert [str(error) for error in subscription.errors] == ["1", "2", "3"]
    assert reported == [(message, error) for error in subscription.errors]
    assert rig.context.counters.listener_errors == 3


def test_a_message_that_is_given_up_goes_to_the_error_destination(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    error = SystemExit("even this")
    message = rig.message(rig.subscribed(error, error_destination="/queue/dead"))
    rig.run(message)
    assert rig.forwarded == [(message, "/queue/dead", error)]
    assert rig.done == ["listener"]
    assert "it goes to /queue/dead" in caplog.text


def test_a_listener_that_returns_a_coroutine_has_failed(rig: Rig) -> None:
    async def work() -> None: ...

    subscription = Subscribed(rig, lambda message: work())
    rig.run(rig.message(subscription))
    assert rig.done == ["NACK"]
    assert [type(error) for error in subscription.errors] == [TypeError]


def test_try_again_is_neither_a_failed_attempt_nor_an_error(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    subscription = rig.subscribed(TryAgain("busy"), TryAgain("still busy"), retries=0)
    message = rig.message(subscription)
    for _ in range(3):
        rig.run(message)
    assert rig.done == ["listener", "listener", "listener", "ACK"]
    assert (message.postponed, message.attempts, rig.context.counters.listener_errors) == (2, 0, 0)
    assert subscription.errors == []
    assert "is tried again: still busy" in caplog.text


def test_an_exception_ends_neither_the_batch_nor_the_thread(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise SystemExit("of a callback")

    rig.failure = ConnectionLost("no ACK now")
    rig.run(fail, rig.message(rig.subscribed()), lambda: rig.done.append("next"))
    assert rig.done == ["listener", "next"]
    assert "a callback raised" in caplog.text
    assert "could not settle MESSAGE destination:/queue/a: no ACK now" in caplog.text


def test_messages_without_a_listener_are_reported_once_for_each_destination(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.run(*(rig.message(Subscribed(rig, None)) for _ in range(3)), rig.message(None, destination="/queue/b"))
    assert rig.done == []
    assert [text.partition("no listener")[2] for text in caplog.messages] == [
        " for messages of /queue/a: each is not acknowledged",
        " for messages of /queue/b: each is dropped",
    ]


def test_a_message_that_came_too_often_is_given_up_without_a_listener(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    subscription = rig.subscribed(max_deliveries=3, error_destination="/queue/dead")
    for _ in range(3):
        rig.run(rig.message(subscription, message_id="1"))
    rig.run(last := rig.message(subscription, message_id="1"))
    rig.run(rig.message(subscription, message_id="2"))
    assert rig.done == ["listener", "ACK"] * 4
    [(message, destination, error)] = rig.forwarded
    assert (message, destination, type(error)) == (last, "/queue/dead", TooManyDeliveries)
    assert str(error) == "this is delivery 4 of the message; max_deliveries is 3"
    assert "was delivered more than 3 times; it goes to /queue/dead" in caplog.text


@pytest.mark.parametrize("failure", [ConnectionLost("gone"), RuntimeError("a defect")])
def test_a_message_that_cannot_be_given_up_does_not_stop_the_batch(
    rig: Rig, caplog: pytest.LogCaptureFixture, failure: Exception
) -> None:
    subscription = rig.subscribed(max_deliveries=1)
    rig.run(rig.message(subscription, message_id="1"))
    rig.failure = failure
    rig.run(rig.message(subscription, message_id="1"), lambda: rig.done.append("event"))
    assert rig.done[-1] == "event"
    assert "could not settle MESSAGE" in caplog.text


# Retries with a delay


def test_a_message_that_waits_for_its_retry_counts_towards_the_bound(rig: Rig, timer: Timer) -> None:
    subscription = rig.subscribed(ValueError(), retries=1, backoff=Backoff.of("retry_delay", 60.0))
    message = rig.message(subscription, b"body")
    before = time.monotonic()
    rig.run(message)
    assert (rig.flow.messages, rig.flow.bytes) == (1, message.frame.size)
    [entry] = timer.entries
    assert before + 60.0 <= entry.at <= time.monotonic() + 60.0
    assert subscription.queue.lined_up == []
    assert entry.function() is None
    assert (rig.flow.messages, rig.flow.bytes) == (0, 0)
    assert (subscription.queue.lined_up, subscription.queue.begun) == ([message], 1)


def test_a_connection_loss_cancels_retries_even_while_their_time_comes(rig: Rig, timer: Timer) -> None:
    subscription = rig.subscribed(TryAgain("busy", delay=60.0))
    rig.run(rig.message(subscription))
    rig.lose()
    rig.settlement.lost()
    assert len(timer.entries) == 1
    assert timer.cancelled == timer.entries
    assert rig.flow.messages == 0
    # ``cancel`` does not wait for a call under way.
    timer.entries[0].function()
    assert rig.flow.messages == 0
    assert subscription.queue.lined_up == []


def test_no_retry_is_kept_after_the_connection_is_lost(rig: Rig, timer: Timer) -> None:
    def listen(message: Message) -> None:
        rig.lose()
        raise TryAgain("busy", delay=60.0)

    rig.run(rig.message(Subscribed(rig, listen)))
    assert timer.entries == []
    assert rig.flow.messages == 0


# Actions that wait until the subscriptions are restored


def test_a_rejection_waits_until_the_subscriptions_are_restored(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.lose()
    rig.connect(restored=False)
    message = rig.message(rig.subscribed(ValueError()), b"body")
    rig.run(message)
    assert (rig.done, rig.settlement.has_deferred) == (["body"], True)
    assert (rig.flow.messages, rig.flow.bytes) == (1, message.frame.size)
    rig.session.restored()
    rig.settlement.restored()
    assert (rig.flow.messages, rig.settlement.has_deferred) == (0, False)
    # Only the dispatcher acts.
    assert rig.done == ["body"]
    [call] = rig.calls
    rig.failure = ConnectionLost("again")
    call()
    assert "could not settle" in caplog.text
    rig.failure = None
    call()
    assert rig.done == ["body", "NACK"]


def test_a_rejection_that_waits_is_forgotten_with_its_connection(rig: Rig) -> None:
    rig.lose()
    rig.connect(restored=False)
    rig.run(rig.message(rig.subscribed(ValueError())))
    rig.lose()
    rig.settlement.lost()
    rig.settlement.restored()
    assert (rig.calls, rig.flow.messages, rig.settlement.has_deferred) == ([], 0, False)


def test_a_message_of_a_lost_connection_is_left_to_the_broker(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    def listen(message: Message) -> None:
        rig.lose()
        raise ValueError

    rig.run(rig.message(Subscribed(rig, listen)))
    assert rig.done == []
    assert "its connection is lost, so the broker delivers it again" in caplog.text


# Which listeners may begin


def test_no_listener_begins_on_a_message_that_the_broker_delivers_again(rig: Rig) -> None:
    ended, subscription = rig.subscribed(), rig.subscribed()
    old, late, current = rig.message(subscription), rig.message(ended), rig.message(subscription)
    ended.has_ended = True
    old.epoch -= 1
    assert [rig.settlement.is_stale(item) for item in (old, late, current, lambda: None)] == [True, True, False, False]
    rig.run(old, late)
    assert rig.done == []
    rig.settlement.move(SettlementState.DRAINING)
    assert rig.settlement.is_draining
    assert rig.settlement.is_stale(current)
    # In ack mode ``auto`` the broker delivers nothing again.
    for message in (old, late, current):
        message.subscription.ack = "auto"
        assert not rig.settlement.is_stale(message)


def test_discard_stale_asks_each_queue_once_and_each_front_of_a_queue(rig: Rig) -> None:
    paused, plain, main = rig.subscribed(), rig.subscribed(), Queue(rig)
    plain.queue = main
    for destination, subscription in (("/queue/a", paused), ("/queue/b", plain), ("/queue/c", plain)):
        rig.session.subscribe(destination, context=subscription)
    rig.settlement.discard_stale([main])  # type: ignore[list-item]
    assert paused.queue.discarded == main.discarded == [rig.settlement.is_stale]


@pytest.mark.parametrize(
    ("state", "done"),
    [(SettlementState.RUNNING, ["auto", "held", "ACK"]), (SettlementState.DRAINING, ["auto"])],
)
def test_messages_are_held_back_until_the_state_changes(rig: Rig, state: SettlementState, done: list[str]) -> None:
    auto = rig.subscribed(settle=False)
    auto.ack = "auto"
    rig.settlement.move(SettlementState.HELD)
    running = Running(lambda: rig.run(rig.message(auto, b"auto"), rig.message(rig.subscribed(), b"held")))
    wait_until(lambda: rig.settlement._changes.gates)
    assert rig.done == ["auto"]
    assert rig.settlement.wait_settled(Deadline(0.0))
    rig.settlement.move(state)
    running.result()
    assert rig.done == done


def test_a_pause_during_a_batch_gives_back_the_rest_of_it(rig: Rig) -> None:
    """All go back at once: otherwise, messages behind a ``resume()`` in the same batch overtake earlier ones."""
    paused, other = rig.subscribed(), rig.subscribed()
    first, second, third = (rig.message(paused, body) for body in (b"1", b"2", b"3"))
    plain = DispatchQueue(rig.context, rig.flow, rig.settlement, lambda error: None, "test", 0)
    held = HeldQueue(rig.context, rig.flow, rig.settlement.is_stale, plain)

    def pause() -> None:
        paused.queue = held

    def resume() -> None:
        paused.queue = plain

    rig.run(first, pause, second, rig.message(other, b"other"), resume, third)
    assert rig.done == ["1", "ACK", "other", "ACK"]
    assert rig.flow.messages == 2
    with rig.context.lock:
        assert held.release() == [second, third]


# Around a running listener


def test_waits_end_when_the_listener_has_returned_and_its_message_is_settled(rig: Rig) -> None:
    entered, release = threading.Event(), threading.Event()

    def listen(message: Message) -> None:
        entered.set()
        assert release.wait(DEADLINE_SECONDS)

    subscription, settlement = Subscribed(rig, listen), rig.settlement
    running = Running(lambda: rig.run(rig.message(subscription)))
    assert entered.wait(DEADLINE_SECONDS)
    assert not settlement.is_in_listener()
    assert not settlement.wait_settled(Deadline(0.0))
    assert not settlement.wait_listeners(subscription, Deadline(0.0))
    assert settlement.wait_listeners(rig.subscribed(), Deadline(0.0))
    # In ack mode ``auto`` there is nothing to settle, but the listener still runs.
    subscription.ack = "auto"
    assert settlement.wait_settled(Deadline(0.0))
    subscription.ack = "client"
    waiting = [
        Running(lambda: settlement.wait_settled(Deadline(10.0)) and [*rig.done]),
        Running(lambda: settlement.wait_listeners(subscription, Deadline(10.0)) and [*rig.done]),
    ]
    wait_until(lambda: len(settlement._changes.gates) == 2)
    release.set()
    running.result()
    assert [wait.result() for wait in waiting] == [["ACK"], ["ACK"]]


def test_no_thread_waits_for_a_listener_when_the_connection_is_closed(rig: Rig) -> None:
    release = threading.Event()
    subscription = Subscribed(rig, lambda message: release.wait(DEADLINE_SECONDS) and None)
    running = Running(lambda: rig.run(rig.message(subscription)))
    wait_until(lambda: rig.settlement._running)
    with rig.context.lock:
        rig.context.move(ConnectionState.CLOSED)
    assert rig.settlement.wait_listeners(subscription, Deadline(0.0))
    release.set()
    running.result()


def test_a_listener_does_not_wait_for_itself(rig: Rig) -> None:
    waited: list[bool] = []

    def listen(message: Message) -> None:
        assert rig.settlement.is_in_listener()
        waited.append(rig.settlement.wait_listeners(message.subscription, Deadline(0.0)))

    rig.run(rig.message(Subscribed(rig, listen)))
    assert (waited, rig.done) == ([True], ["ACK"])
    assert not rig.settlement.is_in_listener()


def test_an_event_after_the_listener_comes_after_the_acknowledgement(rig: Rig) -> None:
    other, accepted = rig.subscribed(), list[bool]()

    def event() -> None:
        rig.done.append(f"event, in listener: {rig.settlement.is_in_listener()}")

    def listen(message: Message) -> None:
        accepted.extend(rig.settlement.after_listener(each, event) for each in (message.subscription, other))

    rig.run(rig.message(Subscribed(rig, listen)), lambda: rig.done.append("next"))
    assert accepted == [True, False]
    assert rig.done == ["ACK", "event, in listener: False", "next"]
    assert not rig.settlement.after_listener(other, event)
