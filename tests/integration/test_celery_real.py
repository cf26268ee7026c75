"""Celery over the real brokers' STOMP ports: its ways of using a broker, and no lost task whatever is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("celery", reason="Celery has no Windows")

import celery_app as tasks
from celery import chain, chord, group
from kombu import Connection, Consumer, Producer, Queue
from sizes import sized

from stomplistener import ConnectFailed
from stomplistener.testing import Fleet
from stomplistener.testing.containers import BrokerContainer

BROKERS = ("activemq", "artemis", "rabbitmq")
TASKS = sized(5000)
"""How many tasks the tests with killed brokers and workers run."""
POOLS = ("prefork", "threads")

pytestmark = pytest.mark.timeout(1200, func_only=True)


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest, stomp_brokers: Fleet) -> BrokerContainer:
    return stomp_brokers[request.param]


class Site:
    """A Celery application on the brokers of some URIs, with its own queue, and worker processes."""

    def __init__(self, uris: str, directory: Path, authority: str = "") -> None:
        self.directory = directory
        (directory / "results").mkdir()
        self.environment = {
            "CELERY_BROKER": f"stomp+failover:({uris})?maxReconnectDelay=500&randomize=false",
            "CELERY_DIRECTORY": str(directory),
            "CELERY_QUEUE": f"celery-{uuid.uuid4().hex[:12]}",
            "CELERY_AUTHORITY": authority,
        }
        self.workers: list[subprocess.Popen[bytes]] = []

    def start_worker(self, pool: str = "prefork", concurrency: int = 2) -> subprocess.Popen[bytes]:
        """Start a worker process in a process group of its own."""
        with open(self.directory / f"worker-{len(self.workers)}.log", "ab") as log:
            worker = subprocess.Popen(
                [
                    *(sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-E", "--loglevel", "INFO"),
                    *("--pool", pool, "--concurrency", str(concurrency), "--hostname", f"{uuid.uuid4().hex}@test"),
                ],
                cwd=Path(__file__).parent,
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.workers.append(worker)
        return worker

    def kill_worker(self, worker: subprocess.Popen[bytes]) -> None:
        """Kill a worker with all its children."""
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait(10)

    def end(self) -> None:
        """Kill what still runs."""
        for worker in self.workers:
            self.kill_worker(worker)

    def lines(self, name: str) -> list[str]:
        """What the tasks have recorded."""
        path = self.directory / name
        return path.read_text().splitlines() if path.exists() else []

    def logs(self) -> str:
        """The ends of the workers' logs."""
        return "\n".join(path.read_text()[-4000:] for path in sorted(self.directory.glob("worker-*.log")))


@contextmanager
def site(uris: str, directory: Path, authority: str = "") -> Iterator[tuple[Site, Any]]:
    """A site, and the application as the test process has it."""
    made = Site(uris, directory, authority)
    app = tasks.make(*made.environment.values())
    try:
        yield made, app
    finally:
        made.end()
        app.close()


def eventually(holds: Callable[[], object], what: str, timeout: float, logs: Callable[[], str]) -> None:
    end = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < end, f"not {what} within {timeout} s\n{logs()}"
        time.sleep(0.1)


def test_a_rejected_message_does_not_come_again_and_a_requeued_one_does(broker: BrokerContainer) -> None:
    queue = Queue(f"kombu-{uuid.uuid4().hex}")
    seen: list[Any] = []
    with Connection(f"stomp+{broker.uri}") as connection:
        producer = Producer(connection)
        for body in ("again", "never again"):
            producer.publish(body, exchange="", routing_key=queue.name, declare=[queue])

        def settle(message: Any) -> None:
            seen.append(message.decode())
            if message.delivery_info["redelivered"]:
                message.ack()
            else:
                message.reject(requeue=seen[-1] == "again")

        with Consumer(connection.channel(), [queue], on_message=settle), suppress(TimeoutError):
            while True:
                connection.drain_events(timeout=3)
    assert sorted(seen) == ["again", "again", "never again"]


def publish(uri: str, queue: Queue, *bodies: Any, **options: Any) -> None:
    """Send, each body with its own priority where it is a number."""
    with Connection(f"stomp+{uri}", **options) as connection:
        producer = Producer(connection)
        for body in bodies:
            priority = body if isinstance(body, int) else None
            producer.publish(body, exchange="", routing_key=queue.name, declare=[queue], priority=priority)


def taken(uri: str, queue: Queue, timeout: float, **options: Any) -> list[Any]:
    """The bodies that are in a queue, in the order that a consumer with a prefetch of 1 gets them in."""
    bodies: list[Any] = []

    def take(message: Any) -> None:
        bodies.append(message.decode())
        message.ack()

    with Connection(f"stomp+{uri}", **options) as connection:
        channel = connection.channel()
        channel.basic_qos(0, 1, False)
        with Consumer(channel, [queue], on_message=take), suppress(TimeoutError):
            while True:
                connection.drain_events(timeout=timeout)
    return bodies


