"""ordered_by: messages of one value in order, those of different values side by side."""

from __future__ import annotations

import threading
from collections import defaultdict

import pytest
from client_support import QUEUE, eventually

from stomplistener import Connection, Message
from stomplistener.policy import TryAgain
from stomplistener.testing import Broker


class Book:
    """What was handled, by customer; and how many at the same time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.seen: dict[str, list[int]] = defaultdict(list)
        self.running: dict[str, int] = defaultdict(int)
        self.most = 0
        self.clashes = 0

    def __call__(self, message: Message) -> None:
        customer = message.headers.get("customer", "")
        with self.lock:
            self.running[customer] += 1
            self.clashes += self.running[customer] > 1
            self.most = max(self.most, sum(self.running.values()))
        threading.Event().wait(0.002)
        with self.lock:
            self.seen[customer].append(int(message.text))
            self.running[customer] -= 1

    @property
    def count(self) -> int:
        return sum(map(len, self.seen.values()))


def test_each_value_in_order_and_values_side_by_side(broker: Broker, connection: Connection) -> None:
    book = Book()
    connection.subscribe(QUEUE, book, settle=True, workers=8, ordered_by="customer", confirm=True)
    for number in range(400):
        broker.publish(QUEUE, str(number), {"customer": str(number % 10)})
    eventually(lambda: book.count == 400, "the messages", 30)
    broker.wait_for(lambda: not broker.unacknowledged(QUEUE))
    assert book.clashes == 0
    assert all(seen == sorted(seen) for seen in book.seen.values())
    assert book.most > 1
    eventually(lambda: connection.statistics().pending == 0, "the end of the last turn")


def test_a_value_that_blocks_holds_up_no_other(broker: Broker, connection: Connection) -> None:
    release, done = threading.Event(), threading.Semaphore(0)

    def handle(message: Message) -> None:
        if message.headers["customer"] == "slow":
            release.wait(20)
        done.release()

    connection.subscribe(QUEUE, handle, settle=True, workers=2, ordered_by="customer", confirm=True)
    for _ in range(20):
        broker.publish(QUEUE, "x", {"customer": "slow"})
    for number in range(50):
        broker.publish(QUEUE, "x", {"customer": str(number)})
    for _ in range(50):
        assert done.acquire(timeout=10)
    assert not done.acquire(blocking=False)
    release.set()
    for _ in range(20):
        assert done.acquire(timeout=10)


@pytest.mark.parametrize("delay", [0.0, 0.05])
@pytest.mark.parametrize("again", [ValueError, TryAgain])
def test_a_retry_keeps_its_place(broker: Broker, connection: Connection, delay: float, again: type[Exception]) -> None:
    seen: list[str] = []
    tries = iter([True, True, False])

    def handle(message: Message) -> None:
        if message.text == "0" and next(tries):
            raise TryAgain("later", delay) if again is TryAgain else ValueError("once more")
        seen.append(message.text)

    connection.subscribe(
        QUEUE, handle, settle=True, workers=4, ordered_by="customer", retries=3, retry_delay=delay, confirm=True
    )
    for number in range(20):
        broker.publish(QUEUE, str(number), {"customer": "a"})
    eventually(lambda: len(seen) == 20, "the messages", 20)
    assert seen == [str(number) for number in range(20)]


def test_a_retry_that_is_lost_with_its_connection_holds_up_nobody(broker: Broker, connection: Connection) -> None:
    seen: list[tuple[str, bool]] = []
    failed = threading.Event()

    def handle(message: Message) -> None:
        if message.text == "0" and not message.redelivered:
            failed.set()
            raise TryAgain("much later", 3600)
        seen.append((message.text, message.redelivered))

    connection.subscribe(QUEUE, handle, settle=True, workers=4, ordered_by="customer", confirm=True)
    for number in range(5):
        broker.publish(QUEUE, str(number), {"customer": "a"})
    assert failed.wait(10)
    broker.drop_connections()
    eventually(lambda: len(seen) == 5, "the messages", 30)
    assert [text for text, _ in seen] == ["0", "1", "2", "3", "4"]
    eventually(lambda: connection.statistics().pending == 0, "the messages", 10)


def test_messages_without_the_header_have_no_order(broker: Broker, connection: Connection) -> None:
    together = threading.Barrier(2, timeout=10)
    done = threading.Semaphore(0)

    def handle(_message: Message) -> None:
        together.wait()
        done.release()

    connection.subscribe(QUEUE, handle, settle=True, workers=2, ordered_by="customer", confirm=True)
    for _ in range(2):
        broker.publish(QUEUE, "x")
    for _ in range(2):
        assert done.acquire(timeout=10)


def test_unsubscribe_drops_what_waits(broker: Broker, connection: Connection) -> None:
    begun, release = threading.Event(), threading.Event()

    def handle(_message: Message) -> None:
        begun.set()
        release.wait(10)

    subscription = connection.subscribe(QUEUE, handle, settle=True, workers=2, ordered_by="customer", confirm=True)
    for _ in range(5):
        broker.publish(QUEUE, "x", {"customer": "a"})
    assert begun.wait(10)
    broker.wait_for(lambda: len(broker.unacknowledged(QUEUE)) == 5)
    threading.Timer(0.1, release.set).start()
    subscription.unsubscribe(confirm=True)
    broker.wait_for(lambda: broker.depth(QUEUE) == 4)
    eventually(lambda: connection.statistics().pending == 0, "the end of the last turn")


@pytest.mark.parametrize("header", ["", 7])
def test_it_must_be_a_name(header: object) -> None:
    with pytest.raises((TypeError, ValueError), match="ordered_by"):
        Connection("tcp://localhost:1").subscribe(QUEUE, print, ordered_by=header)  # type: ignore[arg-type]


def test_messages_that_wait_when_the_connection_is_lost_come_again(broker: Broker, connection: Connection) -> None:
    seen: set[str] = set()
    begun, release = threading.Event(), threading.Event()

    def handle(message: Message) -> None:
        begun.set()
        assert release.wait(20)
        if message.redelivered:
            seen.add(message.text)

    connection.subscribe(QUEUE, handle, settle=True, workers=1, ordered_by="customer", confirm=True)
    for number in range(12):
        broker.publish(QUEUE, str(number), {"customer": str(number % 4)})
    broker.wait_for(lambda: len(broker.unacknowledged(QUEUE)) == 12)
    assert begun.wait(10)
    eventually(lambda: connection.statistics().pending == 12, "the messages", 10)
    broker.drop_connections()
    broker.wait_for(lambda: broker.connection_count == 2 and len(broker.unacknowledged(QUEUE)) == 12, 20)
    release.set()
    eventually(lambda: len(seen) == 12, "the messages again", 20)
    eventually(lambda: connection.statistics().pending == 0, "the end", 10)
