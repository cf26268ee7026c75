"""Many threads on one connection, and books that must balance: for interpreters without a global lock.

    python tests/interpreters/stress.py --minutes 10
    python tests/interpreters/stress.py --scaling

Eight threads send confirmed messages, alone and in transactions; workers listen in several threads, of which some
reject at first; a proxy resets every connection every few seconds. At the end each confirmed message was received, with
the bytes that were sent, and no thread is left. ``--scaling`` measures how many messages one worker and two workers
handle in a second whose listener computes, and what two plain threads make of the same work.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import random
import sys
import threading
import time
import zlib
from collections.abc import Callable

from stomplistener import Connection, Message, StompError
from stomplistener.testing import Broker, FaultProxy

SENDERS = 8
WORKERS = 4
RESET_EVERY = 3.0
PACE = 0.002
"""Seconds between two sends of one thread: the embedded broker runs in the same process and has work, too."""
PATIENCE = 60.0
URI = "failover:({})?initialReconnectDelay=10&maxReconnectDelay=100"


class Books:
    """What was confirmed and what was received, by number. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.confirmed: set[str] = set()
        self.received: set[str] = set()
        self.corrupt: list[str] = []
        self.deliveries = 0
        self.unknown = 0

    def confirm(self, *ids: str) -> None:
        with self._lock:
            self.confirmed.update(ids)

    def lose_sight(self, count: int) -> None:
        """Their outcome is unknown, as the call that sent them said."""
        with self._lock:
            self.unknown += count

    def receive(self, message: Message) -> None:
        id = message.headers["id-of-test"]
        right = message.body == body(id) and message.headers["checksum"] == str(zlib.crc32(message.body))
        with self._lock:
            self.deliveries += 1
            self.received.add(id)
            if not right:
                self.corrupt.append(id)

    @property
    def lost(self) -> set[str]:
        with self._lock:
            return self.confirmed - self.received


def body(id: str) -> bytes:
    """The bytes that belong to an id, of a length that differs."""
    return hashlib.sha256(id.encode()).digest() * (1 + zlib.crc32(id.encode()) % 64)


def headers(id: str) -> dict[str, str]:
    return {"id-of-test": id, "checksum": str(zlib.crc32(body(id)))}


def send_until(end: float, me: int, connection: Connection, books: Books) -> None:
    """One sender: confirmed messages, each tenth time a transaction of three."""
    dice, number = random.Random(me), 0
    while time.monotonic() < end:
        ids = [f"{me}-{number + each}" for each in range(3 if number % 10 == 0 else 1)]
        number += len(ids)
        try:
            if len(ids) == 1:
                connection.send("/queue/stress", body(ids[0]), headers(ids[0]), confirm=True, timeout=PATIENCE)
            else:
                with connection.transaction() as transaction:
                    for id in ids:
                        transaction.send("/queue/stress", body(id), headers(id))
            books.confirm(*ids)
        except StompError:
            books.lose_sight(len(ids))
        time.sleep(dice.uniform(0, PACE))


def listen(books: Books, dice: random.Random) -> Callable[[Message], None]:
    """A listener of which each fiftieth call fails, so that the message comes again."""

    def on_message(message: Message) -> None:
        if dice.random() < 0.02:
            raise ValueError("asked for by the test")
        books.receive(message)

    return on_message


def stress(minutes: float) -> int:
    """Run it; how many messages were lost or corrupt."""
    books, began = Books(), time.monotonic()
    before = set(threading.enumerate())
    with Broker() as broker, FaultProxy(broker.uri) as proxy:
        connections = [Connection(URI.format(proxy.uri), timeout=PATIENCE, name=f"stress-{n}") for n in range(2)]
        for connection in connections:
            connection.connect()
            connection.subscribe(
                "/queue/stress",
                listen(books, random.Random(1)),
                settle=True,
                workers=WORKERS,
                retries=20,
                retry_delay=0.01,
            )
        end = began + 60 * minutes
        senders = [
            threading.Thread(
                target=send_until, args=(end, number, connections[number % 2], books), name=f"sender-{number}"
            )
            for number in range(SENDERS)
        ]
        for sender in senders:
            sender.start()
        resets = 0
        while time.monotonic() < end:
            time.sleep(RESET_EVERY)
            proxy.cut(reset=True)
            resets += 1
        for sender in senders:
            sender.join()
        patience = time.monotonic() + PATIENCE
        while books.lost and time.monotonic() < patience:
            time.sleep(0.1)
        for connection in connections:
            connection.disconnect()
    left = [each.name for each in set(threading.enumerate()) - before if each.is_alive()]
    print(
        f"{(time.monotonic() - began) / 60:.1f} min, {SENDERS} senders, {2 * WORKERS} workers, {resets} resets: "
        f"{len(books.confirmed)} confirmed, {books.deliveries} deliveries, {books.unknown} of unknown outcome, "
        f"{len(books.lost)} lost, {len(books.corrupt)} corrupt, threads left: {left}"
    )
    return len(books.lost) + len(books.corrupt) + len(left)


def compute(_message: Message | None) -> None:
    """Work in the interpreter, about a millisecond of it."""
    total = 0
    for number in range(15_000):
        total += number * number


def rate(workers: int, messages: int) -> float:
    """Messages a second that a subscription with so many workers handles."""
    done, left = threading.Event(), messages
    lock = threading.Lock()

    def handle(message: Message) -> None:
        nonlocal left
        compute(message)
        with lock:
            left -= 1
            if not left:
                done.set()

    with Broker() as broker, Connection(broker.uri, heartbeat=(0, 0)) as connection:
        for number in range(messages):
            broker.publish("/queue/work", str(number))
        began = time.monotonic()
        connection.subscribe("/queue/work", handle, workers=workers)
        if not done.wait(PATIENCE):
            raise SystemExit(f"{left} of {messages} messages were not handled in {PATIENCE} s")
        return messages / (time.monotonic() - began)


def plain_rate(threads: int, messages: int) -> float:
    """The same computation in as many plain threads: what the interpreter alone makes of them."""
    each = messages // threads

    def work() -> None:
        for _ in range(each):
            compute(None)

    running = [threading.Thread(target=work) for _ in range(threads)]
    began = time.monotonic()
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return each * threads / (time.monotonic() - began)


def scaling(messages: int = 2000) -> None:
    """Print the table: the best of three, alternating, so that a busy moment hits all of them."""
    measured: dict[tuple[Callable[[int, int], float], int], float] = {}
    for _ in range(3):
        for measure in (rate, plain_rate):
            for threads in (1, 2):
                key = measure, threads
                measured[key] = max(measured.get(key, 0.0), measure(threads, messages))
    one, two = measured[rate, 1], measured[rate, 2]
    plain = measured[plain_rate, 2] / measured[plain_rate, 1]
    lock = "with the lock" if getattr(sys, "_is_gil_enabled", lambda: True)() else "without it"
    print("| CPython | one worker | two workers | two to one | plain threads, two to one |\n|---|---|---|---|---|")
    print(f"| {sys.version.split()[0]} {lock} | {one:.0f}/s | {two:.0f}/s | {two / one:.2f} | {plain:.2f} |")


def main() -> int:
    """Run what is asked for; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--scaling", action="store_true", help="measure only the scaling")
    asked = parser.parse_args()
    # Each loss and each failure below is asked for.
    logging.getLogger("stomplistener").setLevel(logging.CRITICAL)
    if asked.scaling:
        scaling()
        return 0
    return int(stress(asked.minutes) > 0)


if __name__ == "__main__":
    sys.exit(main())
