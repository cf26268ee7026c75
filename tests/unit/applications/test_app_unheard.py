"""Messages that nobody hears are not acknowledged; subscriptions that cannot be are not passed over in silence."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

import pytest
from application_support import SOON, Keeper, connected, log_texts, logged, still_works
from client_support import QUEUE, eventually, failover, in_thread, reconnected

from stomplistener import BrokerError, Connection, Frame, Listener, Message, StompError
from stomplistener.options import AckMode
from stomplistener.testing import Broker

pytestmark = pytest.mark.timeout(30)


# Messages that nobody hears.

DEAF: dict[str, dict[str, Any]] = {
    "client": {"ack": "client"},
    "client-individual": {"ack": "client-individual"},
    "settle": {"ack": "client-individual", "settle": True},
    "settle, workers": {"ack": "client-individual", "settle": True, "workers": 2},
}


@pytest.mark.parametrize("options", DEAF.values(), ids=DEAF.keys())
@pytest.mark.parametrize("other", [None, Listener(), "events"], ids=["no listener", "empty one", "only events"])
def test_what_nobody_hears(
    options: dict[str, Any], other: Any, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """Not acknowledged, so that it is not lost; said once, and not for each message."""
    if other == "events":
        other = type("Events", (), {"on_connected": lambda self, frame: None})()
    with connected(broker.uri) as connection:
        connection.subscribe(QUEUE, other, confirm=True, **options)
        for number in range(3):
            broker.publish(QUEUE, str(number))
        eventually(logged(caplog, QUEUE), f"a warning with the destination: {log_texts(caplog)}")
        still_works(connection)
        assert len([text for text in log_texts(caplog, logging.WARNING) if QUEUE in text]) == 1
        in_thread(connection.disconnect).value(SOON)
    assert sorted(message.text for message in broker.messages(QUEUE)) == ["0", "1", "2"]
    assert not [frame for frame in broker.frames() if frame.command in ("ACK", "NACK")]


def test_a_listener_of_the_connection_hears_it(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    with connected(broker.uri) as connection:
        keeper = Keeper()
        connection.add_listener(keeper)
        connection.subscribe(QUEUE, ack="client-individual", settle=True, confirm=True)
        broker.publish(QUEUE, "x")
        keeper.expect("x")
        eventually(lambda: not broker.unacknowledged(QUEUE), "settled")
        assert not logged(caplog, QUEUE)()


# Subscriptions that cannot be.


def ignore(message: Message) -> None:
    """A listener that works."""


@pytest.mark.parametrize("when", ["before", "connected"])
@pytest.mark.parametrize("ack", ["client_individual", "individual", "Auto", "", "none"])
def test_an_ack_mode_misspelt(ack: AckMode, when: str, broker: Broker) -> None:
    connection = Connection(broker.uri)
    with connection if when == "connected" else suppress(StompError):
        with pytest.raises((ValueError, StompError), match="ack"):
            connection.subscribe(QUEUE, ignore, ack=ack)
        assert connection.session.subscriptions == ()


def test_an_ack_mode_that_no_offered_version_has() -> None:
    connection = Connection("tcp://127.0.0.1:1", versions=("1.0",))
    with pytest.raises((ValueError, StompError), match="client-individual"):
        connection.subscribe(QUEUE, ignore, ack="client-individual")


@pytest.mark.parametrize("close", [True, False])
@pytest.mark.parametrize("plain", [True, False], ids=["plain", "failover"])
def test_connect_with_a_subscription_that_is_refused(close: bool, plain: bool, broker: Broker) -> None:
    broker.error_next("SUBSCRIBE", "no such queue", close=close, times=None)
    connection = Connection(broker.uri if plain else failover(broker.uri), timeout=SOON)
    try:
        connection.subscribe(QUEUE, ignore)
        error = in_thread(connection.connect).done(2 * SOON).error
        assert isinstance(error, StompError)
        assert "no such queue" in str(error)
        assert QUEUE in str(error) or isinstance(error, BrokerError)
    finally:
        in_thread(connection.close).done()


@pytest.mark.parametrize("close", [True, False])
def test_run_forever_with_a_subscription_that_is_refused(close: bool, broker: Broker) -> None:
    broker.error_next("SUBSCRIBE", "no such queue", close=close, times=None)
    connection = Connection(broker.uri, timeout=SOON)
    try:
        connection.subscribe(QUEUE, ignore)
        error = in_thread(connection.run_forever).done(2 * SOON).error
        assert isinstance(error, StompError)
        assert "no such queue" in str(error)
    finally:
        in_thread(connection.close).done()


def test_a_subscription_refused_at_a_reconnect_is_said(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    with connected(broker.uri) as connection:
        connection.subscribe(QUEUE, ignore, confirm=True)
        broker.error_next("SUBSCRIBE", "no such queue", close=False)
        broker.drop_connections()
        reconnected(connection)
        eventually(logged(caplog, QUEUE, "no such queue"), f"a warning: {log_texts(caplog)}")


# Taking listeners away, and subscribing twice.


def test_a_bound_method_can_be_removed(broker: Broker) -> None:
    """``keeper.on_message`` is a new object each time, and equal to the one that was added."""
    removed, stays = Keeper(), Keeper()
    with connected(broker.uri) as connection:
        for keeper in (removed, stays):
            connection.add_listener(keeper.on_message)
        connection.remove_listener(removed.on_message)
        connection.subscribe(QUEUE, confirm=True)
        broker.publish(QUEUE, "x")
        stays.expect("x")
        assert removed.texts == []


def test_a_listener_that_subscribes_again_at_each_connect(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """The library restores subscriptions: each message would come once more with each reconnect."""
    keeper = Keeper()

    class Eager(Listener):
        def on_connected(self, frame: Frame) -> None:
            connection.subscribe(QUEUE, keeper.on_message)

    connection = Connection(failover(broker.uri), timeout=SOON)
    connection.add_listener(Eager())
    try:
        in_thread(connection.connect).value(SOON)
        eventually(lambda: len(connection.session.subscriptions) == 1, "the first subscription")
        assert not logged(caplog, QUEUE)()
        broker.drop_connections()
        reconnected(connection)
        eventually(logged(caplog, QUEUE), f"a warning: {log_texts(caplog)}")
    finally:
        in_thread(connection.close).done()


def test_two_listeners_on_one_destination_are_not_warned_of(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    with connected(broker.uri) as connection:
        connection.subscribe(QUEUE, Keeper(), confirm=True)
        connection.subscribe(QUEUE, Keeper(), confirm=True)
        assert not logged(caplog, QUEUE)()
