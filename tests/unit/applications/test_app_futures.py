"""Consumers and futures: no job ends as if all were well, and one rule says where callbacks run."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import pytest
from application_support import SOON, Keeper, connected
from client_support import QUEUE, Collector, eventually, in_thread, reconnected

from stomplistener import Connection, ConnectionLost, Limits, Message, NotConnected, StompError
from stomplistener.testing import Broker

pytestmark = pytest.mark.timeout(30)


# Consumers


@pytest.mark.parametrize("received", [0, 2])
def test_iterating_ends_with_an_error_when_the_connection_is_lost_for_good(received: int, broker: Broker) -> None:
    """A batch job that reads until nothing is left must not take a dead broker for an empty queue."""
    with Connection(broker.uri, reconnect=False, timeout=SOON) as connection:
        consumer = connection.consume(QUEUE, ack="auto")
        texts: list[str] = []
        reader = in_thread(lambda: texts.extend(message.text for message in consumer))
        for number in range(received):
            broker.publish(QUEUE, str(number))
        eventually(lambda: len(broker.frames(command="MESSAGE", direction="out")) == received, "the messages")
        broker.drop_connections()
        reader.done(SOON)
        assert isinstance(reader.error, (ConnectionLost, NotConnected)), repr(reader.error)


def test_receiving_without_a_time_raises_then_too(broker: Broker) -> None:
    with Connection(broker.uri, reconnect=False, timeout=SOON) as connection:
        consumer = connection.consume(QUEUE)
        waiting = in_thread(lambda: consumer.receive(None))
        broker.wait_for(lambda: broker.subscriptions)
        broker.drop_connections()
        waiting.done(SOON)
        assert isinstance(waiting.error, (ConnectionLost, NotConnected)), repr(waiting.error)


@pytest.mark.parametrize("end", ["disconnect", "close", "consumer"])
def test_iterating_stops_where_the_application_says_so(end: str, broker: Broker) -> None:
    with connected(broker.uri) as connection:
        consumer = connection.consume(QUEUE)
        reader = in_thread(lambda: list(consumer))
        broker.wait_for(lambda: broker.subscriptions)
        {"disconnect": connection.disconnect, "close": connection.close, "consumer": consumer.close}[end]()
        assert reader.value(SOON) == []


def test_iterating_goes_on_over_a_reconnect(broker: Broker) -> None:
    with connected(broker.uri) as connection:
        consumer = connection.consume(QUEUE, ack="auto")
        first = in_thread(lambda: next(iter(consumer)).text)
        broker.wait_for(lambda: broker.subscriptions)
        broker.drop_connections()
        reconnected(connection)
        broker.publish(QUEUE, "x")
        assert first.value(SOON) == "x"


# Futures


def _futures(connection: Connection, count: int) -> list[Future[Any]]:
    return [connection.send_async("/queue/sent", str(number)) for number in range(count)]


WAITS: dict[str, Callable[[list[Future[Any]]], object]] = {
    "wait": lambda futures: concurrent.futures.wait(futures, timeout=SOON).not_done == set() or 1 / 0,
    "as_completed": lambda futures: len(list(concurrent.futures.as_completed(futures, timeout=SOON))),
    "result": lambda futures: [future.result(SOON) for future in futures],
    "exception": lambda futures: [future.exception(SOON) for future in futures],
}


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("workers", [1, 2])
def test_waiting_in_a_listener_with_the_hand_off_full(wait: str, workers: int, broker: Broker) -> None:
    """The receipts lie behind messages that have no room: the receiver must read on."""
    done: list[str] = []

    def listen(message: Message) -> None:
        if message.text == "0":
            eventually(lambda: connection.statistics().pending >= 5, "a hand-off that is full")
        WAITS[wait](_futures(connection, 3))
        done.append(message.text)

    for number in range(40):
        broker.publish(QUEUE, str(number))
    with connected(broker.uri, limits=Limits(max_pending_messages=5)) as connection:
        connection.subscribe(QUEUE, listen, workers=workers)
        eventually(lambda: len(done) == 40, f"all messages, not {len(done)}", timeout=3 * SOON)


def _add_early(connection: Connection, broker: Broker, callback: Callable[[Any], None]) -> None:
    broker.withhold_receipts("SEND")
    future = connection.send_async("/queue/x", "x")
    future.add_done_callback(callback)
    broker.release_receipts()


def _add_late(connection: Connection, broker: Broker, callback: Callable[[Any], None]) -> None:
    future = connection.send_async("/queue/x", "x")
    future.result(SOON)
    future.add_done_callback(callback)


def _cancel(connection: Connection, broker: Broker, callback: Callable[[Any], None]) -> None:
    broker.withhold_receipts("SEND")
    future = connection.send_async("/queue/x", "x")
    future.add_done_callback(callback)
    assert future.cancel()
    broker.release_receipts()


def _refuse(connection: Connection, broker: Broker, callback: Callable[[Any], None]) -> None:
    broker.error_next("SEND", close=False)
    connection.send_async("/queue/x", "x").add_done_callback(callback)


def _request(connection: Connection, broker: Broker, callback: Callable[[Any], None]) -> None:
    connection.subscribe("/queue/questions", lambda message: connection.reply(message, "x"), confirm=True)
    connection.request_async("/queue/questions", "x").add_done_callback(callback)


def _lose_request(connection: Connection, broker: Broker, callback: Callable[[Any], None]) -> None:
    connection.request_async("/queue/unanswered", "x").add_done_callback(callback)
    broker.drop_connections()


def _commit(connection: Connection, broker: Broker, callback: Callable[[Any], None]) -> None:
    transaction = connection.transaction().begin()
    transaction.commit_async().add_done_callback(callback)


DONE = {
    "added before": _add_early,
    "added after": _add_late,
    "cancelled": _cancel,
    "refused": _refuse,
    "a request": _request,
    "a request that is lost": _lose_request,
    "a commit": _commit,
}


@pytest.mark.parametrize("how", DONE)
def test_callbacks_run_in_the_dispatcher_thread(how: str, broker: Broker) -> None:
    with connected(broker.uri) as connection:
        threads: list[threading.Thread] = []
        ran = threading.Event()

        def callback(_future: object) -> None:
            threads.append(threading.current_thread())
            ran.set()

        in_thread(lambda: DONE[how](connection, broker, callback)).value(SOON)
        assert ran.wait(SOON)
        dispatcher: list[threading.Thread] = []
        connection.subscribe(QUEUE, lambda message: dispatcher.append(threading.current_thread()), confirm=True)
        connection.send(QUEUE, "x")
        eventually(lambda: bool(dispatcher), "the dispatcher's message")
        assert threads == dispatcher[:1], f"{threads} is not {dispatcher}"


def test_a_callback_may_wait_for_another_receipt(broker: Broker) -> None:
    with connected(broker.uri) as connection:
        done: list[object] = []

        def callback(_future: object) -> None:
            connection.send("/queue/x", "from the callback", confirm=True)
            done.append(True)

        for _ in range(3):
            connection.send_async("/queue/x", "x").add_done_callback(callback)
        eventually(lambda: len(done) == 3, "three callbacks that wait")


# Transactions and acknowledgements


def test_begin_twice(broker: Broker) -> None:
    with connected(broker.uri) as connection:
        transaction = connection.transaction().begin()
        with pytest.raises((RuntimeError, ValueError, StompError)):
            transaction.begin()
        transaction.send(QUEUE, "x")
        transaction.commit()
        assert broker.depth(QUEUE) == 1
        assert len(broker.frames(command="BEGIN")) == 1


def test_begin_in_its_own_with(broker: Broker) -> None:
    with connected(broker.uri) as connection, connection.transaction() as transaction:
        with pytest.raises((RuntimeError, ValueError, StompError)):
            transaction.begin()
        transaction.send(QUEUE, "x")
    assert broker.depth(QUEUE) == 1


def test_a_transaction_may_begin_again_when_it_has_ended(broker: Broker) -> None:
    with connected(broker.uri) as connection:
        transaction = connection.transaction()
        for _ in range(2):
            with transaction:
                transaction.send(QUEUE, "x")
        assert broker.depth(QUEUE) == 2


SETTLES: dict[str, Callable[[Message], bool]] = {"ack": lambda m: m.ack(), "nack": lambda m: m.nack()}


@pytest.mark.parametrize("first", SETTLES)
@pytest.mark.parametrize("second", SETTLES)
def test_the_second_settling_claims_nothing_new(first: str, second: str) -> None:
    with Broker(max_deliveries=1) as broker, connected(broker.uri) as connection:
        collector = Collector()
        connection.subscribe(QUEUE, collector, ack="client-individual", confirm=True)
        broker.publish(QUEUE, "x")
        eventually(lambda: bool(collector.messages), "the message")
        (message,) = collector.messages
        assert SETTLES[first](message) is True
        assert SETTLES[second](message) is (first == second)
        connection.send("/queue/barrier", "x", confirm=True)
        assert [frame.command for frame in broker.frames() if frame.command in ("ACK", "NACK")] == [first.upper()]


@pytest.mark.parametrize("settle", SETTLES)
def test_what_was_never_written_is_false(settle: str) -> None:
    """The broker does not read, the time of the call is over, and the connection ends: nothing of it went out."""
    with Broker(heartbeat=(0, 0)) as broker, connected(broker.uri, heartbeat=(0, 0), timeout=0.3) as connection:
        collector = Collector()
        connection.subscribe(QUEUE, collector, ack="client-individual", confirm=True, timeout=SOON)
        broker.publish(QUEUE, "x")
        eventually(lambda: bool(collector.messages), "the message")
        broker.stop_reading()

        def fill() -> None:
            with suppress(StompError):
                while True:
                    connection.send("/queue/fill", b"x" * 200_000)

        in_thread(fill).done(SOON)
        assert in_thread(lambda: SETTLES[settle](collector.messages[0])).value(SOON) is False
        in_thread(connection.close).done(SOON)
        broker.resume_reading()
        assert not [frame for frame in broker.frames() if frame.command in ("ACK", "NACK")]


@pytest.mark.parametrize("settle", SETTLES)
@pytest.mark.parametrize("when", ["lost", "closed", "reconnected"])
def test_what_cannot_be_settled_any_more_is_false(settle: str, when: str, broker: Broker) -> None:
    with connected(broker.uri) as connection:
        keeper = Keeper()
        connection.subscribe(QUEUE, keeper.on_message, ack="client-individual", confirm=True)
        broker.publish(QUEUE, "x")
        keeper.expect("x")
        if when == "closed":
            in_thread(connection.close).done(SOON)
        else:
            broker.stop()
            eventually(lambda: not connection.is_connected, "the loss")
            if when == "reconnected":
                broker.start()
                reconnected(connection)
        assert SETTLES[settle](keeper.messages[0]) is False
