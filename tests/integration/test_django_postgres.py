"""The Django project on PostgreSQL: relays killed at random, two at once, workers told to end, the server restarted."""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from postgres import Postgres, postgres
from worker_process import PATIENCE, ServerProcess, eventually

from stomplistener.testing import Broker

PROJECT = Path(__file__).parents[2] / "examples" / "django"
ORDERS = "/queue/orders"
SEED = int(os.environ.get("STOMPLISTENER_SEED", "20261123"))

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them"),
    pytest.mark.timeout(120, func_only=True),
]

WRITER = """
import random, sys
from django import setup
setup()
from django.db import transaction
from stomplistener.contrib.django.outbox import enqueue
dice = random.Random(int(sys.argv[1]))
for number in range(int(sys.argv[2])):
    with transaction.atomic():
        if dice.random() < 0.2:
            enqueue("/queue/out", f"undone {number}", key=str(number % 5))
            transaction.set_rollback(True)
        else:
            enqueue("/queue/out", str(number), key=str(number % 5) if number % 2 else "")
            print(number)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as server:
        migrate = [sys.executable, "manage.py", "migrate", "-v0"]
        subprocess.run(migrate, cwd=PROJECT, env={**os.environ, **server.variables}, check=True, timeout=60)
        yield server


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


@pytest.fixture(autouse=True)
def _empty(server: Postgres) -> None:
    server.query("TRUNCATE stomplistener_outboxmessage, store_order, store_invoice")


def manage(server: Postgres, broker: Broker, *arguments: str) -> ServerProcess:
    return ServerProcess(PROJECT, "manage.py", *arguments, STOMP_URL=broker.uri, **server.variables)


def writing(server: Postgres, count: int) -> subprocess.Popen[str]:
    environment = {**os.environ, **server.variables, "DJANGO_SETTINGS_MODULE": "project.settings"}
    command = [sys.executable, "-c", WRITER, str(SEED), str(count)]
    return subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True)


def pending(server: Postgres) -> int:
    [(count,)] = server.query("SELECT count(*) FROM stomplistener_outboxmessage WHERE state <> 'published'")
    return count


def published(broker: Broker) -> list[str]:
    return [message.text for message in broker.messages("/queue/out")]


def first_times(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def is_at_work(broker: Broker, connected: int) -> bool:
    """Whether somebody has connected since, and sent."""
    return any(each.connection > connected and each.frame.command == "SEND" for each in broker.log)


def assert_in_order_of_keys(texts: list[str]) -> None:
    """The odd ones, whose keys are their remainders by 5; repetitions left out."""
    for key in range(5):
        numbers = [int(text) for text in first_times(texts) if int(text) % 2 and int(text) % 5 == key]
        assert numbers == sorted(numbers)


def test_a_relay_that_is_killed_at_random_publishes_all_that_was_committed_and_nothing_else(
    server: Postgres, broker: Broker
) -> None:
    dice = random.Random(SEED)
    with ExitStack() as stack:
        writer = stack.enter_context(writing(server, 1500))
        for _ in range(3):
            connected = broker.connection_count
            with manage(server, broker, "stomp_outbox", "--batch", "20", "--poll", "0.05") as relay:
                broker.wait_for(functools.partial(is_at_work, broker, connected), PATIENCE)
                time.sleep(dice.random() * 0.3)
                relay.signal(signal.SIGKILL)
                relay.wait()
        with manage(server, broker, "stomp_outbox", "--batch", "20", "--poll", "0.05") as relay:
            committed = writer.communicate(timeout=60)[0].split()
            eventually(lambda: not pending(server), "all rows published", 60)
            relay.signal(signal.SIGTERM)
            assert relay.wait() == 0, relay.err
    texts = published(broker)
    assert set(texts) == set(committed)
    assert len(committed) < 1500
    assert_in_order_of_keys(texts)
    # At least once: what was not marked when the relay died, a batch at most, comes twice.
    assert len(texts) - len(committed) <= 3 * 20


def test_two_relays_share_the_work_and_publish_each_row_once(server: Postgres, broker: Broker) -> None:
    options = ("stomp_outbox", "--batch", "10", "--poll", "0.02")
    with manage(server, broker, *options) as one, manage(server, broker, *options) as two:
        broker.wait_for(lambda: len(broker.connections) == 2, PATIENCE)
        committed = writing(server, 200).communicate(timeout=60)[0].split()
        eventually(lambda: not pending(server), "all rows published", 60)
        for relay in (one, two):
            relay.signal(signal.SIGTERM)
            assert relay.wait() == 0, relay.err
    texts = published(broker)
    assert Counter(texts) == Counter(committed)
    assert_in_order_of_keys(texts)
    assert len({each.connection for each in broker.log if each.frame.command == "SEND"}) == 2
    assert server.clients == 0


def place(server: Postgres, broker: Broker, count: int) -> set[int]:
    """Orders, and a message for each."""
    rows = server.query(
        f"INSERT INTO store_order (article) SELECT 'article ' || n FROM generate_series(1, {count}) n RETURNING id"
    )
    for (number,) in rows:
        broker.publish(ORDERS, json.dumps({"order": number}))
    return {number for (number,) in rows}


def billed(server: Postgres) -> set[int]:
    return {number for (number,) in server.query("SELECT order_id FROM store_invoice")}


def test_a_busy_worker_that_is_told_to_end_loses_nothing_and_leaves_no_connection(
    server: Postgres, broker: Broker
) -> None:
    orders = place(server, broker, 1500)
    with manage(server, broker, "stomp_worker", "--grace", "10") as worker:
        eventually(lambda: len(billed(server)) >= 50, "50 orders billed")
        assert server.clients > 0
        worker.signal(signal.SIGTERM)
        assert worker.wait(12) == 0, worker.err
    eventually(lambda: server.clients == 0, "the end of the worker's database connections")
    done = billed(server)
    acknowledged = [frame.headers["id"] for frame in broker.frames(command="ACK")]
    assert 50 <= len(done) == len(acknowledged) == len(set(acknowledged)) < 1500
    assert not broker.frames(command="NACK")
    assert {json.loads(message.body)["order"] for message in broker.messages(ORDERS)} == orders - done
    assert broker.frames()[-1].command == "DISCONNECT"
    assert "Traceback" not in worker.err


def test_a_server_that_is_restarted_under_the_worker_costs_no_message(server: Postgres, broker: Broker) -> None:
    with manage(server, broker, "stomp_worker") as worker:
        orders = place(server, broker, 10)
        eventually(lambda: billed(server) == orders, "the first orders billed")
        # Idle connections, that nobody notices to be cut, and then those at work.
        server.restart()
        orders |= place(server, broker, 600)
        eventually(lambda: len(billed(server)) >= 100, "100 orders billed")
        server.restart()
        eventually(lambda: billed(server) == orders, "all orders billed", 60)
        broker.wait_for(lambda: not broker.unacknowledged(ORDERS) and not broker.depth(ORDERS), PATIENCE)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.err
    assert not broker.frames(command="NACK")
    assert not broker.messages("/queue/orders.failed")
    assert "is tried again: the database was lost" in worker.err


def test_a_relay_outlives_a_restart_of_the_server(server: Postgres, broker: Broker) -> None:
    with manage(server, broker, "stomp_outbox", "--poll", "0.05") as relay:
        broker.wait_for(lambda: broker.connections, PATIENCE)
        server.restart()
        committed = writing(server, 50).communicate(timeout=60)[0].split()
        eventually(lambda: not pending(server), "all rows published", 30)
        relay.signal(signal.SIGTERM)
        assert relay.wait() == 0, relay.err
    assert set(published(broker)) == set(committed)


def test_the_example_runs_on_it(server: Postgres) -> None:
    ran = subprocess.run(
        [sys.executable, "show.py", "--orders", "20"],
        cwd=PROJECT,
        env={**os.environ, **server.variables},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "20 orders placed, 4 rolled back, 16 billed" in ran.stdout
