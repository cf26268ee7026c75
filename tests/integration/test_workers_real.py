"""Workers on real brokers: one that hangs, one that is killed, a deploy under load; a backlog shared, and in order."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from worker_applications import DEPLOYED, HANGS, KILLS
from worker_process import WorkerProcess, eventually

from stomplistener import Connection, Message
from stomplistener.testing import Fleet
from stomplistener.testing.containers import BrokerContainer
from stomplistener.worker import Application

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them"),
    pytest.mark.timeout(180, func_only=True),
]

PATIENCE = 60.0
TWO = ("--processes", "2")
GOOD = [f"good-{number}" for number in range(20)]


@pytest.fixture(params=["activemq", "artemis", "rabbitmq"])
def broker(request: pytest.FixtureRequest, stomp_brokers: Fleet) -> BrokerContainer:
    return stomp_brokers[request.param]


@pytest.fixture
def queue() -> str:
    return f"/queue/workers-{uuid.uuid4().hex[:12]}"


def opened(broker: BrokerContainer) -> Connection:
    return Connection(broker.uri, host=broker.virtual_host, timeout=30)


@contextmanager
def working(broker: BrokerContainer, queue: str, tmp_path: Path, application: str) -> Iterator[WorkerProcess]:
    """Two processes of an application, when both listen."""
    with WorkerProcess(tmp_path, broker.uri, *TWO, application=application, QUEUE=queue) as worker:
        eventually(lambda: worker.err.count(": listening to") == 2, "both connected", PATIENCE)
        yield worker


def end(worker: WorkerProcess) -> None:
    worker.signal(signal.SIGTERM)
    assert worker.wait(PATIENCE) == 0, worker.err


def nothing_in(connection: Connection, queue: str) -> bool:
    with connection.consume(queue) as consumer:
        return consumer.receive(1.5) is None


def test_a_handler_that_hangs_costs_its_process_and_no_message(
    broker: BrokerContainer, queue: str, tmp_path: Path
) -> None:
    with opened(broker) as connection, working(broker, queue, tmp_path, HANGS) as worker:
        for text in ("hang", *GOOD):
            connection.send(queue, text, persistent=True, confirm=True)
        eventually(lambda: "runs longer than its time limit" in worker.err, "the log of it", PATIENCE)
        eventually(lambda: worker.err.count(": listening to") == 3, "its successor", PATIENCE)
        eventually(lambda: {line.text for line in worker.lines} == {"hang", *GOOD}, "all handled", PATIENCE)
        eventually(lambda: [line.text for line in worker.lines].count("hang") == 2, "the message again", PATIENCE)
        assert "time.sleep(0.05)" in worker.err
        assert queue in worker.err
        end(worker)
        assert nothing_in(connection, queue)


def test_a_message_that_kills_is_given_up_after_exactly_so_many_calls(
    broker: BrokerContainer, queue: str, tmp_path: Path
) -> None:
    assert_given_up(broker, queue, tmp_path, {})


def test_so_it_is_in_a_quorum_queue_which_counts_by_itself(stomp_brokers: Fleet, queue: str, tmp_path: Path) -> None:
    """It would count the good messages, too, that a dead process had received and not begun."""
    declared = {"x-queue-type": "quorum", "durable": "true", "auto-delete": "false"}
    assert_given_up(stomp_brokers["rabbitmq"], queue, tmp_path, declared)


def assert_given_up(broker: BrokerContainer, queue: str, tmp_path: Path, declared: dict[str, str]) -> None:
    """One message kills its process, and goes to the error destination; the others are handled."""
    errors = f"{queue}.failed"
    with opened(broker) as connection:
        # Those that wait behind the first message are received with it.
        for text in ("kill", *GOOD):
            connection.send(queue, text, declared, persistent=True, confirm=True)
        variables = {"QUEUE": queue, "DECLARED": json.dumps(declared)}
        with WorkerProcess(tmp_path, broker.uri, *TWO, application=KILLS, **variables) as worker:
            with connection.consume(errors, ack="auto", headers=declared) as failed:
                letter = failed.receive(PATIENCE)
                assert letter is not None, worker.err
                assert (letter.text, letter.headers["original-destination"]) == ("kill", queue)
                eventually(lambda: {line.text for line in worker.lines} == {"kill", *GOOD}, "all others", PATIENCE)
                assert failed.receive(0.5) is None
            assert Counter(line.text for line in worker.lines)["kill"] == 3
            end(worker)
        with connection.consume(queue, headers=declared) as consumer:
            assert consumer.receive(1.5) is None


ONCE = DEPLOYED.replace("app = Application()", 'app = Application(inbox=SQLiteInbox("inbox"))').replace(
    "@app.listener(queue)", "@app.listener(queue, once=True)"
)


@pytest.mark.parametrize(("application", "copies"), [(DEPLOYED, 1), (ONCE, 2)], ids=["", "once"])
def test_a_deploy_under_load_loses_nothing_and_does_nothing_twice(
    broker: BrokerContainer, queue: str, tmp_path: Path, application: str, copies: int
) -> None:
    """With ``once`` every message comes twice. The load ends when all processes of the new code handled something."""
    version = tmp_path / "version"
    version.write_text("old")
    assert application.count("once=True") == copies - 1
    with opened(broker) as connection, working(broker, queue, tmp_path, application) as worker:

        def handled() -> list[list[str]]:
            return [line.split() for line in worker.book.read_text().splitlines()]

        texts: list[str] = []

        def load_until(code: str) -> None:
            give_up = time.monotonic() + PATIENCE
            while len({pid for _, pid, by in handled() if by == code}) < 2:
                assert time.monotonic() < give_up, f"no two processes of the {code} code: {worker.err}"
                if len(texts) - len(handled()) > 200:
                    time.sleep(0.01)
                    continue
                texts.append(str(len(texts)))
                for _ in range(copies):
                    connection.send(queue, texts[-1], {"outbox-id": texts[-1]}, persistent=True)

        load_until("old")
        version.write_text("new")
        worker.signal(signal.SIGHUP)
        load_until("new")
        eventually(lambda: len(handled()) >= len(texts), "all handled", PATIENCE)
        # What may be left in the queue are copies of messages that were handled.
        end(worker)
        assert sorted(text for text, _, _ in handled()) == sorted(texts)
        # A new process works before the last old one is gone.
        codes = [code for _, _, code in handled()]
        assert codes.index("new") < len(codes) - 1 - codes[::-1].index("old")


def test_two_workers_share_a_backlog(broker: BrokerContainer, queue: str) -> None:
    """The one that came first is slow, and has no more than its share."""
    slow, quick, release = Application(broker.uri), Application(broker.uri), threading.Event()
    done: list[str] = []
    slow.listener(queue)(lambda message: release.wait(PATIENCE))
    quick.listener(queue)(lambda message: done.append(message.text))
    with opened(broker) as connection:
        for number in range(200):
            connection.send(queue, str(number), persistent=True, confirm=True)
        with slow.running():
            eventually(lambda: slow.connection().statistics().messages_received, "the first one at work", PATIENCE)
            with quick.running():
                # Artemis counts KiB, and puts two or three of these messages in each.
                eventually(lambda: len(done) >= 180, "the others handled by the second one", PATIENCE)
                release.set()


def test_threads_keep_the_order_of_each_customer_over_retries(broker: BrokerContainer, queue: str) -> None:
    app = Application(broker.uri)
    handled: dict[str, list[int]] = {f"customer {number}": [] for number in range(10)}
    most = running = 0
    lock = threading.Lock()

    @app.listener(queue, workers=8, ordered_by="customer", retries=1, retry_delay=0.02)
    def book(message: Message) -> None:
        nonlocal most, running
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with lock:
            running -= 1
        if int(message.text) % 3 == 0 and not message.attempts:
            raise LookupError("not at once")
        handled[message.headers["customer"]].append(int(message.text))

    with opened(broker) as connection:
        for number in range(50):
            for customer in handled:
                connection.send(queue, str(number), {"customer": customer}, persistent=True)
        with app.running():
            eventually(lambda: sum(map(len, handled.values())) == 500, "all handled", PATIENCE)
        assert nothing_in(connection, queue)
    assert all(numbers == list(range(50)) for numbers in handled.values())
    assert most > 1
