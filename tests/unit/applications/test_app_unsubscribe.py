"""``unsubscribe()`` of a subscription whose listener runs: it waits, and what the listener settles goes out before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from application_support import SLACK, SOON, connected, returns_within, still_works
from client_support import QUEUE, commands, eventually, in_thread, nothing_left_behind, own_threads

from stomplistener import Connection, Message, Subscription, SubscriptionState, TimedOut
from stomplistener.testing import Broker

pytestmark = pytest.mark.timeout(30)

TIME = 0.4


@pytest.fixture(autouse=True)
def _leave_nothing_behind() -> Iterator[None]:
    with nothing_left_behind():
        yield
        # Of a test that failed, too.
        while Slow.made:
            Slow.made.pop().release.set()


class Slow:
    """A listener that runs until it is released, and settles then."""

    made: ClassVar[list[Slow]] = []

    def __init__(self, settle: Callable[[Message], object] = lambda message: None) -> None:
        self.begun = threading.Semaphore(0)
        self.release = threading.Event()
        self.texts: list[str] = []
        self.answers: list[object] = []
        self._settle = settle
        self.made.append(self)

    def __call__(self, message: Message) -> None:
        self.begun.release()
        assert self.release.wait(20), "the test did not release its listener"
        self.answers.append(self._settle(message))
        self.texts.append(message.text)

    def wait_begun(self, times: int = 1) -> None:
        for _ in range(times):
            assert self.begun.acquire(timeout=SOON)


SETTLES: dict[str, tuple[dict[str, Any], Callable[[Message], object]]] = {
    "settle": ({"ack": "client-individual", "settle": True}, lambda message: None),
    "ack": ({"ack": "client-individual"}, lambda message: message.ack()),
    "nack": ({"ack": "client-individual"}, lambda message: message.nack()),
    "client": ({"ack": "client"}, lambda message: message.ack()),
}


@pytest.mark.parametrize("confirm", [False, True])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("how", SETTLES)
def test_the_acknowledgement_goes_first(how: str, workers: int, confirm: bool) -> None:
    options, settle = SETTLES[how]
    if how == "client":
        # One acknowledgement covers what came before it: out of order, the broker refuses the second.
        workers = 1
    with Broker(max_deliveries=1) as broker, connected(broker.uri) as connection:
        slow = Slow(settle)
        subscription = connection.subscribe(QUEUE, slow, workers=workers, confirm=True, **options)
        for number in range(workers + 2):
            broker.publish(QUEUE, str(number))
        slow.wait_begun(workers)
        ending = in_thread(lambda: subscription.unsubscribe(confirm=confirm))
        ending.join(0.2)
        assert ending.is_alive(), "it waits for the listener"
        slow.release.set()
        ending.value(SOON)
        assert len(slow.texts) == workers, "no further message was begun"
        connection.send("/queue/barrier", "x", confirm=True)
        settled = [name for name in commands(broker.frames()) if name in ("ACK", "NACK", "UNSUBSCRIBE")]
        assert settled == ["NACK" if how == "nack" else "ACK"] * workers + ["UNSUBSCRIBE"]
        left = sorted(message.text for message in broker.messages(QUEUE))
        assert left == [str(number) for number in range(workers, workers + 2)], "the others went back, once"
        assert subscription.state is SubscriptionState.ENDED
        assert not broker.frames(command="ERROR", direction="out")


@pytest.mark.parametrize("confirm", [False, True])
@pytest.mark.parametrize("workers", [1, 2])
def test_it_waits_no_longer_than_its_time(workers: int, confirm: bool, broker: Broker) -> None:
    with connected(broker.uri) as connection:
        slow = Slow()
        subscription = connection.subscribe(
            QUEUE, slow, ack="client-individual", settle=True, workers=workers, confirm=True
        )
        broker.publish(QUEUE, "0")
        slow.wait_begun()
        try:
            begin = time.monotonic()
            _result, error = returns_within(TIME, lambda: subscription.unsubscribe(confirm=confirm, timeout=TIME))
            assert time.monotonic() - begin > TIME / 2
            assert error is None or isinstance(error, TimedOut)
        finally:
            slow.release.set()
        still_works(connection)
        broker.wait_for(lambda: all(each.destination != QUEUE for each in broker.subscriptions))
        eventually(lambda: slow.texts == ["0"], "the listener's end")


@pytest.mark.parametrize("confirm", [False, True])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("how", SETTLES)
def test_in_its_own_listener(how: str, workers: int, confirm: bool, broker: Broker) -> None:
    """It cannot wait for itself; what the listener settles before goes first, and settle=True still settles it."""
    options, settle = SETTLES[how]
    done = threading.Event()

    def listen(message: Message) -> None:
        settle(message)
        subscription.unsubscribe(confirm=confirm)
        done.set()

    with connected(broker.uri) as connection:
        subscription: Subscription = connection.subscribe(QUEUE, listen, workers=workers, confirm=True, **options)
        broker.publish(QUEUE, "0")
        assert done.wait(SOON), "unsubscribe() in its own listener returned"
        broker.wait_for(lambda: not broker.subscriptions)
        still_works(connection)
        if how != "nack":
            settled = [name for name in commands(broker.frames()) if name in ("ACK", "UNSUBSCRIBE")]
            assert settled[:2] == ["ACK", "UNSUBSCRIBE"]
            assert broker.depth(QUEUE) == 0, "the message does not come twice"


def test_in_the_listener_of_another(broker: Broker) -> None:
    """Two listeners that end each other's subscriptions at the same time: each returns within its time."""
    together, done = threading.Barrier(2), threading.Semaphore(0)
    subscriptions: dict[str, Subscription] = {}

    def listen(message: Message) -> None:
        together.wait(SOON)
        subscriptions["b" if message.destination.endswith("a") else "a"].unsubscribe(timeout=TIME)
        done.release()

    with connected(broker.uri) as connection:
        for name in "ab":
            subscriptions[name] = connection.subscribe(f"/queue/{name}", listen, workers=2, confirm=True)
        for name in "ab":
            broker.publish(f"/queue/{name}", "x")
        for _ in range(2):
            assert done.acquire(timeout=SOON)
        still_works(connection)