def test_priorities(broker: BrokerContainer) -> None:
    queue = Queue(f"kombu-{uuid.uuid4().hex}", max_priority=9)
    publish(broker.uri, queue, 1, 9, 5)
    # ActiveMQ has priorities for queues whose policy says prioritizedMessages, and ours says nothing.
    assert taken(broker.uri, queue, 3) == ([1, 9, 5] if broker.name == "activemq" else [9, 5, 1])


def test_an_expired_message_is_not_delivered(broker: BrokerContainer) -> None:
    queue = Queue(f"kombu-{uuid.uuid4().hex}")
    with Connection(f"stomp+{broker.uri}") as connection:
        producer = Producer(connection)
        for body, seconds in (("too late", 0.5), ("in time", 600)):
            producer.publish(body, exchange="", routing_key=queue.name, declare=[queue], expiration=seconds)
    time.sleep(1)  # the first one expires
    assert taken(broker.uri, queue, 3) == ["in time"]


@contextmanager
def virtual_host(broker: BrokerContainer) -> Iterator[str]:
    """A virtual host of the test's own. Only RabbitMQ has any; the others take each name, and ignore it."""
    host = f"shop-{uuid.uuid4().hex}"
    if broker.name != "rabbitmq":
        yield host
        return
    broker.exec(["rabbitmqctl", "add_vhost", host])
    broker.exec(["rabbitmqctl", "set_permissions", "-p", host, broker.login, ".*", ".*", ".*"])
    try:
        yield host
    finally:
        broker.exec(["rabbitmqctl", "delete_vhost", host])


def in_host(uri: str, host: str) -> str:
    return f"{uri.rpartition('/')[0]}/{host}"


def test_a_virtual_host_has_queues_of_its_own_where_the_broker_has_virtual_hosts(broker: BrokerContainer) -> None:
    queue = Queue(f"kombu-{uuid.uuid4().hex}")
    with virtual_host(broker) as host:
        other = in_host(broker.uri, host)
        publish(other, queue, "for the shop")
        assert taken(broker.uri, queue, 2) == ([] if broker.name == "rabbitmq" else ["for the shop"])
        assert taken(other, queue, 2) == (["for the shop"] if broker.name == "rabbitmq" else [])


def test_tls_verifies_the_broker(broker: BrokerContainer, certs: Path) -> None:
    queue, uri = Queue(f"kombu-{uuid.uuid4().hex}"), broker.uris["ssl"]
    # Without trust: a producer would try again forever.
    with Connection(f"stomp+{uri}") as stranger, pytest.raises(ConnectFailed, match="certificate"):
        stranger.connect()
    trusted = {"ssl": {"ca_certs": str(certs / "ca.pem")}}
    publish(uri, queue, "over TLS", **trusted)
    assert taken(uri, queue, 2, **trusted) == ["over TLS"]


@pytest.mark.parametrize("pool", POOLS)
def test_the_ways_of_celery(broker: BrokerContainer, pool: str, tmp_path: Path) -> None:
    with site(broker.uri, tmp_path) as (made, app):
        worker = made.start_worker(pool)
        eventually(lambda: app.control.ping(timeout=2), "answering to ping", 60, made.logs)
        get = {"timeout": 60, "interval": 0.05}

        assert chain(tasks.add.s(2, 3), tasks.multiply.s(4), tasks.add.s(1))().get(**get) == 21
        assert group(tasks.add.s(n, n) for n in range(10))().get(**get) == [2 * n for n in range(10)]
        assert chord((tasks.multiply.s(n, 2) for n in range(8)), tasks.total.s())().get(**get) == 56
        assert tasks.succeed_at.delay(3).get(**get) == 2

        due = time.time() + 2
        ran = [tasks.now.apply_async(countdown=2) for _ in range(20)]
        assert tasks.add.delay(1, 1).get(**get) == 2, "what waits for its time keeps nothing else waiting"
        assert min(result.get(**get) for result in ran) >= due - 0.1

        revoked = tasks.mark.apply_async((1,), countdown=3)
        app.control.revoke(revoked.id, reply=True, timeout=2)
        kept = tasks.mark.apply_async((2,), countdown=3)
        kept.get(**get)
        assert made.lines("marks") == ["2"]

        if pool == "prefork":
            assert tasks.sleep_until_the_limit.delay().get(**get) == "limited"
        assert tasks.delivery.apply_async(priority=7).get(**get)["priority"] == 7
        tasks.early.delay(1)
        eventually(lambda: made.lines("early") == ["1"], "the early task", 20, made.logs)
        assert len(app.control.inspect(timeout=2).stats()) == 1

        worker.terminate()
        assert worker.wait(30) == 0, made.logs()


