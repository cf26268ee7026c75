"""What a session remembers: subscriptions, transactions, requests that await their receipt, and how each ends."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from stomplistener.protocol.frame import Frame
from stomplistener.states import SubscriptionState, TransactionState


class Outcome(enum.Enum):
    """What the loss of the connection means for a request that was not answered."""

    DONE = "done"
    """The end of the connection did it: UNSUBSCRIBE, ABORT, DISCONNECT."""
    NOT_CONFIRMED = "not confirmed"
    """ACK and NACK: the message may come again."""
    LOST = "lost"
    """It was part of something that ended with the connection."""
    IN_DOUBT = "in doubt"
    """The broker may have done it: COMMIT, and UNSUBSCRIBE of a durable subscription."""


_OUTCOMES = {
    "UNSUBSCRIBE": Outcome.DONE,
    "ABORT": Outcome.DONE,
    "DISCONNECT": Outcome.DONE,
    "ACK": Outcome.NOT_CONFIRMED,
    "NACK": Outcome.NOT_CONFIRMED,
    "BEGIN": Outcome.LOST,
    "SEND": Outcome.LOST,
    "COMMIT": Outcome.IN_DOUBT,
}


class SubscriptionEntry:
    """A subscription as the registry keeps it: all that is needed to say SUBSCRIBE again.

    Attributes:
        durable: the name of a durable subscription.
        prefetch: how many messages the broker may send ahead of their acknowledgements.
        selector: which messages the broker is to deliver.
    """

    __slots__ = (
        "ack",
        "context",
        "destination",
        "durable",
        "epoch",
        "error",
        "headers",
        "id",
        "prefetch",
        "selector",
        "state",
    )

    def __init__(
        self,
        *,
        id: str,
        destination: str,
        ack: str,
        headers: Mapping[str, str] | None = None,
        durable: str | None = None,
        prefetch: int | None = None,
        selector: str | None = None,
        context: object = None,
    ) -> None:
        self.id = id
        self.destination = destination
        self.ack = ack
        self.headers = headers or {}
        self.durable = durable
        self.prefetch = prefetch
        self.selector = selector
        self.context = context
        self.state = SubscriptionState.PENDING
        self.epoch = 0
        self.error: Exception | None = None


class TransactionEntry:
    """A transaction of one epoch."""

    __slots__ = ("epoch", "id", "state")

    def __init__(self, id: str, epoch: int) -> None:
        self.id = id
        self.epoch = epoch
        self.state = TransactionState.OPEN


class Request:
    """A frame whose receipt is awaited.

    Attributes:
        context: the caller's.
        frame: the SEND to write again after a loss; None for everything that is never repeated.
        plain: destination and body of a SEND that has nothing else: its frame is made only if it has to be written
            again.
        size: bytes of the body.
        epoch: when it was last handed out to be written; 0 for never.
        own_receipt: whether the application chose the receipt's name, which then stays the same over all connections.
    """

    __slots__ = (
        "command",
        "context",
        "epoch",
        "frame",
        "own_receipt",
        "plain",
        "receipt",
        "size",
        "subscription",
        "suspicions",
        "transaction",
    )

    def __init__(
        self,
        command: str,
        receipt: str,
        context: object = None,
        subscription: SubscriptionEntry | None = None,
        transaction: TransactionEntry | None = None,
        frame: Frame | None = None,
        plain: tuple[str, bytes | str] | None = None,
        size: int = 0,
        epoch: int = 0,
        own_receipt: bool = False,
    ) -> None:
        self.command = command
        self.receipt = receipt
        self.context = context
        self.subscription = subscription
        self.transaction = transaction
        self.frame = frame
        self.plain = plain
        self.size = size
        self.epoch = epoch
        self.own_receipt = own_receipt
        self.suspicions = 0

    @property
    def issued(self) -> bool:
        """Whether it was ever handed out to be written."""
        return self.epoch > 0


def loss_outcome(request: Request) -> Outcome:
    if (
        request.command == "UNSUBSCRIBE"
        and request.subscription is not None
        and request.subscription.durable is not None
    ):
        return Outcome.IN_DOUBT
    return _OUTCOMES[request.command]
