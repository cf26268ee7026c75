"""Django on PostgreSQL and real brokers: large backlogs with keys, an outage in one, a deploy with an inbox."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from outbox_project import add_rows, assert_sorted_within_keys, empty, fill, first_times, manage, migrated, pending
from postgres import Postgres
from sizes import lasting, sized
from worker_process import ServerProcess, eventually

from stomplistener import Connection
from stomplistener.testing import Fleet
from stomplistener.testing.containers import BrokerContainer

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them"),
    pytest.mark.timeout(600, func_only=True),
]

PATIENCE = 200.0


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with migrated() as server:
        yield server


@pytest.fixture(params=["activemq", "rabbitmq"])
def broker(request: pytest.FixtureRequest, stomp_brokers: Fleet) -> BrokerContainer:
    return stomp_brokers[request.param]


@pytest.fixture(autouse=True)
def _empty(server: Postgres) -> None:
    empty(server)


def new_queue() -> str:
    return f"/queue/outbox-{uuid.uuid4().hex[:12]}"


def emptied(broker: BrokerContainer, queue: str, patience: float = 20.0) -> list[str]:
    """What is in a queue, in order, until nothing comes any more."""
    texts: list[str] = []
    with Connection(broker.uri, host=broker.virtual_host) as connection:
        with connection.consume(queue, ack="auto") as consumer:
            while (message := consumer.receive(2.0 if texts else patience)) is not None:
                texts.append(message.text)
    return texts


def end(*relays: ServerProcess) -> None:
    for relay in relays:
        relay.process.terminate()
    for relay in relays:
        assert relay.wait(60) == 0, relay.err


# Rates


@contextmanager
def arriving(broker: BrokerContainer, queue: str) -> Iterator[list[str]]:
    """What arrives while the block lasts: large backlogs do not fit into the memory of ActiveMQ's container."""
    texts: list[str] = []
    with Connection(broker.uri, host=broker.virtual_host) as connection:
        connection.subscribe(queue, lambda message: texts.append(message.text), ack="auto", confirm=True)
        yield texts


def rate(
    server: Postgres, broker: BrokerContainer, key: str, count: int, first: int | None = None
) -> tuple[float, list[str]]:
    """How many of the first rows of a backlog are published in a second, all if None; and what arrived.

    By the times at which they were marked, from the first batch to the last.
    """
    queue, first = new_queue(), first or count
    fill(server, count, key, queue)
    with arriving(broker, queue) as texts:
        with manage(server, broker.uri, "stomp_outbox", "--log-level", "warning") as relay:
            eventually(lambda: count - pending(server) >= first, f"{first} rows published", PATIENCE)
            end(relay)
        eventually(lambda: len(texts) >= count - pending(server), "all of them there", PATIENCE)
    [(number, seconds)] = server.query(
        "WITH early AS (SELECT settled FROM stomplistener_outboxmessage WHERE state = 'published' "
        f"ORDER BY settled LIMIT {first}) SELECT count(*) FILTER (WHERE settled > (SELECT min(settled) FROM early)), "
        "extract(epoch FROM max(settled) - min(settled))::float FROM early"
    )
    return number / seconds, texts


def test_a_large_backlog_of_many_keys_leaves_at_half_the_rate_of_one_without(
    server: Postgres, broker: BrokerContainer
) -> None:
    """50,000 rows, in 1,000 keys as of so many customers; none is lost or comes twice, and each key keeps its order."""
    count = sized(50_000)
    rate(server, broker, "''", sized(5000))  # until the broker has compiled what it runs
    without, _ = rate(server, broker, "''", count)
    keyed, texts = rate(server, broker, "'customer ' || n % 1000", count)
    print(f"{broker.name}: {count} rows without keys {without:.0f} rows/s, in 1,000 keys {keyed:.0f} rows/s")
    assert sorted(map(int, texts)) == list(range(1, count + 1))
    assert_sorted_within_keys(texts, 1000)
    assert keyed >= 0.5 * without


def test_a_large_backlog_of_few_keys_leaves_at_a_part_of_the_rate_of_one_without(
    server: Postgres, broker: BrokerContainer
) -> None:
    """The first rows of 50,000: wanted are 0.3 of the rate with 10 keys, and 0.15 with one."""
    count, first = sized(50_000), sized(5000)
    rate(server, broker, "''", first)
    without, _ = rate(server, broker, "''", count, 2 * first)
    rates: dict[int, float] = {}
    for keys in (10, 1):
        rates[keys], texts = rate(server, broker, f"'k' || n % {keys}", count, first)
        assert len(texts) == len(set(texts)) >= first
        assert_sorted_within_keys(texts, keys)
    ten, one = rates[10] / without, rates[1] / without
    print(f"{broker.name}: without keys {without:.0f} rows/s; in 10 keys {ten:.2f} of it, in a single one {one:.2f}")
    assert ten >= 0.3
    assert one >= 0.15


# Outages


