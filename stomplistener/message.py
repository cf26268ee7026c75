"""A received message, as a listener holds it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NoReturn, Protocol, Unpack

from stomplistener.options import DEFAULT, SendOptions
from stomplistener.protocol.frame import Frame, Headers
from stomplistener.protocol.ledger import TransactionEntry
from stomplistener.states import MessageState

DELIVERY_COUNTS = frozenset(("delivery-count", "x-delivery-count", "JMSXDeliveryCount"))
"""Headers in which brokers count the deliveries of a message."""

OF_A_DELIVERY = DELIVERY_COUNTS | frozenset(
    (
        *("destination", "destination-type", "message-id", "subscription", "ack", "content-length", "redelivered"),
        *("transaction", "receipt", "receipt-id"),
        # A delay that is over would begin again.
        *("AMQ_SCHEDULED_DELAY", "AMQ_SCHEDULED_PERIOD", "AMQ_SCHEDULED_REPEAT", "AMQ_SCHEDULED_CRON"),
        *("scheduledJobId", "_AMQ_SCHED_DELIVERY"),
    )
)
"""Headers that speak of one frame or delivery and not of the message: a copy that is sent on has its own, or none."""

OF_A_DUPLICATE = frozenset(("duplicate-id", "_AMQ_DUPL_ID"))
"""Headers by which Artemis takes a copy to the same address for a duplicate: it drops the copy, and confirms it."""

_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^\s";]+)', re.IGNORECASE)


class InTransaction(Protocol):
    """A transaction, as a message needs it: ``Transaction`` is one."""

    @property
    def entry(self) -> TransactionEntry: ...


class Settler(Protocol):
    """What a message needs of its connection."""

    def settle(
        self,
        message: Message,
        transaction: TransactionEntry | None,
        headers: Mapping[str, str] | None,
        *,
        negative: bool,
        timeout: float | None,
    ) -> bool:
        """Send ACK or NACK; False if the message's connection is gone."""

    def reply(
        self,
        message: Message,
        body: Any,
        headers: Mapping[str, str] | None,
        timeout: float | None,
        options: SendOptions,
    ) -> None:
        """Send an answer to the message's ``reply-to``."""


class Message:
    """A message that a broker delivered. Its values never change; all methods are thread-safe.

    Attributes:
        frame: the MESSAGE frame.
        subscription: its ``Subscription``; None if the broker named an unknown one.
        epoch: which connection brought it, counted from 1.
        attempts: how often listeners have failed on it on this connection.
        postponed: how often listeners have put it off on this connection, by raising ``TryAgain``.
        state: what was sent to the broker about it.
    """

    __slots__ = ("_settler", "attempts", "epoch", "frame", "postponed", "state", "subscription")

    def __init__(self, frame: Frame, subscription: Any, epoch: int, settler: Settler) -> None:
        self.frame = frame
        self.subscription = subscription
        self.epoch = epoch
        self.attempts = 0
        self.postponed = 0
        self.state = MessageState.UNSETTLED
        self._settler = settler

    @property
    def settled(self) -> bool:
        """Whether the message was acknowledged or rejected; a transaction that contains it may still be aborted."""
        return self.state is not MessageState.UNSETTLED

    @property
    def body(self) -> bytes:
        """The body as it was received."""
        return self.frame.body

    @property
    def headers(self) -> Headers:
        """The headers, a mapping in which the first of repeated ones counts (STOMP 1.2, Repeated Header Entries)."""
        return self.frame.headers

    @property
    def text(self) -> str:
        """The body, decoded by the charset of its content-type, UTF-8 by default.

        Raises:
            UnicodeDecodeError: the bytes are not text in this charset.
            LookupError: the charset is unknown.
        """
        charset = _CHARSET.search(self.frame.headers.get("content-type", ""))
        return self.frame.body.decode(charset[1] if charset else "utf-8")

    def json(self) -> Any:
        """The body, parsed as JSON; ValueError if it is not JSON."""
        import json

        return json.loads(self.frame.body)

    @property
    def destination(self) -> str:
        """Where the message was sent to, as the broker spells it; the sender may have spelled it differently."""
        return self.frame.headers.get("destination", "")

    @property
    def id(self) -> str:
        """The broker's message-id."""
        return self.frame.headers.get("message-id", "")

    @property
    def reply_to(self) -> str | None:
        """Where to send the answer, as this broker spells it; None if no answer is wanted."""
        return self.frame.headers.get("reply-to")

    @property
    def redelivered(self) -> bool:
        """Whether the broker says that it delivered this message before; not every broker says so."""
        return self.frame.headers.get("redelivered", "").lower() == "true"

    def ack(
        self,
        transaction: InTransaction | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float | None = DEFAULT,
    ) -> bool:
        """Acknowledge the message; with ack mode ``client`` also all earlier messages of its subscription.

        Args:
            transaction: acknowledge when this transaction commits.
            headers: more headers for the frame.
            timeout: seconds to wait if the broker takes no more bytes; bytes that are not written by then are written
                later.

        Returns:
            whether the message is acknowledged. False if the connection that brought the message is gone. Then nothing
            is sent, since the broker will deliver the message again, and an old acknowledgement could hit another one.
            False also if the message was rejected before. True without sending anything if it was acknowledged before.

        Raises:
            ConnectionLost: the transaction ended with its connection.
            ProtocolError: the subscription has ack mode ``auto``, in which messages are not acknowledged.
        """
        entry = transaction.entry if transaction is not None else None
        return self._settler.settle(self, entry, headers, negative=False, timeout=timeout)

    def nack(
        self,
        transaction: InTransaction | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float | None = DEFAULT,
    ) -> bool:
        """Reject the message. The broker's configuration decides what follows: redelivery, dead letter, or discarding.

        RabbitMQ would deliver the message again at once, forever. Therefore the client sends ``requeue:false`` there,
        and the message goes to the queue's dead-letter exchange, if it has one. ``headers={"requeue": "true"}``
        requeues it.

        Arguments, returns and raises as :meth:`ack`; ProtocolError in STOMP 1.0, which has no NACK.
        """
        entry = transaction.entry if transaction is not None else None
        return self._settler.settle(self, entry, headers, negative=True, timeout=timeout)

    def reply(
        self,
        body: bytes | bytearray | memoryview | str = b"",
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float | None = DEFAULT,
        **options: Unpack[SendOptions],
    ) -> None:
        """Answer a request: send to its ``reply-to``, with its ``correlation-id``.

        Args:
            body: as for ``Connection.send``.
            headers: more headers.
            timeout: seconds to wait for a connection.
            options: ``json=`` and the others of ``Connection.send``.

        Raises:
            ValueError: the message has no ``reply-to``.
            TimedOut: there was no connection; nothing was written, and nothing will be.
            NotConnected: there is no connection, nor is one being restored.
        """
        self._settler.reply(self, body, headers, timeout, options)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Message belongs to its connection and cannot be pickled: pass message.body and dict(message.headers) on"
        )

    def __repr__(self) -> str:
        # Without the body: this is what log lines about a message show, and they outlive the message.
        return f"<Message {self.frame.heading}>"
