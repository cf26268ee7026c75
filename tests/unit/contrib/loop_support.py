"""What the tests of asyncio and of Twisted share."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from client_support import failover, nothing_left_behind

from stomplistener.testing import Broker

BEATS = (0.2, 0.2)
BACKLOG = 3000


def uri(broker: Broker) -> str:
    return failover(broker.uri)


def publish(broker: Broker, queue: str, count: int) -> list[str]:
    """Put so many messages of more than 1 KB into a queue; their texts."""
    texts = [str(number) for number in range(count)]
    for text in texts:
        broker.publish(queue, text, {"padding": "x" * 1000})
    return texts


@contextmanager
def a_clean_end(caplog: pytest.LogCaptureFixture, logger: str) -> Iterator[None]:
    """Fail if a thread stays, or if the framework complains of something that nobody took."""
    with nothing_left_behind():
        yield
    gc.collect()
    complaints = [record.getMessage() for record in caplog.records if record.name.startswith(logger)]
    assert not complaints
