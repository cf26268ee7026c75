"""One subscription of one client: it takes messages from a queue, and knows which ones are not acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from stomplistener.protocol import Headers
from stomplistener.protocol.encoder import encode_block
from stomplistener.testing.messages import Delivery, Stored
from stomplistener.testing.outgoing import Outgoing
from stomplistener.testing.queues import Queue
from stomplistener.testing.selector import Selector


class SubscriptionInfo(NamedTuple):
    """A snapshot of a subscription. ``unacknowledged`` counts messages; ``durable`` is its name or None."""

    connection: int
    id: str | None
    destination: str
    ack: str
    prefetch: int
    unacknowledged: int
    selector: str | None
    durable: str | None


class Terms(NamedTuple):
    """The options of a SUBSCRIBE frame."""

    id: str | None
    destination: str
    ack: str
    prefetch: int
    selector: str | None
    wants: Selector
    durable: str | None
    browses: bool


class Receiver(Protocol):
    """The client that a subscription belongs to."""

    number: int
    version: str | None
    outgoing: Outgoing

    def next_ack_id(self) -> str: ...
    def localized(self, message: Stored, version: str | None) -> bytes: ...


class Subscription:
    """A consumer of a queue. Call under the broker's lock.

    Args:
        queue: the source of its messages: a shared queue, or the subscription's own queue of a topic.
        bury: called with a message that was rejected too often.
        max_rejections: the number of rejections after which a message is buried.
    """

    def __init__(
        self, client: Receiver, terms: Terms, queue: Queue, bury: Callable[[Stored], None], max_rejections: int
    ) -> None:
        self.client = client
        self.terms = terms
        self.queue = queue
        self.held: dict[str, Delivery] = {}
        self.is_active = True
        self._bury = bury
        self._max_rejections = max_rejections
        self._version = client.version
        self._auto = terms.ack == "auto"
        pairs = [("subscription", terms.id)] if terms.id is not None else []
        self._start = b"MESSAGE" + encode_block("MESSAGE", pairs, self._version)

    def ready(self) -> bool:
        """Whether the subscription can take a message. In ack mode ``auto``, only the bytes on their way count."""
        return self.client.outgoing.has_credit() and (self._auto or len(self.held) < self.terms.prefetch)

    def wants(self, message: Stored) -> bool:
        return self.terms.selector is None or self.terms.wants(Headers(message.pairs))

    def deliver(self, message: Stored) -> None:
        message.deliveries += 1
        key = self.client.next_ack_id() if self._version == "1.2" else message.id
        delivery = Delivery(key, message, self)
        if not self._auto:
            self.held[key] = delivery
        self.client.outgoing.put(self._encode(message, key), delivery if self._auto else None)

    def _encode(self, message: Stored, key: str) -> bytes:
        parts = [self._start, f"\nmessage-id:{message.id}".encode()]
        if self._version == "1.2" and not self._auto:
            parts.append(f"\nack:{key}".encode())
        if message.deliveries > 1:
            parts.append(f"\nredelivered:true\ndelivery-count:{message.deliveries}".encode())
        parts += [self.client.localized(message, self._version), b"\n\n", message.body, b"\0"]
        return b"".join(parts)

    def covered(self, key: str) -> list[Delivery]:
        """Return the deliveries that an ACK or NACK of ``key`` settles; empty if ``key`` matches none."""
        named = self.held.get(key)
        if named is None or named.transaction is not None:
            return []
        if self.terms.ack == "client-individual":
            return [named]
        covered = []
        for delivery in self.held.values():
            if delivery.transaction is None:
                covered.append(delivery)
            if delivery is named:
                break
        return covered

    def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            self.held.pop(delivery.key, None)
        self.queue.dispatch()

    def reject(self, deliveries: Iterable[Delivery]) -> None:
        """Deliver the messages again, or move them to the dead letters."""
        again = []
        for delivery in deliveries:
            self.held.pop(delivery.key, None)
            delivery.message.rejections += 1
            if delivery.message.rejections < self._max_rejections:
                again.append(delivery.message)
            else:
                self._bury(delivery.message)
        self.queue.put_back(again)
        self.queue.dispatch()

    def give_back(self, deliveries: Iterable[Delivery]) -> None:
        self.queue.put_back([delivery.message for delivery in deliveries])

    def end(self) -> None:
        """Stop, and give back unacknowledged messages; those in a transaction stay there until it ends."""
        self.is_active = False
        self.queue.remove(self)
        free = [delivery for delivery in self.held.values() if delivery.transaction is None]
        self.held.clear()
        self.give_back(free)

    def info(self) -> SubscriptionInfo:
        terms = self.terms
        return SubscriptionInfo(
            self.client.number,
            terms.id,
            terms.destination,
            terms.ack,
            terms.prefetch,
            len(self.held),
            terms.selector,
            terms.durable,
        )
