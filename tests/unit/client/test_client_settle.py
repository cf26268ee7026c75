"""What becomes of a message when its listener has ended: acknowledged, tried again, forwarded, rejected."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from contextlib import suppress

import pytest
from client_support import (
    QUEUE,
    Collector,
    Recorder,
    commands,
    eventually,
    failover,
    reconnected,
)

from stomplistener import BrokerError, Connection, Message, NotConnected
from stomplistener.policy import TryAgain
from stomplistener.testing import Broker, Inbox

ERRORS = "/queue/errors"


def refuse(message: Message) -> None:
    raise ValueError(f"no use for {message.text}")


def test_acknowledged_when_the_listener_returns_and_rejected_when_it_raises(
    broker: Broker, connection: Connection
) -> None:
    def picky(message: Message) -> None:
        if message.text == "bad":
            refuse(message)

    connection.subscribe(QUEUE, picky, ack="client-individual", settle=True, confirm=True)
    for body in ("good", "bad", "better"):
        broker.publish(QUEUE, body)
    # The embedded broker buries what was rejected five times.
    broker.wait_for(lambda: [m.text for m in broker.messages("/queue/DLQ")] == ["bad"])
    broker.wait_for(lambda: not broker.unacknowledged(QUEUE))
    assert Counter(commands(broker.frames())) == Counter(CONNECT=1, SUBSCRIBE=1, ACK=2, NACK=5)


@pytest.mark.parametrize(
    ("destination", "then"), [(ERRORS, f"it goes to {ERRORS}"), (None, "it is rejected")], ids=["forwarded", "rejected"]
)
def test_a_retry_is_a_warning_with_its_number_and_the_last_one_an_error_that_says_where_the_message_went(
    broker: Broker, connection: Connection, caplog: pytest.LogCaptureFixture, destination: str | None, then: str
) -> None:
    caplog.set_level(logging.INFO, "stomplistener")

    def fail(_message: Message) -> None:
        raise LookupError("no such item")

    connection.subscribe(
        QUEUE, fail, settle=True, retries=2, retry_delay=0.01, error_destination=destination, confirm=True
    )
    caplog.clear()
    broker.publish(QUEUE, "a-secret-body")
    eventually(lambda: any(record.levelname == "ERROR" for record in caplog.records), "the end of the retries")
    second, third, last = caplog.records[:3]
    assert [each.levelname for each in (second, third, last)] == ["WARNING", "WARNING", "ERROR"]
    for record, attempt in ((second, "attempt 2 of 3"), (third, "attempt 3 of 3")):
        assert attempt in record.getMessage()
        assert "fail raised LookupError: no such item" in record.getMessage()
        assert record.exc_info is None
    assert "attempt 3 of 3 failed" in last.getMessage()
    assert last.getMessage().endswith(then)
    assert last.exc_info is not None
    assert last.exc_info[0] is LookupError
    assert "a-secret-body" not in caplog.text


def test_what_the_listener_settled_itself_is_left_alone(broker: Broker, connection: Connection) -> None:
    def itself(message: Message) -> None:
        assert message.nack() if message.text == "nack" else message.ack()
        refuse(message)

    connection.subscribe(QUEUE, itself, ack="client-individual", settle=True, confirm=True)
    broker.publish(QUEUE, "ack")
    broker.wait_for(lambda: not broker.unacknowledged(QUEUE))
    eventually(lambda: connection.statistics().listener_errors == 1, "the end of the listener")
    connection.flush()
    assert commands(broker.frames()) == ["CONNECT", "SUBSCRIBE", "ACK"]


def test_nothing_is_settled_twice(broker: Broker, connection: Connection, inbox: Inbox) -> None:
    connection.subscribe(QUEUE, inbox, ack="client-individual", confirm=True)
    broker.publish(QUEUE, "one")
    (message,) = inbox.expect(1)
    assert message.ack()
    assert message.ack()
    assert not message.nack()
    with connection.transaction() as transaction:
        assert transaction.ack(message)
    connection.flush()
    assert commands(broker.frames()) == ["CONNECT", "SUBSCRIBE", "ACK", "BEGIN", "COMMIT"]


def test_what_an_aborted_transaction_settled_is_settled_again(
    broker: Broker, connection: Connection, inbox: Inbox
) -> None:
    connection.subscribe(QUEUE, inbox, ack="client-individual", confirm=True)
    broker.publish(QUEUE, "one")
    (message,) = inbox.expect(1)
    transaction = connection.transaction()
    transaction.begin()
    assert transaction.ack(message)
    transaction.abort()
    assert message.ack()
    broker.wait_for(lambda: not broker.unacknowledged(QUEUE))
    assert commands(broker.frames()) == ["CONNECT", "SUBSCRIBE", "BEGIN", "ACK", "ABORT", "ACK"]


def test_an_acknowledgement_that_counts_although_its_transaction_is_aborted_is_not_repeated() -> None:
    """Artemis takes an ACK at once, in a transaction too, and answers a second one by ERROR."""
    tried: list[str] = []

    def listen(message: Message) -> None:
        tried.append(message.text)
        with suppress(LookupError), connection.transaction() as transaction:
            transaction.ack(message)
            raise LookupError("no such item")

    with Broker(server_name="ActiveMQ-Artemis/2.44.0 ActiveMQ Artemis Messaging Engine") as broker:
        with Connection(broker.uri) as connection:
            connection.subscribe(QUEUE, listen, settle=True, confirm=True)
            broker.publish(QUEUE, "one")
            eventually(lambda: tried == ["one"], "the listener")
        assert commands(broker.frames()) == ["CONNECT", "SUBSCRIBE", "BEGIN", "ACK", "ABORT", "DISCONNECT"]


def test_what_a_refused_transaction_settled_is_settled_again(
    broker: Broker, connection: Connection, inbox: Inbox
) -> None:
    connection.subscribe(QUEUE, inbox, ack="client-individual", confirm=True)
    broker.publish(QUEUE, "one")
    (message,) = inbox.expect(1)
    broker.error_next("COMMIT", "rolled back", close=False)
    transaction = connection.transaction().begin()
    assert transaction.ack(message)
    assert not message.nack()
    with pytest.raises(BrokerError, match="rolled back"):
        transaction.commit()
    assert message.ack()
    broker.wait_for(lambda: not broker.unacknowledged(QUEUE))


def test_a_listener_whose_transaction_is_refused_has_not_settled_its_message(
    broker: Broker, connection: Connection
) -> None:
    tried: list[str] = []

    def listen(message: Message) -> None:
        tried.append(message.text)
        with connection.transaction() as transaction:
            transaction.ack(message)

    broker.error_next("COMMIT", "rolled back", close=False)
    connection.subscribe(QUEUE, listen, settle=True, retries=1, retry_delay=0.01, confirm=True)
    broker.publish(QUEUE, "one")
    broker.wait_for(lambda: len(tried) == 2 and not broker.unacknowledged(QUEUE))
    assert broker.messages("/queue/DLQ") == []


def test_what_the_error_destination_refuses_is_rejected(
    broker: Broker, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """A broker that keeps the connection, as ActiveMQ does where a destination does not exist."""
    connection.subscribe(QUEUE, refuse, settle=True, error_destination=ERRORS, confirm=True)
    # ActiveMQ refuses the SEND without naming it, and then the COMMIT.
    broker.error_next("SEND", "no such place", close=False, times=None)
    broker.error_next("COMMIT", "rolled back", close=False, times=None)
    broker.publish(QUEUE, "bad")
    broker.wait_for(lambda: [message.text for message in broker.messages("/queue/DLQ")] == ["bad"])
    eventually(lambda: "refused the copy" in caplog.text, "the word")
    assert broker.messages(ERRORS) == []
    assert connection.statistics().reconnects == 0


def test_a_transaction_that_is_refused_costs_no_copy(broker: Broker, connection: Connection) -> None:
    connection.subscribe(QUEUE, refuse, settle=True, error_destination=ERRORS, confirm=True)
    broker.error_next("COMMIT", "not now", close=False)
    broker.publish(QUEUE, "bad")
    broker.wait_for(lambda: broker.messages(ERRORS) and not broker.unacknowledged(QUEUE))
    assert [message.text for message in broker.messages(ERRORS)] == ["bad"]
    assert broker.messages(QUEUE) == broker.messages("/queue/DLQ") == []


@pytest.mark.parametrize("server", ["RabbitMQ/3.10.8", "ActiveMQ/5.18.3"])
def test_a_copy_that_ends_each_connection_is_given_up_and_its_message_rejected(server: str) -> None:
    """As the two do with an exchange that does not exist, and with a queue that has no name."""
    with Broker(server_name=server, max_deliveries=100) as broker:
        broker.error_next("SEND", "no such place", with_receipt_id=False, times=None)
        with Connection(failover(broker.uri), timeout=10) as connection:
            connection.subscribe(QUEUE, refuse, settle=True, error_destination=ERRORS, confirm=True)
            for text in ("one", "one", "two"):
                broker.publish(QUEUE, text)
            broker.wait_for(lambda: len({f.headers["id"] for f in broker.frames(command="NACK")}) >= 3, 20)
            assert broker.messages(ERRORS) == []


@pytest.mark.parametrize(
    ("server", "asked", "sent"),
    [
        ("RabbitMQ/3.10.8", None, "false"),
        ("RabbitMQ/3.10.8", {"requeue": "true"}, "true"),
        ("ActiveMQ/5.18.3", None, None),
    ],
)
def test_a_rejected_message_does_not_come_again_at_once_unless_that_is_asked_for(
    server: str, asked: dict[str, str] | None, sent: str | None
) -> None:
    """RabbitMQ would deliver it again without a pause, forever."""

    def reject(message: Message) -> None:
        if asked is not None:
            message.nack(headers=asked)
        refuse(message)

    with Broker(server_name=server, max_deliveries=1) as broker, Connection(broker.uri) as connection:
        connection.subscribe(QUEUE, reject, settle=True, confirm=True)
        broker.publish(QUEUE, "bad")
        broker.wait_for(lambda: broker.frames(command="NACK"))
        assert broker.frames(command="NACK")[0].headers.get("requeue") == sent


QUORUM = {"x-queue-type": "quorum", "durable": "true", "auto-delete": "false"}
LIMITS = {"x-message-ttl": "60000", "x-dead-letter-exchange": "", "x-max-length": "9"}


def forwarded_by(broker: Broker, *, times: int) -> Connection:
    """A connection that has forwarded three messages of a quorum queue."""
    for text in ("one", "two", "three"):
        broker.publish(QUEUE, text, {**QUORUM, **LIMITS, "mine": "kept"})
    broker.error_next("SEND", "inequivalent arg 'x-queue-type'", with_receipt_id=False, times=times)
    connection = Connection(failover(broker.uri), timeout=10)
    connection.subscribe(QUEUE, refuse, settle=True, error_destination=ERRORS)
    connection.connect()
    broker.wait_for(lambda: len(broker.messages(ERRORS)) == 3 and not broker.unacknowledged(QUEUE), 20)
    return connection


def test_a_copy_declares_its_queue_as_of_the_same_type_but_without_its_limits() -> None:
    with Broker(server_name="RabbitMQ/3.10.8") as broker, forwarded_by(broker, times=0):
        for copy in broker.messages(ERRORS):
            assert copy.headers.items() >= {**QUORUM, "mine": "kept"}.items()
            assert copy.headers.keys().isdisjoint(LIMITS)
        assert len(broker.frames(command="SEND")) == 3


def test_one_copy_finds_out_that_the_error_queue_is_of_another_type() -> None:
    """Each refusal ends the connection, and a quorum queue that counts deliveries may drop what comes too often."""
    with Broker(server_name="RabbitMQ/3.10.8", max_deliveries=100) as broker, forwarded_by(broker, times=3) as mine:
        assert sorted(copy.text for copy in broker.messages(ERRORS)) == ["one", "three", "two"]
        for copy in broker.messages(ERRORS):
            assert copy.headers["mine"] == "kept"
            assert copy.headers.keys().isdisjoint({*QUORUM, *LIMITS})
        assert mine.statistics().reconnects == 3
        typed = [frame for frame in broker.frames(command="SEND") if "x-queue-type" in frame.headers]
        assert len({frame.body for frame in typed}) == 1


def test_other_brokers_know_no_such_headers() -> None:
    with Broker(server_name="ActiveMQ/5.18.3") as broker, forwarded_by(broker, times=0):
        for copy in broker.messages(ERRORS):
            assert copy.headers.items() >= {**QUORUM, **LIMITS}.items()


def test_a_copy_is_not_sent_twice_if_its_message_comes_again() -> None:
    """RabbitMQ confirms a copy by itself; its receipt may come on the connection after that of the message."""
    with Broker(server_name="RabbitMQ/3.10.8") as broker:
        for _ in range(2):
            # Equal ones are two messages all the same.
            broker.publish(QUEUE, "equal")
        broker.withhold_receipts("SEND", connection=1)
        with Connection(failover(broker.uri), timeout=10) as connection:
            connection.subscribe(QUEUE, refuse, settle=True, error_destination=ERRORS)
            broker.wait_for(lambda: len(broker.messages(ERRORS)) == 2)
            broker.drop_connections()
            reconnected(connection)
            broker.wait_for(lambda: not broker.unacknowledged(QUEUE) and not broker.messages(QUEUE))
            connection.flush()
        # Both were resent by the session, since their receipts never came: no third and fourth by the second delivery.
        assert [message.text for message in broker.messages(ERRORS)] == ["equal"] * 4
        assert len(broker.frames(connection=2, command="ACK")) == 2


def test_a_copy_that_the_version_cannot_write_is_rejected(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """STOMP 1.1 has no way to write a carriage return."""
    with Connection(failover(broker.uri), versions=("1.1",), timeout=10) as connection:
        connection.subscribe(QUEUE, refuse, settle=True, error_destination="/queue/err\rors", confirm=True)
        broker.publish(QUEUE, "bad")
        broker.wait_for(lambda: [message.text for message in broker.messages("/queue/DLQ")] == ["bad"])
        eventually(lambda: "is rejected" in caplog.text, "the word")


def test_retries_hold_up_neither_other_messages_nor_acks_nor_heart_beats() -> None:
    with Broker(heartbeat=(0.1, 0.1)) as broker:
        with Connection(failover(broker.uri), heartbeat=(0.1, 0.1)) as connection:
            tries: list[float] = []
            others = Collector(ack=True)

            def fails(message: Message) -> None:
                tries.append(time.monotonic())
                assert message.attempts == len(tries) - 1
                refuse(message)

            connection.subscribe(
                QUEUE, fails, ack="client-individual", settle=True, retries=2, retry_delay=0.4, confirm=True
            )
            connection.subscribe("/queue/others", others, ack="client-individual", confirm=True)
            broker.publish(QUEUE, "x")
            eventually(lambda: len(tries) == 1, "the first try")
            for number in range(50):
                broker.publish("/queue/others", str(number))
            broker.wait_for(lambda: not broker.unacknowledged("/queue/others") and len(others.texts) == 50)
            assert len(tries) == 1
            # It is in nobody's hands but ours all the while.
            assert [m.text for m in broker.unacknowledged(QUEUE)] == ["x"]
            broker.wait_for(lambda: broker.frames(command="NACK"))
            assert len(tries) >= 3
            assert tries[1] - tries[0] >= 0.35
            assert tries[2] - tries[1] >= 0.35
            assert broker.connection_count == 1


def test_a_retry_that_succeeds_is_acknowledged(broker: Broker, connection: Connection) -> None:
    tries: list[int] = []

    def second_time(message: Message) -> None:
        tries.append(message.attempts)
        if message.attempts < 1:
            refuse(message)

    connection.subscribe(QUEUE, second_time, ack="client-individual", settle=True, retries=3, retry_delay=0.01)
    connection.send(QUEUE, "x", confirm=True)
    broker.wait_for(lambda: broker.frames(command="ACK"))
    assert tries == [0, 1]
    assert broker.frames(command="NACK") == []


def test_a_message_that_is_put_off_comes_again_and_nothing_is_counted(broker: Broker, connection: Connection) -> None:
    tries: list[int] = []

    def third_time(message: Message) -> None:
        tries.append(message.postponed)
        if message.postponed < 2:
            raise TryAgain("not yet", delay=0.01)

    connection.subscribe(QUEUE, third_time, ack="client-individual", settle=True, confirm=True)
    broker.publish(QUEUE, "x")
    broker.wait_for(lambda: broker.frames(command="ACK"))
    assert tries == [0, 1, 2]
    assert connection.statistics().listener_errors == 0
    assert broker.frames(command="NACK") == []


def test_a_message_that_is_put_off_at_the_end_goes_back_to_its_queue(broker: Broker) -> None:
    begun = threading.Event()

    def never(message: Message) -> None:
        begun.set()
        raise TryAgain("not yet", delay=3600.0)

    with Connection(broker.uri) as connection:
        connection.subscribe(QUEUE, never, ack="client-individual", settle=True, confirm=True)
        broker.publish(QUEUE, "x")
        assert begun.wait(5)
    broker.wait_for(lambda: broker.depth(QUEUE) == 1 and not broker.unacknowledged(QUEUE))
    assert broker.frames(command="NACK") == []


def test_a_retry_that_waits_at_a_loss_is_dropped_and_the_message_comes_anew(
    broker: Broker, connection: Connection
) -> None:
    seen: list[tuple[int, bool]] = []

    def once_wrong(message: Message) -> None:
        seen.append((message.attempts, message.redelivered))
        if len(seen) == 1:
            refuse(message)

    connection.subscribe(QUEUE, once_wrong, ack="client-individual", settle=True, retries=1, retry_delay=0.3)
    connection.send(QUEUE, "x", confirm=True)
    eventually(lambda: len(seen) == 1, "the first try")
    broker.drop_connections()
    broker.wait_for(lambda: broker.frames(command="ACK"))
    assert seen == [(0, False), (0, True)]
    time.sleep(0.4)  # Past the moment of the retry that is no more.
    assert len(seen) == 2


def test_the_error_destination_gets_the_message_with_the_error_in_one_transaction(
    broker: Broker, connection: Connection
) -> None:
    connection.subscribe(
        QUEUE, refuse, ack="client-individual", settle=True, retries=1, retry_delay=0.01, error_destination=ERRORS
    )
    connection.send(QUEUE, "bad", {"correlation": "c:1", "note": "line\nbreak"}, confirm=True)
    broker.wait_for(lambda: broker.messages(ERRORS))
    (forwarded,) = broker.messages(ERRORS)
    assert forwarded.body == b"bad"
    headers = forwarded.headers
    assert headers["correlation"] == "c:1"
    assert headers["note"] == "line\nbreak"
    assert headers["original-destination"] == QUEUE
    assert headers["original-message-id"]
    assert headers["error"] == "ValueError: no use for bad"
    assert "Traceback" in headers["error-traceback"]
    assert headers["attempts"] == "2"
    broker.wait_for(lambda: not broker.unacknowledged(QUEUE))
    assert broker.messages(QUEUE) == []
    assert commands(broker.frames())[-4:] == ["BEGIN", "SEND", "ACK", "COMMIT"]
    transactions = {f.headers["transaction"] for f in broker.frames()[-4:]}
    assert len(transactions) == 1


@pytest.mark.parametrize("command", ["BEGIN", "SEND", "ACK", "COMMIT"])
def test_forwarding_is_both_or_neither_over_a_loss(broker: Broker, command: str) -> None:
    for number in range(5):
        broker.publish(QUEUE, str(number))
    broker.drop_before(command)
    with Connection(failover(broker.uri)) as connection:
        connection.subscribe(QUEUE, refuse, ack="client-individual", settle=True, error_destination=ERRORS)
        broker.wait_for(lambda: len(broker.messages(ERRORS)) >= 5)
        broker.wait_for(lambda: not broker.unacknowledged(QUEUE) and not broker.messages(QUEUE))
        assert sorted(m.text for m in broker.messages(ERRORS)) == list("01234")


def test_forwarding_a_text_that_the_version_cannot_write(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """STOMP 1.1 has no way to write a carriage return in a header, and no version one for a lone surrogate."""
    # Nor can pytest-xdist write the log.
    caplog.set_level(logging.CRITICAL + 1, "stomplistener")

    def windows(_message: Message) -> None:
        raise ValueError("first line\r\nsecond line\0 \udc80")

    with Connection(broker.uri, versions=("1.1",)) as connection:
        connection.subscribe(QUEUE, windows, ack="client-individual", settle=True, error_destination=ERRORS)
        connection.send(QUEUE, "x", confirm=True)
        broker.wait_for(lambda: broker.messages(ERRORS))
        assert "second line" in broker.messages(ERRORS)[0].headers["error"]
        eventually(lambda: connection.session.transactions == (), "the end of the transaction")


def test_settling_after_the_end_says_false(broker: Broker) -> None:
    collector = Collector()
    connection = Connection(broker.uri).connect()
    connection.subscribe(QUEUE, collector, ack="client-individual", confirm=True)
    broker.publish(QUEUE, "x")
    eventually(lambda: len(collector.messages) == 1, "the message")
    connection.close()
    assert collector.messages[0].ack() is False
    assert collector.messages[0].nack() is False
    with pytest.raises(NotConnected):
        connection.send(QUEUE, "x")


def test_workers_run_side_by_side_and_each_message_once(broker: Broker, connection: Connection) -> None:
    together = threading.Barrier(4, timeout=10)
    lock = threading.Lock()
    done: list[str] = []

    def work(message: Message) -> None:
        if len(message.text) == 1 and message.text in "0123":
            together.wait()
        with lock:
            done.append(message.text)

    connection.subscribe(QUEUE, work, ack="client-individual", settle=True, workers=4, confirm=True)
    for number in range(100):
        broker.publish(QUEUE, str(number))
    broker.wait_for(lambda: not broker.unacknowledged(QUEUE) and not broker.messages(QUEUE))
    assert Counter(done) == Counter(map(str, range(100)))


def test_a_worker_that_is_slow_does_not_hold_up_the_others(broker: Broker, connection: Connection) -> None:
    slow = threading.Event()
    done: list[str] = []

    def work(message: Message) -> None:
        if message.text == "slow":
            slow.wait(10)
        done.append(message.text)

    connection.subscribe(QUEUE, work, workers=2, confirm=True)
    for body in ("slow", "a", "b", "c"):
        broker.publish(QUEUE, body)
    eventually(lambda: done == ["a", "b", "c"], "the others, out of order")
    slow.set()
    eventually(lambda: done == ["a", "b", "c", "slow"], "the slow one")


def test_with_several_workers_a_loss_repeats_only_what_was_not_acknowledged(
    broker: Broker, connection: Connection
) -> None:
    lock = threading.Lock()
    done: Counter[str] = Counter()

    def work(message: Message) -> None:
        time.sleep(0.002)
        if message.ack():
            with lock:
                done[message.text] += 1

    connection.subscribe(QUEUE, work, ack="client-individual", workers=3, confirm=True)
    for number in range(200):
        broker.publish(QUEUE, str(number))
    eventually(lambda: sum(done.values()) > 50, "some")
    broker.drop_connections()
    reconnected(connection)
    broker.wait_for(lambda: not broker.unacknowledged(QUEUE) and not broker.messages(QUEUE))
    # The broker has the last ACK before the listener has noted it.
    eventually(lambda: set(done) == set(map(str, range(200))), "all")


def test_a_listener_that_calls_exit_is_an_error_of_its_message(broker: Broker, connection: Connection) -> None:
    recorder = Recorder()

    def leaves(message: Message) -> None:
        if message.text == "first":
            raise SystemExit(3)

    connection.add_listener(recorder)
    connection.subscribe(QUEUE, leaves, ack="client-individual", settle=True, error_destination=ERRORS, confirm=True)
    broker.publish(QUEUE, "first")
    broker.publish(QUEUE, "second")
    broker.wait_for(lambda: not broker.unacknowledged(QUEUE) and not broker.messages(QUEUE))
    assert [m.text for m in broker.messages(ERRORS)] == ["first"]
    eventually(lambda: recorder.count("listener_error") == 1, "the report")


@pytest.mark.parametrize(
    "wrong",
    [
        {"settle": True, "ack": "auto"},
        {"settle": True, "ack": "client"},
        {"retries": 1},
        {"error_destination": ERRORS},
        {"workers": 0},
    ],
)
def test_arguments_that_do_not_fit_together(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Connection("tcp://localhost:1").subscribe(QUEUE, print, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("way", ["rejected", "forwarded", "tried again"])
@pytest.mark.parametrize("moment", ["at the first connect", "after a loss"])
def test_what_fails_while_subscriptions_are_being_restored_is_settled_all_the_same(
    broker: Broker, moment: str, way: str
) -> None:
    """Eleven subscriptions and a backlog: listeners fail before the broker has confirmed all of them."""
    queues = [f"{QUEUE}.{number}" for number in range(11)]
    options = {"retries": 1} if way == "tried again" else {"error_destination": ERRORS} if way == "forwarded" else {}
    begun: Counter[str] = Counter()

    def handle(message: Message) -> None:
        begun[message.destination] += 1
        if way != "tried again" or begun[message.destination] <= 2:
            refuse(message)

    connection = Connection(failover(broker.uri), timeout=20)
    for queue in queues:
        connection.subscribe(queue, handle, settle=True, prefetch=2, **options)
    if moment == "after a loss":
        connection.connect()
    broker.withhold_receipts("SUBSCRIBE")
    if moment == "after a loss":
        broker.drop_connections()
    for queue in queues:
        for number in range(3):
            broker.publish(queue, str(number))
    connecting = threading.Thread(target=connection.connect)
    connecting.start()
    try:
        eventually(lambda: len(begun) == 11, "listeners that fail meanwhile")
        assert not connection.is_connected
    finally:
        broker.release_receipts()
        connecting.join()
    broker.wait_for(lambda: not any(broker.depth(queue) or broker.unacknowledged(queue) for queue in queues), 20)
    if way == "forwarded":
        assert Counter(m.headers["original-destination"] for m in broker.messages(ERRORS)) == Counter(queues * 3)
    connection.disconnect()
