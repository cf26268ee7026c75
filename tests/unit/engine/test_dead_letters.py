"""Copies of messages that are given up: their headers, both ways to send them, and the answers of the broker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from engine_support import make_context, make_message

from stomplistener import ConnectionLost, Frame, Message, TimedOut
from stomplistener._engine import dead_letters as dead_letters_module
from stomplistener._engine.dead_letters import LOST_TRANSACTIONS, DeadLetters
from stomplistener._engine.flow_control import FlowControl
from stomplistener._engine.receipts import Receipt
from stomplistener._engine.writer import Writer
from stomplistener.errors import ProtocolError
from stomplistener.options import SendOptions
from stomplistener.protocol import Session, TransactionEntry, commands
from stomplistener.states import MessageState

DEAD = "/queue/dead"
ERROR = ValueError("bad order")


class Rig:
    """Dead letters on a real session. The rig is their sender, and the broker that answers.

    Attributes:
        sent: the frames of the session, and ACK and NACK, in order.
        fails: an exception for the next frame of a command.
    """

    def __init__(self, broker: str, version: str = "1.2") -> None:
        self.context = make_context(broker=broker)
        self.flow = FlowControl(self.context)
        self.writer = Writer(self.context, lambda _error, _epoch: None)
        self.session = self.context.session
        self.version = version
        self.sent: list[Frame] = []
        self.fails: dict[str, Exception] = {}
        self.new_receipt: Callable[[], Receipt] = lambda: Receipt(self)
        self.dead_letters = DeadLetters(self.context, self, lambda: self.new_receipt())  # type: ignore[arg-type]
        self.connect()

    def connect(self) -> None:
        """Make a connection, and resend what the session kept."""
        self.session.connect("localhost")
        self.session.connected(Frame("CONNECTED", {"version": self.version}))
        self.sent = self.session.restored()

    def reconnect(self) -> None:
        """Lose the connection for a reason that raises no suspicion against a message, and make another one."""
        for request, _ in self.session.lost(explained=True):
            if isinstance(request.context, Receipt):
                request.context.complete(ConnectionLost("gone"))
        self.connect()

    def deliver(self, body: bytes = b"body", id: str = "1", **headers: str) -> Message:
        message = make_message(body, None, self.session.epoch, message_id=id, ack=id, **headers)
        message._settler = self  # type: ignore[assignment]
        return message

    def forward(self, message: Message, destination: str = DEAD, error: BaseException = ERROR) -> None:
        self.dead_letters.forward(message, destination, error)

    def answer(self, copy: Frame, refusal: str | None = None, *, then_lost: bool = False) -> None:
        """Answer a frame with RECEIPT, or with ERROR; the connection may be lost before the dispatcher knows."""
        name = {"receipt-id": copy.headers["receipt"]}
        frame = Frame("RECEIPT", name) if refusal is None else Frame("ERROR", {**name, "message": refusal})
        request: Any = self.session.receive(frame)
        if then_lost:
            self.reconnect()
        request.context.complete(request.error or frame)

    @property
    def commands(self) -> list[str]:
        return [frame.command for frame in self.sent]

    @property
    def copies(self) -> list[Frame]:
        return [frame for frame in self.sent if frame.command == "SEND"]

    # The methods of a desk and of a sender

    def call(self, event: Callable[[], object]) -> None:
        event()

    def withdraw(self, future: object) -> bool:
        raise NotImplementedError

    def _send(self, frame: Frame | None) -> Frame | None:
        if frame is not None:
            if frame.command in self.fails:
                raise self.fails.pop(frame.command)
            self.sent.append(frame)
        return frame

    def transmit(self, frame: None, timeout: float | None, what: str, *, note: Any, **options: Any) -> Frame | None:
        with self.context.lock:
            return self._send(note(self.session))

    def transmit_now(self, note: Callable[[Session], Frame | None]) -> bool:
        with self.context.lock:
            return self._send(note(self.session)) is not None

    def send_in(self, entry: TransactionEntry, frame: Frame, timeout: float | None, context: object) -> None:
        self._send(self.session.send(frame, transaction=entry))

    def send_confirmed(
        self,
        destination: str,
        body: bytes,
        headers: Mapping[str, str],
        receipt: Receipt,
        timeout: float | None,
        options: SendOptions,
        *,
        wait: bool,
    ) -> None:
        # Without a connection, the session only notes the copy.
        assert not wait
        assert "receipt" not in headers
        name = self.context.new_id()
        counted = bool(options["auto_content_length"])
        frame = commands.send(destination, body, headers, receipt=name, auto_content_length=counted)
        self._send(self.session.send(frame, confirm=True, context=receipt, own_receipt=False))

    def settle(
        self,
        message: Message,
        transaction: TransactionEntry | None,
        headers: Mapping[str, str] | None,
        *,
        negative: bool,
        timeout: object,
    ) -> bool:
        if message.settled or not self.context.is_current(message.epoch):
            return False
        command = "NACK" if negative else "ACK"
        if negative and self.session.version == "1.0":
            raise ProtocolError("no NACK")
        self._send(Frame(command, {"id": message.id} | ({"transaction": transaction.id} if transaction else {})))
        if transaction is not None:
            transaction.settled.append(message)
        message.state = (
            MessageState.IN_TRANSACTION if transaction else MessageState.NACKED if negative else MessageState.ACKED
        )
        return True


@pytest.fixture
def activemq() -> Rig:
    """A broker whose transactions settle and send in one step."""
    return Rig("activemq")


@pytest.fixture
def rabbitmq() -> Rig:
    """A broker that gets confirmed copies."""
    return Rig("rabbitmq")


# The copy


def test_a_copy_tells_where_the_message_was_and_what_happened(activemq: Rig) -> None:
    message = activemq.deliver(priority="7", redelivered="true", destination_type="ANYCAST", scheduledJobId="1")
    message.attempts = 2
    try:
        raise ERROR
    except ValueError as raised:
        activemq.forward(message, DEAD, raised)
    [copy] = activemq.copies
    headers = dict(copy.headers)
    assert "in test_a_copy_tells" in headers.pop("error-traceback")
    assert headers == {
        "destination": DEAD,
        "transaction": activemq.sent[0].headers["transaction"],
        "priority": "7",
        "original-destination": "/queue/a",
        "original-message-id": "1",
        "error": "ValueError: bad order",
        "attempts": "3",
    }
    assert copy.body == b"body"


def test_an_exception_without_a_text_is_told_nevertheless(activemq: Rig) -> None:
    class Faulty(Exception):
        def __str__(self) -> str:
            raise AttributeError("missing")

    activemq.forward(activemq.deliver(), error=Faulty())
    assert activemq.commands == ["BEGIN", "SEND", "ACK", "COMMIT"]
    assert activemq.copies[0].headers["error"] == "Faulty: its text cannot be made"


def test_a_copy_has_a_length_if_its_message_has_one_or_needs_one(activemq: Rig) -> None:
    """ActiveMQ makes a text message of a frame without content-length."""
    for body, headers in ((b"text", {}), (b"a\0b", {}), (b"bytes", {"content_length": "5"})):
        activemq.forward(activemq.deliver(body, **headers))
    assert [copy.headers.get("content-length") for copy in activemq.copies] == [None, "3", "5"]


@pytest.mark.parametrize(("version", "between"), [("1.2", "\n"), ("1.0", " | ")])
def test_an_error_is_written_in_the_characters_of_the_version(version: str, between: str) -> None:
    rig = Rig("activemq", version)
    rig.forward(rig.deliver(), DEAD, ValueError("a\r\nb\0c\udc80" + "x" * 9000))
    headers = rig.copies[0].headers
    assert headers["error"].startswith("ValueError: a bc?xxx")
    assert len(headers["error"]) == 1000
    # The end of a traceback tells the most.
    assert len(headers["error-traceback"]) == 4000
    assert headers["error-traceback"].endswith(f"xxx{between}")


# In a transaction


def test_the_copy_and_the_acknowledgement_are_one_transaction(activemq: Rig) -> None:
    message = activemq.deliver()
    activemq.forward(message)
    assert activemq.commands == ["BEGIN", "SEND", "ACK", "COMMIT"]
    assert len({frame.headers["transaction"] for frame in activemq.sent}) == 1
    activemq.answer(activemq.sent[-1])
    assert (activemq.commands[4:], message.state) == ([], MessageState.IN_TRANSACTION)


def test_a_stale_message_is_left_to_the_broker(activemq: Rig) -> None:
    message = activemq.deliver()
    activemq.reconnect()
    activemq.forward(message)
    assert activemq.sent == []


def test_the_transaction_is_aborted_if_the_message_was_settled_meanwhile(activemq: Rig) -> None:
    message = activemq.deliver()
    message.state = MessageState.ACKED
    activemq.forward(message)
    assert activemq.commands == ["BEGIN", "SEND", "ABORT"]
    assert activemq.session.is_idle


@pytest.mark.parametrize(
    ("command", "sent"),
    [
        ("BEGIN", []),
        ("SEND", ["BEGIN", "ABORT"]),
        ("ACK", ["BEGIN", "SEND", "ABORT"]),
    ],
)
@pytest.mark.parametrize("error", [ConnectionLost("gone"), TimedOut("late")])
def test_an_interrupted_transaction_is_aborted_and_the_message_stays_as_it_is(
    activemq: Rig, command: str, sent: list[str], error: Exception
) -> None:
    activemq.fails[command] = error
    message = activemq.deliver()
    with pytest.raises(type(error), match=str(error)):
        activemq.forward(message)
    assert (activemq.commands, message.settled) == (sent, False)


def test_a_copy_that_cannot_be_expressed_rejects_its_message(activemq: Rig, caplog: pytest.LogCaptureFixture) -> None:
    message = activemq.deliver()
    activemq.forward(message, destination="")
    assert activemq.commands == ["BEGIN", "ABORT", "NACK"]
    assert "is rejected:  refused the copy: SEND needs a destination" in caplog.text


def test_without_nack_the_message_stays_unacknowledged(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig("activemq", "1.0")
    message = rig.deliver()
    rig.forward(message, destination="")
    assert not message.settled
    assert "STOMP 1.0 cannot reject <Message MESSAGE" in caplog.text


def test_after_a_refused_commit_the_copy_is_sent_alone(activemq: Rig, caplog: pytest.LogCaptureFixture) -> None:
    message = activemq.deliver()
    activemq.forward(message)
    activemq.answer(activemq.sent[-1], "not now")
    assert activemq.commands[4:] == ["SEND"]
    assert not message.settled
    assert f"is sent to {DEAD} again, outside of a transaction" in caplog.text
    activemq.answer(activemq.sent[-1])
    assert (activemq.commands[4:], message.state) == (["SEND", "ACK"], MessageState.ACKED)
    # Neither another message nor a later one of this id is concerned.
    for id in "21":
        activemq.forward(activemq.deliver(id=id))
    assert activemq.commands[6:] == ["BEGIN", "SEND", "ACK", "COMMIT"] * 2


def test_a_transaction_that_is_lost_too_often_is_replaced_by_a_confirmed_copy(activemq: Rig) -> None:
    def lose(times: int) -> None:
        for _ in range(times):
            activemq.forward(activemq.deliver())
            assert activemq.commands == ["BEGIN", "SEND", "ACK", "COMMIT"]
            activemq.reconnect()

    lose(LOST_TRANSACTIONS - 1)
    activemq.forward(activemq.deliver())
    # After a success, the count begins again.
    activemq.answer(activemq.sent[-1], then_lost=True)
    lose(LOST_TRANSACTIONS)
    activemq.forward(activemq.deliver())
    assert activemq.commands == ["SEND"]
    assert "receipt" in activemq.sent[0].headers


@pytest.mark.parametrize(("most", "command"), [(1, "BEGIN"), (2, "SEND")])
def test_the_oldest_memory_goes_first(activemq: Rig, most: int, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters_module, "MOST_REMEMBERED", most)
    for _ in range(LOST_TRANSACTIONS):
        activemq.forward(activemq.deliver())
        activemq.reconnect()
    activemq.forward(activemq.deliver(id="2"))
    activemq.reconnect()
    activemq.forward(activemq.deliver())
    assert activemq.commands[0] == command


# A confirmed copy


def test_a_message_is_acknowledged_after_the_receipt_of_its_copy(rabbitmq: Rig) -> None:
    message = rabbitmq.deliver()
    rabbitmq.forward(message)
    assert rabbitmq.commands == ["SEND"]
    rabbitmq.answer(rabbitmq.sent[0])
    assert (rabbitmq.commands, message.state) == (["SEND", "ACK"], MessageState.ACKED)


def test_a_message_is_rejected_if_its_copy_is_refused(rabbitmq: Rig, caplog: pytest.LogCaptureFixture) -> None:
    message = rabbitmq.deliver()
    rabbitmq.forward(message)
    rabbitmq.answer(rabbitmq.sent[0], "no exchange")
    assert (rabbitmq.commands, message.state) == (["SEND", "NACK"], MessageState.NACKED)
    assert f"is rejected: {DEAD} refused the copy" in caplog.text
    # The refusal stays remembered: the connection may have ended before the broker read the NACK.
    rabbitmq.reconnect()
    rabbitmq.forward(rabbitmq.deliver())
    assert rabbitmq.commands == ["NACK"]


def test_a_refusal_that_ends_the_connection_rejects_the_next_delivery(
    rabbitmq: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rabbitmq.forward(rabbitmq.deliver())
    rabbitmq.answer(rabbitmq.sent[0], "no exchange", then_lost=True)
    assert (rabbitmq.sent, caplog.messages) == ([], [])
    rabbitmq.forward(rabbitmq.deliver())
    assert rabbitmq.commands == ["NACK"]
    assert "is rejected" in caplog.text


def test_a_redelivered_message_waits_for_the_copy_of_its_earlier_delivery(rabbitmq: Rig) -> None:
    rabbitmq.forward(rabbitmq.deliver())
    rabbitmq.reconnect()
    # RabbitMQ gives the message another id.
    message = rabbitmq.deliver(id="2")
    rabbitmq.forward(message)
    # Equal content on the same connection: this message is another one.
    rabbitmq.forward(other := rabbitmq.deliver(id="3"))
    resent, own = rabbitmq.copies
    rabbitmq.answer(resent)
    assert (message.state, other.state) == (MessageState.ACKED, MessageState.UNSETTLED)
    assert own.headers["original-message-id"] == "3"
    # The other message still has its copy.
    rabbitmq.reconnect()
    rabbitmq.forward(again := rabbitmq.deliver(id="4"))
    assert rabbitmq.commands == ["SEND"]
    rabbitmq.answer(rabbitmq.copies[0])
    assert again.state is MessageState.ACKED


def test_the_receipt_of_a_copy_is_remembered_until_its_message_comes_again(rabbitmq: Rig) -> None:
    rabbitmq.forward(rabbitmq.deliver())
    rabbitmq.reconnect()
    rabbitmq.answer(rabbitmq.copies[0])
    assert rabbitmq.commands == ["SEND"]
    rabbitmq.forward(rabbitmq.deliver())
    assert rabbitmq.commands == ["SEND", "ACK"]
    # The next equal message is a new one.
    rabbitmq.reconnect()
    rabbitmq.forward(rabbitmq.deliver())
    assert rabbitmq.commands == ["SEND"]


def test_an_old_receipt_is_forgotten(rabbitmq: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters_module, "KEPT_SECONDS", -1.0)
    rabbitmq.forward(rabbitmq.deliver())
    rabbitmq.reconnect()
    # A copy without an answer is not forgotten.
    rabbitmq.forward(rabbitmq.deliver())
    assert rabbitmq.commands == ["SEND"]
    rabbitmq.answer(rabbitmq.copies[0], then_lost=True)
    rabbitmq.forward(rabbitmq.deliver())
    assert rabbitmq.commands == ["SEND"]


# The type of the queue


def typed(rig: Rig, id: str) -> Message:
    """A message of a quorum queue with a time to live."""
    return rig.deliver(body=id.encode(), id=id, **{"x-queue-type": "quorum", "x-message-ttl": "1000"})


def types(rig: Rig) -> list[str | None]:
    """The type that each copy asks for."""
    return [copy.headers.get("x-queue-type") for copy in rig.copies]


def test_one_copy_tries_the_queue_type_and_the_others_wait_for_its_answer(rabbitmq: Rig) -> None:
    for id in "12":
        rabbitmq.forward(typed(rabbitmq, id))
    # Another error destination, and a message without a type, need not wait.
    rabbitmq.forward(typed(rabbitmq, "3"), "/queue/other")
    rabbitmq.forward(rabbitmq.deliver(id="4"))
    assert [copy.headers["original-message-id"] for copy in rabbitmq.copies] == ["1", "3", "4"]
    rabbitmq.answer(rabbitmq.copies[0])
    rabbitmq.forward(typed(rabbitmq, "5"))
    assert types(rabbitmq) == ["quorum", "quorum", None, "quorum", "quorum"]
    assert all("x-message-ttl" not in copy.headers for copy in rabbitmq.copies)
    assert [frame.headers["id"] for frame in rabbitmq.sent if frame.command == "ACK"] == ["1"]


def test_after_a_refusal_copies_have_no_queue_type(rabbitmq: Rig, caplog: pytest.LogCaptureFixture) -> None:
    first, second = typed(rabbitmq, "1"), typed(rabbitmq, "2")
    rabbitmq.forward(first)
    rabbitmq.forward(second)
    rabbitmq.answer(rabbitmq.copies[0], "inequivalent arg 'x-queue-type'")
    assert "again, without a queue type" in caplog.text
    assert types(rabbitmq) == ["quorum", None, None]
    rabbitmq.forward(typed(rabbitmq, "3"))
    assert types(rabbitmq)[3:] == [None]
    for copy in rabbitmq.copies[1:3]:
        rabbitmq.answer(copy)
    assert (first.state, second.state) == (MessageState.ACKED, MessageState.ACKED)


def test_a_refused_queue_type_is_not_taken_for_a_refusal_of_the_next_delivery(rabbitmq: Rig) -> None:
    rabbitmq.forward(typed(rabbitmq, "1"))
    rabbitmq.answer(rabbitmq.copies[0], "inequivalent arg 'x-queue-type'", then_lost=True)
    assert rabbitmq.sent == []
    rabbitmq.forward(typed(rabbitmq, "1"))
    assert types(rabbitmq) == [None]
    assert rabbitmq.commands == ["SEND"]


def test_a_redelivered_message_that_waits_for_a_refused_queue_type_is_sent_without_it(rabbitmq: Rig) -> None:
    rabbitmq.forward(typed(rabbitmq, "1"))
    rabbitmq.reconnect()
    rabbitmq.forward(typed(rabbitmq, "1"))
    rabbitmq.answer(rabbitmq.copies[0], "inequivalent arg 'x-queue-type'")
    assert types(rabbitmq) == ["quorum", None]
    assert "NACK" not in rabbitmq.commands


def test_messages_that_waited_for_a_lost_connection_are_left_to_the_broker(rabbitmq: Rig) -> None:
    for id in "12":
        rabbitmq.forward(typed(rabbitmq, id))
    rabbitmq.reconnect()
    rabbitmq.forward(current := typed(rabbitmq, "3"))
    assert len(rabbitmq.copies) == 1
    rabbitmq.answer(rabbitmq.copies[0])
    assert [copy.headers["original-message-id"] for copy in rabbitmq.copies] == ["1", "3"]
    rabbitmq.answer(rabbitmq.copies[1])
    assert current.state is MessageState.ACKED


def test_a_copy_that_cannot_be_sent_lets_the_next_one_try_the_queue_type(rabbitmq: Rig) -> None:
    first, second = typed(rabbitmq, "1"), typed(rabbitmq, "2")

    def fail() -> Receipt:
        # Another thread gives up the second message before the first copy fails.
        rabbitmq.forward(second)
        assert rabbitmq.copies == []
        rabbitmq.new_receipt = lambda: Receipt(rabbitmq)
        raise TimedOut("no room")

    rabbitmq.new_receipt = fail
    with pytest.raises(TimedOut, match="no room"):
        rabbitmq.forward(first)
    assert [copy.headers["original-message-id"] for copy in rabbitmq.copies] == ["2"]
    assert types(rabbitmq) == ["quorum"]
