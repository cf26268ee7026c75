"""Transactions: a context manager, their end with the connection, and running one again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from client_support import (
    QUEUE,
    Collector,
    commands,
    eventually,
    failover,
    in_thread,
    reconnected,
)

from stomplistener import (
    BrokerError,
    Connection,
    ConnectionLost,
    Frame,
    Message,
    TimedOut,
    Transaction,
    TransactionState,
)
from stomplistener.testing import Broker


def test_all_of_it_is_there_at_the_end_and_nothing_before(broker: Broker, connection: Connection) -> None:
    with connection.transaction() as transaction:
        transaction.send(QUEUE, "a")
        connection.send(QUEUE, "b", transaction=transaction)
        connection.send(QUEUE, "c", transaction=transaction.id)
        connection.flush()
        broker.wait_for(lambda: len(broker.frames(command="SEND")) == 3)
        assert broker.messages(QUEUE) == []
        assert list(connection.session.transactions) == [transaction.id]
    assert [m.text for m in broker.messages(QUEUE)] == ["a", "b", "c"]
    assert transaction.state is TransactionState.COMMITTED
    assert not connection.session.transactions


def test_an_exception_aborts(broker: Broker, connection: Connection) -> None:
    def fails() -> None:
        with transaction:
            transaction.send(QUEUE, "never")
            raise ZeroDivisionError

    transaction = connection.transaction()
    with pytest.raises(ZeroDivisionError):
        fails()
    connection.flush()
    broker.wait_for(lambda: broker.frames(command="ABORT"))
    assert broker.messages(QUEUE) == []
    assert transaction.state is TransactionState.ABORTED
    with pytest.raises(ConnectionLost):
        transaction.send(QUEUE, "too late")


def test_messages_are_acknowledged_with_it(broker: Broker, connection: Connection) -> None:
    collector = Collector()
    connection.subscribe(QUEUE, collector, ack="client-individual", confirm=True)
    for body in "ab":
        broker.publish(QUEUE, body)
    eventually(lambda: len(collector.messages) == 2, "the messages")
    one, two = collector.messages
    with connection.transaction() as transaction:
        assert transaction.ack(one)
        assert two.ack(transaction)
        connection.flush()
        broker.wait_for(lambda: len(broker.frames(command="ACK")) == 2)
        assert len(broker.unacknowledged(QUEUE)) == 2
    assert broker.unacknowledged(QUEUE) == []


def test_an_aborted_acknowledgement_leaves_the_message(broker: Broker, connection: Connection) -> None:
    collector = Collector()
    connection.subscribe(QUEUE, collector, ack="client-individual", confirm=True)
    broker.publish(QUEUE, "x")
    eventually(lambda: len(collector.messages) == 1, "the message")
    transaction = connection.transaction().begin()
    assert transaction.nack(collector.messages[0])
    transaction.abort()
    connection.flush()
    broker.wait_for(lambda: broker.frames(command="ABORT"))
    assert [m.text for m in broker.unacknowledged(QUEUE)] == ["x"]
    assert collector.messages[0].ack()
    broker.wait_for(lambda: not broker.unacknowledged(QUEUE))


def test_its_frames_go_out_together_with_the_first_that_somebody_can_see(
    broker: Broker, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BEGIN, SEND and ACK wait for COMMIT."""
    monkeypatch.setattr("stomplistener._engine.writer.LINGER_SECONDS", 60.0)
    collector = Collector()
    connection.subscribe(QUEUE, collector, ack="client-individual", confirm=True)
    broker.publish(QUEUE, "a")
    eventually(lambda: bool(collector.messages), "the message")
    transaction = connection.transaction().begin()
    transaction.send("/queue/out", "x")
    connection.send("/queue/out", "y", transaction=transaction.id)
    assert transaction.ack(collector.messages[0])
    assert not broker.frames(command="BEGIN")
    transaction.commit()
    assert broker.unacknowledged(QUEUE) == []
    assert [m.text for m in broker.messages("/queue/out")] == ["x", "y"]


