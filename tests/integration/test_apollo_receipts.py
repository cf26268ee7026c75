"""What a receipt of Apollo promises: a place in the queue, and only where it answers a COMMIT one on the disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from stomplistener import Connection
from stomplistener.testing.containers import BrokerContainer

pytestmark = pytest.mark.timeout(180, func_only=True)
MESSAGES = {f"message {number}" for number in range(10)}
WARM_UP = 3.0
"""Seconds of traffic: a queue looks once a second whether its consumers are fast, and writes later if they are."""


@pytest.fixture
def slow_to_write(apollo: BrokerContainer) -> Iterator[BrokerContainer]:
    """Apollo with ten times the delay that it has by default, so that nothing depends on how fast a kill is."""

    def set_flush_delay(milliseconds: int) -> None:
        # Its run script reads this once. A change of apollo.xml would have the broker load it anew in the middle of the
        # restart, which can leave a store that it does not open any more.
        apollo.exec(f"echo {milliseconds} > /var/lib/apollo/flush_delay")
        apollo.restart()

    set_flush_delay(5000)
    yield apollo
    set_flush_delay(-1)


def send(connection: Connection, queue: str) -> None:
    for body in MESSAGES:
        connection.send(queue, body, persistent=True, confirm=True)


def send_in_a_transaction(connection: Connection, queue: str) -> None:
    with connection.transaction() as transaction:
        for body in MESSAGES:
            transaction.send(queue, body, persistent=True)


@pytest.mark.parametrize(("how", "kept"), [(send, set()), (send_in_a_transaction, MESSAGES)])
def test_what_a_consumer_holds_when_the_broker_is_killed(
    how: Callable[[Connection, str], None], kept: set[str], slow_to_write: BrokerContainer
) -> None:
    broker, queue = slow_to_write, f"/queue/receipts-{time.time_ns()}"
    sender, taker = (Connection(broker.uri, reconnect=False).connect() for _ in range(2))
    consumer = taker.consume(queue)
    end = time.monotonic() + WARM_UP
    while time.monotonic() < end:
        sender.send(queue, "x" * 1000, persistent=True, confirm=True)
        taken = consumer.receive(30)
        assert taken is not None
        assert taken.ack()
    how(sender, queue)
    held = [consumer.receive(30) for _ in MESSAGES]
    assert {message.text for message in held if message} == MESSAGES
    broker.kill()
    for connection in (sender, taker):
        connection.close()
    broker.start()
    with Connection(broker.uri) as connection, connection.consume(queue) as again:
        found = {message.text for message in iter(lambda: again.receive(3), None)}
    assert found & MESSAGES == kept
