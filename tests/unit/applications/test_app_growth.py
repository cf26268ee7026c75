"""Growth: what an application does for days leaves nothing, and bounds hold in every state of a message."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from application_support import SOON, Raiser, connected, still_works
from client_support import QUEUE, eventually, in_thread

import stomplistener
from stomplistener import Connection, Limits, Message, StompError, TimedOut
from stomplistener.testing import Broker

pytestmark = pytest.mark.timeout(60)

LIBRARY = str(Path(stomplistener.__file__).parent / "*")
NOT_THE_BROKER = str(Path(stomplistener.__file__).parent / "testing" / "*")


def fail(message: Message) -> None:
    raise ValueError(message.text)


# Bounds


WAITING: dict[str, dict[str, Any]] = {
    "retries": {"retries": 5, "retry_delay": 30.0},
    "retries, workers": {"retries": 5, "retry_delay": 30.0, "workers": 4},
    "short retries": {"retries": 10**6, "retry_delay": 0.2},
}


@pytest.mark.parametrize("limit", ["max_pending_messages", "max_pending_bytes"])
@pytest.mark.parametrize("options", WAITING.values(), ids=WAITING.keys())
def test_messages_that_wait_for_a_retry_count(options: dict[str, Any], limit: str) -> None:
    size, bound = 1000, 50
    limits = Limits(**{limit: bound if limit.endswith("messages") else bound * (size + 200)})
    with Broker(prefetch=100_000) as broker, connected(broker.uri, limits=limits) as connection:
        for _ in range(2000):
            broker.publish(QUEUE, "x" * size)
        # Not confirmed: while a thread waits for a receipt, reading goes on past the bound.
        connection.subscribe(QUEUE, fail, ack="client-individual", settle=True, **options)
        eventually(lambda: connection.statistics().listener_errors >= bound // 2, "failures")
        # Nothing announces that no more is read; each wait below gives the receiver its chance to go on.
        highest = 0
        for _ in range(20):
            threading.Event().wait(0.05)
            highest = max(highest, connection.statistics().messages_received)
        assert connection.statistics().pending >= bound // 2, "they are pending"
        # Besides: what one read brings.
        assert highest <= bound + 270, f"{highest} messages are held with a bound of {bound}"
        still_open(connection, broker)


def still_open(connection: Connection, broker: Broker) -> None:
    """With the hand-off full, a call that waits for its receipt gets it all the same."""
    connection.send("/queue/elsewhere", "x", confirm=True, timeout=SOON)
    assert broker.depth("/queue/elsewhere") == 1


def test_an_abandoned_request_does_not_switch_the_bound_off() -> None:
    bound, release = 20, threading.Event()
    with Broker(prefetch=100_000) as broker:
        with connected(broker.uri, limits=Limits(max_pending_messages=bound)) as connection:
            for _ in range(3):
                connection.request_async("/queue/nobody", "x" * 10)
            connection.subscribe(QUEUE, lambda message: release.wait(20), confirm=True)
            for _ in range(3000):
                broker.publish(QUEUE, "x" * 1000)
            eventually(lambda: connection.statistics().messages_received > bound // 2, "the first messages")
            for _ in range(20):
                threading.Event().wait(0.05)
                assert connection.statistics().messages_received <= bound + 270
            release.set()
            in_thread(connection.close).done(SOON)


# Things that end, and leave nothing.


def _time_out_a_request(connection: Connection) -> None:
    with suppress(TimedOut):
        connection.request("/queue/nobody", "x", timeout=0.001)


def _abandon_a_request(connection: Connection) -> None:
    connection.request_async("/queue/nobody", "x").cancel()


def _time_out_a_commit(connection: Connection) -> None:
    transaction = connection.transaction().begin()
    transaction.send("/queue/t", "x")
    with suppress(StompError):
        transaction.commit(timeout=0.0)


def _abandon_a_transaction(connection: Connection) -> None:
    with suppress(ValueError), connection.transaction() as transaction:
        transaction.send("/queue/t", "x")
        raise ValueError


def _subscribe_and_end(connection: Connection) -> None:
    connection.subscribe("/queue/s", print).unsubscribe()


def _subscribe_with_workers(connection: Connection) -> None:
    connection.subscribe("/queue/s", print, workers=2).unsubscribe()


def _consume_and_end(connection: Connection) -> None:
    with connection.consume("/queue/s") as consumer:
        consumer.receive(0)


def _time_out_a_send(connection: Connection) -> None:
    with suppress(StompError):
        connection.send("/queue/t", "x", confirm=True, timeout=0.0)


def _cancel_a_send(connection: Connection) -> None:
    connection.send_async("/queue/t", "x").cancel()


def _name_a_listener(connection: Connection) -> None:
    connection.add_listener(print, "mine")
    connection.remove_listener("mine")


ENDING: dict[str, Callable[[Connection], None]] = {
    "requests that time out": _time_out_a_request,
    "requests that are cancelled": _abandon_a_request,
    "commits that time out": _time_out_a_commit,
    "transactions that are aborted": _abandon_a_transaction,
    "subscriptions": _subscribe_and_end,
    "subscriptions with workers": _subscribe_with_workers,
    "consumers": _consume_and_end,
    "sends that time out": _time_out_a_send,
    "sends that are cancelled": _cancel_a_send,
    "listeners": _name_a_listener,
}
ROUNDS = 150
WARM_UP = 4


def held_by_the_library(broker: Broker) -> int:
    """Bytes that lines of the library have allocated, those of the embedded broker apart."""
    # The broker keeps frames that lines of the decoder, which it shares, have made.
    broker.clear()
    broker.clear_log()
    gc.collect()
    snapshot = tracemalloc.take_snapshot().filter_traces(
        (tracemalloc.Filter(True, LIBRARY), tracemalloc.Filter(False, NOT_THE_BROKER))
    )
    return sum(statistic.size for statistic in snapshot.statistics("filename"))


@pytest.mark.parametrize("name", ENDING)
def test_what_ends_leaves_nothing(name: str, broker: Broker) -> None:
    call = ENDING[name]

    def rounds() -> None:
        for _ in range(ROUNDS):
            call(connection)
        # Twice: the broker holds the frames of its last read, which the second one makes a read of one frame.
        for _ in range(2):
            connection.send("/queue/barrier", "x", confirm=True)
        if "requests" not in name:
            eventually(lambda: connection.statistics().unconfirmed == 0, "nothing unconfirmed")

    def threads() -> int:
        return len([thread for thread in threading.enumerate() if thread.name.startswith("stomp")])

    with connected(broker.uri) as connection:
        # What is kept of a bounded number of the last ones must not count as growth.
        for _ in range(WARM_UP):
            in_thread(rounds).value(20)
        before = threads()
        tracemalloc.start()
        try:
            in_thread(rounds).value(20)
            first = held_by_the_library(broker)
            in_thread(rounds).value(20)
            in_thread(rounds).value(20)
            grown = held_by_the_library(broker) - first
        finally:
            tracemalloc.stop()
        # A leak of one small object a round is more than this.
        assert grown < 2 * ROUNDS * 250, f"{grown} bytes grew in {2 * ROUNDS} rounds"
        eventually(lambda: threads() <= before + 1, f"{threads()} threads of {before}")
        eventually(lambda: connection.statistics().pending == 0, "nothing pending")
        assert len(connection.session.transactions) == 0
        assert len(connection.session.subscriptions) <= 1, "that of the answers alone"
        still_works(connection)


def test_retries_without_delay_do_not_deepen_the_stack(broker: Broker) -> None:
    retries = 3000
    with connected(broker.uri) as connection:
        raiser = Raiser(lambda: ValueError("again"), times=retries)
        connection.subscribe(
            QUEUE, raiser, ack="client-individual", settle=True, retries=retries, retry_delay=0.0, confirm=True
        )
        broker.publish(QUEUE, "x")
        eventually(lambda: raiser.calls == retries + 1, f"{retries} retries, not {raiser.calls}", timeout=30)
        eventually(lambda: not broker.unacknowledged(QUEUE), "settled")
        eventually(lambda: connection.statistics().pending == 0, "the end of the batch")
        still_works(connection)


def test_retries_end_with_their_subscription(broker: Broker) -> None:
    """A retry in a minute must not keep a message, or run a listener, of a subscription that has ended."""
    with connected(broker.uri) as connection:
        raiser = Raiser(lambda: ValueError("again"), times=10**6)
        subscription = connection.subscribe(
            QUEUE, raiser, ack="client-individual", settle=True, retries=9, retry_delay=0.3, confirm=True
        )
        for number in range(10):
            broker.publish(QUEUE, str(number))
        eventually(lambda: raiser.calls >= 10, "each failed once")
        subscription.unsubscribe(confirm=True)
        eventually(lambda: connection.statistics().pending == 0, "nothing pending")
        calls = raiser.calls
        threading.Event().wait(0.5)
        assert raiser.calls == calls
        assert broker.depth(QUEUE) == 10


def test_connections_that_end_leave_nothing(broker: Broker) -> None:
    def lives() -> None:
        for _ in range(20):
            with Connection(broker.uri, timeout=SOON) as connection:
                connection.subscribe(QUEUE, print)
                connection.send("/queue/x", "x", confirm=True)

    in_thread(lives).value(30)
    tracemalloc.start()
    try:
        in_thread(lives).value(30)
        first = held_by_the_library(broker)
        in_thread(lives).value(30)
        in_thread(lives).value(30)
        grown = held_by_the_library(broker) - first
    finally:
        tracemalloc.stop()
    assert grown < 40 * 500, f"{grown} bytes grew in 40 lives"
