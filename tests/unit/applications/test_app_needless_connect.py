"""``connect()`` where it is not needed: it waits or raises, and ends nothing that it did not begin."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import pytest
from application_support import SLACK, SOON, Keeper, connected, returns_within, still_works
from client_support import QUEUE, eventually, failover, in_thread, reconnected

from stomplistener import Connection, ConnectionState, Frame, Listener, StompError, TimedOut
from stomplistener.testing import Broker

pytestmark = pytest.mark.timeout(40)

HOOKS = ("on_disconnected", "on_connecting", "on_reconnecting", "on_connected", "on_connection_lost", "on_error")


def lose(broker: Broker, connection: Connection) -> None:
    times = connection.statistics().reconnects
    broker.error_next("SEND")
    with suppress(StompError):
        connection.send("/queue/refused", "x", confirm=True, timeout=1)
    reconnected(connection, times + 1)


@pytest.mark.parametrize("times", [None, 0.05])
@pytest.mark.parametrize("hook", HOOKS)
def test_connect_in_a_hook(hook: str, times: float | None, broker: Broker) -> None:
    """It waits for what goes on already, or raises when its time is over; in the dispatcher it never hangs."""
    calls: list[object] = []

    def connect(_self: object, *_args: object) -> None:
        try:
            calls.append(connection.connect() if times is None else connection.connect(timeout=times))
        except StompError as error:
            calls.append(error)

    with connected(broker.uri, timeout=1) as connection:
        keeper = Keeper()
        connection.subscribe(QUEUE, keeper.on_message, confirm=True)
        connecting = type("Connecting", (Listener,), {hook: connect})()
        connection.add_listener(connecting)
        for _ in range(2):
            lose(broker, connection)
        if hook != "on_connection_lost" or hasattr(Listener, hook):
            eventually(lambda: len(calls) >= 2, f"{hook} connected: {calls}")
        broker.publish(QUEUE, "next")
        keeper.expect("next")
        still_works(connection)
        # The end calls on_disconnected, too: late enough, the hook would open the connection again, as it is asked to.
        connection.remove_listener(connecting)


def test_a_health_check_during_an_outage(broker: Broker) -> None:
    """Its short time says nothing about the connection, which comes back when the broker does."""
    with connected(broker.uri) as connection:
        keeper = Keeper()
        connection.subscribe(QUEUE, keeper.on_message, confirm=True)
        broker.stop()
        eventually(lambda: not connection.is_connected, "the loss")
        for _ in range(5):
            _result, error = returns_within(0.1, lambda: connection.connect(timeout=0.1))
            assert isinstance(error, TimedOut), repr(error)
            assert connection.state is ConnectionState.SUSPENDED
        future = connection.send_async(QUEUE, "kept")
        broker.start()
        reconnected(connection)
        future.result(SOON)
        keeper.expect("kept")


def test_a_health_check_while_another_thread_connects_for_the_first_time() -> None:
    with Broker() as broker:
        broker.stop()
        connection = Connection(failover(broker.uri), timeout=10)
        first = in_thread(connection.connect)
        eventually(lambda: connection.state is ConnectionState.CONNECTING, "the first connect")
        _result, error = returns_within(0.1, lambda: connection.connect(timeout=0.1))
        assert isinstance(error, TimedOut), repr(error)
        assert first.is_alive(), "the thread that began it goes on"
        broker.start()
        first.value(SOON)
        still_works(connection)
        in_thread(connection.disconnect).value(SOON)


def test_who_begins_it_ends_it() -> None:
    """After the TimedOut of the only caller nothing goes on in the background."""
    with Broker() as broker:
        broker.stop()
        connection = Connection(failover(broker.uri))
        _result, error = returns_within(0.3, lambda: connection.connect(timeout=0.3))
        assert isinstance(error, TimedOut)
        assert connection.state is ConnectionState.CLOSED


@pytest.mark.parametrize("threads", [2, 10])
def test_connect_from_several_threads(threads: int, broker: Broker) -> None:
    connection = Connection(failover(broker.uri), timeout=SOON)
    go = threading.Barrier(threads)

    def connect() -> Connection:
        go.wait(SOON)
        return connection.connect()

    for thread in [in_thread(connect) for _ in range(threads)]:
        assert thread.value(SOON) is connection
    assert broker.connection_count == 1
    still_works(connection)
    in_thread(connection.disconnect).value(SOON)


def test_connect_from_several_threads_with_different_times() -> None:
    with Broker() as broker:
        broker.stop()
        connection = Connection(failover(broker.uri))
        patient = in_thread(lambda: connection.connect(timeout=10))
        eventually(lambda: connection.state is ConnectionState.CONNECTING, "the patient one")
        hurried = [in_thread(lambda: connection.connect(timeout=0.1)) for _ in range(4)]
        for thread in hurried:
            thread.done(SOON)
            assert isinstance(thread.error, TimedOut)
            assert thread.seconds < 0.1 + SLACK
        broker.start()
        patient.value(SOON)
        still_works(connection)
        in_thread(connection.disconnect).value(SOON)


def test_connect_while_another_thread_disconnects(broker: Broker) -> None:
    """Either order is right; a connection that is neither open nor closed is not."""
    connection = Connection(failover(broker.uri), timeout=SOON)
    for _ in range(30):
        connection.connect()
        threads = [in_thread(connection.disconnect), in_thread(connection.connect)]
        for thread in threads:
            thread.done(SOON)
            assert thread.error is None or isinstance(thread.error, StompError)
        eventually(
            lambda: connection.state in (ConnectionState.CONNECTED, ConnectionState.CLOSED),
            f"decided, not {connection.state}",
            timeout=2,
        )
    in_thread(connection.connect).value(SOON)
    still_works(connection)
    in_thread(connection.disconnect).value(SOON)


ENDS: dict[str, Callable[[Connection], object]] = {
    "disconnect": lambda connection: connection.disconnect(timeout=2),
    "close": lambda connection: connection.close(),
}
ENDING_HOOKS = ("on_connected", "on_message", "on_disconnected", "on_reconnecting", "on_connecting", "on_error")


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("hook", ENDING_HOOKS)
def test_the_end_in_a_hook(hook: str, end: str, broker: Broker) -> None:
    done = threading.Event()

    def call(_self: object, *_args: object) -> None:
        if armed.is_set():
            ENDS[end](connection)
            done.set()

    armed = threading.Event()
    with connected(broker.uri) as connection:
        connection.add_listener(type("Ending", (Listener,), {hook: call})())
        connection.subscribe(QUEUE, confirm=True)
        armed.set()
        if hook == "on_message":
            broker.publish(QUEUE, "x")
        else:
            broker.error_next("SEND")
            with suppress(StompError):
                connection.send("/queue/refused", "x", confirm=True, timeout=1)
        assert done.wait(SOON)
        assert connection.wait(SOON)
        armed.clear()
        in_thread(connection.connect).value(SOON)
        still_works(connection)


def test_connect_in_on_disconnected_after_the_end(broker: Broker) -> None:
    """The loop of a program that never gives up: each end is followed by a new connection, and none by two."""

    class Again(Listener):
        def on_disconnected(self) -> None:
            if ends[0] < 3:
                ends[0] += 1
                in_thread(connection.connect)

        def on_connected(self, frame: Frame) -> None:
            came.set()

    ends, came = [0], threading.Event()
    with connected(broker.uri) as connection:
        connection.add_listener(Again())
        for number in range(1, 4):
            came.clear()
            in_thread(connection.disconnect).value(SOON)
            assert came.wait(SOON)
            eventually(lambda: connection.is_connected, "the next connection")
            assert broker.connection_count == 1 + number
        assert len(broker.connections) == 1
