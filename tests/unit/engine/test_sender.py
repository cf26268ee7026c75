"""Sent frames: what each has to wait for, what is written, and how the waits for the broker end."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from engine_support import Running, make_context, make_message, wait_until

from stomplistener import BrokerError, ConnectionLost, Frame, Limits, Message, NotConnected, ProtocolError, TimedOut
from stomplistener._engine.flow_control import FlowControl
from stomplistener._engine.receipts import Receipt
from stomplistener._engine.sender import Sender
from stomplistener._util.deadline import Deadline
from stomplistener._util.locks import is_owned
from stomplistener.errors import InvalidHeader
from stomplistener.protocol import Session, TransactionEntry
from stomplistener.states import ConnectionState, MessageState, WriteState

SEND = Frame("SEND", {"destination": "/queue/a"}, b"body")
ANSWER = Frame("RECEIPT", {"receipt-id": "1"})
NEVER_WRITTEN = "SEND timed out after 0.0 s without a connection; nothing was written, and nothing will be"


class Outbox:
    """Stands in for the writer: keeps what it is given, and has room or not, as it is told."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self.frames: list[bytes] = []
        self.scheduled: list[bool] = []
        self.deadlines: list[Deadline] = []
        self.flushes = 0
        self.is_full = False
        self.state = WriteState.IDLE
        self.raises: BaseException | None = None
        self.while_full: Callable[[], object] | None = None

    def append(self, data: bytes) -> None:
        assert is_owned(self._lock)
        if self.raises is not None:
            raise self.raises
        self.frames.append(data)

    def schedule(self, lingers: bool = False) -> None:
        assert not is_owned(self._lock)
        self.scheduled.append(lingers)

    def wait_for_room(self, deadline: Deadline) -> bool:
        self.deadlines.append(deadline)
        if self.while_full is not None:
            self.is_full = False
            self.while_full()
            return True
        return False

    def flush(self, _deadline: Deadline) -> bool:
        self.flushes += 1
        return True


class Rig:
    """A sender and its neighbours; this object knows whether a listener runs."""

    def __init__(self, **arguments: Any) -> None:
        self.context = make_context("tcp://broker:1", **arguments)
        self.context.broker = self.context.config.uri.brokers[0]
        self.session = self.context.session
        self.flow = FlowControl(self.context)
        self.writer = Outbox(self.context.lock)
        self.in_listener = False
        self.sender = Sender(self.context, self.writer, self.flow, self)  # type: ignore[arg-type]

    def is_in_listener(self) -> bool:
        return self.in_listener

    def new_receipt(self, kind: type[Receipt] = Receipt) -> Receipt:
        return kind(SimpleNamespace(context=self.context, flow=self.flow))

    def move(self, state: ConnectionState, failure: Exception | None = None) -> None:
        with self.context.lock:
            self.context.failure = failure or self.context.failure  # type: ignore[assignment]
            self.context.move(state)

    def connect(self, version: str = "1.2", server: str = "") -> Rig:
        with self.context.lock:
            if self.context.state is ConnectionState.NEW:
                self.context.move(ConnectionState.CONNECTING)
            connected = Frame("CONNECTED", {"version": version, "server": server})
            self.context.profile = self.context.config.dialect.profile(connected)
            self.session.connect("broker")
            self.session.connected(connected)
            self.session.restored()
            self.context.move(ConnectionState.CONNECTED)
        return self

    def lose(self) -> Rig:
        with self.context.lock:
            self.session.lost()
            self.context.move(ConnectionState.SUSPENDED)
        return self

    def confirm(self, receipt: str) -> None:
        with self.context.lock:
            assert self.session.receipt(Frame("RECEIPT", {"receipt-id": receipt})) is not None
            self.sender.notify_window()

    def send_confirmed(self, receipt: str, *, wait: bool = True, timeout: float = 10.0) -> None:
        headers, future = {"receipt": receipt}, self.new_receipt()
        self.sender.send_confirmed("/queue/a", b"ten  bytes", headers, future, timeout, {}, wait=wait)

    def settle(self, message: Message, *, negative: bool = False, transaction: TransactionEntry | None = None) -> bool:
        return self.sender.settle(message, transaction, None, negative=negative, timeout=0.5)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def raises(kind: type[BaseException], text: str) -> Any:
    return pytest.raises(kind, match=f"^{re.escape(text)}$")


