"""A received message, as a listener holds it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from stomplistener.options import DEFAULT
from stomplistener.protocol.frame import Frame, Headers

if TYPE_CHECKING:
    from stomplistener.protocol.ledger import TransactionEntry
    from stomplistener.subscription import Subscription
    from stomplistener.transaction import Transaction

_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^\s";]+)', re.IGNORECASE)


class Settler(Protocol):
    """What a message needs of its connection."""

    def settle(
        self,
        message: Message,
        transaction: Transaction | None,
        headers: Mapping[str, str] | None = None,
        *,
        negative: bool,
        timeout: float | None,
    ) -> bool:
        """Send ACK or NACK; False if the message's connection is gone."""


class Message:
    """A message that a broker delivered. Its values never change; all methods are thread-safe.

    Attributes:
        frame: the MESSAGE frame.
        subscription: the subscription that it came by; None where the broker named one that is not there.
        epoch: which connection brought it, counted from 1.
        attempts: how often listeners have failed on it on this connection.
        postponed: how often listeners have put it off on this connection, by raising ``TryAgain``.
        settled: whether it was acknowledged or rejected; in a transaction, which may still be aborted, that.
    """

    __slots__ = ("_settler", "attempts", "epoch", "frame", "postponed", "settled", "subscription")

    def __init__(self, frame: Frame, subscription: Subscription | None, epoch: int, settler: Settler) -> None:
        self.frame = frame
        self.subscription = subscription
        self.epoch = epoch
        self.attempts = 0
        self.postponed = 0
        self.settled: bool | TransactionEntry = False
        self._settler = settler

    @property
    def body(self) -> bytes:
        """The body as it came."""
        return self.frame.body

    @property
    def headers(self) -> Headers:
        """The headers, a mapping in which the first of repeated ones counts (STOMP 1.2, Repeated Header Entries)."""
        return self.frame.headers

    @property
    def text(self) -> str:
        """The body decoded by the charset of its content-type, UTF-8 where there is none.

        Raises:
            UnicodeDecodeError: the bytes are no such text.
            LookupError: there is no such charset.
        """
        charset = _CHARSET.search(self.frame.headers.get("content-type", ""))
        return self.frame.body.decode(charset[1] if charset else "utf-8")

    def json(self) -> Any:
        """The body parsed as JSON; ValueError if it is none."""
        import json

        return json.loads(self.frame.body)

    @property
    def destination(self) -> str:
        """Where it was sent to, as the broker spells it; brokers may spell it otherwise than the sender did."""
        return self.frame.headers.get("destination", "")

    @property
    def id(self) -> str:
        """The broker's message-id."""
        return self.frame.headers.get("message-id", "")

    @property
    def reply_to(self) -> str | None:
        """Where an answer is to go, as this broker wants it written; None where nobody waits for one."""
        return self.frame.headers.get("reply-to")

    @property
    def redelivered(self) -> bool:
        """Whether the broker says that it delivered this message before; not every broker does."""
        return self.frame.headers.get("redelivered", "").lower() == "true"

    def ack(
        self,
        transaction: Transaction | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float | None = DEFAULT,
    ) -> bool:
        """Acknowledge; with ack mode ``client`` everything before it on its subscription, too.

        Args:
            transaction: acknowledge when this transaction commits.
            headers: more headers for the frame.
            timeout: seconds to wait where the broker takes no more bytes; what was not written by then goes out later.

        Returns:
            False when the connection that brought the message is gone: nothing is sent, since the broker will deliver
            the message again, and an old acknowledgement could hit another message. True without sending anything when
            the message was acknowledged or rejected before, outside of a transaction.

        Raises:
            ConnectionLost: the transaction ended with its connection.
        """
        return self._settler.settle(self, transaction, headers, negative=False, timeout=timeout)

    def nack(
        self,
        transaction: Transaction | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float | None = DEFAULT,
    ) -> bool:
        """Reject; what happens then (redelivery, dead-letter queue, discarding) is the broker's configuration.

        Arguments, returns and raises as :meth:`ack`; ProtocolError in STOMP 1.0, which has no NACK.
        """
        return self._settler.settle(self, transaction, headers, negative=True, timeout=timeout)

    def __repr__(self) -> str:
        return f"<Message {self.frame.info}>"
