"""Requests: one subscription for all answers, the request of each answer, and ends without an answer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from engine_support import Running, make_context, make_message, wait_until

from stomplistener import BrokerError, ConnectionLost, Frame, Message, NotConnected, ProtocolError, TimedOut
from stomplistener._engine.dispatch_queue import Item
from stomplistener._engine.flow_control import FlowControl
from stomplistener._engine.request_reply import Reply, ReplySubscription, RequestReply
from stomplistener._engine.sender import Note
from stomplistener._engine.writer import Writer
from stomplistener._util.deadline import Deadline
from stomplistener.states import ConnectionState

WHAT = "request to /queue/a"


class Rig:
    """A connection whose sender keeps the frames; the rig is the desk and the sender of the requests.

    Attributes:
        before, after: what the next calls of ``transmit`` do before and after they note the frame, such as to raise.
        confirms: whether the broker confirms a subscription at once.
    """

    def __init__(self, server: str = "ActiveMQ/6.1") -> None:
        self.context = make_context()
        self.session = self.context.session
        self.flow = FlowControl(self.context)
        self.writer = Writer(self.context, lambda _error, _epoch: None)
        self.frames: list[Frame] = []
        self.before: list[Callable[[], object]] = []
        self.after: list[Callable[[], object]] = []
        self.confirms = True
        self.requests = RequestReply(self, self.context, self)  # type: ignore[arg-type]
        with self.context.lock:
            self.context.move(ConnectionState.CONNECTING)
        self.connect(server)

    def connect(self, server: str = "ActiveMQ/6.1") -> None:
        connected = Frame("CONNECTED", {"version": "1.2", "server": server})
        with self.context.lock:
            self.session.connect(host="/")
            self.session.connected(connected)
            self.session.restored()
            self.context.profile = self.context.config.dialect.profile(connected)
            self.context.move(ConnectionState.CONNECTED)

    def lose(self) -> None:
        with self.context.lock:
            self.session.lost()
            self.context.move(ConnectionState.SUSPENDED)
        self.requests.lost()

    def close(self) -> None:
        with self.context.lock:
            self.context.failure = NotConnected("closed")
            self.context.move(ConnectionState.CLOSED)

    # The sender

    def check_usable(self) -> None:
        if self.context.state is ConnectionState.CLOSED:
            raise self.context.failure

    def transmit(self, frame: object, timeout: object, what: str, *, note: Note, context: object = None) -> None:
        if self.before:
            self.before.pop(0)()
        with self.context.lock:
            out = note(self.session)
            if out is not None:
                self.frames.append(out)
        if self.after:
            self.after.pop(0)()
        if out is not None and out.command == "SUBSCRIBE" and self.confirms:
            self.answer_subscribe()

    @property
    def commands(self) -> list[str]:
        return [frame.command for frame in self.frames]

    # The broker

    def answer_subscribe(self, command: str = "RECEIPT") -> None:
        receipt = [frame for frame in self.frames if frame.command == "SUBSCRIBE"][-1].headers["receipt"]
        with self.context.lock:
            self.session.receive(Frame(command, {"receipt-id": receipt, "message": "no"}))
            self.context.changes.notify_all()

    def deliver(self, send: Frame, body: bytes = b"") -> Message:
        """Answer a SEND. The message goes the way of the receiver."""
        names = {frame.headers["destination"]: frame.headers["id"] for frame in self.frames if "id" in frame.headers}
        name = names.get(send.headers["reply-to"], send.headers["reply-to"])
        entry = self.session.subscription(Frame("MESSAGE", {"subscription": name}))
        assert entry is not None
        subscription: Any = entry.context
        message = make_message(body, subscription, correlation_id=send.headers["correlation-id"])
        with self.context.lock:
            subscription.queue.line_up([message])
        subscription.queue.begin()
        return message

    # The application

    def start(self, seconds: float = 10.0, **headers: str) -> Reply:
        own = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.requests.start(lambda given: Frame("SEND", {**given, **own}), Deadline(seconds), WHAT)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def bare(given: Mapping[str, str]) -> Frame:
    return Frame("SEND", given)


def raising(error: BaseException) -> Callable[[], object]:
    def fail() -> None:
        raise error

    return fail


def test_all_requests_share_one_subscription_and_each_gets_its_own_answer(rig: Rig) -> None:
    first, second = rig.start(), rig.start()
    subscribe, *sends = rig.frames
    assert rig.commands == ["SUBSCRIBE", "SEND", "SEND"]
    assert {send.headers["reply-to"] for send in sends} == {subscribe.headers["destination"]}
    late, early = rig.deliver(sends[1]), rig.deliver(sends[0])
    assert (first.result(0), second.result(0)) == (early, late)


def test_the_correlation_id_of_the_application_finds_the_answer_and_must_be_unique(rig: Rig) -> None:
    reply = rig.start(correlation_id="7")
    with pytest.raises(ValueError, match="another request with the correlation-id '7' waits for its answer"):
        rig.start(correlation_id="7")
    assert rig.commands == ["SUBSCRIBE", "SEND"]
    answer = rig.deliver(rig.frames[1])
    assert reply.result(0) is answer
    rig.start(correlation_id="7")


def test_a_request_without_an_answer_times_out_and_its_late_answer_is_dropped(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(TimedOut) as raised:
        rig.requests.request(bare, Deadline(0.01), WHAT)
    assert str(raised.value) == f"{WHAT} timed out after 0.01 s: it was sent, but no answer came"
    with caplog.at_level(logging.INFO, "stomplistener"):
        late = rig.deliver(rig.frames[1])
    assert f"dropped a late answer; no request waits for it: {late.frame.heading}" in caplog.text


def test_the_receiver_reads_on_while_a_request_waits_for_its_answer(rig: Rig) -> None:
    requesting = Running(lambda: rig.requests.request(bare, Deadline(10.0), WHAT))
    wait_until(lambda: rig.flow.is_urgent and len(rig.frames) == 2)
    answer = rig.deliver(rig.frames[1])
    assert requesting.result() is answer
    assert not rig.flow.is_urgent


def test_an_interrupted_request_is_forgotten(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[Reply] = []

    def interrupt(reply: Reply, _deadline: Deadline) -> bool:
        waiting.append(reply)
        raise KeyboardInterrupt

    monkeypatch.setattr(Reply, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        rig.requests.request(bare, Deadline(10.0), WHAT)
    assert not rig.requests.forget(waiting[0])


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_request_that_cannot_be_sent_waits_for_no_answer(rig: Rig, when: str) -> None:
    rig.start()
    getattr(rig, when).append(raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        rig.start(correlation_id="7")
    rig.start(correlation_id="7")


def test_a_connection_loss_ends_all_requests_and_the_next_request_subscribes_again(rig: Rig) -> None:
    replies = [rig.start(), rig.start(correlation_id="7")]
    rig.lose()
    for reply in replies:
        lost = reply.exception(0)
        assert isinstance(lost, ConnectionLost)
        assert lost.outcome_unknown
    # The session must not restore a subscription to a queue that was deleted.
    assert not rig.session.subscriptions
    rig.connect()
    reply = rig.start(correlation_id="7")
    assert rig.commands == ["SUBSCRIBE", "SEND", "SEND", "SUBSCRIBE", "SEND"]
    assert rig.frames[4].headers["reply-to"] == rig.frames[3].headers["destination"]
    assert rig.frames[3].headers["destination"] != rig.frames[0].headers["destination"]
    answer = rig.deliver(rig.frames[4])
    assert reply.result(0) is answer


def test_a_request_is_not_sent_after_the_loss_of_its_queue(rig: Rig) -> None:
    def reconnect() -> None:
        rig.lose()
        rig.connect()

    rig.before = [lambda: None, reconnect]
    with pytest.raises(ConnectionLost, match=f"{WHAT}: the queue for the answer was lost .* nothing was sent") as lost:
        rig.start(correlation_id="7")
    assert not lost.value.outcome_unknown
    assert rig.commands == ["SUBSCRIBE"]
    rig.start(correlation_id="7")
    assert rig.commands == ["SUBSCRIBE", "SUBSCRIBE", "SEND"]


# The subscription


def test_a_broker_that_subscribes_automatically_needs_no_subscribe() -> None:
    rig = Rig("RabbitMQ/4.1")
    reply = rig.start()
    assert rig.commands == ["SEND"]
    assert rig.frames[0].headers["reply-to"].startswith("/temp-queue/")
    answer = rig.deliver(rig.frames[0])
    assert reply.result(0) is answer


def test_an_unknown_broker_refuses_the_request_and_another_broker_takes_the_next() -> None:
    rig = Rig("Other/1.0")
    with pytest.raises(ProtocolError, match=f"^{WHAT}: "):
        rig.start()
    rig.lose()
    rig.connect()
    rig.start()
    assert rig.commands == ["SUBSCRIBE", "SEND"]


def test_a_rejected_subscription_fails_the_request_and_not_the_next_one(rig: Rig) -> None:
    rig.confirms = False
    starting = Running(rig.start)
    wait_until(lambda: len(rig.context.changes.gates) == 1)
    rig.answer_subscribe("ERROR")
    with pytest.raises(BrokerError, match="the broker refused SUBSCRIBE: no"):
        starting.result()
    rig.confirms = True
    rig.start()
    assert rig.commands == ["SUBSCRIBE", "SUBSCRIBE", "SEND"]


def test_one_thread_subscribes_and_the_others_wait(rig: Rig) -> None:
    rig.confirms = False
    starting = [Running(rig.start), Running(rig.start)]
    wait_until(lambda: len(rig.context.changes.gates) == 2)
    assert rig.commands == ["SUBSCRIBE"]
    # The receipt may lie behind unread messages.
    assert rig.flow.is_urgent
    rig.answer_subscribe()
    for each in starting:
        each.result()
    assert rig.commands == ["SUBSCRIBE", "SEND", "SEND"]
    assert not rig.flow.is_urgent


def test_a_waiting_thread_subscribes_if_the_first_thread_fails(rig: Rig) -> None:
    entered, gate = threading.Event(), threading.Event()

    def fail() -> None:
        entered.set()
        gate.wait(10.0)
        raise TimedOut("no connection")

    rig.before = [fail]
    first = Running(rig.start)
    assert entered.wait(10.0)
    # The second thread does not wait for its deadline.
    second = Running(lambda: rig.start(60.0))
    wait_until(lambda: len(rig.context.changes.gates) == 1)
    gate.set()
    with pytest.raises(TimedOut, match="no connection"):
        first.result()
    second.result()
    assert rig.commands == ["SUBSCRIBE", "SEND"]


def test_a_late_receipt_serves_the_next_request(rig: Rig) -> None:
    rig.confirms = False
    with pytest.raises(TimedOut) as raised:
        rig.start(0.01)
    assert str(raised.value) == f"{WHAT} timed out after 0.01 s without a queue for the answer"
    rig.answer_subscribe()
    rig.start()
    assert rig.commands == ["SUBSCRIBE", "SEND"]


def test_the_end_of_the_connection_ends_the_wait_for_the_queue(rig: Rig) -> None:
    rig.confirms = False
    starting = Running(rig.start)
    wait_until(lambda: len(rig.context.changes.gates) == 1)
    rig.lose()
    rig.close()
    with pytest.raises(NotConnected, match="closed"):
        starting.result()


def test_the_end_of_the_connection_is_told_before_the_requests_are(rig: Rig) -> None:
    rig.confirms = False
    starting = Running(rig.start)
    wait_until(lambda: len(rig.context.changes.gates) == 1)
    with rig.context.lock:
        rig.session.lost()
        rig.context.failure = NotConnected("closed")
        rig.context.move(ConnectionState.CLOSED)
    # The thread has looked in vain, and waits again.
    wait_until(lambda: len(rig.context.changes.gates) == 1)
    rig.requests.lost()
    with pytest.raises(NotConnected, match="closed"):
        starting.result()


def test_answers_wait_for_the_reading_thread_and_events_are_dropped() -> None:
    answered: list[Message] = []
    queue = ReplySubscription(answered.append)
    first, second = make_message(b"1"), make_message(b"2")
    items: list[Item] = [first, raising(AssertionError("an event ran")), second]
    queue.line_up(items)
    assert answered == []
    queue.begin()
    queue.begin()
    assert answered == [first, second]


def test_the_child_of_a_fork_ends_all_waits_without_the_lock(rig: Rig) -> None:
    reply, forked = rig.start(), NotConnected("forked")
    with rig.context.lock:
        Running(lambda: rig.requests.abandon(forked)).result()
    assert reply.exception(0) is forked
