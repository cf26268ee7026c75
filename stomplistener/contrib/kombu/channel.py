"""A kombu channel over a STOMP connection: kombu's virtual channel, with the broker's pushes and acknowledgements."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty
from typing import Any, Protocol

from kombu.transport import base, virtual
from kombu.utils.json import dumps, loads

from stomplistener.connection import Connection
from stomplistener.contrib.kombu import names
from stomplistener.contrib.kombu.bell import Bell
from stomplistener.contrib.kombu.exchanges import EXCHANGE_TYPES
from stomplistener.contrib.kombu.source import Mailbox, QueueSource, SingleSource
from stomplistener.message import Message as StompMessage

GET_SECONDS = 1.0
"""Seconds that ``basic_get`` and a purge wait for the next message: STOMP cannot tell whether a queue is empty."""
PERSISTENT = 2
"""AMQP's delivery mode of a message that the broker keeps on disk."""
RABBITMQ = "rabbitmq"

_tags = itertools.count(1)


@dataclass(frozen=True)
class Delivery:
    """A received message and its source, which are needed to settle it."""

    message: StompMessage
    source: QueueSource | SingleSource


@dataclass(frozen=True)
class QueueFlags:
    """The properties with which a queue was declared."""

    durable: bool = True
    auto_delete: bool = False
    arguments: Any = None

    @property
    def is_private(self) -> bool:
        """Whether only the process that declares the queue reads it, such as the queue for replies."""
        return self.auto_delete and not self.durable


class Owner(Protocol):
    """The part of the transport that its channels use."""

    stomp: Connection
    bell: Bell
    queues: dict[str, QueueFlags]
    mailboxes: dict[str, Mailbox]
    broker_name: str | None

    @property
    def can_delay(self) -> bool: ...
    def open(self) -> Connection: ...


class Received(virtual.Message):
    """A received message, as kombu delivers it."""

    def __init__(self, payload: dict[str, Any], channel: Channel, **kwargs: Any) -> None:
        self.delivery: Delivery | None = payload.get("delivery")
        super().__init__(payload, channel=channel, **kwargs)


class QoS(virtual.QoS):
    """The unsettled messages of a channel, and the largest number of them. Settling is thread-safe."""

    def append(self, message: Received, delivery_tag: str) -> None:
        """Note a message that is delivered to a consumer."""
        self._delivered[delivery_tag] = message
        if message.delivery is not None:
            message.delivery.source.hold(delivery_tag)

    def can_consume(self) -> bool:
        """Whether another message may be delivered."""
        return not self.prefetch_count or len(self._delivered) < self.prefetch_count

    def can_consume_max_estimate(self) -> int | None:
        """Return how many more messages may be delivered; None for any number."""
        return max(self.prefetch_count - len(self._delivered), 0) if self.prefetch_count else None

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message at the broker."""
        self._settle(delivery_tag, lambda message: message.ack())

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Reject a message.

        With ``requeue``, put it back into its queue; otherwise the broker drops it or keeps a dead letter.
        """
        if not requeue:
            self._settle(delivery_tag, lambda message: message.nack())
        elif self.channel.connection.broker_name == RABBITMQ:
            self._settle(delivery_tag, lambda message: message.nack(headers={"requeue": "true"}))
        else:
            # Other brokers make a rejected message a dead letter. So send a copy to the end of the queue, then
            # acknowledge.
            if (message := self._delivered.get(delivery_tag)) is not None:
                self.channel.put_back(message)
            self.ack(delivery_tag)

    def _settle(self, tag: str, how: Callable[[StompMessage], bool]) -> None:
        message = self._delivered.pop(tag, None)
        if message is None or message.delivery is None:
            return
        how(message.delivery.message)
        message.delivery.source.settled(tag)
        self.channel.connection.bell.ring()

    def restore_unacked(self) -> list[Any]:
        """Forget unsettled messages: the broker delivers them again when the subscription or the connection ends."""
        self._delivered.clear()
        return []


