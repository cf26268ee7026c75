"""Browsing: every message is shown, none is taken."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import pytest

from stomplistener import BrokerError, Connection, ConnectionLost, Limits, NotConnected, ProtocolError
from stomplistener.testing import Broker

QUEUE = "/queue/a"


@pytest.fixture
def connection(broker: Broker) -> Iterator[Connection]:
    with Connection(broker.uri) as connection:
        yield connection


def fill(broker: Broker, count: int, **headers: str) -> None:
    for number in range(count):
        broker.publish(QUEUE, f"number {number}", {"n": str(number), **headers})


def test_it_shows_all_in_order_and_ends_without_taking_any(broker: Broker, connection: Connection) -> None:
    fill(broker, 3000)
    began = time.monotonic()
    shown = [message.headers["n"] for message in connection.browse(QUEUE, idle=30)]
    assert time.monotonic() - began < 25
    assert shown == [str(number) for number in range(3000)]
    assert broker.depth(QUEUE) == 3000
    assert not broker.frames(command="ACK")
    # Not marked either: the next one to consume a message is its first.
    with connection.consume(QUEUE) as consumer:
        message = consumer.receive(5)
        assert message is not None
        assert not message.redelivered


def test_an_empty_queue_shows_nothing(connection: Connection) -> None:
    assert list(connection.browse("/queue/empty")) == []


@pytest.mark.parametrize(("count", "told"), [(399, False), (400, True)])
def test_a_broker_that_shows_one_page_alone_is_told_of(
    count: int, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with Broker(server_name="ActiveMQ/5.18.3") as broker, Connection(broker.uri) as connection:
        fill(broker, count)
        with caplog.at_level(logging.WARNING, "stomplistener"):
            assert len(list(connection.browse(QUEUE))) == count
    assert ("maxBrowsePageSize" in caplog.text) is told


def test_a_selector_and_a_limit(broker: Broker, connection: Connection) -> None:
    fill(broker, 10)
    assert [each.headers["n"] for each in connection.browse(QUEUE, selector="n >= 7")] == ["7", "8", "9"]
    assert [each.headers["n"] for each in connection.browse(QUEUE, selector="n >= 7", limit=2)] == ["7", "8"]
    broker.wait_for(lambda: not broker.subscriptions)


def test_a_browser_that_is_closed_early_ends_its_subscription(broker: Broker, connection: Connection) -> None:
    fill(broker, 5)
    shown = iter(connection.browse(QUEUE))
    assert next(shown).headers["n"] == "0"
    assert len(broker.subscriptions) == 1
    shown.close()  # type: ignore[attr-defined]
    broker.wait_for(lambda: not broker.subscriptions)
    assert broker.depth(QUEUE) == 5


def test_nothing_is_sent_before_the_first_message_is_asked_for(broker: Broker, connection: Connection) -> None:
    connection.browse(QUEUE)
    connection.send("/topic/nobody", confirm=True)
    assert not broker.frames(command="SUBSCRIBE")


@pytest.mark.parametrize("server", ["ActiveMQ-Artemis/2.44.0", "RabbitMQ/3.10.8"])
def test_a_broker_that_would_give_the_messages_away_is_refused_at_the_call(server: str) -> None:
    with Broker(server_name=server) as broker, Connection(broker.uri) as connection:
        name = "Artemis" if "Artemis" in server else "RabbitMQ"
        with pytest.raises(ProtocolError, match=f"{name} cannot do browse"):
            connection.browse(QUEUE)
        connection.send("/topic/nobody", confirm=True)
        assert not broker.frames(command="SUBSCRIBE")


def test_a_broker_that_is_not_known_has_to_be_named() -> None:
    with Broker(server_name="something/1") as broker, Connection(broker.uri) as connection:
        broker.publish(QUEUE, "x")
        with pytest.raises(ProtocolError, match="something/1"):
            connection.browse(QUEUE)
        with Connection(broker.uri, broker="activemq") as named:
            assert [each.text for each in named.browse(QUEUE)] == ["x"]


def fill_with_more_than_is_on_its_way(broker: Broker) -> None:
    for number in range(1000):
        broker.publish(QUEUE, bytes(50_000), {"n": str(number)})


def test_a_loss_while_browsing_is_told_since_messages_may_be_missing(broker: Broker) -> None:
    fill_with_more_than_is_on_its_way(broker)
    # The bound keeps the client from having all of them before the connection is lost.
    with Connection(broker.uri, limits=Limits(max_pending_messages=10)) as connection:
        shown = connection.browse(QUEUE, idle=5)
        next(shown)
        broker.drop_connections()
        with pytest.raises(ConnectionLost, match="browse again"):
            for _ in shown:
                pass


def test_a_topic_is_refused_by_the_broker(connection: Connection) -> None:
    with pytest.raises(BrokerError, match="topic"):
        list(connection.browse("/topic/a"))


def test_without_an_end_it_ends_when_nothing_comes(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    fill_with_more_than_is_on_its_way(broker)
    with Connection(broker.uri, limits=Limits(max_pending_messages=10)) as connection:
        with caplog.at_level(logging.WARNING, "stomplistener"):
            shown = connection.browse(QUEUE, idle=0.3)
            assert next(shown).headers["n"] == "0"
            broker.go_silent()
            assert len(list(shown)) < 999
        connection.close()
    assert "the broker sent no end" in caplog.text


def test_arguments_are_checked_at_the_call(connection: Connection) -> None:
    with pytest.raises(ValueError, match="limit"):
        connection.browse(QUEUE, limit=0)
    with pytest.raises(ValueError, match="idle"):
        connection.browse(QUEUE, idle=0)
    connection.disconnect()
    with pytest.raises(NotConnected):
        connection.browse(QUEUE)
