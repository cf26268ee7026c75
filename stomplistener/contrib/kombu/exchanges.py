"""Emulate exchanges, which STOMP does not have: route messages to the queues that this process knows, or to a topic.

A lasting queue is a destination on the broker. Each program that declares it knows its exchange; programs with the same
Celery configuration declare the same queues. A private queue (not durable, deleted with its consumer) is known only to
its own process, which subscribes to the topic that stands for the exchange.
"""

from __future__ import annotations

from typing import Any, Protocol

from kombu.transport.virtual import exchange as virtual


class Routing(Protocol):
    """The part of a channel that an exchange uses."""

    def lasting(self, exchange: str, routing_key: str) -> list[str]: ...
    def broadcast(self, exchange: str, message: dict[str, Any], routing_key: str) -> None: ...
    def _put(self, queue: str, message: dict[str, Any]) -> None: ...


class _ToQueuesElseBroadcast:
    """The delivery of direct and topic exchanges: to the queues that this process knows, otherwise to the topic."""

    channel: Routing

    def deliver(self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any) -> None:
        """Deliver a message."""
        queues = self.channel.lasting(exchange, routing_key)
        for queue in queues:
            self.channel._put(queue, message)
        if not queues:
            self.channel.broadcast(exchange, message, routing_key)


class DirectExchange(_ToQueuesElseBroadcast, virtual.DirectExchange):
    """Routes by equal routing keys. Each key has its own topic."""

    def topic_key(self, routing_key: str) -> str | None:
        """Return the part of the routing key that is in the name of the topic."""
        return routing_key

    def wanted(self, pattern: str | None) -> str | None:
        """Return the regular expression by which a subscriber filters routing keys."""
        return None


class TopicExchange(_ToQueuesElseBroadcast, virtual.TopicExchange):
    """Routes by patterns. All keys share one topic, whose subscribers filter by the key."""

    def topic_key(self, routing_key: str) -> str | None:
        """Return the part of the routing key that is in the name of the topic."""
        return None

    def wanted(self, pattern: str | None) -> str | None:
        """Return the regular expression by which a subscriber filters routing keys."""
        return pattern


class FanoutExchange(virtual.FanoutExchange):
    """Delivers to all the queues that this process knows, and to the topic."""

    channel: Routing

    def deliver(self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any) -> None:
        """Deliver a message."""
        for queue in self.channel.lasting(exchange, routing_key):
            self.channel._put(queue, message)
        self.channel.broadcast(exchange, message, routing_key)

    def topic_key(self, routing_key: str) -> str | None:
        """Return the part of the routing key that is in the name of the topic."""
        return None

    def wanted(self, pattern: str | None) -> str | None:
        """Return the regular expression by which a subscriber filters routing keys."""
        return None


EXCHANGE_TYPES: dict[str, type[virtual.ExchangeType]] = {
    "direct": DirectExchange,
    "topic": TopicExchange,
    "fanout": FanoutExchange,
}
