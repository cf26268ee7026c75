"""What ``send`` took is written soon, without another send or heartbeat behind it, on each of many connections."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from client_support import eventually

from stomplistener import Connection
from stomplistener.testing import Broker

TRIES = 10_000
LONGEST_PAUSE = 0.0006
"""Seconds: some tries follow the last write closely, and gather, and some are alone."""
PATIENCE = 10.0
MANY = 300
"""``tests/soak/many_connections.py`` makes thousands, with the broker in another process."""


@contextmanager
def loaded() -> Iterator[None]:
    """Keep the machine busy meanwhile, with a process that takes the processor away from us."""
    busy = subprocess.Popen((sys.executable, "-c", "while True: sum(range(10000))"))
    try:
        yield
    finally:
        busy.kill()
        busy.wait()


@pytest.mark.timeout(300)
def test_no_plain_send_lies_until_the_next_one(broker: Broker) -> None:
    """Ten thousand tries: one to three sends in one or two threads, and then nothing more on the connection."""
    dice, arrived = random.Random(7), threading.Semaphore(0)
    receiver = Connection(broker.uri, heartbeat=(0, 0)).connect()
    receiver.subscribe("/queue/here", lambda message: arrived.release(), confirm=True)
    with loaded(), ThreadPoolExecutor(1) as other, Connection(broker.uri, heartbeat=(0, 0)) as connection, receiver:
        for number in range(TRIES):
            here, there = dice.randint(1, 3), dice.randint(0, 1)
            elsewhere = [other.submit(connection.send, "/queue/here", "x") for _ in range(there)]
            for _ in range(here):
                connection.send("/queue/here", "x")
            for each in elsewhere:
                each.result()
            for _ in range(here + there):
                assert arrived.acquire(timeout=PATIENCE), f"try {number}: a send lies"
            if dice.random() < 0.3:
                time.sleep(dice.uniform(0, LONGEST_PAUSE))


@pytest.mark.timeout(120)
def test_one_plain_send_on_each_of_many_connections(broker: Broker) -> None:
    with ThreadPoolExecutor(8) as pool:
        connections = list(pool.map(lambda _: Connection(broker.uri, heartbeat=(0, 0)).connect(), range(MANY)))
        try:
            for connection in connections:
                connection.send("/queue/many", "x")
            eventually(lambda: broker.depth("/queue/many") == MANY, f"{MANY} messages", PATIENCE)
        finally:
            list(pool.map(Connection.close, connections))
