"""Callbacks that raise anything: the exception is reported, and the next message comes.

The kinds of exception are those that a program meets: what ends programs, cancels tasks, closes generators, fails a
test, and a BaseException of its own. The callbacks are all of those that the library calls.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
from application_support import (
    EXCEPTIONS,
    SOON,
    Keeper,
    Raiser,
    Tampered,
    be_refused,
    connected,
    every_exception,
    fall_silent,
    log_texts,
    logged,
    still_works,
)
from client_support import QUEUE, eventually, in_thread, reconnected

from stomplistener import Connection, Listener, Message, StompError
from stomplistener.testing import Broker

pytestmark = pytest.mark.timeout(30)

Make = Callable[[], BaseException]


def lose(broker: Broker, connection: Connection) -> None:
    reconnects = connection.statistics().reconnects
    broker.drop_connections()
    reconnected(connection, reconnects + 1)


def fail_on_a_message(broker: Broker, connection: Connection) -> None:
    connection.subscribe("/queue/failing", Raiser(EXCEPTIONS["ValueError"]), confirm=True)
    broker.publish("/queue/failing", "fails")


TRIGGERS: dict[str, Callable[[Broker, Connection], object]] = {
    "on_connecting": lose,
    "on_connected": lose,
    "on_connection_lost": lose,
    "on_disconnected": lose,
    "on_reconnecting": lose,
    "on_heartbeat": lambda broker, connection: None,
    "on_heartbeat_timeout": fall_silent,
    "on_send": lambda broker, connection: in_thread(lambda: connection.send("/queue/sent", "x")).done(),
    "on_message": lambda broker, connection: broker.publish(QUEUE, "raises"),
    "on_receipt": lambda broker, connection: connection.send("/queue/x", "x", {"receipt": "mine"}),
    "on_error": be_refused,
    "on_listener_error": fail_on_a_message,
}


def test_every_hook_has_a_trigger() -> None:
    hooks = {name for name in vars(Listener) if name.startswith("on_")}
    assert hooks <= {*TRIGGERS, "on_disconnecting"}


@every_exception
@pytest.mark.parametrize("hook", TRIGGERS)
def test_a_hook_of_the_connection(make: Make, hook: str, caplog: pytest.LogCaptureFixture) -> None:
    if not hasattr(Listener, hook):
        pytest.fail(f"Listener has no {hook} yet")
    beats = (0.1, 0.1) if "heartbeat" in hook else (0.0, 0.0)
    with Broker(heartbeat=beats) as broker, connected(broker.uri, heartbeat=beats) as connection:
        keeper, raiser = Keeper(), Raiser(make)
        listener = type("Raising", (Listener,), {hook: lambda self, *args: raiser(*args)})()
        connection.subscribe(QUEUE, keeper.on_message, confirm=True)
        connection.add_listener(listener)
        TRIGGERS[hook](broker, connection)
        eventually(lambda: raiser.is_spent, f"{hook} was called")
        name = type(make()).__name__
        # Code of the application that runs in its own thread may also raise there.
        if hook != "on_send":
            eventually(logged(caplog, name), f"{name} in the log: {log_texts(caplog)}")
        broker.publish(QUEUE, "next")
        keeper.expect("next")
        still_works(connection)


@every_exception
def test_the_hook_before_the_end(make: Make, broker: Broker) -> None:
    raiser = Raiser(make)
    listener = type("Raising", (Listener,), {"on_disconnecting": lambda self: raiser()})()
    with connected(broker.uri) as connection:
        connection.add_listener(listener)
        in_thread(connection.disconnect).value(SOON)
        assert raiser.calls == 1
        assert [frame.command for frame in broker.frames()][-1] == "DISCONNECT"


@every_exception
def test_all_hooks_at_once_and_always(make: Make) -> None:
    """A listener none of whose hooks ever works costs itself, and no other listener."""
    raiser = Raiser(make, times=10**9)

    class Hopeless:
        def __getattr__(self, name: str) -> Any:
            if not name.startswith("on_") or not hasattr(Listener, name) or name == "on_send":
                raise AttributeError(name)
            return raiser

    with Broker() as broker, connected(broker.uri) as connection:
        keeper = Keeper()
        connection.add_listener(Hopeless())
        connection.add_listener(keeper)
        connection.subscribe(QUEUE, confirm=True)
        for number in range(3):
            broker.publish(QUEUE, str(number))
        keeper.expect("0", "1", "2")
        lose(broker, connection)
        broker.publish(QUEUE, "again")
        keeper.expect("again")


class Mode(NamedTuple):
    """How a subscription settles, and what becomes of a message on which its listener raises."""

    options: dict[str, Any]
    acks: bool = False
    left: str | None = None


MODES = {
    "auto": Mode({}),
    "client": Mode({"ack": "client"}, acks=True),
    "client-individual": Mode({"ack": "client-individual"}, acks=True),
    "settle": Mode({"ack": "client-individual", "settle": True}, left="/queue/DLQ"),
    "settle, retries": Mode(
        {"ack": "client-individual", "settle": True, "retries": 1, "retry_delay": 0.0}, left="/queue/DLQ"
    ),
    "settle, forwarded": Mode(
        {"ack": "client-individual", "settle": True, "error_destination": "/queue/errors"}, left="/queue/errors"
    ),
    "workers": Mode({"workers": 2}),
    "settle, workers": Mode({"ack": "client-individual", "settle": True, "workers": 2}, left="/queue/DLQ"),
}
BAD = 3


@every_exception
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES.keys())
def test_the_listener_of_a_subscription(make: Make, mode: Mode, caplog: pytest.LogCaptureFixture) -> None:
    """More bad messages than there are workers: one thread after the other must survive its message."""

    class Fragile:
        def on_message(self, message: Message) -> None:
            if mode.acks:
                message.ack()
            if message.text.startswith("bad"):
                raise make()
            good.on_message(message)

    good, watcher = Keeper(), Keeper()
    with Broker(max_deliveries=1) as broker, connected(broker.uri) as connection:
        connection.add_listener(type("Watcher", (), {"on_listener_error": watcher.on_listener_error})())
        connection.subscribe(QUEUE, Fragile(), confirm=True, **mode.options)
        for number in range(BAD):
            broker.publish(QUEUE, f"bad {number}")
        broker.publish(QUEUE, "good")
        good.expect("good")
        eventually(lambda: len(watcher.errors) >= BAD, f"{BAD} errors told to listeners: {watcher.errors}")
        assert {type(error) for error in watcher.errors} == {type(make())}
        assert connection.statistics().listener_errors == len(watcher.errors)
        assert logged(caplog, type(make()).__name__)()
        if mode.left is not None:
            eventually(lambda: broker.depth(mode.left or "") == BAD, f"the bad messages in {mode.left}")
        eventually(lambda: connection.statistics().pending == 0, "nothing pending")
        eventually(lambda: not broker.unacknowledged(QUEUE), "everything settled")


@every_exception
@pytest.mark.parametrize("workers", [1, 2])
def test_the_error_hook_of_a_subscription(make: Make, workers: int, broker: Broker) -> None:
    class Fragile:
        def on_message(self, message: Message) -> None:
            if message.text == "bad":
                raise ValueError(message.text)
            good.on_message(message)

        def on_listener_error(self, message: Message, exception: BaseException) -> None:
            raise make()

    good = Keeper()
    with connected(broker.uri) as connection:
        connection.subscribe(QUEUE, Fragile(), workers=workers, confirm=True)
        for text in ("bad", "bad", "bad", "good"):
            broker.publish(QUEUE, text)
        good.expect("good")
        assert connection.statistics().listener_errors == 3


@every_exception
def test_the_callback_of_a_future(make: Make, broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    with connected(broker.uri) as connection:
        broker.withhold_receipts("SEND")
        futures = [connection.send_async("/queue/x", str(number)) for number in range(3)]
        raiser, heard = Raiser(make, times=2), threading.Event()
        futures[0].add_done_callback(raiser)
        futures[0].add_done_callback(raiser)
        futures[0].add_done_callback(lambda _future: heard.set())
        broker.release_receipts()
        for future in futures:
            future.result(SOON)
        assert heard.wait(SOON), "a callback behind those that raise is called"
        name = type(make()).__name__
        if not issubclass(type(make()), Exception):
            eventually(logged(caplog, name), f"{name} in the log: {log_texts(caplog)}")
        still_works(connection)


@every_exception
def test_the_callback_of_a_request(make: Make, broker: Broker) -> None:
    with connected(broker.uri) as connection:
        connection.subscribe(QUEUE, lambda message: connection.reply(message, "answer"), confirm=True)
        raiser = Raiser(make)
        future = connection.request_async(QUEUE, "question")
        future.add_done_callback(raiser)
        assert future.result(SOON).text == "answer"
        eventually(lambda: raiser.is_spent, "the callback was called")
        assert connection.request(QUEUE, "again", timeout=SOON).text == "answer"
        still_works(connection)


@every_exception
@pytest.mark.parametrize("when", ["start", "reconnect"])
def test_before_connect(make: Make, when: str, broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """Raising fails that attempt; the next one is made as after any other failure."""
    raiser = Raiser(make, times=2 if when == "start" else 0)
    with connected(broker.uri, before_connect=lambda options: raiser(options)) as connection:
        if when == "reconnect":
            raiser = Raiser(make, times=2)
            lose(broker, connection)
        assert raiser.calls == 3
        still_works(connection)


@every_exception
def test_before_connect_at_the_only_attempt(make: Make, broker: Broker) -> None:
    connection = Connection(broker.uri, before_connect=Raiser(make), timeout=SOON)
    error = in_thread(connection.connect).done(SOON).error
    assert isinstance(error, StompError)
    assert type(make()).__name__ in str(error) or "from the application" in str(error)
    # The second time it works.
    in_thread(connection.connect).value(SOON)
    in_thread(connection.disconnect).value(SOON)


@every_exception
def test_the_notification_of_a_consumer(make: Make, broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    raiser = Raiser(make)
    with connected(broker.uri) as connection, connection.consume(QUEUE, ack="auto", notify=raiser) as consumer:
        for text in ("first", "second"):
            broker.publish(QUEUE, text)
            message = in_thread(lambda: consumer.receive(SOON)).value()
            assert isinstance(message, Message)
            assert message.text == text
        eventually(lambda: raiser.is_spent, "the notification")
        name = type(make()).__name__
        eventually(logged(caplog, name), f"{name} in the log: {log_texts(caplog)}")
        still_works(connection)


FAULTS = ("dial", "receive", "receive a str", "receive None", "send", "send too few", "settimeout", "shutdown", "close")


@every_exception
@pytest.mark.parametrize("fault", FAULTS)
def test_a_transport_of_ones_own(make: Make, fault: str, broker: Broker) -> None:
    """What a transport does wrong counts as the loss of its connection."""
    armed, tampered = threading.Event(), threading.Event()

    def once(result: Callable[..., object], real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **keywords: object) -> object:
            if not armed.is_set() or tampered.is_set():
                return real(*args, **keywords)
            tampered.set()
            return result()

        return call

    def fails() -> object:
        raise make()

    def replace(real: Any) -> dict[str, Callable[..., Any]]:
        methods: dict[str, dict[str, Callable[..., Any]]] = {
            "receive": {"receive": once(fails, real.receive)},
            "receive a str": {"receive": once(lambda: "text", real.receive)},
            "receive None": {"receive": once(lambda: None, real.receive)},
            "send": {"send": once(fails, real.send), "send_nowait": once(fails, real.send_nowait)},
            "send too few": {"send": once(lambda: None, real.send), "send_nowait": once(fails, real.send_nowait)},
            "settimeout": {"settimeout": once(fails, real.settimeout)},
            "shutdown": {"shutdown": once(fails, real.shutdown)},
            "close": {"close": once(fails, real.close)},
        }
        return methods.get(fault, {})

    transport = Tampered(replace)

    def dial(target: Any, **arguments: Any) -> Any:
        if fault == "dial":
            once(fails, lambda: None)()
        return transport.dial(target, **arguments)

    with connected(broker.uri, transport=dial, heartbeat=(0, 0)) as connection:
        keeper = Keeper()
        connection.subscribe(QUEUE, keeper.on_message, confirm=True)
        armed.set()
        if fault.startswith(("receive", "send")):
            # The receiver is in the method already: the next call is tampered with.
            broker.publish(QUEUE, "wakes the receiver")
            with suppress(StompError):
                in_thread(lambda: connection.send("/queue/x", "x", confirm=True, timeout=2)).done()
        else:
            broker.drop_connections()
        reconnected(connection)
        broker.publish(QUEUE, "next")
        keeper.expect("next")
        still_works(connection)