def test_a_worker_over_tls_in_another_virtual_host_outlives_its_broker(
    broker: BrokerContainer, certs: Path, tmp_path: Path
) -> None:
    """The first broker of the URI is never there; the second is killed while tasks wait."""
    get = {"timeout": 120, "interval": 0.05}
    with ExitStack() as stack:
        host = stack.enter_context(virtual_host(broker))
        secure = in_host(broker.uris["ssl"], host)
        made, app = stack.enter_context(site(f"ssl://127.0.0.1:1,{secure}", tmp_path, str(certs / "ca.pem")))
        stack.callback(broker.start)
        worker = made.start_worker("threads")
        assert tasks.add.delay(2, 3).get(**get) == 5, made.logs()
        assert app.control.ping(timeout=2), "remote control reaches the virtual host, too"
        if broker.name == "rabbitmq":
            names = made.environment["CELERY_QUEUE"]
            assert names in broker.exec(["rabbitmqctl", "-q", "list_queues", "-p", host, "name"])
            assert names not in broker.exec(["rabbitmqctl", "-q", "list_queues", "name"])
        for number in range(50):
            tasks.work.delay(number)
        broker.kill()
        broker.start()
        assert tasks.multiply.delay(6, 7).get(**get) == 42, made.logs()
        eventually(lambda: set(map(int, made.lines("done"))) == set(range(50)), "every task done", 120, made.logs)
        worker.terminate()
        assert worker.wait(30) == 0, made.logs()


def test_events_reach_a_monitor(broker: BrokerContainer, tmp_path: Path) -> None:
    seen: list[str] = []
    with site(broker.uri, tmp_path) as (made, app), app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": lambda event: seen.append(event["type"])})
        with receiver.consumer_context() as (listening, _, _):
            made.start_worker("threads")

            def came() -> bool:
                with suppress(TimeoutError):
                    listening.drain_events(timeout=1)
                return "worker-online" in seen and "worker-heartbeat" in seen

            eventually(came, "the events of a worker", 60, made.logs)


def test_a_warm_shutdown_runs_no_task_twice(broker: BrokerContainer, tmp_path: Path) -> None:
    """Celery cancels its consumer first, and acknowledges the tasks that run later."""
    with site(broker.uri, tmp_path) as (made, _):
        first = made.start_worker("threads", 2)
        for number in range(200):
            tasks.work.delay(number)
        eventually(lambda: len(made.lines("done")) >= 20, "20 tasks", 60, made.logs)
        first.terminate()
        assert first.wait(60) == 0, made.logs()
        made.start_worker("threads", 2)
        eventually(lambda: len(made.lines("done")) >= 200, "all tasks", 60, made.logs)
        done = made.lines("done")
        assert sorted(map(int, done)) == list(range(200))


@pytest.mark.parametrize("pool", POOLS)
def test_no_task_is_lost_whatever_is_killed(broker: BrokerContainer, pool: str, tmp_path: Path) -> None:
    dice = random.Random(7)
    with ExitStack() as stack:
        made, app = stack.enter_context(site(broker.uri, tmp_path))
        stack.callback(broker.start)
        running = [made.start_worker(pool) for _ in range(2)]
        sent = threading.Event()

        def send() -> None:
            # The current application is one of a thread.
            work = app.tasks[tasks.work.name]
            for number in range(TASKS):
                work.delay(number)
            sent.set()

        threading.Thread(target=send, daemon=True).start()

        def done() -> set[int]:
            return set(map(int, made.lines("done")))

        def reached(count: int) -> bool:
            return len(done()) >= count

        kills = [("broker", TASKS // 4), ("worker", TASKS * 2 // 5), ("child", TASKS // 2), ("broker", TASKS * 3 // 4)]
        for victim, at in kills:
            eventually(partial(reached, at), f"{at} tasks, before a {victim} is killed", 400, made.logs)
            if victim == "broker":
                broker.kill()
                broker.start()
            elif victim == "worker" or pool == "threads":
                index = dice.randrange(len(running))
                made.kill_worker(running[index])
                running[index] = made.start_worker(pool)
            else:
                kill_a_child(dice.choice(running).pid, dice)
        eventually(sent.is_set, "all tasks sent", 400, made.logs)
        eventually(lambda: done() == set(range(TASKS)), "every task done", 400, made.logs)


def kill_a_child(parent: int, dice: random.Random) -> None:
    """Kill one process of a worker's pool."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    if children:
        with suppress(ProcessLookupError):
            os.kill(int(dice.choice(children)), signal.SIGKILL)