def test_a_frame_is_lined_up_under_the_lock_and_written_without_it(rig: Rig) -> None:
    rig.connect().sender.send(SEND, 0.0)
    rig.sender.transmit(Frame("ACK", {"id": "1"}), 0.0, "ACK", lingers=True)
    assert rig.writer.frames == [b"SEND\ndestination:/queue/a\n\nbody\0", b"ACK\nid:1\n\n\0"]
    assert rig.writer.scheduled == [False, True]
    assert rig.context.counters.messages_sent == 1


def test_a_frame_is_encoded_again_if_the_version_changes_before_the_lock_is_taken(rig: Rig) -> None:
    frame = Frame("SEND", {"destination": "/queue/a", "text": "a:b"})
    rig.connect("1.2")

    def admits() -> bool:
        if rig.session.version == "1.2":
            rig.lose().connect("1.0")
        return True

    assert rig.sender.transmit(frame, 0.0, "SEND", admits=admits) is frame
    assert rig.writer.frames == [b"SEND\ndestination:/queue/a\ntext:a:b\n\n\0"]


def test_a_frame_waits_for_a_connection(rig: Rig) -> None:
    rig.connect().lose()
    with raises(TimedOut, NEVER_WRITTEN):
        rig.sender.send(SEND, 0.0)
    sending = Running(lambda: rig.sender.send(SEND, 10.0))
    wait_until(lambda: rig.context.changes.gates)
    assert rig.writer.frames == []
    rig.connect()
    sending.result()
    assert (len(rig.writer.frames), rig.context.counters.messages_sent) == (1, 1)


def test_a_wait_ends_with_the_client_and_each_thread_gets_a_copy_of_the_failure(rig: Rig) -> None:
    rig.connect().lose()
    sending = [Running(lambda: rig.sender.send(SEND, 10.0)) for _ in range(2)]
    wait_until(lambda: len(rig.context.changes.gates) == 2)
    rig.move(ConnectionState.CLOSED, ConnectionLost("gone", outcome_unknown=True))
    caught: list[BaseException] = [rig.context.failure]
    for each in sending:
        with raises(ConnectionLost, "gone") as info:
            each.result()
        assert info.value.outcome_unknown
        caught.append(info.value)
    assert len(set(map(id, caught))) == 3


def test_no_frame_follows_disconnect(rig: Rig) -> None:
    rig.connect().move(ConnectionState.CLOSING)
    rig.sender.send(SEND, 0.0)
    assert rig.sender.transmit_now(Session.disconnect)
    with raises(NotConnected, "the connection is closing: DISCONNECT was already sent"):
        rig.sender.send(SEND, 10.0)
    assert [data.partition(b"\n")[0] for data in rig.writer.frames] == [b"SEND", b"DISCONNECT"]


def test_only_listeners_and_begun_tasks_use_a_connection_that_is_being_left(rig: Rig) -> None:
    rig.connect().move(ConnectionState.MIGRATING)
    with raises(TimedOut, NEVER_WRITTEN):
        rig.sender.transmit(SEND, 0.0, "SEND")
    assert rig.sender.transmit(SEND, 0.0, "SEND", begun=True) is SEND
    rig.in_listener = True
    assert rig.sender.transmit(SEND, 0.0, "SEND") is SEND


def test_a_sender_waits_while_the_broker_does_not_read(rig: Rig) -> None:
    rig.connect().writer.is_full = True
    with raises(TimedOut, "SEND timed out after 0.5 s: tcp://broker:1 takes no more bytes; the message was not sent"):
        rig.sender.send(SEND, 0.5)
    assert rig.writer.frames == []

    def fill_again() -> None:
        rig.writer.is_full = len(rig.writer.deadlines) < 3

    rig.writer.while_full = fill_again
    rig.sender.send(SEND, 10.0)
    assert len(rig.writer.frames) == 1
    # One deadline holds for all waits of a call.
    assert rig.writer.deadlines[1] is rig.writer.deadlines[2]


def test_a_frame_is_written_even_if_a_signal_handler_interrupts_on_send(rig: Rig) -> None:
    seen: list[object] = []

    def on_send(frame: Frame) -> None:
        seen.extend((frame, len(rig.writer.scheduled)))
        raise KeyboardInterrupt

    rig.context.listeners.add(SimpleNamespace(on_send=on_send))
    with pytest.raises(KeyboardInterrupt):
        rig.connect().sender.send(SEND, 0.0)
    assert (seen, rig.writer.scheduled) == ([SEND, 0], [False])