class Channel(virtual.Channel):
    """A channel. As in kombu, one thread uses it, and any thread may settle messages."""

    Message = Received
    QoS = QoS
    exchange_types = dict(EXCHANGE_TYPES)
    supports_fanout = True
    do_restore = False
    default_priority = None
    from_transport_options = (
        *virtual.Channel.from_transport_options,
        "confirm",
        "delay_eta",
        "exchange_prefix",
        "queue_headers",
    )

    confirm = True
    """Whether ``basic_publish`` to a queue waits for the broker's receipt."""
    delay_eta = True
    """Whether the broker keeps a task until its ETA, if it can delay messages."""
    exchange_prefix = "kombu."
    """The prefix of the topics that stand for exchanges."""
    queue_headers: dict[str, str] = {}
    """More headers for SUBSCRIBE and SEND to queues."""

    connection: Owner

    def __init__(self, connection: Owner, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self._sources: dict[str, QueueSource] = {}
        self._no_ack: set[str] = set()

    # Declarations

    def prepare_queue_arguments(self, arguments: Any, **kwargs: Any) -> Any:
        """Return the arguments of a queue in RabbitMQ's names; other brokers know no such arguments."""
        return base.to_rabbitmq_queue_arguments(arguments or {}, **kwargs)

    def _new_queue(
        self, queue: str, durable: bool = True, auto_delete: bool = False, arguments: Any = None, **kwargs: Any
    ) -> None:
        self.connection.queues[queue] = QueueFlags(durable, auto_delete, arguments)

    def _flags(self, queue: str) -> QueueFlags:
        return self.connection.queues.get(queue, QueueFlags())

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str | None, queue: str) -> None:
        """Start to receive for a private queue now: a reply may arrive before the program asks for it."""
        if self._flags(queue).is_private and not self._is_fanout(exchange):
            self._listen(queue, exchange, routing_key, pattern)

    def _is_fanout(self, exchange: str) -> bool:
        return bool(self.typeof(exchange).type == "fanout")

    def _listen(self, queue: str, exchange: str, routing_key: str, pattern: str | None) -> None:
        transport = self.connection
        if queue not in transport.mailboxes:
            transport.mailboxes[queue] = Mailbox(queue, transport.bell.ring)
        kind = self.typeof(exchange)
        topic = names.broadcast(self.exchange_prefix, exchange, kind.topic_key(routing_key))
        transport.mailboxes[queue].listen(transport.stomp, topic, kind.wanted(pattern))

    def lasting(self, exchange: str, routing_key: str) -> list[str]:
        """Return the declared queues that outlive their consumers and are bound to an exchange by this key."""
        found = self._lookup(exchange, routing_key)
        return [queue for queue in found if queue and not self._is_private_at(queue, exchange)]

    def _is_private_at(self, queue: str, exchange: str) -> bool:
        flags = self._flags(queue)
        return flags.is_private or (flags.auto_delete and self._is_fanout(exchange))

    def queue_delete(self, queue: str, if_unused: bool = False, if_empty: bool = False, **kwargs: Any) -> None:
        """Forget a queue. A queue on the broker is emptied, because STOMP cannot delete queues."""
        mailbox = self.connection.mailboxes.pop(queue, None)
        if mailbox is not None:
            mailbox.close()
        elif if_empty or if_unused:
            # STOMP tells neither the number of messages in a queue nor its consumers, so do nothing.
            return
        super().queue_delete(queue, **kwargs)
        self.connection.queues.pop(queue, None)

    def _delete(self, queue: str, *args: Any, **kwargs: Any) -> None:
        if not self._flags(queue).is_private:
            self._purge(queue)

    # Sending

    def prepare_message(
        self,
        body: Any,
        priority: int | None = None,
        content_type: str | None = None,
        content_encoding: str | None = None,
        headers: dict[str, Any] | None = None,
        properties: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Make a message for ``basic_publish``. Without a priority it has none, rather than the lowest."""
        properties = properties or {}
        properties.setdefault("priority", priority)
        prepared: dict[str, Any] = super().prepare_message(
            body, priority, content_type, content_encoding, headers, properties
        )
        return prepared

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        """Send to a queue. With ``confirm``, return when the broker has confirmed the message."""
        self.connection.stomp.send(
            names.queue(queue),
            dumps(message),
            self._queue_headers(queue),
            content_type="application/json",
            auto_content_length=True,
            confirm=self.confirm,
            **self._options(message),
        )

    def broadcast(self, exchange: str, message: dict[str, Any], routing_key: str) -> None:
        """Send to all current subscribers of an exchange. No broker keeps the message for later subscribers."""
        kind = self.typeof(exchange)
        self.connection.stomp.send(
            names.broadcast(self.exchange_prefix, exchange, kind.topic_key(routing_key)),
            dumps(message),
            {"routing-key": routing_key or ""},
            content_type="application/json",
            auto_content_length=True,
        )

    def put_back(self, message: Received) -> None:
        """Send a copy of a message to the queue that it came from."""
        payload = message.serializable()
        queue = payload["properties"].pop("stomp_queue")
        payload["properties"]["redelivered"] = True
        self._put(queue, payload)

    def _queue_headers(self, queue: str) -> dict[str, str]:
        """Return the headers by which RabbitMQ declares a queue; each SEND and SUBSCRIBE must have the same headers."""
        arguments = self._flags(queue).arguments or {}
        own = self.connection.broker_name == RABBITMQ
        declared = {key: _text(value) for key, value in arguments.items()} if own else {}
        return {**declared, **self.queue_headers}

    def _options(self, message: dict[str, Any]) -> dict[str, Any]:
        properties = message["properties"]
        options: dict[str, Any] = {}
        if properties.get("delivery_mode", PERSISTENT) == PERSISTENT:
            options["persistent"] = True
        if properties.get("priority") is not None:
            options["priority"] = min(max(int(properties["priority"]), self.min_priority), self.max_priority)
        if properties.get("expiration"):
            options["expires"] = max(float(properties["expiration"]) / 1000, 0.001)
        if self.delay_eta and self.connection.can_delay:
            wait = _seconds_until(message["headers"].get("eta"))
            if wait > 0:
                options["delay"] = wait
        return options

    # Receiving

    @property
    def consumes(self) -> bool:
        """Whether a consumer of this channel waits for messages."""
        return bool(self._consumers)

    def basic_consume(
        self, queue: str, no_ack: bool, callback: Callable[[Any], object], consumer_tag: str, **kwargs: Any
    ) -> None:
        """Begin to take messages from a queue."""
        for exchange, routing_key, arguments in list(self.state.queue_bindings(queue)):
            if self._is_private_at(queue, exchange):
                _, pattern, _ = self.typeof(exchange).prepare_bind(queue, exchange, routing_key, arguments)
                self._listen(queue, exchange, routing_key, pattern)
        if no_ack:
            self._no_ack.add(queue)
        if queue not in self.connection.mailboxes and queue not in self._sources:
            self._sources[queue] = QueueSource(
                self.connection.stomp,
                names.queue(queue),
                self._queue_headers(queue),
                self.connection.bell.ring,
                self.qos.prefetch_count,
            )
        super().basic_consume(queue, no_ack, callback, consumer_tag, **kwargs)
        self.connection.bell.ring()

    def basic_cancel(self, consumer_tag: str) -> None:
        """Stop delivery to a consumer. The messages that it has can still be settled."""
        queue = self._tag_to_queue.get(consumer_tag)
        super().basic_cancel(consumer_tag)
        if queue is None or queue in self._active_queues:
            return
        self._no_ack.discard(queue)
        if (source := self._sources.pop(queue, None)) is not None:
            source.cancel()

    def basic_qos(self, prefetch_size: int = 0, prefetch_count: int = 0, apply_global: bool = False) -> None:
        """Set how many messages of this channel may be unsettled; 0 for any number."""
        self.qos.prefetch_count = prefetch_count
        for source in self._sources.values():
            source.widen(prefetch_count)
        self.connection.bell.ring()

    def basic_recover(self, requeue: bool = False) -> None:
        """Put all unsettled messages back into their queues."""
        for tag in list(self.qos._delivered):
            self.qos.reject(tag, requeue=True)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Received | None:
        """Take one message, or None if none comes within a second."""
        if queue in self._sources or queue in self.connection.mailboxes:
            message: Received | None = super().basic_get(queue, no_ack=no_ack, **kwargs)
        else:
            message = self._get_alone(queue)
            if message is not None:
                self.qos.append(message, message.delivery_tag)
                if no_ack:
                    self.qos.ack(message.delivery_tag)
        return message

    def _get_alone(self, queue: str) -> Received | None:
        """Take one message over a separate connection.

        When the connection ends, the broker takes back any other message.
        """
        stomp = self.connection.open()
        consumer = stomp.consume(names.queue(queue), headers=self._queue_headers(queue), prefetch=1)
        received = consumer.receive(GET_SECONDS)
        if received is None:
            stomp.disconnect()
            return None
        delivery = Delivery(received, SingleSource(stomp))
        return Received(self._payload(queue, delivery, received), channel=self)

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        mailbox = self.connection.mailboxes.get(queue)
        if mailbox is not None:
            received = mailbox.receive()
            if received is None:
                raise Empty
            return self._payload(queue, None, received)
        source = self._sources.get(queue)
        received = source.receive() if source is not None else None
        if source is None or received is None:
            raise Empty
        if queue in self._no_ack:
            received.ack()
            return self._payload(queue, None, received)
        return self._payload(queue, Delivery(received, source), received)

    def _payload(self, queue: str, delivery: Delivery | None, received: StompMessage) -> dict[str, Any]:
        payload: dict[str, Any] = loads(received.body)
        properties = payload["properties"]
        # Make a new tag: the sender's tag is the same in every delivery and every copy.
        properties["delivery_tag"] = str(next(_tags))
        properties["stomp_queue"] = queue
        again = properties.pop("redelivered", False) or received.redelivered
        properties["delivery_info"]["redelivered"] = again
        payload["delivery"] = delivery
        return payload

    def _get_and_deliver(self, queue: str, callback: Callable[[Any, str], object]) -> None:
        callback(self._get(queue), queue)

    def _purge(self, queue: str) -> int:
        """Remove all messages of a queue, and return their number."""
        if (mailbox := self.connection.mailboxes.get(queue)) is not None:
            return mailbox.clear()
        count = 0
        with self.connection.open() as stomp:
            consumer = stomp.consume(names.queue(queue), headers=self._queue_headers(queue), prefetch=100)
            while (message := consumer.receive(GET_SECONDS)) is not None:
                message.ack()
                count += 1
        return count


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _seconds_until(eta: Any) -> float:
    """Return the seconds until a task's ETA, which Celery writes into the headers; 0 if there is no valid one."""
    try:
        at = datetime.datetime.fromisoformat(eta)
    except (TypeError, ValueError):
        return 0.0
    if at.tzinfo is None:
        at = at.replace(tzinfo=datetime.UTC)
    return (at - datetime.datetime.now(datetime.UTC)).total_seconds()
