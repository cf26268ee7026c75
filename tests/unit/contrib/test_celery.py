"""A Celery worker on the embedded broker: TLS, virtual hosts, and several brokers in ``broker_url``."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("celery", reason="Celery has no Windows")

import trustme
from celery import Celery
from celery.contrib.testing.worker import start_worker
from client_support import eventually

import stomplistener.contrib.kombu  # noqa: F401  (adds the scheme)
from stomplistener.testing import Broker

HOSTS = ("/shop", "/store")


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return authority


@pytest.fixture
def broker(authority: trustme.CA) -> Iterator[Broker]:
    """One that speaks TLS, and has two virtual hosts."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    with Broker(ssl_context=context, virtual_hosts=HOSTS) as broker:
        yield broker


def failover(broker: Broker, host: str, options: str = "") -> str:
    """A URI of a broker that is never there, and of ``broker``."""
    path = f"{host.replace('/', '%2F')}{options}"
    return (
        f"stomp+failover:(ssl://localhost:1/{path},ssl://localhost:{broker.port}/{path})"
        "?randomize=false&maxReconnectDelay=20"
    )


def application(url: str, done: list[int], **settings: Any) -> Celery:
    """An application with one task, which keeps what it was called with."""
    app = Celery("stomp", broker=url, set_as_current=False)
    app.conf.update(
        task_acks_late=True,
        broker_connection_max_retries=None,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        worker_hijack_root_logger=False,
        **settings,
    )

    def work(number: int) -> None:
        done.append(number)

    app.task(work, name="work", ignore_result=True, shared=False)
    return app


def call(app: Celery, number: int) -> None:
    app.send_task("work", (number,), retry_policy={"max_retries": None, "interval_start": 0.05, "interval_max": 0.2})


@contextmanager
def worker(app: Celery) -> Iterator[None]:
    """A worker in a thread. At the end the connections that the application sent over are closed, too."""
    with app, start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=30):
        yield
        app.pool.force_close_all()


def hosts(broker: Broker) -> set[str | None]:
    """The virtual hosts that connections asked for."""
    return {frame.headers.get("host") for command in ("CONNECT", "STOMP") for frame in broker.frames(command=command)}


@pytest.mark.parametrize("trust", ["broker_use_ssl", "URI"])
def test_a_worker_over_tls_outlives_a_connection_loss(broker: Broker, tmp_path: Path, trust: str) -> None:
    done: list[int] = []
    if trust == "URI":
        app = application(failover(broker, "/shop", f"?caFile={tmp_path / 'ca.pem'}"), done)
    else:
        app = application(failover(broker, "/shop"), done, broker_use_ssl={"ca_certs": str(tmp_path / "ca.pem")})
    with worker(app):
        call(app, 1)
        eventually(lambda: done == [1], "the task before the loss")
        broker.restart(0.1)
        call(app, 2)
        eventually(lambda: 2 in done, "the task after the loss")
        assert hosts(broker) == {"/shop"}
    broker.wait_for(lambda: not broker.connections, what="the end of the connections")


def work_in(broker: Broker, host: str, number: int, directory: Path) -> list[int]:
    """What the worker of an application in a virtual host has done."""
    done: list[int] = []
    trust = {"ca_certs": str(directory / "ca.pem")}
    # The embedded broker checks the name of a virtual host. The queues are one set for all.
    app = application(failover(broker, host), done, broker_use_ssl=trust, task_default_queue=host.strip("/"))
    with worker(app):
        call(app, number)
        eventually(lambda: bool(done), f"a task in {host}")
    return done


def test_workers_of_several_virtual_hosts(broker: Broker, tmp_path: Path) -> None:
    """One after the other: the workers of a process share one event loop of kombu's."""
    assert [work_in(broker, host, number, tmp_path) for number, host in enumerate(HOSTS)] == [[0], [1]]
    assert hosts(broker) == set(HOSTS)