def test_a_noted_frame_that_the_version_cannot_express_leaves_no_trace(rig: Rig) -> None:
    with pytest.raises(InvalidHeader):
        rig.connect("1.0").sender.transmit(None, 0.0, "BEGIN", note=lambda session: session.begin("a\nb")[1])
    assert (rig.session.transactions, rig.writer.frames, rig.writer.scheduled) == ({}, [], [])


@pytest.mark.parametrize("now", [True, False])
def test_an_interrupted_call_is_withdrawn(rig: Rig, now: bool) -> None:
    rig.connect().writer.raises = KeyboardInterrupt()
    key = object()

    def note(session: Session) -> Frame | None:
        return session.send(SEND, confirm=True, context=key)

    def call() -> object:
        if now:
            return rig.sender.transmit_now(note, key)
        return rig.sender.transmit(None, 0.0, "SEND", note=note, context=key)

    with pytest.raises(KeyboardInterrupt):
        call()
    assert rig.session.unconfirmed == 0


def test_a_frame_that_must_go_now_waits_for_nothing(rig: Rig) -> None:
    rig.connect().writer.is_full = True
    assert not rig.sender.transmit_now(lambda _session: None)
    assert rig.writer.scheduled == []
    assert rig.sender.transmit_now(lambda _session: SEND)
    assert (len(rig.writer.frames), rig.writer.scheduled) == (1, [False])


@pytest.mark.parametrize("bound", [{"max_unconfirmed_messages": 1}, {"max_unconfirmed_bytes": 10}])
def test_a_sender_waits_for_a_receipt_while_the_receiver_reads_on(bound: dict[str, int]) -> None:
    rig = Rig(limits=Limits(**bound)).connect()
    rig.send_confirmed("a")
    text = "no room for it in Limits, while the receipt of 1 message is missing; nothing was written"
    with raises(TimedOut, f"SEND timed out after 0.0 s: {text}"):
        rig.send_confirmed("b", timeout=0.0)
    # The receipt cannot arrive before its frame has left.
    assert rig.writer.flushes == 1
    with pytest.raises(TimedOut):
        rig.send_confirmed("b", wait=False, timeout=0.0)
    sending = Running(lambda: rig.send_confirmed("b"))
    wait_until(lambda: rig.context.answers.gates)
    assert rig.flow.is_urgent
    rig.confirm("a")
    sending.result()
    assert [b"receipt:b" in data for data in rig.writer.frames] == [False, True]
    assert not rig.flow.is_urgent


def test_a_wait_for_a_receipt_ends_with_the_client() -> None:
    rig = Rig(limits=Limits(max_unconfirmed_messages=1)).connect()
    rig.send_confirmed("a")
    sending = Running(lambda: rig.send_confirmed("b"))
    wait_until(lambda: rig.context.answers.gates)
    with rig.context.lock:
        rig.move(ConnectionState.CLOSED, ConnectionLost("gone"))
        rig.session.abandon()
    with raises(ConnectionLost, "gone"):
        sending.result()


@pytest.mark.parametrize("full", ["window", "queue"])
def test_another_thread_may_be_the_first_when_the_connection_is_back(full: str) -> None:
    rig = Rig(limits=Limits(max_unconfirmed_messages=1)).connect().lose()
    waiting = Running(lambda: rig.sender.wait_ready(Deadline(10.0)))
    wait_until(lambda: rig.context.changes.gates)
    with rig.context.lock:
        if full == "window":
            # Only noted: the next connection writes the frame.
            rig.send_confirmed("a", wait=False)
        rig.writer.is_full = full == "queue"
        rig.writer.while_full = lambda: None
        rig.connect()
    if full == "window":
        wait_until(lambda: rig.flow.is_urgent)
        assert not waiting.is_over
        rig.confirm("a")
    waiting.result()
    assert len(rig.writer.deadlines) == (full == "queue")


def test_a_send_whose_fate_is_unknown_in_time_is_lost(rig: Rig) -> None:
    rig.connect().writer.state = WriteState.FAILED
    with pytest.raises(ConnectionLost) as lost:
        rig.sender.send(SEND, 0.0)
    assert lost.value.outcome_unknown


