"""Write the names of queues and exchanges as destinations of STOMP brokers."""

from __future__ import annotations

from urllib.parse import quote

_PLAIN = "@:"
"""Characters that are not quoted in a name, besides letters, digits and ``_.-~``. In destinations, ActiveMQ gives
``*``, ``>``, ``,`` and ``?`` a special meaning, and RabbitMQ gives ``/`` one."""


def queue(name: str) -> str:
    """Return the destination of a queue. The destination has the name of the queue, so that other programs find it."""
    return f"/queue/{quote(name, safe=_PLAIN)}"


def broadcast(prefix: str, exchange: str, routing_key: str | None = None) -> str:
    """Return the topic that stands for an exchange, or for one routing key of an exchange."""
    key = f".{quote(routing_key, safe=_PLAIN)}" if routing_key else ""
    return f"/topic/{prefix}{quote(exchange, safe=_PLAIN)}{key}"