def test_what_asks_for_a_receipt_goes_out_at_once(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stomplistener._engine.writer.LINGER_SECONDS", 60.0)
    receipts: list[str] = []

    class Listener:
        def on_receipt(self, frame: Frame) -> None:
            receipts.append(frame.headers["receipt-id"])

    connection.add_listener(Listener())
    transaction = connection.transaction({"receipt": "begun"}).begin()
    eventually(lambda: receipts == ["begun"], "the receipt of BEGIN")
    transaction.send("/queue/out", "x", {"receipt": "sent"})
    eventually(lambda: receipts == ["begun", "sent"], "the receipt of SEND")
    transaction.abort()


def test_an_open_one_goes_out_soon_by_itself(broker: Broker, connection: Connection) -> None:
    transaction = connection.transaction().begin()
    transaction.send("/queue/out", "x")
    broker.wait_for(lambda: broker.frames(command="SEND"))
    transaction.abort()


def test_a_confirmed_send_has_no_place_in_it(connection: Connection) -> None:
    with connection.transaction() as transaction, pytest.raises(ValueError, match="COMMIT"):
        connection.send(QUEUE, "x", transaction=transaction, confirm=True)


def test_it_has_to_begin_first(connection: Connection) -> None:
    with pytest.raises(RuntimeError, match="has not begun"):
        connection.transaction().send(QUEUE, "x")


def test_a_refused_commit_did_nothing(broker: Broker, connection: Connection) -> None:
    broker.error_next("COMMIT", "not today")
    transaction = connection.transaction().begin()
    transaction.send(QUEUE, "x")
    with pytest.raises(BrokerError, match="not today"):
        transaction.commit()
    assert not transaction.outcome_unknown
    assert transaction.state is TransactionState.ABORTED
    assert broker.messages(QUEUE) == []


def test_a_commit_without_an_answer_times_out(broker: Broker, connection: Connection) -> None:
    broker.withhold_receipts("COMMIT")
    transaction = connection.transaction().begin()
    transaction.send(QUEUE, "x")
    with pytest.raises(TimedOut, match="may have"):
        transaction.commit(timeout=0.1)
    transaction.abort()
    assert commands(broker.frames()).count("ABORT") == 0


def test_a_new_one_waits_for_the_connection(broker: Broker, connection: Connection) -> None:
    broker.stop()
    eventually(lambda: not connection.is_connected, "the loss")
    with pytest.raises(TimedOut, match="nothing was written"):
        connection.transaction().begin(timeout=0.1)

    def whole() -> None:
        with connection.transaction() as transaction:
            transaction.send(QUEUE, "x")

    waiting = in_thread(whole)
    broker.start()
    waiting.value()
    assert [m.text for m in broker.messages(QUEUE)] == ["x"]


def test_run_again_from_the_start_when_the_loss_is_noticed_inside(broker: Broker, connection: Connection) -> None:
    runs: list[str] = []

    def work(transaction: Transaction) -> str:
        runs.append(transaction.id)
        transaction.send(QUEUE, f"run {len(runs)}")
        if len(runs) < 3:
            broker.drop_connections()
            reconnected(connection, len(runs))
            transaction.send(QUEUE, "never")
        return "result"

    assert connection.transaction(retry=2).run(work) == "result"
    assert len(set(runs)) == 3
    assert [m.text for m in broker.messages(QUEUE)] == ["run 3"]


def test_run_gives_up_when_the_retries_are_used_up(broker: Broker, connection: Connection) -> None:
    runs: list[int] = []

    def work(transaction: Transaction) -> None:
        runs.append(1)
        broker.drop_connections()
        reconnected(connection, len(runs))
        transaction.send(QUEUE, "never")

    with pytest.raises(ConnectionLost):
        connection.transaction(retry=1).run(work)
    assert len(runs) == 2


def test_run_does_not_repeat_what_may_have_been_done(broker: Broker, connection: Connection) -> None:
    broker.drop_after("COMMIT")
    runs: list[int] = []

    def work(transaction: Transaction) -> None:
        runs.append(1)
        transaction.send(QUEUE, "once")

    transaction = connection.transaction(retry=5)
    with pytest.raises(ConnectionLost) as lost:
        transaction.run(work)
    assert lost.value.outcome_unknown
    assert transaction.outcome_unknown
    assert len(runs) == 1
    assert [m.text for m in broker.messages(QUEUE)] == ["once"]


def test_run_leaves_other_exceptions_alone(broker: Broker, connection: Connection) -> None:
    def work(transaction: Transaction) -> None:
        transaction.send(QUEUE, "never")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        connection.transaction(retry=5).run(work)
    connection.flush()
    broker.wait_for(lambda: broker.frames(command="ABORT"))
    assert broker.messages(QUEUE) == []


def test_its_headers_go_with_begin(broker: Broker, connection: Connection) -> None:
    with connection.transaction({"note": "x"}):
        pass
    assert broker.frames(command="BEGIN")[0].headers["note"] == "x"


def test_failover_uri_is_of_no_concern(broker: Broker) -> None:
    with Connection(failover(broker.uri)) as connection, connection.transaction() as transaction:
        transaction.send(QUEUE, "x", timeout=None)
    assert broker.depth(QUEUE) == 1


def test_the_application_names_the_transaction_and_adds_headers_to_each_frame(
    broker: Broker, connection: Connection
) -> None:
    got = Collector()
    connection.subscribe(QUEUE, got, ack="client-individual", confirm=True)
    connection.send(QUEUE, "a", confirm=True)
    connection.send(QUEUE, "b", confirm=True)
    eventually(lambda: len(got.messages) == 2, "both messages")
    transaction = connection.transaction({"of": "begin"}, id="mine").begin()
    assert transaction.id == "mine"
    assert got.messages[0].ack(transaction, {"of": "ack"})
    assert got.messages[1].nack(headers={"of": "nack"})
    transaction.commit(headers={"of": "commit"})
    again = connection.transaction(id="mine").begin()
    again.abort({"of": "abort"})
    connection.disconnect(headers={"of": "disconnect", "receipt": "bye"})
    sent = {
        frame.command: (frame.headers.get("of"), frame.headers.get("transaction"))
        for frame in broker.frames(connection=1)
        if "of" in frame.headers
    }
    assert sent == {
        "BEGIN": ("begin", "mine"),
        "ACK": ("ack", "mine"),
        "NACK": ("nack", None),
        "COMMIT": ("commit", "mine"),
        "ABORT": ("abort", "mine"),
        "DISCONNECT": ("disconnect", None),
    }
    assert [frame.headers["receipt"] for frame in broker.frames(command="DISCONNECT")] == ["bye"]


def test_a_goodbye_whose_receipt_is_in_use_goes_out_under_another_name(broker: Broker, connection: Connection) -> None:
    broker.withhold_receipts("SEND")
    connection.send(QUEUE, "a", {"receipt": "same"})
    broker.wait_for(lambda: broker.frames(command="SEND"))
    connection.disconnect(timeout=1.0, headers={"receipt": "same"})
    assert not connection.is_connected


@pytest.fixture
def rabbitmq() -> Iterator[Broker]:
    """A broker whose answer to COMMIT says nothing of the messages."""
    with Broker(server_name="RabbitMQ/3.10.8") as broker:
        yield broker


@pytest.mark.parametrize("by_name", [False, True])
def test_where_the_answer_to_commit_confirms_nothing_each_message_is_confirmed(rabbitmq: Broker, by_name: bool) -> None:
    with Connection(rabbitmq.uri, timeout=10) as connection:
        rabbitmq.withhold_receipts("SEND")
        with connection.transaction() as transaction:
            for number in range(3):
                if by_name:
                    connection.send(QUEUE, str(number), transaction=transaction.id)
                else:
                    transaction.send(QUEUE, str(number))
            committing = in_thread(transaction.commit)
            rabbitmq.wait_for(lambda: rabbitmq.frames(command="RECEIPT", direction="out"))
            committing.join(0.2)
            assert committing.is_alive()
            assert str(transaction.state) == str(TransactionState.COMMITTING)
            rabbitmq.release_receipts()
            committing.value()
        assert transaction.state is TransactionState.COMMITTED
    assert all("receipt" in frame.headers for frame in rabbitmq.frames(command="SEND"))


def test_a_transaction_of_the_library_is_none_of_the_applications(connection: Connection) -> None:
    context = connection._engine.context
    with context.lock:
        entry, _frame = context.session.begin()
    with pytest.raises(ValueError, match="was not begun by the application"):
        connection.send(QUEUE, "x", transaction=entry.id)


@pytest.mark.parametrize("server", ["RabbitMQ/3.10.8", "ActiveMQ-Artemis/2.44.0", "apache-apollo/1.7.1", "unheard-of"])
def test_where_no_transaction_does_both_a_copy_is_confirmed_before_its_message_is_acknowledged(
    server: str,
) -> None:
    """RabbitMQ answers COMMIT too early; Artemis carries out an ACK although COMMIT never comes."""

    def fail(_message: Message) -> None:
        raise LookupError("no such item")

    with Broker(server_name=server) as broker, Connection(broker.uri, timeout=10) as connection:
        broker.withhold_receipts("SEND")
        connection.subscribe(QUEUE, fail, settle=True, error_destination="/queue/errors", confirm=True)
        broker.publish(QUEUE, "x")
        broker.wait_for(lambda: broker.messages("/queue/errors"))
        connection.flush()
        assert broker.frames(command="ACK") == []
        broker.release_receipts()
        broker.wait_for(lambda: broker.frames(command="ACK"))
        assert "BEGIN" not in commands(broker.frames())
