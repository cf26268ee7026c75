"""Rows that are sent together: in one transaction where the broker stores one message after the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django_support import outbox_of, relay

from stomplistener import Connection, StompError
from stomplistener.contrib.django.models import OutboxMessage
from stomplistener.contrib.django.outbox import State, enqueue
from stomplistener.testing import Broker

QUEUE = "/queue/a"
TEXTS = ["0", "1", "2"]


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker(server_name="ActiveMQ/5.18.3") as broker, outbox_of(broker):
        yield broker


@pytest.fixture
def connection(broker: Broker) -> Iterator[Connection]:
    connection = Connection(broker.uri)
    yield connection
    connection.close()


def commands(broker: Broker) -> list[str]:
    return [frame.command for frame in broker.frames() if frame.command != "CONNECT"]


def states() -> list[tuple[str, int, int]]:
    return list(OutboxMessage.objects.order_by("id").values_list("state", "attempts", "refusals"))


def test_several_rows_wait_for_the_disk_once(broker: Broker, connection: Connection) -> None:
    for text in TEXTS:
        enqueue(QUEUE, text)
    assert relay(connection).publish_due() == 3
    assert commands(broker) == ["BEGIN", "SEND", "SEND", "SEND", "COMMIT"]
    assert [message.text for message in broker.messages(QUEUE)] == TEXTS
    assert all(message.headers["persistent"] == "true" for message in broker.messages(QUEUE))
    assert states() == [(State.PUBLISHED, 1, 0)] * 3


def test_rows_of_one_key_go_in_one_transaction_in_their_order(broker: Broker, connection: Connection) -> None:
    for number in range(6):
        enqueue(QUEUE, str(number), key="ab"[number % 2])
    assert relay(connection).publish_due() == 6
    assert commands(broker) == ["BEGIN", *["SEND"] * 6, "COMMIT"]
    texts = [message.text for message in broker.messages(QUEUE)]
    assert [text for text in texts if int(text) % 2 == 0] == ["0", "2", "4"]
    assert [text for text in texts if int(text) % 2] == ["1", "3", "5"]
    assert states() == [(State.PUBLISHED, 1, 0)] * 6


def test_of_a_failed_transaction_no_row_overtakes_the_one_that_cannot_be_sent(
    broker: Broker, connection: Connection
) -> None:
    for text in TEXTS:
        enqueue(QUEUE, text, key="k")
    enqueue(QUEUE, "other", key="l")
    OutboxMessage.objects.filter(body=b"0").update(options={"priority": "no number"})
    assert relay(connection).publish_due() == 2
    assert [message.text for message in broker.messages(QUEUE)] == ["other"]
    assert states() == [(State.PENDING, 1, 1), (State.PENDING, 0, 0), (State.PENDING, 0, 0), (State.PUBLISHED, 1, 0)]


def test_a_row_that_failed_before_stays_out_of_the_transaction_with_its_key(
    broker: Broker, connection: Connection
) -> None:
    for text in TEXTS:
        enqueue(QUEUE, text, key="k")
    OutboxMessage.objects.filter(body=b"1").update(attempts=1)
    for text in ("a", "b"):
        enqueue(QUEUE, text)
    assert relay(connection).publish_due() == 5
    assert commands(broker) == ["BEGIN", "SEND", "SEND", "COMMIT", "SEND", "SEND", "SEND"]
    assert [message.text for message in broker.messages(QUEUE)] == ["a", "b", *TEXTS]


def test_a_row_alone_and_other_brokers_need_no_transaction(broker: Broker, connection: Connection) -> None:
    enqueue(QUEUE, "alone")
    assert relay(connection).publish_due() == 1
    with Broker(server_name="RabbitMQ/3.10.8") as other, Connection(other.uri) as plain:
        for text in TEXTS:
            enqueue(QUEUE, text)
        assert relay(plain).publish_due() == 3
        assert commands(other) == ["SEND"] * 3
    assert commands(broker) == ["SEND"]


def test_of_a_refused_transaction_each_row_is_tried_by_itself(broker: Broker, connection: Connection) -> None:
    for text in TEXTS:
        enqueue(QUEUE, text)
    # ActiveMQ does not say which SEND it was, and refuses the COMMIT.
    broker.error_next("COMMIT", "rolled back", close=False)
    assert relay(connection).publish_due() == 3
    assert [message.text for message in broker.messages(QUEUE)] == TEXTS
    assert states() == [(State.PUBLISHED, 1, 0)] * 3


def test_a_row_that_cannot_be_sent_costs_the_others_nothing(broker: Broker, connection: Connection) -> None:
    enqueue(QUEUE, "0")
    enqueue(QUEUE, "bad")
    OutboxMessage.objects.filter(body=b"bad").update(options={"priority": "no number"})
    enqueue(QUEUE, "2")
    assert relay(connection).publish_due() == 3
    assert [message.text for message in broker.messages(QUEUE)] == ["0", "2"]
    assert states() == [(State.PUBLISHED, 1, 0), (State.PENDING, 1, 1), (State.PUBLISHED, 1, 0)]


def test_a_loss_before_the_answer_is_no_refusal(broker: Broker, connection: Connection) -> None:
    for text in TEXTS:
        enqueue(QUEUE, text)
    broker.drop_before("COMMIT")
    with pytest.raises(StompError):
        relay(connection).publish_due()
    assert broker.messages(QUEUE) == []
    assert states() == [(State.PENDING, 1, 0)] * 3
    assert relay(connection).publish_due() == 3
    assert [message.text for message in broker.messages(QUEUE)] == TEXTS
