"""A message that the broker keeps, one delivery of it, and its snapshot for a test."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from stomplistener.errors import InvalidHeader
from stomplistener.protocol import Headers
from stomplistener.protocol.encoder import encode_block

# Headers that a client must not set: the broker writes them, and the first of repeated headers counts.
_NOT_KEPT = frozenset(
    (
        *("destination", "content-length", "receipt", "transaction"),
        *("message-id", "subscription", "ack", "redelivered", "delivery-count"),
    )
)


@dataclass(frozen=True, kw_only=True)
class StoredMessage:
    """A snapshot of a message at the broker, for a test.

    Attributes:
        id: the ``message-id``.
        destination: the destination of the SEND.
        headers: the headers of the SEND that belong to the message.
        body: the body as bytes.
        deliveries: how often it was delivered to a consumer.
        rejections: how many of these deliveries ended with a NACK.
    """

    id: str
    destination: str
    headers: Headers
    body: bytes
    deliveries: int
    rejections: int

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode()


class Stored:
    """A message in one queue. ``number`` is the position of the message in the order of arrival."""

    __slots__ = (
        "_blocks",
        "body",
        "deliveries",
        "destination",
        "expires",
        "number",
        "pairs",
        "rejections",
        "temporary",
    )

    def __init__(self, number: int, destination: str, pairs: Iterable[tuple[str, str]], body: bytes) -> None:
        self.number = number
        self.destination = destination
        self.pairs = [pair for pair in pairs if pair[0] not in _NOT_KEPT]
        self.body = body
        self.expires = next((value for name, value in self.pairs if name == "expires"), "")
        # These headers name temporary destinations, whose names differ from receiver to receiver.
        self.temporary = destination.startswith("/remote-temp-") or any(
            name == "reply-to" and value.startswith("/remote-temp-") for name, value in self.pairs
        )
        self.deliveries = 0
        self.rejections = 0
        self._blocks: dict[str, bytes] = {}

    @property
    def id(self) -> str:
        return f"m{self.number}"

    def copy(self) -> Stored:
        """Return the same message for another queue."""
        return Stored(self.number, self.destination, self.pairs, self.body)

    def shown(self) -> Stored:
        """Return a copy for a browser, with the headers about earlier deliveries that the next delivery will have."""
        copy = self.copy()
        copy.deliveries = self.deliveries
        return copy

    @property
    def is_expired(self) -> bool:
        """Whether the time in ``expires`` has passed, in milliseconds since 1970; 0 means never."""
        if not self.expires.isdigit() or not int(self.expires):
            return False
        return time.time() * 1000 > int(self.expires)

    def block(self, version: str) -> bytes:
        """Return the header lines that are the same in every delivery."""
        block = self._blocks.get(version)
        if block is None:
            block = self._blocks[version] = self.encode(self.destination, self.pairs, version)
        return block

    def encode(self, destination: str, pairs: Iterable[tuple[str, str]], version: str) -> bytes:
        """Return the header lines of a delivery, with the names that its receiver knows."""
        own = ("destination", destination), ("content-length", str(len(self.body)))
        pairs = (*own, *pairs)
        try:
            return encode_block("MESSAGE", pairs, version)
        except InvalidHeader:
            # The sender's STOMP version can express a header that the receiver's version cannot.
            return b"".join(_encode_if_possible(pair, version) for pair in pairs)

    def snapshot(self) -> StoredMessage:
        return StoredMessage(
            id=self.id,
            destination=self.destination,
            headers=Headers(self.pairs),
            body=self.body,
            deliveries=self.deliveries,
            rejections=self.rejections,
        )


def _encode_if_possible(pair: tuple[str, str], version: str) -> bytes:
    try:
        return encode_block("MESSAGE", [pair], version)
    except InvalidHeader:
        return b""


class Holder(Protocol):
    """A holder of a message: a subscription."""

    is_active: bool

    def give_back(self, deliveries: Iterable[Delivery]) -> None: ...


class Delivery:
    """A message that was delivered to one subscription; ``key`` is its name in the client's ACK and NACK."""

    __slots__ = ("key", "message", "subscription", "transaction")

    def __init__(self, key: str, message: Stored, subscription: Holder) -> None:
        self.key = key
        self.message = message
        self.subscription = subscription
        self.transaction: object = None
        """The open transaction that has settled the delivery; None if there is none."""