def test_from_a_hook_while_the_listener_runs_elsewhere(broker: Broker) -> None:
    with connected(broker.uri) as connection:
        slow, ended = Slow(), threading.Event()
        subscription = connection.subscribe(QUEUE, slow, workers=2, confirm=True)
        broker.publish(QUEUE, "0")
        slow.wait_begun()

        def end(message: Message) -> None:
            slow.release.set()
            subscription.unsubscribe(timeout=SOON)
            ended.set()

        connection.subscribe("/queue/end", end, confirm=True)
        broker.publish("/queue/end", "x")
        assert ended.wait(SOON)
        assert slow.texts == ["0"]


@pytest.mark.parametrize("how", ["settle", "ack"])
def test_twice_and_at_once(how: str, broker: Broker) -> None:
    options, settle = SETTLES[how]
    with connected(broker.uri) as connection:
        slow = Slow(settle)
        subscription = connection.subscribe(QUEUE, slow, confirm=True, **options)
        broker.publish(QUEUE, "0")
        slow.wait_begun()
        endings = [in_thread(subscription.unsubscribe) for _ in range(3)]
        slow.release.set()
        for ending in endings:
            ending.value(SOON)
        subscription.unsubscribe()
        connection.send("/queue/barrier", "x", confirm=True)
        assert commands(broker.frames()).count("UNSUBSCRIBE") == 1
        assert broker.depth(QUEUE) == 0


def test_while_the_connection_is_lost(broker: Broker) -> None:
    with connected(broker.uri) as connection:
        slow = Slow(lambda message: message.ack())
        subscription = connection.subscribe(QUEUE, slow, ack="client-individual", confirm=True)
        broker.publish(QUEUE, "0")
        slow.wait_begun()
        ending = in_thread(lambda: subscription.unsubscribe(timeout=SOON))
        broker.stop()
        # An ACK that is written before the loss is noticed counts as sent.
        eventually(lambda: not connection.is_connected, "the loss")
        slow.release.set()
        ending.value(SOON)
        broker.start()
        still_works(connection)
        assert all(each.destination != QUEUE for each in broker.subscriptions), "not replayed"
        assert slow.answers == [False] or broker.depth(QUEUE) == 0


def test_a_close_ends_the_wait(broker: Broker) -> None:
    with connected(broker.uri) as connection:
        slow = Slow()
        subscription = connection.subscribe(QUEUE, slow, confirm=True)
        broker.publish(QUEUE, "0")
        slow.wait_begun()
        ending = in_thread(lambda: subscription.unsubscribe(timeout=20))
        ending.join(0.1)
        in_thread(connection.close).done(SOON)
        ending.done(SOON + SLACK)
        slow.release.set()


def test_the_workers_of_an_ended_subscription_end(broker: Broker) -> None:
    connection = Connection(broker.uri, name="stomp-many", timeout=SOON).connect()
    try:
        subscription = connection.subscribe(QUEUE, print, workers=4, confirm=True)
        for number in range(8):
            broker.publish(QUEUE, str(number))
        eventually(lambda: connection.statistics().messages_received == 8, "the messages")
        before = len(own_threads("stomp-many"))
        subscription.unsubscribe()
        eventually(lambda: len(own_threads("stomp-many")) <= before - 1, "the workers' end")
        eventually(lambda: not [name for name in own_threads("stomp-many") if "worker" in name], "none is left")
    finally:
        in_thread(connection.disconnect).done(SOON)
