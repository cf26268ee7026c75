"""The outbox and its relay, on SQLite and the embedded broker."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from django_support import PROJECT, ServerProcess, call_command, outbox_of, relay
from worker_process import eventually

from stomplistener import Connection, StompError
from stomplistener.contrib.django.models import OutboxMessage
from stomplistener.contrib.django.outbox import State, enqueue, purge, requeue
from stomplistener.testing import Broker

QUEUE = "/queue/a"


@pytest.fixture(autouse=True)
def _outbox(broker: Broker) -> Iterator[None]:
    with outbox_of(broker):
        yield


@pytest.fixture
def connection(broker: Broker) -> Iterator[Connection]:
    connection = Connection(broker.uri)
    yield connection
    connection.close()


def texts(broker: Broker, destination: str = QUEUE) -> list[str]:
    return [message.text for message in broker.messages(destination)]


def states() -> list[str]:
    return [row.state for row in OutboxMessage.objects.order_by("pk")]


def be_due() -> None:
    OutboxMessage.objects.update(due=timezone.now())


def test_what_is_committed_is_published_once_and_what_is_rolled_back_never(
    broker: Broker, connection: Connection
) -> None:
    with transaction.atomic():
        row = enqueue(QUEUE, "é", {"x": "y"})
        with transaction.atomic():
            enqueue(QUEUE, "undone")
            transaction.set_rollback(True)
    enqueue("/queue/b", b"\0\xff", content_type="image/png")
    mine = relay(connection)
    assert mine.publish_due() == 2
    assert mine.publish_due() == 0
    [message] = broker.messages(QUEUE)
    assert message.body == "é".encode()
    assert message.headers["x"] == "y"
    assert message.headers["content-type"] == "text/plain;charset=utf-8"
    assert message.headers["outbox-id"] == str(row.uuid)
    [image] = broker.messages("/queue/b")
    assert (image.body, image.headers["content-type"]) == (b"\0\xff", "image/png")
    assert states() == [State.PUBLISHED] * 2
    assert OutboxMessage.objects.filter(settled=None).count() == 0


def test_what_cannot_be_sent_is_refused_when_it_is_written() -> None:
    with pytest.raises(ValueError, match="destination"):
        enqueue("")
    with pytest.raises(ValueError, match="key of an outbox message has at most 255"):
        enqueue(QUEUE, key="k" * 256)
    with pytest.raises(TypeError, match="header 'x' is int"):
        enqueue(QUEUE, headers={"x": 7})  # type: ignore[dict-item]
    assert states() == []


def test_rows_are_marked_only_when_the_broker_has_confirmed_them(broker: Broker, connection: Connection) -> None:
    enqueue(QUEUE, "x")
    broker.withhold_receipts("SEND")
    mine = relay(connection, timeout=0.3, first_delay=0.0)
    with pytest.raises(StompError, match="no receipt"):
        mine.publish_due()
    [row] = OutboxMessage.objects.all()
    assert (row.state, row.attempts) == (State.PENDING, 1)
    assert "TimedOut" in row.error
    broker.clear_faults()
    assert mine.publish_due() == 1
    assert states() == [State.PUBLISHED]


def test_a_broker_that_is_away_costs_no_row_an_attempt(broker: Broker, connection: Connection) -> None:
    enqueue(QUEUE, "x")
    broker.stop()
    with pytest.raises(StompError):
        relay(connection).publish_due()
    [row] = OutboxMessage.objects.all()
    assert (row.state, row.attempts) == (State.PENDING, 0)


def test_what_the_broker_refuses_is_tried_again_later_and_parked_at_last(
    broker: Broker, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    row = enqueue(QUEUE, "bad")
    mine = relay(connection, attempts=2, first_delay=3600, most_delay=3600)
    broker.error_next("SEND", "not allowed", close=False, times=2)
    assert mine.publish_due() == 1
    row.refresh_from_db()
    assert (row.state, row.attempts) == (State.PENDING, 1)
    assert "not allowed" in row.error
    assert row.due > timezone.now() + timedelta(minutes=59)
    assert mine.publish_due() == 0
    be_due()
    assert mine.publish_due() == 1
    row.refresh_from_db()
    assert (row.state, row.attempts) == (State.FAILED, 2)
    assert "given up after 2 attempts" in caplog.text
    assert requeue([row.pk]) == 1
    assert mine.publish_due() == 1
    assert states() == [State.PUBLISHED]
    assert requeue([row.pk]) == 0


def test_rows_of_one_key_keep_their_order_and_wait_for_the_one_that_failed(
    broker: Broker, connection: Connection
) -> None:
    broker.error_next("SEND", "not now", close=False, times=1)
    for number in range(3):
        enqueue(QUEUE, f"k{number}", key="k")
    mine = relay(connection, first_delay=3600, most_delay=3600)
    assert mine.publish_due() == 1
    assert mine.publish_due() == 0
    enqueue(QUEUE, "other", key="other")
    enqueue(QUEUE, "none")
    assert mine.publish_due() == 2
    be_due()
    assert mine.publish_due() == 3
    assert texts(broker) == ["other", "none", "k0", "k1", "k2"]


def test_batches_go_on_until_nothing_is_due(broker: Broker) -> None:
    for number in range(25):
        enqueue(QUEUE, str(number), key="k" if number % 2 else "")
    with Connection(broker.uri) as connection:
        mine = relay(connection, batch=10)
        assert sum(iter(mine.publish_due, 0)) == 25
    assert sorted(texts(broker), key=int) == [str(number) for number in range(25)]
    odd = [text for text in texts(broker) if int(text) % 2]
    assert odd == sorted(odd, key=int)


def test_old_rows_are_purged(connection: Connection) -> None:
    for number in range(5):
        enqueue(QUEUE, str(number))
    relay(connection).publish_due()
    enqueue(QUEUE, "pending")
    OutboxMessage.objects.filter(body=b"0").update(settled=timezone.now() - timedelta(days=8))
    assert purge(7 * 24 * 3600) == 1
    assert purge(0, chunk=2) == 4
    assert states() == [State.PENDING]


def test_the_command_publishes_until_it_is_told_to_end(broker: Broker) -> None:
    with ServerProcess(PROJECT, "manage.py", "stomp_outbox", "--poll", "0.05", STOMP_URL=broker.uri) as process:
        for number in range(20):
            enqueue(QUEUE, str(number))
        broker.wait_for(lambda: broker.depth(QUEUE) == 20, 20)
        eventually(lambda: set(states()) == {State.PUBLISHED}, "all rows marked")
        process.signal(signal.SIGTERM)
        assert process.wait() == 0, process.err
    assert "Traceback" not in process.err
    assert broker.frames()[-1].command == "DISCONNECT"


def test_once_ends_by_itself_and_tells_when_the_broker_is_away(broker: Broker) -> None:
    enqueue(QUEUE, "x")
    once = ("manage.py", "stomp_outbox", "--once")
    with ServerProcess(PROJECT, *once, STOMP_URL=broker.uri) as process:
        assert process.wait() == 0, process.err
    assert texts(broker) == ["x"]
    broker.stop()
    with ServerProcess(PROJECT, *once, STOMP_URL=broker.uri) as process:
        assert process.wait() == 3, process.err
    assert "refused" in process.err


def test_the_model_has_its_migrations() -> None:
    call_command("makemigrations", "stomplistener", "store", check=True, dry_run=True, verbosity=0)
