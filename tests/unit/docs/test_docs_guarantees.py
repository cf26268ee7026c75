"""Rows of *What is guaranteed* that no test of the client shows by itself, and what may be lost according to them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from stomplistener import Connection, ConnectionLost, ConnectionState, NotConnected, TimedOut
from stomplistener.testing import Broker, Inbox

QUEUE = "/queue/test"
QUICK = "initialReconnectDelay=1&maxReconnectDelay=20"


@pytest.fixture
def connection(broker: Broker, inbox: Inbox) -> Iterator[Connection]:
    connection = Connection(f"failover:({broker.uri})?{QUICK}")
    connection.add_listener(inbox)
    with connection.connect():
        inbox.wait_for(lambda: "connected" in inbox.events)
        yield connection
        broker.accept_connections()


def cut_off(broker: Broker, inbox: Inbox) -> None:
    broker.refuse_connections()
    broker.drop_connections()
    inbox.wait_for(lambda: "disconnected" in inbox.events)


def restored(inbox: Inbox) -> None:
    inbox.wait_for(lambda: inbox.events.count("connected") == 2, 10)


def raised(call: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    """Run a call in a thread; what it raised."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, errors


def test_an_unconfirmed_send_that_was_written_may_be_lost(broker: Broker, inbox: Inbox, connection: Connection) -> None:
    broker.drop_before("SEND")
    connection.send(QUEUE, "gone")
    connection.flush()
    restored(inbox)
    connection.send(QUEUE, "here", confirm=True)
    assert [message.body for message in broker.messages(QUEUE)] == [b"here"]


def test_an_acknowledgement_that_was_written_may_be_lost_and_the_message_comes_again(
    broker: Broker, connection: Connection
) -> None:
    answers: list[bool] = []
    got = Inbox(on_message=lambda message: answers.append(message.ack()))
    connection.subscribe(QUEUE, got, ack="client-individual", confirm=True)
    broker.drop_before("ACK")
    broker.publish(QUEUE, "twice")
    assert [message.redelivered for message in got.expect(2, 10)] == [False, True]
    broker.wait_for(lambda: not broker.unacknowledged(QUEUE))
    # Which waits for the listener: the broker may know of the acknowledgement before it does.
    connection.disconnect()
    assert answers == [True, True]


def test_a_confirmed_send_whose_time_ends_while_cut_off_is_in_doubt_and_not_sent_again(
    broker: Broker, inbox: Inbox, connection: Connection
) -> None:
    broker.withhold_receipts("SEND")
    thread, errors = raised(lambda: connection.send(QUEUE, "doubt", confirm=True, timeout=1.0))
    broker.wait_for(lambda: broker.depth(QUEUE) == 1)
    cut_off(broker, inbox)
    thread.join(10)
    (error,) = errors
    assert isinstance(error, ConnectionLost)
    assert error.outcome_unknown
    broker.clear_faults()
    broker.accept_connections()
    restored(inbox)
    connection.send(QUEUE, "next", confirm=True)
    assert [message.body for message in broker.messages(QUEUE)] == [b"doubt", b"next"]


def test_a_confirmed_send_whose_time_ends_without_a_connection_was_not_written(
    broker: Broker, inbox: Inbox, connection: Connection
) -> None:
    cut_off(broker, inbox)
    with pytest.raises(TimedOut, match="nothing was written, and nothing will be"):
        connection.send(QUEUE, "never", confirm=True, timeout=0.05)
    broker.accept_connections()
    restored(inbox)
    connection.send(QUEUE, "next", confirm=True)
    assert [message.body for message in broker.messages(QUEUE)] == [b"next"]


def test_send_async_keeps_its_message_while_cut_off(broker: Broker, inbox: Inbox, connection: Connection) -> None:
    cut_off(broker, inbox)
    future = connection.send_async(QUEUE, "kept")
    assert not future.done()
    broker.accept_connections()
    assert future.result(10).command == "RECEIPT"
    assert broker.depth(QUEUE) == 1


def test_close_fails_what_waits_and_says_whether_it_was_written(
    broker: Broker, inbox: Inbox, connection: Connection
) -> None:
    broker.withhold_receipts("SEND")
    written = connection.send_async(QUEUE, "written")
    broker.wait_for(lambda: broker.depth(QUEUE) == 1)
    waiting, for_a_receipt = raised(lambda: connection.send(QUEUE, "waits", confirm=True))
    broker.wait_for(lambda: broker.depth(QUEUE) == 2)
    cut_off(broker, inbox)
    not_written = connection.send_async(QUEUE, "not written")
    holding, for_a_connection = raised(lambda: connection.send(QUEUE, "held"))
    connection.close()
    waiting.join(10)
    holding.join(10)
    assert connection.state is ConnectionState.CLOSED
    outcomes = []
    for future in (written, not_written):
        error = future.exception(10)
        assert isinstance(error, ConnectionLost)
        outcomes.append(error.outcome_unknown)
    assert outcomes == [True, False]
    assert isinstance(for_a_receipt[0], ConnectionLost)
    assert isinstance(for_a_connection[0], NotConnected)


def test_unsubscribing_a_durable_subscription_without_an_answer_is_in_doubt(
    broker: Broker, connection: Connection
) -> None:
    durable = connection.subscribe("/topic/a", durable="name", confirm=True)
    plain = connection.subscribe("/topic/b", confirm=True)
    broker.drop_before("UNSUBSCRIBE", 2)
    with pytest.raises(ConnectionLost) as lost:
        durable.unsubscribe(confirm=True, timeout=5)
    assert lost.value.outcome_unknown
    plain.wait_active(5)
    plain.unsubscribe(confirm=True, timeout=5)
