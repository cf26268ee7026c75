"""What a session remembers: subscriptions, transactions, requests that await their receipt, and how each ends."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from stomplistener.protocol.frame import Frame


class SubscriptionState(enum.Enum):
    """Where a subscription stands: PENDING until the broker's receipt, REPLAYING the same on a later connection."""

    PENDING = "pending"
    ACTIVE = "active"
    REPLAYING = "replaying"
    REJECTED = "rejected"
    ENDED = "ended"


class TransactionState(enum.Enum):
    """Where a transaction stands; LOST with its connection, IN_DOUBT if its COMMIT was written and not answered."""

    OPEN = "open"
    COMMITTING = "committing"
    COMMITTED = "committed"
    ABORTED = "aborted"
    LOST = "lost"
    IN_DOUBT = "in doubt"


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


@dataclass(eq=False, slots=True, kw_only=True)
class SubscriptionEntry:
    """A subscription as the registry keeps it: all that is needed to say SUBSCRIBE again."""

    id: str
    destination: str
    ack: str
    headers: Mapping[str, str] = field(default_factory=dict)
    durable: str | None = None
    """The name of a durable subscription."""
    prefetch: int | None = None
    """How many messages the broker may send ahead of their acknowledgements."""
    selector: str | None = None
    """Which messages the broker is to deliver."""
    context: object = None
    state: SubscriptionState = SubscriptionState.PENDING
    epoch: int = 0
    error: Exception | None = None


@dataclass(eq=False, slots=True)
class TransactionEntry:
    """A transaction of one epoch."""

    id: str
    epoch: int
    state: TransactionState = TransactionState.OPEN


@dataclass(eq=False, slots=True)
class Request:
    """A frame whose receipt is awaited. ``context`` is the caller's."""

    command: str
    receipt: str
    context: object = None
    subscription: SubscriptionEntry | None = None
    transaction: TransactionEntry | None = None
    frame: Frame | None = None
    """The SEND to write again after a loss; None for everything that is never repeated."""
    plain: tuple[str, bytes | str] | None = None
    """Destination and body of a SEND that has nothing else: its frame is made only if it has to be written again."""
    size: int = 0
    """Bytes of the body."""
    epoch: int = 0
    """When it was last handed out to be written; 0 for never."""
    own_receipt: bool = False
    """Whether the application chose the receipt's name, which then stays the same over all connections."""
    suspicions: int = 0

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
