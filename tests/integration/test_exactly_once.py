"""Confirmed sends with a ``duplicate_id`` into Artemis, which detects duplicates: each is there exactly once."""

from __future__ import annotations

import uuid
from collections import Counter

import pytest

from stomplistener import BrokerError, Connection, ConnectionLost
from stomplistener.testing import FaultProxy
from stomplistener.testing.containers import BrokerContainer

MESSAGES = 300
ROUNDS = 6

LATE = 5.0
"""Seconds without a message after which those that are missing are not in the queue."""

SURPLUS = 0.5
"""Seconds without a message after which none is there twice."""


def stored(broker: BrokerContainer, queue: str, messages: int) -> Counter[str]:
    """How often each body is in a queue of so many, which is emptied.

    Artemis keeps back what it was storing when its receipt could not be written any more: it is in the journal, its id
    is known, and it is delivered after the next start of the broker.
    """
    found = emptied(broker, queue, messages)
    if len(found) < messages:
        broker.restart()
        found += emptied(broker, queue, messages - len(found))
    return found


def emptied(broker: BrokerContainer, queue: str, messages: int) -> Counter[str]:
    """What comes until nothing does.

    No mark at the end would do: a broker that has just started confirms what is sent again, because it knows the id,
    well before it lines up what it got first, and a message that is sent then overtakes it.
    """
    found: Counter[str] = Counter()
    with (
        Connection(broker.uri, host=broker.virtual_host) as connection,
        connection.consume(queue, ack="auto") as consumer,
    ):
        while (message := consumer.receive(SURPLUS if len(found) >= messages else LATE)) is not None:
            found[message.text] += 1
    return found


def send_without_hearing_receipts(broker: BrokerContainer, queue: str, *, duplicate_ids: bool) -> None:
    """Send confirmed messages over connections that end before their receipts come."""
    with FaultProxy(broker.uri) as proxy:
        uri = f"failover:({proxy.uri})?initialReconnectDelay=5&maxReconnectDelay=50"
        with Connection(uri, host=broker.virtual_host, timeout=60) as connection:
            for first in range(0, MESSAGES, MESSAGES // ROUNDS):
                # From here on the broker hears everything, and its answers are lost, until the cut.
                proxy.blackhole("down", lose=True)
                unheard = proxy.lost("down")
                futures = [
                    connection.send_async(
                        queue, str(number), persistent=True, duplicate_id=f"{queue}/{number}" if duplicate_ids else None
                    )
                    for number in range(first, first + MESSAGES // ROUNDS)
                ]
                proxy.wait_for(lambda before=unheard: proxy.lost("down") > before, 30)  # type: ignore[misc]
                proxy.cut()
                proxy.heal()
                for future in futures:
                    future.result(60)
            assert connection.statistics().reconnects >= ROUNDS


def test_what_is_sent_again_is_stored_exactly_once(artemis: BrokerContainer) -> None:
    queue = f"/queue/once-{uuid.uuid4().hex}"
    send_without_hearing_receipts(artemis, queue, duplicate_ids=True)
    assert stored(artemis, queue, MESSAGES) == {str(number): 1 for number in range(MESSAGES)}


def test_without_an_id_some_are_stored_again(artemis: BrokerContainer) -> None:
    queue = f"/queue/again-{uuid.uuid4().hex}"
    send_without_hearing_receipts(artemis, queue, duplicate_ids=False)
    found = stored(artemis, queue, MESSAGES)
    assert set(found) == {str(number) for number in range(MESSAGES)}
    assert found.total() > MESSAGES


def test_an_id_is_known_over_a_restart_of_the_broker(artemis: BrokerContainer) -> None:
    queue, id = f"/queue/kept-{uuid.uuid4().hex}", uuid.uuid4().hex
    uri = f"failover:({artemis.uri})?maxReconnectDelay=200"
    with Connection(uri, host=artemis.virtual_host, timeout=60) as connection:
        connection.send(queue, "one", persistent=True, duplicate_id=id, confirm=True)
        artemis.kill()
        artemis.start()
        connection.send(queue, "one", persistent=True, duplicate_id=id, confirm=True)
    assert stored(artemis, queue, 1) == {"one": 1}


def test_a_transaction_that_is_repeated_is_refused_whole(artemis: BrokerContainer) -> None:
    queue, id = f"/queue/transaction-{uuid.uuid4().hex}", uuid.uuid4().hex
    with Connection(artemis.uri, host=artemis.virtual_host) as connection:
        for again in (False, True):
            transaction = connection.transaction().begin()
            transaction.send(queue, "one", duplicate_id=id)
            transaction.send(queue, f"again {again}")
            if not again:
                transaction.commit()
                continue
            with pytest.raises((BrokerError, ConnectionLost)):
                transaction.commit()
    assert stored(artemis, queue, 2) == {"one": 1, "again False": 1}
