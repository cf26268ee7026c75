"""Compare kombu, the transport of Celery, over STOMP and over AMQP on the same RabbitMQ.

Tasks are published one by one, each confirmed. Then the tasks are received and acknowledged, with the prefetch of
Celery.
"""

from __future__ import annotations

import uuid
from typing import Any

import kombu

import stomplistener.contrib.kombu  # noqa: F401  (adds the scheme "stomp")
from bench import clients
from bench.process import Clock, Figures

_PREFETCH = 16


def stomp(uri: str, count: int) -> Figures:
    """Measure our transport."""
    return _rates(f"stomp+{uri}", count, {})


def amqp(uri: str, count: int) -> Figures:
    """Measure kombu's AMQP transport, which waits for a confirmation only if it is configured to."""
    return _rates(uri, count, {"confirm_publish": True})


def _rates(url: str, count: int, options: dict[str, Any]) -> Figures:
    queue = kombu.Queue(f"bench-{uuid.uuid4().hex}", durable=True, max_length=2 * count)
    with kombu.Connection(url, transport_options=options) as connection:
        both = Clock()
        published = _publish(connection, queue, count)
        taken = _take(connection, queue, count)
        return {"rate": both.figures(count)["rate"], "published": published, "taken": taken}


def _publish(connection: Any, queue: Any, count: int) -> float:
    """Publish ``count`` tasks, and return the rate per second."""
    clock = Clock()
    with connection.Producer() as producer:
        for number in range(count):
            producer.publish({"task": "add", "args": [number, 1]}, routing_key=queue.name, declare=[queue])
    return clock.figures(count)["rate"]


def _take(connection: Any, queue: Any, count: int) -> float:
    """Receive and acknowledge ``count`` tasks, and return the rate per second."""
    left = count

    def done(_body: object, message: Any) -> None:
        nonlocal left
        message.ack()
        left -= 1

    clock = Clock()
    with connection.Consumer(queue, callbacks=[done], prefetch_count=_PREFETCH):
        while left:
            connection.drain_events(timeout=clients.LONG)
    rate = clock.figures(count)["rate"]
    queue(connection).delete()
    return rate