def settings(directory: Path, text: str) -> dict[str, str]:
    """The environment of a project whose settings are changed, and which finds modules in a directory."""
    (directory / "changed.py").write_text(f"from project.settings import *\n\n{text}\n")
    path = os.pathsep.join(filter(None, (str(directory), os.environ.get("PYTHONPATH"))))
    return {"DJANGO_SETTINGS_MODULE": "changed", "PYTHONPATH": path}


SLOW_RETRIES = 'STOMPLISTENER["OUTBOX"] = {"POLL": 0.2, "FIRST_DELAY": 3600, "MOST_DELAY": 3600}'


@pytest.mark.parametrize("name", ["activemq", "artemis", "rabbitmq"])
@pytest.mark.parametrize("how", ["stopped", "paused"])
def test_after_an_outage_of_minutes_rows_leave_within_seconds(
    name: str, how: str, server: Postgres, stomp_brokers: Fleet, tmp_path: Path
) -> None:
    """Whatever the first delay is; three relays run, and rows are written meanwhile."""
    broker, queue, count = stomp_brokers[name], new_queue(), sized(20_000)
    variables = settings(tmp_path, SLOW_RETRIES)
    fill(server, count, "'k' || n % 200", queue)
    with ExitStack() as stack:
        relays = [
            stack.enter_context(manage(server, broker.uri, "stomp_outbox", **variables))
            for _ in range(3)
        ]  # fmt: skip
        eventually(lambda: pending(server) < 0.9 * count, "a tenth published", PATIENCE)
        (broker.stop if how == "stopped" else broker.pause)()
        waiting = pending(server)
        assert waiting, "nothing was left when the outage began"
        outage = lasting(120)
        for number in range(10):
            add_rows(server, range(count + 1 + 100 * number, count + 101 + 100 * number), "'k' || n % 200", queue)
            time.sleep(outage / 10)
        left = pending(server)
        broker.start(timeout=90)
        began = time.monotonic()
        eventually(lambda: pending(server) < left, "the first rows after the outage", 60)
        took = time.monotonic() - began
        eventually(lambda: not pending(server), "all published", PATIENCE)
        print(f"{name} {how} for {outage:.0f} s with {left} rows: the first ones left {took:.1f} s after it answered")
        end(*relays)
    assert server.query("SELECT count(*) FROM stomplistener_outboxmessage WHERE refusals > 0 OR due > created") == [
        (0,)
    ]
    texts = emptied(broker, queue)
    assert set(texts) == {str(number) for number in range(1, count + 1001)}
    assert_sorted_within_keys(first_times(texts), 200)
    # Each of three relays has two lanes, each with a batch of 100 that may have arrived unmarked.
    assert len(texts) - count - 1000 <= 3 * 2 * 100
    assert took < 15


# Deploys

LISTENERS = """
import os
import time
from pathlib import Path

from django.db import connection
from stomplistener.contrib.django import listener

VERSION = (Path(__file__).parent / "version").read_text()


@listener(os.environ["QUEUE"], once=True, workers=2)
def book(message):
    time.sleep(0.005)
    with connection.cursor() as cursor:
        line = f"{message.text} {os.getpid()} {VERSION}"
        cursor.execute("INSERT INTO store_order (article) VALUES (%s)", [line])
"""


def test_a_deploy_under_load_loses_nothing_and_does_nothing_twice(
    server: Postgres, broker: BrokerContainer, tmp_path: Path
) -> None:
    """From the outbox, whose rows are published again and again as if their relay had died, to an inbox."""
    queue, deployed = new_queue(), tmp_path / "deployed"
    deployed.mkdir()
    (deployed / "__init__.py").touch()
    (deployed / "listeners.py").write_text(LISTENERS)
    (deployed / "version").write_text("old")
    variables = {**settings(tmp_path, 'INSTALLED_APPS.append("deployed")'), "QUEUE": queue}
    written = 0

    def handled() -> list[list[str]]:
        return [str(article).split() for (article,) in server.query("SELECT article FROM store_order")]

    def load_until(code: str) -> None:
        """Fill the outbox until two processes with some version of the code have handled something."""
        nonlocal written
        give_up = time.monotonic() + PATIENCE
        while len({pid for _, pid, version in handled() if version == code}) < 2:
            assert time.monotonic() < give_up, f"no two processes of the {code} code: {worker.err}"
            if written - len(handled()) > 300:
                time.sleep(0.02)
                continue
            add_rows(server, range(written, written + 20), "'k' || n % 7", queue)
            written += 20
            server.query("UPDATE stomplistener_outboxmessage SET state = 'pending' WHERE random() < 0.1")

    with (
        manage(server, broker.uri, "stomp_outbox", "--poll", "0.05", **variables) as relay,
        manage(server, broker.uri, "stomp_worker", "--processes", "2", **variables) as worker,
    ):
        load_until("old")
        (deployed / "version").write_text("new")
        worker.signal(signal.SIGHUP)
        load_until("new")
        eventually(lambda: not pending(server) and len(handled()) >= written, "all handled", PATIENCE)
        end(relay)
        end(worker)
    # What may be left in the queue are copies of messages that were handled.
    assert sorted(int(text) for text, _, _ in handled()) == list(range(written))
    assert set(map(int, emptied(broker, queue, 2.0))) <= set(range(written))
