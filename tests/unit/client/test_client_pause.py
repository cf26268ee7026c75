"""subscription.pause() and resume()."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from client_support import QUEUE, Collector, eventually

from stomplistener import Connection, Message
from stomplistener.testing import Broker


@pytest.mark.parametrize("options", [{}, {"workers": 3}, {"workers": 3, "ordered_by": "x"}])
def test_nothing_is_begun_while_it_is_paused(broker: Broker, connection: Connection, options: dict[str, Any]) -> None:
    seen: list[str] = []
    other: list[str] = []
    subscription = connection.subscribe(
        QUEUE, lambda message: seen.append(message.text), settle=True, prefetch=5, confirm=True, **options
    )
    connection.subscribe("/queue/other", lambda message: other.append(message.text), settle=True, confirm=True)
    subscription.pause()
    subscription.pause()
    assert subscription.is_paused
    for number in range(20):
        broker.publish(QUEUE, str(number), {"x": "y"})
    broker.wait_for(lambda: len(broker.unacknowledged(QUEUE)) == 5)
    broker.publish("/queue/other", "x")
    eventually(lambda: other == ["x"], "the messages", 10)
    assert seen == []
    assert broker.depth(QUEUE) == 15
    subscription.resume()
    subscription.resume()
    assert not subscription.is_paused
    eventually(lambda: len(seen) == 20, "the messages", 10)
    broker.wait_for(lambda: not broker.unacknowledged(QUEUE))
    if not options or "ordered_by" in options:
        assert seen == [str(number) for number in range(20)]
    eventually(lambda: connection.statistics().pending == 0, "the messages", 10)


def test_what_waits_in_the_queue_waits_on(broker: Broker, connection: Connection) -> None:
    begun, release = threading.Event(), threading.Event()
    seen: list[str] = []

    def handle(message: Message) -> None:
        begun.set()
        release.wait(10)
        seen.append(message.text)

    subscription = connection.subscribe(QUEUE, handle, settle=True, workers=2, prefetch=10, confirm=True)
    for number in range(10):
        broker.publish(QUEUE, str(number))
    assert begun.wait(10)
    broker.wait_for(lambda: len(broker.unacknowledged(QUEUE)) == 10)
    subscription.pause()
    release.set()
    broker.wait_for(lambda: len(broker.unacknowledged(QUEUE)) < 10)
    broker.wait_for(lambda: len(broker.frames(command="ACK")) == len(seen))
    assert len(seen) <= 3
    subscription.resume()
    eventually(lambda: len(seen) == 10, "the messages", 10)


@pytest.mark.parametrize("options", [{}, {"workers": 1, "prefetch": 50}, {"workers": 2, "ordered_by": "x"}])
def test_a_listener_pauses_its_subscription_and_what_came_with_its_message_waits_in_order(
    broker: Broker, connection: Connection, options: dict[str, Any]
) -> None:
    seen: list[str] = []
    other: list[str] = []

    def handle(message: Message) -> None:
        seen.append(message.text)
        if message.text == "0":
            message.subscription.pause()

    for number in range(20):
        broker.publish(QUEUE, str(number), {"x": "y"})
    subscription = connection.subscribe(QUEUE, handle, settle=True, **options)
    connection.subscribe("/queue/other", lambda message: other.append(message.text), settle=True, confirm=True)
    broker.publish("/queue/other", "x")
    eventually(lambda: other == ["x"] and subscription.is_paused, "the pause", 10)
    assert seen == ["0"]
    broker.publish(QUEUE, "20", {"x": "y"})
    subscription.resume()
    eventually(lambda: len(seen) == 21, "the messages", 10)
    assert seen == [str(number) for number in range(21)]
    broker.wait_for(lambda: not broker.unacknowledged(QUEUE))
    eventually(lambda: connection.statistics().pending == 0, "the messages", 10)


def test_what_a_batch_held_back_is_not_overtaken_when_it_goes_on_in_the_middle_of_it(
    broker: Broker, connection: Connection
) -> None:
    """Messages of two subscriptions in one batch: the listener of the second one resumes the first one."""
    seen: list[str] = []

    def handle(message: Message) -> None:
        seen.append(message.text)
        if message.text == "0":
            message.subscription.pause()

    first = connection.subscribe(QUEUE, handle, settle=True, confirm=True)
    connection.subscribe("/queue/other", lambda _message: first.resume(), settle=True, confirm=True)
    broker.go_silent()
    for number in range(10):
        broker.publish(QUEUE, str(number))
        if number == 5:
            broker.publish("/queue/other", "x")
    broker.speak()
    eventually(lambda: len(seen) == 10, "the messages", 10)
    assert seen == [str(number) for number in range(10)]


def test_a_pause_outlasts_a_reconnect(broker: Broker, connection: Connection) -> None:
    collector = Collector()
    subscription = connection.subscribe(QUEUE, collector, settle=True, prefetch=3, confirm=True)
    subscription.pause()
    for number in range(3):
        broker.publish(QUEUE, str(number))
    broker.wait_for(lambda: len(broker.unacknowledged(QUEUE)) == 3)
    broker.drop_connections()
    broker.wait_for(lambda: broker.connection_count == 2 and len(broker.unacknowledged(QUEUE)) == 3, 20)
    assert not collector.messages
    subscription.resume()
    eventually(lambda: len(collector.messages) == 3, "the messages")
    assert [message.text for message in collector.messages] == ["0", "1", "2"]
    eventually(lambda: connection.statistics().pending == 0, "the messages", 10)


def test_unsubscribe_while_it_is_paused(broker: Broker, connection: Connection) -> None:
    collector = Collector()
    subscription = connection.subscribe(QUEUE, collector, settle=True, workers=2, prefetch=3, confirm=True)
    subscription.pause()
    broker.publish(QUEUE, "x")
    broker.wait_for(lambda: len(broker.unacknowledged(QUEUE)) == 1)
    subscription.unsubscribe(confirm=True)
    broker.wait_for(lambda: not broker.unacknowledged(QUEUE))
    eventually(lambda: connection.statistics().pending == 0, "the message to be dropped", 10)


def test_what_came_before_a_loss_counts_no_more(broker: Broker, connection: Connection) -> None:
    subscription = connection.subscribe(QUEUE, Collector(), settle=True, prefetch=3, confirm=True)
    subscription.pause()
    for number in range(3):
        broker.publish(QUEUE, str(number))
    eventually(lambda: connection.statistics().pending == 3, "the messages", 10)
    broker.refuse_connections()
    broker.drop_connections()
    eventually(lambda: connection.statistics().pending == 0, "the loss", 10)


def test_subscriptions_that_are_paused_and_resumed_all_the_time_get_every_message_in_order(
    broker: Broker, connection: Connection
) -> None:
    seen: list[str] = []
    subscription = connection.subscribe(QUEUE, lambda message: seen.append(message.text), settle=True, confirm=True)
    done = threading.Event()

    def flip() -> None:
        while not done.is_set():
            subscription.pause()
            subscription.resume()

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        for number in range(1000):
            broker.publish(QUEUE, str(number))
        eventually(lambda: len(seen) == 1000, "the messages", 30)
    finally:
        done.set()
        thread.join()
    assert seen == [str(number) for number in range(1000)]
