"""How often a message has been delivered."""

from __future__ import annotations

import pytest
from engine_support import make_message

from stomplistener._engine import deliveries as module
from stomplistener._engine.deliveries import Deliveries
from stomplistener.brokers import PROFILES

ACTIVEMQ, RABBITMQ = PROFILES["activemq"], PROFILES["rabbitmq"]


@pytest.fixture
def deliveries() -> Deliveries:
    return Deliveries()


def test_each_message_is_counted_by_its_id(deliveries: Deliveries) -> None:
    numbers = [deliveries.number(make_message(message_id=id), ACTIVEMQ) for id in ("1", "2", "1", "1")]
    assert numbers == [1, 1, 2, 3]


def test_the_id_of_an_outbox_comes_first(deliveries: Deliveries) -> None:
    numbers = [deliveries.number(make_message(message_id=id, outbox_id="x"), ACTIVEMQ) for id in ("1", "2")]
    assert numbers == [1, 2]


def test_where_ids_change_the_content_counts(deliveries: Deliveries) -> None:
    numbers = [deliveries.number(make_message(b"a", message_id=id), RABBITMQ) for id in ("1", "2")]
    assert numbers == [1, 2]
    assert deliveries.number(make_message(b"b", message_id="3"), RABBITMQ) == 1


def test_a_retry_is_no_delivery(deliveries: Deliveries) -> None:
    message = make_message(message_id="1")
    message.attempts = 1
    assert deliveries.number(message, ACTIVEMQ) == 0


def test_the_oldest_is_forgotten(deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_REMEMBERED", 2)
    numbers = [deliveries.number(make_message(message_id=id), ACTIVEMQ) for id in ("1", "2", "1", "3", "2", "1")]
    assert numbers == [1, 1, 2, 1, 1, 1]
