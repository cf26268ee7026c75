"""Retries that the broker keeps, on the brokers that can delay a message."""

from __future__ import annotations

import itertools
import time
import uuid

import pytest

from stomplistener import Connection, Message
from stomplistener.testing import Fleet
from stomplistener.worker import Application


@pytest.mark.parametrize(("name", "detects"), [("activemq", False), ("artemis", True)])
def test_a_retry_by_the_broker_comes_after_its_delay_and_is_no_duplicate(
    name: str, detects: bool, stomp_brokers: Fleet
) -> None:
    """Artemis would drop a copy with the same duplicate id, and the message be lost."""
    broker = stomp_brokers[name]
    queue, failed = (f"/queue/retries-{uuid.uuid4().hex}{end}" for end in ("", ".failed"))
    app = Application(broker.uri)
    calls: list[float] = []

    @app.listener(queue, retries=2, retry_delay=0.7, retry_by="broker", error_destination=failed)
    def fail(message: Message) -> None:
        calls.append(time.monotonic())
        raise LookupError("no such item")

    with Connection(broker.uri) as connection:
        with app.running(timeout=60):
            identity = uuid.uuid4().hex if detects else None
            connection.send(queue, "an order", confirm=True, duplicate_id=identity)
            with connection.consume(failed) as dead:
                letter = dead.receive(30)
                assert letter is not None
                letter.ack()
    assert letter.text == "an order"
    assert letter.headers["attempts"] == "3"
    assert len(calls) == 3
    assert all(later - earlier >= 0.5 for earlier, later in itertools.pairwise(calls))
