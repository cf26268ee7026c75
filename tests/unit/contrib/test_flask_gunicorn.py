"""A Flask application that publishes, under gunicorn, whose workers are forked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask_support import Gunicorn
from worker_process import PATIENCE, eventually

from stomplistener.testing import Broker

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="gunicorn needs fork"),
    pytest.mark.timeout(60),
]

ROOT = Path(__file__).parents[3]
QUEUE = "/queue/orders"
ORDERS = [f"order {number}" for number in range(20)]


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


def both_workers(server: Gunicorn) -> set[int]:
    """Order until two processes have answered: while one holds a request, the other takes the next."""
    answered: set[int] = set()

    def ask() -> bool:
        with ThreadPoolExecutor(2) as threads:
            answered.update(threads.map(lambda _: server.post("try", hold=0.2), range(2)))
        return len(answered) >= 2

    eventually(ask, "two workers answer")
    return answered


@pytest.mark.parametrize(
    "options", [("--workers", "2"), ("--workers", "2", "--preload"), ("--workers", "2", "--threads", "4")], ids=" ".join
)
def test_each_worker_publishes_by_its_own_connection_and_ends_gracefully(
    broker: Broker, tmp_path: Path, options: tuple[str, ...]
) -> None:
    with Gunicorn(tmp_path, broker.uri, *options) as server:
        server.wait_until_it_answers()
        first = both_workers(server)
        assert len(broker.connections) == 2
        victim = min(first)
        os.kill(victim, signal.SIGKILL)
        broker.wait_for(lambda: len(broker.connections) == 1, PATIENCE)
        second = both_workers(server) - {victim}
        for text in ORDERS:
            server.post(text)
        assert len(second) == 2
        assert len(broker.connections) == 2
        assert server.stop() == 0, server.err
        assert "Traceback" not in server.err
    published = [message.body.decode() for message in broker.messages(QUEUE)]
    assert sorted(text for text in published if text != "try") == sorted(ORDERS)
    assert len(broker.frames(command="DISCONNECT")) == 2
    assert {end.name: end.read_text() for end in tmp_path.glob("end-*") if end.read_text().strip()} == {}
    assert {end.name for end in tmp_path.glob("end-*")} >= {f"end-{pid}" for pid in second}


def test_a_connection_of_the_master_stays_the_masters(broker: Broker, tmp_path: Path) -> None:
    with Gunicorn(tmp_path, broker.uri, "--workers", "2", "--preload", SEND_BEFORE_FORK="1") as server:
        server.wait_until_it_answers()
        workers = both_workers(server)
        senders = {message.headers["pid"] for message in broker.messages(QUEUE)}
        assert senders == {str(pid) for pid in (server.process.pid, *workers)}
        assert len(broker.connections) == 3
        assert server.stop() == 0, server.err
    # Each said goodbye for itself: no child ended the connection of the master.
    by_connection = {logged.connection for logged in broker.log if logged.frame.command == "DISCONNECT"}
    assert len(by_connection) == len(broker.frames(command="DISCONNECT")) == 3


def test_the_example_books_every_order() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLASK_")}
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "flask" / "open_shop.py"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [
        "40 orders were confirmed",
        "40 orders are booked",
        "gunicorn ended with exit code 0",
        "flask ended with exit code 0",
    ]
    assert "Traceback" not in done.stderr
