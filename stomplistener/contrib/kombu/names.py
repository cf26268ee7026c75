"""Destinations: how the names of queues and exchanges are written for STOMP brokers."""

from __future__ import annotations

from urllib.parse import quote

_PLAIN = "@:"
"""What may stand in a name besides letters, digits and ``_.-~``. ActiveMQ gives ``*``, ``>``, ``,`` and ``?`` a meaning
of their own, RabbitMQ ``/``."""


def queue(name: str) -> str:
    """The destination of a queue; other programs find it under its own name."""
    return f"/queue/{quote(name, safe=_PLAIN)}"


def broadcast(prefix: str, exchange: str, routing_key: str | None = None) -> str:
    """The topic that stands for an exchange, or for one routing key of it."""
    key = f".{quote(routing_key, safe=_PLAIN)}" if routing_key else ""
    return f"/topic/{prefix}{quote(exchange, safe=_PLAIN)}{key}"
