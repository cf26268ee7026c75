"""Exchanges: STOMP has none, so a client routes to the queues that it knows, and broadcasts the rest by topics.

A queue that lasts is a destination of the broker; which exchange it is bound to is known to each program that declares
it, as programs with Celery's configuration do. A private queue (not durable, deleted with its consumer) is known to its
own process only: that one subscribes to the topic that stands for the exchange.
"""

from __future__ import annotations

from typing import Any, Protocol

from kombu.transport.virtual import exchange as virtual


class Routing(Protocol):
    """What an exchange needs of its channel."""

    def lasting(self, exchange: str, routing_key: str) -> list[str]: ...
    def broadcast(self, exchange: str, message: dict[str, Any], routing_key: str) -> None: ...
    def _put(self, queue: str, message: dict[str, Any]) -> None: ...


class _ToQueuesElseBroadcast:
    """How direct and topic exchanges deliver: to the queues known here, and if there is none, to all listeners."""

    channel: Routing

    def deliver(self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any) -> None:
        """Deliver a message."""
        queues = self.channel.lasting(exchange, routing_key)
        for queue in queues:
            self.channel._put(queue, message)
        if not queues:
            self.channel.broadcast(exchange, message, routing_key)


class DirectExchange(_ToQueuesElseBroadcast, virtual.DirectExchange):
    """Routes by equal routing keys; each key has a topic."""

    def topic_key(self, routing_key: str) -> str | None:
        """What of the routing key is in the name of the topic."""
        return routing_key

    def wanted(self, pattern: str | None) -> str | None:
        """The regular expression that a subscriber filters routing keys by."""
        return None


class TopicExchange(_ToQueuesElseBroadcast, virtual.TopicExchange):
    """Routes by patterns; one topic for all keys, which the subscribers filter."""

    def topic_key(self, routing_key: str) -> str | None:
        """What of the routing key is in the name of the topic."""
        return None

    def wanted(self, pattern: str | None) -> str | None:
        """The regular expression by which a subscriber filters."""
        return pattern


class FanoutExchange(virtual.FanoutExchange):
    """Delivers to all: the queues known here, and other listeners."""

    channel: Routing

    def deliver(self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any) -> None:
        """Deliver a message."""
        for queue in self.channel.lasting(exchange, routing_key):
            self.channel._put(queue, message)
        self.channel.broadcast(exchange, message, routing_key)

    def topic_key(self, routing_key: str) -> str | None:
        """What of the routing key is in the name of the topic."""
        return None

    def wanted(self, pattern: str | None) -> str | None:
        """The regular expression by which a subscriber filters."""
        return None


EXCHANGE_TYPES: dict[str, type[virtual.ExchangeType]] = {
    "direct": DirectExchange,
    "topic": TopicExchange,
    "fanout": FanoutExchange,
}
