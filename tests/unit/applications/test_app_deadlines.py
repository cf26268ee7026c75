"""Every call ends within its own time, whatever the broker, its log-in or ``before_connect`` does not do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple

import pytest
from application_support import SOON, connected, returns_within
from client_support import (
    QUEUE,
    Collector,
    ScriptedServer,
    eventually,
    failover,
    in_thread,
)

from stomplistener import Connection, Message, StompError, Subscription, Transaction
from stomplistener.protocol import Decoder, Frame, encode
from stomplistener.testing import Broker

pytestmark = pytest.mark.timeout(40)

TIME = 0.4
"""Seconds that each call is given."""
OF_THE_CONNECTION = 1.5
"""What calls without a time of their own are given."""
FILL = 200_000


class Scene(NamedTuple):
    """A connection in trouble, with what was made before the trouble began."""

    connection: Connection
    subscription: Subscription
    transaction: Transaction
    message: Message


def make_scene(connection: Connection, broker: Broker) -> Scene:
    held = Collector()
    subscription = connection.subscribe(QUEUE, held, ack="client-individual", confirm=True)
    broker.publish(QUEUE, "held")
    eventually(lambda: bool(held.messages), "a message to acknowledge")
    transaction = connection.transaction().begin()
    connection.flush()
    return Scene(connection, subscription, transaction, held.messages[0])


@contextmanager
def scene_before_trouble() -> Iterator[tuple[Broker, Scene]]:
    with (
        Broker(heartbeat=(0, 0)) as broker,
        connected(broker.uri, heartbeat=(0, 0), timeout=OF_THE_CONNECTION) as connection,
    ):
        yield broker, make_scene(connection, broker)


def fill(connection: Connection) -> None:
    """Send until nothing more is taken."""
    with suppress(StompError):
        while True:
            connection.send("/queue/fill", b"x" * FILL, timeout=0.2)


@contextmanager
def deaf() -> Iterator[Scene]:
    """The broker reads nothing any more, and all buffers are full."""
    with scene_before_trouble() as (broker, scene):
        broker.stop_reading()
        in_thread(lambda: fill(scene.connection)).done(SOON)
        try:
            yield scene
        finally:
            broker.resume_reading()


@contextmanager
def mute() -> Iterator[Scene]:
    """The broker takes everything and answers nothing."""
    with scene_before_trouble() as (broker, scene):
        broker.go_silent()
        try:
            yield scene
        finally:
            broker.speak()


@contextmanager
def hanging_login() -> Iterator[Scene]:
    """The connection was lost; the broker accepts the next one and does not answer CONNECT."""
    with scene_before_trouble() as (broker, scene):
        broker.answer_late(3600, "CONNECT")
        count = broker.connection_count
        broker.drop_connections()
        broker.wait_for(lambda: broker.connection_count > count)
        try:
            yield scene
        finally:
            broker.clear_faults()
            in_thread(scene.connection.close).done(SOON)
            broker.answer_late(0)


@contextmanager
def hanging_hook() -> Iterator[Scene]:
    """The connection was lost; ``before_connect`` of the next one does not return."""
    hangs, inside, release = threading.Event(), threading.Event(), threading.Event()

    def before(_options: object) -> None:
        if hangs.is_set():
            inside.set()
            release.wait(30)

    with Broker(heartbeat=(0, 0)) as broker:
        with ExitStack() as stack:
            connection = stack.enter_context(
                connected(broker.uri, heartbeat=(0, 0), timeout=OF_THE_CONNECTION, before_connect=before)
            )
            scene = make_scene(connection, broker)
            hangs.set()
            broker.drop_connections()
            assert inside.wait(SOON)
            stack.callback(release.set)
            yield scene


@contextmanager
def away() -> Iterator[Scene]:
    """The broker is gone."""
    with scene_before_trouble() as (broker, scene):
        broker.stop()
        eventually(lambda: not scene.connection.is_connected, "the loss")
        yield scene


@contextmanager
def half_read() -> Iterator[Scene]:
    """The broker reads nothing, and another thread is inside a write that blocks."""
    with deaf() as scene:
        writer = in_thread(lambda: scene.connection.send("/queue/fill", b"x" * FILL, confirm=True, timeout=10))
        try:
            yield scene
        finally:
            scene.connection.close()
            writer.done(SOON)


SCENES: dict[str, Callable[[], Any]] = {
    "does not read": deaf,
    "does not answer": mute,
    "hangs in the log-in": hanging_login,
    "before_connect hangs": hanging_hook,
    "is away": away,
    "does not read, a writer blocks": half_read,
}


def _consume(scene: Scene) -> object:
    consumer = scene.connection.consume("/queue/consumed")
    try:
        return consumer.receive(TIME / 2)
    finally:
        consumer.close()


def _begin(scene: Scene) -> object:
    return scene.connection.transaction().begin(timeout=TIME)


def _change_listeners(scene: Scene) -> None:
    scene.connection.add_listener(print, "mine")
    scene.connection.remove_listener("mine")


def _batch(scene: Scene) -> None:
    with scene.connection.batch():
        scene.connection.send(QUEUE, "x", timeout=TIME)


CALLS: dict[str, tuple[float, Callable[[Scene], object]]] = {
    "disconnect": (TIME, lambda s: s.connection.disconnect(timeout=TIME)),
    "close": (0.0, lambda s: s.connection.close()),
    "unsubscribe": (TIME, lambda s: s.subscription.unsubscribe(timeout=TIME)),
    "unsubscribe confirmed": (TIME, lambda s: s.subscription.unsubscribe(confirm=True, timeout=TIME)),
    "subscribe": (TIME, lambda s: s.connection.subscribe("/queue/new", print, timeout=TIME)),
    "subscribe confirmed": (TIME, lambda s: s.connection.subscribe("/queue/new", print, confirm=True, timeout=TIME)),
    "wait_active": (2 * TIME, lambda s: s.connection.subscribe("/queue/new", print, timeout=TIME).wait_active(TIME)),
    "consume": (2 * OF_THE_CONNECTION + TIME, _consume),
    "send": (TIME, lambda s: s.connection.send(QUEUE, "x", timeout=TIME)),
    "send with a header": (TIME, lambda s: s.connection.send(QUEUE, "x", {"a": "b"}, timeout=TIME)),
    "send large": (TIME, lambda s: s.connection.send(QUEUE, b"x" * 5_000_000, timeout=TIME)),
    "send confirmed": (TIME, lambda s: s.connection.send(QUEUE, "x", confirm=True, timeout=TIME)),
    "send_async": (TIME, lambda s: s.connection.send_async(QUEUE, "x", timeout=TIME)),
    "batch": (TIME, _batch),
    "flush": (TIME, lambda s: s.connection.flush(timeout=TIME)),
    "begin": (TIME, _begin),
    "send in a transaction": (TIME, lambda s: s.transaction.send(QUEUE, "x", timeout=TIME)),
    "commit": (TIME, lambda s: s.transaction.commit(timeout=TIME)),
    "commit_async": (TIME, lambda s: s.transaction.commit_async(timeout=TIME)),
    "abort": (OF_THE_CONNECTION, lambda s: s.transaction.abort()),
    "ack": (TIME, lambda s: s.message.ack(timeout=TIME)),
    "nack": (TIME, lambda s: s.message.nack(timeout=TIME)),
    "request": (TIME, lambda s: s.connection.request("/queue/questions", "x", timeout=TIME)),
    "request_async": (TIME, lambda s: s.connection.request_async("/queue/questions", "x", timeout=TIME)),
    "wait_ready": (TIME, lambda s: s.connection.wait_ready(timeout=TIME)),
    "wait": (TIME, lambda s: s.connection.wait(timeout=TIME)),
    "connect": (TIME, lambda s: s.connection.connect(timeout=TIME)),
    "statistics": (0.0, lambda s: (s.connection.statistics(), s.connection.session, s.connection.state)),
    "listeners": (0.0, _change_listeners),
    "stop": (0.0, lambda s: s.connection.stop()),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("scene", SCENES)
def test_a_call_ends_within_its_time(scene: str, call: str) -> None:
    seconds, function = CALLS[call]
    with SCENES[scene]() as made:
        _result, error = returns_within(seconds, lambda: function(made))
        assert error is None or isinstance(error, StompError), repr(error)
        if call in ("disconnect", "close"):
            assert made.connection.wait(0.5), "closed, however it went"


@pytest.mark.parametrize("scene", ["hangs in the log-in", "before_connect hangs", "does not read"])
@pytest.mark.parametrize("end", ["close", "disconnect"])
def test_an_old_life_never_touches_the_new_one(scene: str, end: str) -> None:
    """What still hangs in the old life may end later, while the next one works."""
    with Broker() as fresh, SCENES[scene]() as made:
        connection: Connection = made.connection
        returns_within(TIME, connection.close if end == "close" else lambda: connection.disconnect(timeout=TIME))
        with connected(fresh.uri) as second:
            second.subscribe(QUEUE, print, confirm=True)
    # The scene has released what hung; the fresh broker was never disturbed.
    assert fresh.connection_count == 1


@pytest.mark.parametrize("end", ["close", "disconnect"])
def test_connect_after_an_end_during_a_hook_that_hangs(end: str, broker: Broker) -> None:
    hangs, inside, release = threading.Event(), threading.Event(), threading.Event()
    attempts: list[int] = []

    def before(_options: object) -> None:
        attempts.append(1)
        if hangs.is_set():
            hangs.clear()
            inside.set()
            release.wait(20)

    connection = Connection(failover(broker.uri), before_connect=before, timeout=SOON)
    try:
        hangs.set()
        first = in_thread(connection.connect)
        assert inside.wait(SOON)
        returns_within(TIME, connection.close if end == "close" else lambda: connection.disconnect(timeout=TIME))
        first.done(SOON)
        in_thread(connection.connect).value(SOON)
        connection.send(QUEUE, "x", confirm=True)
        release.set()
        # The old attempt finds that its life is over, and neither connects nor closes.
        connection.send(QUEUE, "y", confirm=True)
        eventually(lambda: len(broker.connections) == 1, "one connection")
        assert connection.is_connected
        assert connection.statistics().reconnects == 0
    finally:
        release.set()
        in_thread(connection.close).done(SOON)


def silent(peer: Any, _number: int) -> None:
    """Answers CONNECT, and never anything again."""
    decoder = Decoder()
    while data := peer.recv(65536):
        for frame in decoder.feed(data):
            if frame.command == "CONNECT":
                peer.sendall(encode(Frame("CONNECTED", {"version": "1.2"})))


def test_the_time_of_the_connection_holds_for_calls_without_one() -> None:
    """``with`` takes as long as a transaction and a goodbye that nobody answers: once the time for each."""
    with ScriptedServer(silent) as server:
        connection = Connection(server.uri, heartbeat=(0, 0), timeout=TIME).connect()

        def use() -> None:
            with suppress(StompError), connection, connection.transaction() as transaction:
                transaction.send(QUEUE, "x")

        returns_within(2 * TIME, use)
        assert connection.wait(SOON)
