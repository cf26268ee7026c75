"""A received message, as a listener gets it."""

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
        # If a copy kept these headers, its delay would begin again.
        *("AMQ_SCHEDULED_DELAY", "AMQ_SCHEDULED_PERIOD", "AMQ_SCHEDULED_REPEAT", "AMQ_SCHEDULED_CRON"),
        *("scheduledJobId", "_AMQ_SCHED_DELIVERY"),
    )
)
"""Headers that belong to one frame or delivery, and not to the message. A copy gets its own values, or none."""

OF_A_DUPLICATE = frozenset(("duplicate-id", "_AMQ_DUPL_ID"))
"""Headers by which Artemis takes a copy to the same address for a duplicate: it confirms the copy, but drops it."""

_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^\s";]+)', re.IGNORECASE)


class InTransaction(Protocol):
    """The part of a transaction that a message needs: ``Transaction`` is one."""

    @property
    def entry(self) -> TransactionEntry: ...


class Settler(Protocol):
    """The part of a connection that a message needs."""

    def settle(
        self,
        message: Message,
        transaction: TransactionEntry | None,
        headers: Mapping[str, str] | None,
        *,
        negative: bool,
        timeout: float | None,
    ) -> bool:
        """Send ACK or NACK; False if the connection of the message was lost."""

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
    """A message that a broker delivered. The values never change; all methods are thread-safe.

    Attributes:
        frame: the MESSAGE frame.
        subscription: its ``Subscription``; None if the broker named an unknown one.
        epoch: the number of the connection on which the message arrived, counted from 1.
        attempts: how often listeners have failed on the message on this connection.
        postponed: how often listeners have postponed the message on this connection, by raising ``TryAgain``.
        state: what the client has sent to the broker about the message.
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
        """The received body, unchanged."""
        return self.frame.body

    @property
    def headers(self) -> Headers:
        """The headers: a mapping in which the first of repeated headers counts (STOMP 1.2, Repeated Header Entries)."""
        return self.frame.headers

    @property
    def text(self) -> str:
        """The body, decoded by the charset of its content-type, UTF-8 by default.

        Raises:
            UnicodeDecodeError: the bytes are not text in this charset.
            LookupError: the charset is unknown.
        """
        kind = self.frame.headers.get("content-type")
        charset = None if kind is None else _CHARSET.search(kind)
        return self.frame.body.decode(charset[1] if charset else "utf-8")

    def json(self) -> Any:
        """Return the body, parsed as JSON; ValueError if it is not JSON."""
        import json

        return json.loads(self.frame.body)

    @property
    def destination(self) -> str:
        """The destination of the message in the broker's form, which may differ from the sender's form."""
        return self.frame.headers.get("destination", "")

    @property
    def id(self) -> str:
        """The broker's message-id."""
        return self.frame.headers.get("message-id", "")

    @property
    def reply_to(self) -> str | None:
        """The destination for the answer, in this broker's form; None if the sender expects no answer."""
        return self.frame.headers.get("reply-to")

    @property
    def redelivered(self) -> bool:
        """Whether the broker marked the message as delivered before; not every broker does."""
        return self.frame.headers.get("redelivered", "").lower() == "true"

    def ack(
        self,
        transaction: InTransaction | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float | None = DEFAULT,
    ) -> bool:
        """Acknowledge the message; in ack mode ``client``, also all earlier messages of its subscription.

        Args:
            transaction: acknowledge when this transaction commits.
            headers: additional headers for the frame.
            timeout: seconds to wait if the broker takes no more bytes. Bytes that are not written by the end of
                ``timeout`` are written later.

        Returns:
            whether the message is acknowledged. False if the connection of the message was lost. Nothing is sent in
            that case, since the broker will deliver the message again, and an old acknowledgement could apply to
            another one. The result is also False if the message was rejected before. It is True, without sending
            anything, if the message was acknowledged before.

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

        RabbitMQ would deliver the message again at once, forever. So the client sends ``requeue:false`` to RabbitMQ,
        and the message goes to the queue's dead-letter exchange, if it has one. ``headers={"requeue": "true"}`` puts
        the message back into the queue.

        Arguments, return value and exceptions are those of :meth:`ack`. ProtocolError in STOMP 1.0, which has no NACK.
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
            body: as in ``Connection.send``.
            headers: additional headers.
            timeout: seconds to wait for a connection.
            options: ``json=`` and the other options of ``Connection.send``.

        Raises:
            ValueError: the message has no ``reply-to``.
            TimedOut: there was no connection; nothing was written, and nothing will be.
            NotConnected: the client is neither connected nor reconnecting.
        """
        self._settler.reply(self, body, headers, timeout, options)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Message belongs to its connection and cannot be pickled: pass message.body and dict(message.headers) on"
        )

    def __repr__(self) -> str:
        # This repr has no body: log lines about a message show it, and logs are kept longer than messages.
        return f"<Message {self.frame.heading}>"
