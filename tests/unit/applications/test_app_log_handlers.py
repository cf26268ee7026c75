"""Log handlers that use the connection: no record is written while a lock of the library is held."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from application_support import (
    EXCEPTIONS,
    SOON,
    Keeper,
    Raiser,
    be_refused,
    connected,
    fall_silent,
    returns_within,
    still_works,
)
from client_support import QUEUE, eventually, in_thread, reconnected

from stomplistener import Connection, StompError
from stomplistener.testing import Broker

pytestmark = pytest.mark.timeout(40)

LOGGER = logging.getLogger("stomplistener")


class Using(logging.Handler):
    """Does something with the connection for each record, except for those that this causes."""

    def __init__(self, use: Callable[[], object]) -> None:
        super().__init__()
        self._use = use
        self._inside = threading.local()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(self._inside, "yes", False):
            return
        self._inside.yes = True
        try:
            with suppress(StompError):
                self._use()
            self.count += 1
        finally:
            self._inside.yes = False


@contextmanager
def handler(use: Callable[[], object]) -> Iterator[Using]:
    """Installed on the logger of the library, for records of every level."""
    installed = Using(use)
    LOGGER.addHandler(installed)
    level = LOGGER.level
    LOGGER.setLevel(logging.DEBUG)
    try:
        yield installed
    finally:
        LOGGER.setLevel(level)
        LOGGER.removeHandler(installed)


def fail(broker: Broker, connection: Connection) -> None:
    connection.subscribe("/queue/failing", Raiser(EXCEPTIONS["ValueError"]), ack="client-individual", settle=True)
    broker.publish("/queue/failing", "x")
    eventually(lambda: connection.statistics().listener_errors == 1, "the listener's error")


def lose(broker: Broker, connection: Connection) -> None:
    broker.drop_connections()
    reconnected(connection)


def restart(broker: Broker, connection: Connection) -> None:
    broker.restart(after=0.05)
    reconnected(connection)


def subscribe_in_vain(broker: Broker, connection: Connection) -> None:
    broker.error_next("SUBSCRIBE", close=False)
    with suppress(StompError):
        connection.subscribe("/queue/refused", print, confirm=True)


def end_and_begin(broker: Broker, connection: Connection) -> None:
    connection.disconnect()
    connection.connect()


def receive_unheard(broker: Broker, connection: Connection) -> None:
    connection.subscribe("/queue/unheard", ack="client-individual", confirm=True)
    broker.publish("/queue/unheard", "x")


def change_listeners(connection: Connection) -> None:
    connection.add_listener(print, "log")
    connection.remove_listener("log")


EVENTS: dict[str, Callable[[Broker, Connection], None]] = {
    "a listener raises": fail,
    "the connection is lost": lose,
    "the broker restarts": restart,
    "the broker answers ERROR": be_refused,
    "a subscription is refused": subscribe_in_vain,
    "heart-beats lapse": fall_silent,
    "the end and a new start": end_and_begin,
    "nobody hears a message": receive_unheard,
}
USES: dict[str, Callable[[Connection], object]] = {
    "send": lambda connection: connection.send("/queue/log", "record", timeout=0.2),
    "send_async": lambda connection: connection.send_async("/queue/log", "record", timeout=0.2),
    "statistics": lambda connection: (connection.statistics(), connection.session, connection.state),
    "flush": lambda connection: connection.flush(timeout=0.2),
    "wait": lambda connection: connection.wait(timeout=0.02),
    "subscribe": lambda connection: connection.subscribe("/queue/log", print).unsubscribe(),
    "listeners": change_listeners,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS.keys())
def test_a_handler_that_uses_the_connection(
    event: Callable[[Broker, Connection], None], use: Callable[[Connection], object]
) -> None:
    beats = (0.1, 0.1) if event is fall_silent else (0.0, 0.0)
    with Broker(heartbeat=beats) as broker, connected(broker.uri, heartbeat=beats) as connection:
        with handler(lambda: use(connection)) as installed:
            in_thread(lambda: event(broker, connection)).value(2 * SOON)
            if event is not end_and_begin:
                eventually(lambda: installed.count > 0, "a record")
            still_works(connection)


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS.keys())
def test_a_handler_whose_lock_another_thread_holds_in_a_call(event: Callable[[Broker, Connection], None]) -> None:
    """The lock order "handler, library" of one thread never meets "library, handler" of another."""
    beats = (0.1, 0.1) if event is fall_silent else (0.0, 0.0)
    own = threading.Lock()
    stop = threading.Event()

    def locked() -> None:
        with own:
            pass

    with Broker(heartbeat=beats) as broker, connected(broker.uri, heartbeat=beats) as connection:

        def call_with_the_lock() -> None:
            while not stop.is_set():
                with own, suppress(StompError):
                    connection.statistics()
                    connection.send("/queue/x", "x", timeout=0.05)
                    # A listener of its own each time: the warning of a second one is written in the calling thread.
                    connection.subscribe("/queue/y", lambda _message: None).unsubscribe()
                    _ = connection.session, connection.is_connected
                stop.wait(0.001)

        with handler(locked):
            callers = [in_thread(call_with_the_lock) for _ in range(2)]
            try:
                in_thread(lambda: event(broker, connection)).value(2 * SOON)
                still_works(connection)
            finally:
                stop.set()
            for caller in callers:
                caller.value(SOON)


@pytest.mark.parametrize("make", [EXCEPTIONS["ValueError"], EXCEPTIONS["SystemExit"], EXCEPTIONS["own"]])
@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS.keys())
def test_a_handler_that_raises(
    event: Callable[[Broker, Connection], None], make: Callable[[], BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Handlers should call ``handleError``; those that do not may cost a record, and nothing of the connection."""
    beats = (0.1, 0.1) if event is fall_silent else (0.0, 0.0)
    with Broker(heartbeat=beats) as broker, connected(broker.uri, heartbeat=beats) as connection:
        keeper = Keeper()
        connection.subscribe(QUEUE, keeper.on_message, confirm=True)
        raiser = Raiser(make, times=10**9)
        with handler(raiser):
            # A record that is written in the caller's own thread may raise there.
            with suppress(type(make())):
                in_thread(lambda: event(broker, connection)).value(2 * SOON)
            if not connection.is_connected:
                with suppress(type(make())):
                    in_thread(connection.connect).value(SOON)
        still_works(connection)
        if event is not end_and_begin:
            broker.publish(QUEUE, "next")
            keeper.expect("next")


def test_a_handler_that_blocks_does_not_hold_up_other_threads(broker: Broker) -> None:
    release, inside = threading.Event(), threading.Event()

    def block() -> None:
        inside.set()
        release.wait(SOON)

    with connected(broker.uri) as connection:
        connection.subscribe(QUEUE, Raiser(EXCEPTIONS["ValueError"]), confirm=True)
        with handler(block):
            LOGGER.setLevel(logging.WARNING)
            broker.publish(QUEUE, "raises")
            assert inside.wait(SOON)
            try:
                # The dispatcher thread is in the handler; nothing else is.
                for call in (
                    connection.statistics,
                    lambda: connection.send("/queue/x", "x", confirm=True, timeout=1),
                    lambda: connection.consume("/queue/x", ack="auto").receive(1),
                    lambda: connection.flush(timeout=1),
                ):
                    _result, error = returns_within(1.0, call)
                    assert error is None
            finally:
                release.set()
        still_works(connection)