def test_of_two_threads_that_acknowledge_a_message_both_hear_that_it_is(rig: Rig) -> None:
    rig.connect().writer.is_full = True
    message = make_message(epoch=1, ack="m1")
    inner: list[bool] = []
    rig.writer.while_full = lambda: inner.append(rig.settle(message))
    assert rig.settle(message)
    assert (inner, len(rig.writer.frames)) == ([True], 1)


def test_a_confirmed_message_may_be_noted_at_once_but_not_during_a_move(rig: Rig) -> None:
    rig.connect().lose().send_confirmed("a", wait=False, timeout=0.0)
    assert (rig.session.unconfirmed, rig.writer.frames, rig.writer.scheduled) == (1, [], [])
    with raises(TimedOut, NEVER_WRITTEN):
        rig.send_confirmed("b", timeout=0.0)
    rig.connect().writer.is_full = True
    rig.send_confirmed("c", wait=False, timeout=0.0)
    with pytest.raises(TimedOut, match=r" takes no more bytes; "):
        rig.send_confirmed("d", timeout=0.0)
    rig.writer.is_full = False
    rig.move(ConnectionState.MIGRATING)
    with raises(TimedOut, NEVER_WRITTEN):
        rig.send_confirmed("d", wait=False, timeout=0.0)
    assert (rig.session.unconfirmed, len(rig.writer.frames)) == (2, 1)
    rig.in_listener = True
    rig.send_confirmed("d", wait=False, timeout=0.0)
    rig.send_confirmed("e", timeout=0.0)
    assert len(rig.writer.frames) == 3


