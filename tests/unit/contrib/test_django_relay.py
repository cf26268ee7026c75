"""The relay's life: outages, refusals, lanes, housekeeping, metrics."""

from __future__ import annotations

import logging
import signal
import threading
import urllib.request
from collections.abc import Iterator

import pytest
from django.db import OperationalError
from django_support import PROJECT, ServerProcess, outbox_of, relay
from worker_process import eventually

from stomplistener import Connection, StompError
from stomplistener.contrib.django import housekeeping
from stomplistener.contrib.django.claims import Claims
from stomplistener.contrib.django.housekeeping import Housekeeper
from stomplistener.contrib.django.metrics import RelayMetrics
from stomplistener.contrib.django.models import OutboxMessage
from stomplistener.contrib.django.outbox import State, enqueue
from stomplistener.contrib.django.relay import Outage, Suspects
from stomplistener.errors import ConnectionLost
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


def texts(broker: Broker) -> list[str]:
    return [message.text for message in broker.messages(QUEUE)]


# Outages


def test_an_outage_moves_no_due_date_and_counts_as_no_refusal(broker: Broker, connection: Connection) -> None:
    row = enqueue(QUEUE, "x")
    mine = relay(connection, timeout=0.2, attempts=1, first_delay=3600.0)
    broker.withhold_receipts("SEND")
    with pytest.raises(StompError, match="no receipt"):
        mine.publish_due()
    due = row.due
    row.refresh_from_db()
    assert (row.state, row.attempts, row.refusals, row.due) == (State.PENDING, 1, 0, due)
    broker.clear_faults()
    assert mine.publish_due() == 1
    row.refresh_from_db()
    assert row.state == State.PUBLISHED


def test_a_refusal_after_many_losses_is_the_first_one(broker: Broker, connection: Connection) -> None:
    row = enqueue(QUEUE, "x")
    OutboxMessage.objects.update(attempts=9)
    broker.error_next("SEND", "not allowed", close=False)
    assert relay(connection, attempts=2).publish_due() == 1
    row.refresh_from_db()
    assert (row.state, row.attempts, row.refusals) == (State.PENDING, 10, 1)


def test_a_message_that_makes_the_broker_hang_up_does_not_stop_the_others(broker: Broker) -> None:
    with Connection(broker.uri, reconnect=False) as connection:
        deadly = enqueue(QUEUE, "deadly")
        mine = relay(connection)
        for number in range(2):
            # The first time it is one of a batch, and then alone.
            broker.drop_before("SEND")
            with pytest.raises(StompError):
                mine.publish_due()
            deadly.refresh_from_db()
            assert deadly.attempts == number + 1
        enqueue(QUEUE, "other")
        assert mine.publish_due() == 1
        assert texts(broker) == ["other"]


def test_a_suspect_is_left_alone_for_longer_and_longer_but_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("stomplistener.contrib.django.relay.time.monotonic", lambda: now[0])
    suspects = Suspects()
    for wait in (1.0, 2.0, 4.0, 5.0, 5.0):
        suspects.add(7)
        now[0] += wait - 0.01
        assert suspects.shunned() == {7}
        now[0] += 0.02
        assert suspects.shunned() == set()
    suspects.add(7)
    suspects.note({7: ConnectionLost("away")})
    assert suspects.shunned() == {7}
    suspects.note({7: None})
    assert suspects.shunned() == set()


def test_an_outage_is_logged_once_at_its_beginning_and_once_at_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "stomplistener.django")
    outage = Outage()
    outage.ends()
    for _ in range(3):
        outage.begins(OperationalError("away\nDETAIL: secret"))
    outage.ends()
    outage.ends()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "secret" not in caplog.text


def test_a_row_leaves_soon_after_an_outage_whatever_the_delays_are(broker: Broker) -> None:
    options = ("manage.py", "stomp_outbox", "--poll", "0.05")
    with ServerProcess(PROJECT, *options, STOMP_URL=broker.uri) as process:
        broker.wait_for(lambda: broker.connections, 20)
        broker.stop()
        enqueue(QUEUE, "x")
        eventually(lambda: "the outbox waits" in process.err, "the relay to notice")
        broker.start()
        broker.wait_for(lambda: broker.depth(QUEUE), 10)
        eventually(lambda: OutboxMessage.objects.get().state == State.PUBLISHED, "the row marked")
        process.signal(signal.SIGTERM)
        assert process.wait() == 0, process.err
    row = OutboxMessage.objects.get()
    assert row.refusals == 0
    assert process.err.count("the outbox waits") == 1