def test_a_receipt_of_the_application_is_its_own_even_with_the_text_of_ours(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.connect()
    own = []
    monkeypatch.setattr(rig.context, "new_id", lambda: "10")
    for headers in (None, {"receipt": "10"}):
        rig.sender.send_confirmed("/queue/a", b"", headers, None, 0.0, {}, wait=True)
        request = rig.session.receipt(Frame("RECEIPT", {"receipt-id": "10"}))
        assert request is not None
        own.append(request.own_receipt)
    assert own == [False, True]


@pytest.mark.parametrize("end", [None, NotConnected("closed"), ConnectionLost("gone")])
def test_a_thread_awaits_the_fate_of_its_frame_if_the_write_broke(rig: Rig, end: Exception | None) -> None:
    rig.connect().writer.state = WriteState.FAILED
    sending = Running(lambda: rig.sender.send(SEND, 10.0))
    wait_until(lambda: rig.context.changes.gates)
    # The receiver notices the loss and takes the frame back.
    with rig.context.lock:
        rig.writer.state = WriteState.DETACHED
        rig.lose()
    wait_until(lambda: rig.context.changes.gates)
    assert not sending.is_over
    if end is None:
        rig.connect()
    else:
        rig.move(ConnectionState.CLOSED, end)
    if isinstance(end, ConnectionLost):
        then = "broke during the write; the broker may have received the message or not"
        with raises(ConnectionLost, f"SEND failed: the connection to tcp://broker:1 {then}") as caught:
            sending.result()
        assert caught.value.outcome_unknown
    else:
        sending.result()


def test_frames_of_a_transaction_linger_unless_the_application_may_wait_for_their_receipt(rig: Rig) -> None:
    transaction, _begin = rig.connect().session.begin("t")
    rig.move(ConnectionState.MIGRATING)
    frame = SEND.adding("transaction", "t")
    rig.sender.send_in(transaction, frame, 0.0, None)
    rig.sender.send_in(transaction, frame, 0.0, rig.new_receipt())
    rig.sender.send_in(transaction, frame.adding("receipt", "mine"), 0.0, rig.new_receipt())
    assert rig.writer.scheduled == [True, True, False]
    assert [b"\nreceipt:" in data for data in rig.writer.frames] == [False, True, True]
    rig.lose().connect()
    with raises(ConnectionLost, "transaction 't' is lost; begin another one"):
        rig.sender.send_in(transaction, frame, 0.0, None)
    assert len(rig.writer.frames) == 3


def headers_of(rig: Rig, body: Any = b"", headers: Any = None, **options: Any) -> dict[str, str]:
    return dict(rig.sender.make_send("/queue/a", body, headers, None, 0.0, options).headers)  # type: ignore[arg-type]


def test_text_for_a_jms_broker_has_no_length_unless_it_needs_one() -> None:
    bodies: tuple[str | bytes, ...] = ("text", "a\0b", b"bytes")
    for broker, expected in (("activemq", [False, True, True]), ("rabbitmq", [True, True, True])):
        rig = Rig(broker=broker)
        assert ["content-length" in headers_of(rig, body) for body in bodies] == expected
        assert "content-length" in headers_of(rig, "text", auto_content_length=True)


def test_options_become_headers_as_soon_as_the_broker_is_known(rig: Rig) -> None:
    with raises(NotConnected, "not connected yet: call connect() first"):
        headers_of(rig, priority=7)
    assert headers_of(Rig(broker="activemq"), priority=7)["priority"] == "7"
    rig.connect(server="RabbitMQ/3.13")
    found = headers_of(rig, headers={"priority": "1"}, priority=7, persistent=True, json=[1])
    assert {**found, "destination": ""} == {
        "destination": "",
        "content-type": "application/json",
        "content-length": "3",
        # The application's header wins.
        "priority": "1",
        "persistent": "true",
    }


def test_wrong_arguments_are_refused(rig: Rig) -> None:
    with raises(TypeError, "headers must be a mapping of str to str, not list"):
        headers_of(rig, headers=["a"])
    with pytest.raises(TypeError, match=r"^send\(\) has no option 'prioriti'"):
        headers_of(rig, prioriti=7)
    with raises(ValueError, "give body or json=, not both"):
        headers_of(rig, b"x", json=1)
    with raises(ValueError, "<Message MESSAGE destination:/queue/a> has no reply-to, so it expects no answer"):
        rig.sender.reply(make_message(), b"", None, 0.0, {})


def test_a_reply_has_the_correlation_id_of_the_request_unless_it_brings_another(rig: Rig) -> None:
    request = make_message(reply_to="/queue/answers", correlation_id="7")
    rig.connect().sender.reply(request, b"", None, 0.0, {})
    rig.sender.reply(request, b"", {"correlation-id": "8"}, 0.0, {})
    rig.sender.reply(make_message(reply_to="/queue/answers"), b"", None, 0.0, {})
    head = b"SEND\ndestination:/queue/answers\ncontent-length:0\n"
    assert rig.writer.frames == [
        head + b"correlation-id:7\n\n\0",
        head + b"correlation-id:8\n\n\0",
        head + b"\n\0",
    ]


def test_a_message_is_settled_once(rig: Rig) -> None:
    rig.connect(server="RabbitMQ/3.13")
    by_hand = SimpleNamespace(ack="client-individual")
    message, other = make_message(subscription=by_hand, epoch=1, ack="m1"), make_message(epoch=1, ack="m2")
    assert [rig.settle(message), rig.settle(message), rig.settle(message, negative=True)] == [True, True, False]
    assert rig.settle(other, negative=True)
    assert rig.writer.frames == [b"ACK\nid:m1\n\n\0", b"NACK\nid:m2\nrequeue:false\n\n\0"]
    rig.lose()
    assert not rig.settle(message)


def test_a_message_that_another_thread_rejects_meanwhile_is_not_acknowledged(rig: Rig) -> None:
    rig.connect().writer.is_full = True
    message = make_message(epoch=1, ack="m1")
    rig.writer.while_full = lambda: rig.settle(message, negative=True)
    assert not rig.settle(message)
    assert (message.state, rig.writer.frames) == (MessageState.NACKED, [b"NACK\nid:m1\n\n\0"])


@pytest.mark.parametrize("again", [True, False])
def test_a_message_of_an_earlier_connection_is_not_settled(rig: Rig, again: bool) -> None:
    """The connection ends while the thread waits for room, and the next one may be there, and be slow, at once."""
    rig.connect().writer.is_full = True
    message = make_message(epoch=1, ack="m1")

    def lose() -> None:
        rig.lose()
        if again:
            rig.connect("1.0").writer.is_full = True

    rig.writer.while_full = lose
    assert not rig.settle(message)
    # STOMP 1.0 has no NACK, but that is no reason to raise for a message that is not settled.
    assert not rig.settle(message, negative=True)
    assert (message.state, rig.writer.frames) == (MessageState.UNSETTLED, [])


def test_a_message_is_not_settled_if_the_broker_does_not_read(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.connect().writer.is_full = True
    message = make_message(epoch=1, ack="m1")
    assert not rig.settle(message)
    assert (message.state, rig.writer.frames) == (MessageState.UNSETTLED, [])
    assert "ACK timed out after 0.5 s: tcp://broker:1 takes no more bytes" in caplog.text
    assert caplog.text.rstrip().endswith("; MESSAGE destination:/queue/a ack:m1 is not settled")


def test_no_acknowledgement_in_ack_mode_auto(rig: Rig) -> None:
    message = make_message(subscription=SimpleNamespace(ack="auto", destination="/queue/a"), epoch=1, ack="m1")
    with pytest.raises(ProtocolError, match=r"^NACK was not sent: the subscription to /queue/a has ack mode auto, "):
        rig.connect().settle(message, negative=True)
    assert rig.writer.frames == []


def test_an_acknowledgement_in_a_transaction_ends_with_it(rig: Rig) -> None:
    transaction, _begin = rig.connect().session.begin("t")
    message, settled = make_message(epoch=1, ack="m1"), make_message(epoch=1, ack="m2")
    assert rig.settle(message, transaction=transaction)
    assert (message.state, rig.writer.scheduled) == (MessageState.IN_TRANSACTION, [True])
    assert rig.writer.frames == [b"ACK\nid:m1\ntransaction:t\n\n\0"]
    assert rig.settle(settled)
    rig.session.abort(transaction)
    assert message.state is MessageState.UNSETTLED
    for each in (message, settled):
        with raises(ConnectionLost, "transaction 't' is aborted; begin another one"):
            rig.settle(each, transaction=transaction)


def await_answer(rig: Rig, receipt: Receipt, deadline: Deadline | None = None) -> Frame:
    assert rig.sender.transmit_now(lambda session: session.send(SEND, confirm=True, context=receipt), receipt)
    return rig.sender.await_receipt(receipt, deadline or Deadline(0.0), "SEND")


def test_an_answer_at_the_last_moment_counts(rig: Rig) -> None:
    class Late(Receipt):
        def wait(self, deadline: Deadline) -> bool:
            answered = super().wait(deadline)
            self.complete(ANSWER)
            return answered

    assert await_answer(rig.connect(), rig.new_receipt(Late)) is ANSWER
    assert rig.writer.flushes == 1


def test_no_answer_in_time_and_the_error_that_came_meanwhile(rig: Rig) -> None:
    rig.connect()
    deadline = Deadline(0.0)
    refused = BrokerError("tcp://broker:1 answered ERROR: no", frame=Frame("ERROR"))
    text = "SEND timed out after 0.0 s: tcp://broker:1 sent no receipt; it may have processed it or not"
    meanwhile = f"; meanwhile {refused} (the broker did not say which frame it refused)"
    for at, error, then in ((deadline.began - 1.0, refused, ""), (deadline.began, refused, meanwhile), (0.0, None, "")):
        rig.sender.note_unexplained(at, error)
        with raises(TimedOut, text + then):
            await_answer(rig, rig.new_receipt(), deadline)


@pytest.mark.parametrize("written", [True, False])
def test_no_answer_since_the_connection_was_lost(rig: Rig, written: bool) -> None:
    class Lost(Receipt):
        def wait(self, deadline: Deadline) -> bool:
            rig.lose()
            return super().wait(deadline)

    rig.connect()
    if written:
        lost = "was lost and not restored within 0.0 s; the broker may have processed it or not"
        with raises(ConnectionLost, f"SEND was written, but the connection to tcp://broker:1 {lost}") as caught:
            await_answer(rig, rig.new_receipt(Lost))
        assert caught.value.outcome_unknown
    else:
        receipt = rig.new_receipt()
        rig.lose().sender.send_confirmed("/queue/a", b"body", {"receipt": "a"}, receipt, 0.0, {}, wait=False)
        with raises(TimedOut, NEVER_WRITTEN):
            rig.sender.await_receipt(receipt, Deadline(0.0), "SEND")
    # The message is not resent.
    assert rig.session.unsent == 0


def test_a_thread_that_gives_up_makes_room_for_another() -> None:
    rig = Rig(limits=Limits(max_unconfirmed_messages=1)).connect()
    receipt = rig.new_receipt()
    rig.sender.send_confirmed("/queue/a", b"body", {"receipt": "a"}, receipt, 0.0, {}, wait=True)
    waiting = Running(lambda: rig.sender.wait_ready(Deadline(10.0)))
    wait_until(lambda: rig.context.answers.gates)
    with pytest.raises(TimedOut):
        rig.sender.await_receipt(receipt, Deadline(0.0), "SEND")
    waiting.result()