# Running


def test_a_lane_that_fails_as_it_should_not_ends_the_relay(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise LookupError("a fault of ours")

    monkeypatch.setattr(Claims, "take", fail)
    with pytest.raises(LookupError, match="a fault of ours"):
        relay(connection).run()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("outbox-", "stomp-purge"))]


def test_housekeeping_ends_after_the_chunk_that_is_being_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "PURGE_EVERY", 0.0)
    steps: list[str] = []
    second = threading.Event()

    def purge() -> Iterator[int]:
        while True:
            steps.append("chunk")
            if len(steps) == 2:
                second.set()
            yield 1

    def broken() -> Iterator[int]:
        raise OperationalError("away")

    housekeeper = Housekeeper({"nothing": broken, "outbox": purge})
    housekeeper.start()
    assert second.wait(10)
    housekeeper.stop()
    count = len(steps)
    assert not [thread for thread in threading.enumerate() if thread.name == "stomp-purge"]
    assert len(steps) == count


def test_without_anything_to_keep_clean_there_is_no_thread() -> None:
    housekeeper = Housekeeper({})
    housekeeper.start()
    assert not [thread for thread in threading.enumerate() if thread.name == "stomp-purge"]
    housekeeper.stop()


# Metrics


def test_prometheus_finds_what_waits_and_what_was_done(broker: Broker, connection: Connection) -> None:
    mine = relay(connection, attempts=1)
    broker.error_next("SEND", "no", close=False)
    enqueue(QUEUE, "bad")
    mine.publish_due()
    enqueue(QUEUE, "good")
    mine.publish_due()
    enqueue(QUEUE, "waits")
    with RelayMetrics(mine, connection, using="default", name="default").served("127.0.0.1", 0) as port:
        page = fetched(port)
    labels = '{connection="default",database="default"}'
    for line in ("published_total{} 1.0", "refused_total{} 1.0", "pending{} 1.0", "failed{} 1.0", "connected{} 1.0"):
        assert "stomplistener_outbox_" + line.format(labels) in page.splitlines(), page
    [oldest] = [line for line in page.splitlines() if line.startswith("stomplistener_outbox_oldest_seconds{")]
    assert 0 <= float(oldest.split()[1]) < 30


def fetched(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return answer.read().decode()  # type: ignore[no-any-return]


def test_without_its_database_the_relay_still_answers(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_arguments: object, **_named: object) -> None:
        raise OperationalError("away")

    monkeypatch.setattr("django.db.models.query.QuerySet.aggregate", away)
    with RelayMetrics(relay(connection), connection, using="default", name="default").served("127.0.0.1", 0) as port:
        page = fetched(port)
    assert "stomplistener_outbox_published_total" in page
    assert "stomplistener_outbox_pending" not in page
    assert "counting the rows of the outbox failed: away" in caplog.text


def test_the_command_serves_them_and_tells_of_a_taken_port(broker: Broker) -> None:
    command = ("manage.py", "stomp_outbox", "--poll", "0.05", "--metrics-port")
    with ServerProcess(PROJECT, *command, "0", STOMP_URL=broker.uri) as process:
        eventually(lambda: "metrics on http://127.0.0.1:" in process.err, "the port")
        port = int(process.err.partition("metrics on http://127.0.0.1:")[2].partition("/")[0])
        enqueue(QUEUE, "x")
        eventually(lambda: "published_total{" in (page := fetched(port)) and " 1.0" in page, "the count")
        process.signal(signal.SIGTERM)
        assert process.wait() == 0, process.err
    with ServerProcess(PROJECT, *command, str(broker.port), STOMP_URL=broker.uri) as process:
        assert process.wait() == 1
    assert f"cannot listen on 127.0.0.1:{broker.port}" in process.err
