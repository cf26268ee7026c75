"""The life cycles of real programs: how they connect, lose a connection, connect again, wait, and end.

Each is written anew here, in the shape of a program, and runs with stomp.py 9 as the reference, and with this library
restoring lost connections or not.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from compat_support import ALL, LOSING, OURS, QUEUE, RESTORING, Heard, Library, until, within

from stomplistener.testing import Broker

LOGIN = ("admin", "password")
PAUSE = 0.05

each_library = pytest.mark.parametrize("library", ALL)
ours_alone = pytest.mark.parametrize("library", OURS)


class Service:
    """Deferred subscriptions, and a listener whose hooks are replaced: ``connect()`` waits for what another hook sets.

    The shape of bluesky-stomp, which connects again in ``on_disconnected``, in a loop.
    """

    def __init__(self, library: Library, broker: Broker, **arguments: Any) -> None:
        self.heard = Heard()
        self.stomp = library.stomp
        self.conn = library.connection(broker, "Connection", auto_content_length=False, **arguments)
        self.listener = self.stomp.ConnectionListener()
        self.listener.on_message = lambda frame: self.heard.note("message", frame)
        self.conn.set_listener("", self.listener)

    def connect(self) -> None:
        if not self.conn.is_connected():
            connected = threading.Event()
            self.listener.on_connected = lambda frame: connected.set()
            self.listener.on_disconnected = self._on_disconnected
            self.conn.connect(*LOGIN, wait=True)
            assert connected.wait(10), "on_connected does not run"
        self.conn.subscribe(QUEUE, id="0", ack="auto")

    def _on_disconnected(self) -> None:
        self.heard.note("disconnected")
        while not self.conn.is_connected():
            try:
                self.connect()
            except self.stomp.exception.StompException:
                self.heard.note("failed")
            time.sleep(PAUSE)
        self.heard.note("recovered")

    def disconnect(self) -> None:
        if self.conn.is_connected():
            disconnected = threading.Event()
            self.listener.on_disconnected = disconnected.set
            self.conn.disconnect()
            assert disconnected.wait(10), "on_disconnected does not run"
        assert not self.conn.is_connected()


def carries(broker: Broker, heard: Heard, body: str) -> None:
    """A message goes through, now that all is well again."""
    broker.wait_for(lambda: [each.destination for each in broker.subscriptions] == [QUEUE])
    broker.publish(QUEUE, body)
    heard.wait("message", 1)
    assert body in heard.bodies


@each_library
def test_a_hook_that_reconnects_in_a_loop_and_waits_for_another_hook(library: Library, broker: Broker) -> None:
    service = Service(library, broker)
    service.connect()
    for number in range(1, 4):
        service.heard.calls.clear()
        broker.drop_connections()
        service.heard.wait("recovered")
        carries(broker, service.heard, f"after loss {number}")
    within(15, service.disconnect)
    broker.wait_for(lambda: not broker.connections)


def arrived(broker: Broker, count: int) -> None:
    broker.wait_for(lambda: broker.depth(QUEUE) == count)


CUTS: dict[str, Callable[[Broker], object]] = {
    "at the log-in": lambda broker: broker.accept_and_close(1),
    "behind the log-in": lambda broker: broker.connected_then_close(1),
    "at SUBSCRIBE": lambda broker: broker.drop_before("SUBSCRIBE"),
    "behind SUBSCRIBE": lambda broker: broker.drop_after("SUBSCRIBE"),
    "with a reset": lambda broker: broker.accept_and_close(1, reset=True),
}


@pytest.mark.parametrize("cut", CUTS)
def test_cut_again_while_a_hook_reconnects(cut: str, broker: Broker) -> None:
    """Of a restored connection alone: where it is not restored two hooks run beside each other, as in stomp.py."""
    service = Service(RESTORING, broker)
    service.connect()
    CUTS[cut](broker)
    broker.drop_connections()
    service.heard.wait("recovered")
    carries(broker, service.heard, cut)
    within(15, service.disconnect)


@ours_alone
@pytest.mark.parametrize("cut", CUTS)
def test_cut_again_while_a_loop_reconnects(library: Library, cut: str, broker: Broker) -> None:
    conn, heard = library.connection(broker), Heard()
    conn.set_listener("", heard)

    def keep() -> bool:
        if not conn.is_connected():
            try:
                conn.connect(*LOGIN, wait=True)
                conn.subscribe(QUEUE, id=1)
            except library.stomp.exception.StompException:
                heard.note("failed")
        return bool(heard.bodies)

    keep()
    CUTS[cut](broker)
    broker.drop_connections()
    broker.publish(QUEUE, "still there")
    until(keep)
    assert heard.bodies[0] == "still there"
    within(15, conn.disconnect)
    broker.wait_for(lambda: not broker.connections)


@each_library
def test_a_loop_that_asks_whether_it_is_connected(library: Library, broker: Broker) -> None:
    """The shape of django-stomp, plastron and iDDS: one thread looks, connects and subscribes."""
    conn, heard = library.connection(broker), Heard()
    conn.set_listener("", heard)

    def keep() -> None:
        if not conn.is_connected():
            conn.connect(*LOGIN, wait=True, headers={"client-id": "listener"})
            conn.subscribe(QUEUE, id="listener", ack="client", headers={"prefetch-count": "1"})

    for number in range(1, 4):
        keep()
        broker.wait_for(lambda: len(broker.subscriptions) == 1)
        broker.publish(QUEUE, str(number))
        frame = heard.wait("message", number)[-1]
        conn.ack(frame.headers["ack"])
        broker.wait_for(lambda: not (broker.messages(QUEUE) or broker.unacknowledged(QUEUE)))
        broker.drop_connections()
        heard.wait("disconnected", number)
    within(15, lambda: conn.disconnect(receipt="the end"))


@each_library
def test_connect_fails_and_the_program_takes_the_next_broker(library: Library, broker: Broker) -> None:
    """The shape of ssm and rucio: a connection for each broker, given up when it fails."""
    other = Broker(login="admin", passcode="password")
    places, heard = itertools.cycle([broker, other]), Heard()

    def connect() -> Any:
        for place in itertools.islice(places, 4):
            conn = library.connection(place.port, "Connection", reconnect_attempts_max=1)
            conn.set_listener("", heard)
            try:
                conn.connect(*LOGIN, wait=True)
            except library.stomp.exception.ConnectFailedException:
                heard.note("failed")
                continue
            conn.subscribe(QUEUE, id=1, ack="auto")
            return conn
        raise AssertionError("none of them")

    port = other.start().port
    other.stop()
    conn = connect()
    with Broker(port=port, login="admin", passcode="password") as second:
        broker.stop()
        heard.wait("disconnected")
        conn.disconnect()
        conn = connect()
        carries(second, heard, "from the second")
        conn.disconnect()
    other.close()


@each_library
def test_a_lost_connection_that_cannot_be_made_again(library: Library, broker: Broker) -> None:
    conn, heard = library.connection(broker, reconnect_attempts_max=2), Heard()
    conn.set_listener("", heard)
    conn.connect(*LOGIN, wait=True)
    broker.stop()
    heard.wait("disconnected")

    def connect() -> None:
        with pytest.raises(library.stomp.exception.ConnectFailedException):
            conn.connect(*LOGIN, wait=True)

    for _ in range(2):
        within(10, connect)
        assert not conn.is_connected()
        with pytest.raises(library.stomp.exception.NotConnectedException):
            conn.send(QUEUE, "a")
    conn.disconnect()
    broker.start()
    conn.connect(*LOGIN, wait=True)
    conn.send(QUEUE, "b")
    broker.wait_for(lambda: [each.text for each in broker.messages(QUEUE)] == ["b"])
    conn.disconnect(receipt="r")


@each_library
def test_a_producer_that_sends_again(library: Library, broker: Broker) -> None:
    """The shape of django-outbox-pattern: ``send`` in a loop, and a listener that connects in a loop."""
    stomp = library.stomp

    class Producer(stomp.ConnectionListener):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            self.conn = library.connection(broker)
            self.conn.set_listener("producer", self)
            self.heard = Heard()

        def connect(self) -> None:
            while not self.conn.is_connected():
                try:
                    self.conn.connect(*LOGIN, wait=True)
                except stomp.exception.StompException:
                    time.sleep(PAUSE)

        def on_disconnected(self) -> None:
            self.connect()
            self.heard.note("recovered")

        def send(self, body: str) -> None:
            for _ in range(100):
                try:
                    self.conn.send(destination=QUEUE, body=body)
                except (stomp.exception.StompException, OSError):
                    time.sleep(PAUSE)
                else:
                    return

    producer = Producer()
    producer.connect()
    for number in range(3):
        producer.send(str(number))
        arrived(broker, number + 1)
        broker.drop_connections()
        producer.heard.wait("recovered", number + 1)
    producer.send("last")
    broker.wait_for(lambda: broker.depth(QUEUE) == 4)
    producer.conn.remove_listener("producer")
    within(15, producer.conn.disconnect)


@each_library
def test_polling_for_a_connection_that_is_refused(library: Library, broker: Broker) -> None:
    """The shape of python-workflows: ``connect(wait=False)``, and a hook that says that it failed."""
    conn = library.connection(broker, "Connection")
    listener, failed = library.stomp.ConnectionListener(), threading.Event()
    listener.on_disconnected = failed.set
    listener.on_before_message = lambda frame: frame
    conn.set_listener("", listener)
    conn.connect("admin", "wrong", wait=False)
    assert failed.wait(10)
    assert not conn.is_connected()
    with pytest.raises(library.stomp.exception.ConnectFailedException):
        conn.connect("admin", "wrong", wait=True)


@each_library
def test_polling_for_a_connection(library: Library, broker: Broker) -> None:
    conn = library.connection(broker, "Connection")
    connected = threading.Event()
    listener = library.stomp.ConnectionListener()
    listener.on_connected = lambda frame: connected.set()
    conn.set_listener("", listener)
    conn.connect(*LOGIN, wait=False)
    until(conn.is_connected)
    assert connected.wait(10)
    conn.disconnect()
    until(lambda: not conn.is_connected())


@each_library
def test_a_hook_that_waits_for_a_receipt_on_the_new_connection(library: Library, broker: Broker) -> None:
    """It can in stomp.py, since the connection that it made has a receiver of its own."""
    stomp = library.stomp

    class Announces(stomp.ConnectionListener):  # type: ignore[name-defined, misc]
        def on_disconnected(self) -> None:
            conn.connect(*LOGIN, wait=True)
            waiting = stomp.WaitingListener("here again")
            conn.set_listener("waiting", waiting)
            conn.send("/queue/announced", "here again", receipt="here again")
            waiting.wait_on_receipt()
            announced.set()

    announced = threading.Event()
    conn = library.connection(broker)
    conn.set_listener("", Announces())
    conn.connect(*LOGIN, wait=True)
    broker.drop_connections()
    assert announced.wait(10)
    assert broker.depth("/queue/announced") == 1
    conn.remove_listener("")
    conn.disconnect(receipt="the end")


@each_library
def test_disconnect_and_connect_in_the_hook(library: Library, broker: Broker) -> None:
    """The shape of DIRAC, which disconnects first so that no thread is left behind."""
    stomp, heard = library.stomp, Heard()

    class Connector(stomp.ConnectionListener):  # type: ignore[name-defined, misc]
        wants_disconnect = False

        def on_disconnected(self) -> None:
            if not self.wants_disconnect:
                connect()
                heard.note("recovered", conn.transport.socket.getpeername()[1])

    def connect() -> None:
        conn.disconnect()
        conn.connect(username="admin", passcode="password", wait=True)
        assert conn.is_connected()

    conn = library.connection(broker, "Connection", keepalive=True, timeout=60, reconnect_attempts_max=1e4)
    listener = Connector()
    conn.set_listener("StompListener", listener)
    connect()
    for number in range(1, 3):
        broker.drop_connections()
        assert heard.wait("recovered", number)[-1] == broker.port
        conn.send(QUEUE, str(number))
        arrived(broker, number)
    listener.wants_disconnect = True
    conn.disconnect()
    until(lambda: not conn.is_connected())


@each_library
def test_connect_returns_when_on_connected_has_run(library: Library, broker: Broker) -> None:
    if not library.is_ours:
        pytest.skip("stomp.py lets go of the waiting thread first")
    conn, heard = library.connection(broker), Heard()

    class Slow(library.stomp.ConnectionListener):  # type: ignore[name-defined, misc]
        def on_connected(self, frame: Any) -> None:
            time.sleep(0.2)
            heard.note("connected", conn.is_connected())

    conn.set_listener("", Slow())
    for number in (1, 2):
        conn.connect(*LOGIN, wait=True)
        assert heard.of("connected") == [True] * number
        conn.disconnect()


@ours_alone
def test_disconnect_returns_whatever_a_hook_loops_on(library: Library, broker: Broker) -> None:
    conn, heard = library.connection(broker, reconnect_attempts_max=1), Heard()

    class Loops(library.stomp.ConnectionListener):  # type: ignore[name-defined, misc]
        def on_disconnected(self) -> None:
            heard.note("disconnected")
            while not conn.is_connected():
                try:
                    conn.connect(*LOGIN, wait=True)
                except library.stomp.exception.StompException:
                    heard.note("failed")

    conn.set_listener("", Loops())
    conn.connect(*LOGIN, wait=True)
    broker.stop()
    heard.wait("failed", 2)
    within(10, conn.disconnect)
    assert not conn.is_connected()
    broker.start()
    # The hook goes on to ask for a connection, and gets none.
    conn.connect(*LOGIN)
    conn.disconnect()
    broker.wait_for(lambda: not broker.connections)


@ours_alone
def test_disconnect_does_not_wait_for_ever_for_a_message(
    library: Library, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stomplistener.compat.stomp.life._DISCONNECTED_PATIENCE", 0.5)
    conn, go_on, heard = library.connection(broker), threading.Event(), Heard()

    class Stuck(library.stomp.ConnectionListener):  # type: ignore[name-defined, misc]
        def on_message(self, frame: Any) -> None:
            heard.note("message", frame)
            go_on.wait(40)

    conn.set_listener("", Stuck())
    conn.connect(*LOGIN, wait=True)
    conn.subscribe(QUEUE, id=1)
    for number in range(1000):
        broker.publish(QUEUE, str(number))
    heard.wait("message")
    try:
        within(10, conn.disconnect)
    finally:
        go_on.set()


def test_without_restoring_a_loss_is_a_loss(broker: Broker) -> None:
    conn, heard = LOSING.connection(broker), Heard()
    conn.set_listener("", heard)
    conn.connect(*LOGIN, wait=True)
    conn.subscribe(QUEUE, id=1)
    broker.wait_for(lambda: broker.subscriptions)
    broker.drop_connections()
    heard.wait("disconnected")
    began = time.monotonic()
    with pytest.raises(LOSING.stomp.exception.NotConnectedException):
        conn.send(QUEUE, "a")
    with pytest.raises(LOSING.stomp.exception.NotConnectedException):
        conn.subscribe(QUEUE, id=2)
    assert time.monotonic() - began < 1
    assert not conn.is_connected()
    assert not broker.connections
    conn.connect(*LOGIN, wait=True)
    assert not broker.subscriptions
    conn.disconnect()


@pytest.mark.parametrize(
    "use",
    [
        lambda conn: conn.is_connected(),
        lambda conn: conn.subscribe(QUEUE, id=1),
        lambda conn: conn.send(QUEUE, "hello"),
        lambda conn: conn.transport.wait_for_connection(15),
    ],
)
def test_a_connection_that_was_never_used_is_not_restored_for_ever(use: Callable[[Any], object]) -> None:
    """Programs leave such connections behind; they would come back in the place of those that replaced them."""
    with Broker(login="admin", passcode="password") as broker:
        conn = RESTORING.connection(broker, reconnect_attempts_max=2)
        conn.connect(*LOGIN, wait=True)
    until(lambda: conn.transport._life._attempts == 3)
    with Broker(port=broker.port, login="admin", passcode="password") as broker:
        assert not broker.connections
        use(conn)
        until(conn.is_connected)
        conn.disconnect()


@pytest.mark.parametrize("end", [lambda conn: conn.disconnect(), lambda conn: conn.transport.disconnect_socket()])
def test_a_connection_that_waits_to_be_used_can_be_ended(end: Callable[[Any], object]) -> None:
    with Broker(login="admin", passcode="password") as broker:
        conn = RESTORING.connection(broker, reconnect_attempts_max=1)
        conn.connect(*LOGIN, wait=True)
    until(lambda: conn.transport._life._attempts == 2)
    within(5, lambda: end(conn))
    until(lambda: not conn.transport.running)


@pytest.mark.parametrize("value", ["0", "no", "False", "off", "1", ""])
def test_restoring_is_switched_off_by_argument_attribute_and_environment(
    value: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stomplistener.compat.stomp.arguments import restore_by_default

    stomp = RESTORING.stomp
    monkeypatch.setenv("STOMPLISTENER_COMPAT_RESTORE", value)
    assert restore_by_default() is (value in ("1", ""))
    monkeypatch.setattr(stomp, "restore", False)
    places = [("127.0.0.1", broker.port)]
    assert stomp.Connection(places).transport.restore is False
    assert stomp.Connection(places, restore=True).transport.restore is True
    monkeypatch.setattr(stomp, "restore", True)
    assert stomp.Connection(places).transport.restore is True
    assert stomp.WSConnection(places, restore=False).transport.restore is False


def replacing(broker: Broker, conn: Any, heard: Heard) -> Any:
    """A program that makes a new connection after a loss, and forgets the old one."""
    broker.refuse_connections()
    broker.drop_connections()
    heard.wait("disconnected")
    assert not conn.is_connected()
    broker.accept_connections()
    new = RESTORING.connection(broker)
    new.connect(*LOGIN, wait=True)
    return new


def subscribed(broker: Broker, heard: Heard, **arguments: Any) -> Any:
    conn = RESTORING.connection(broker, **arguments)
    conn.set_listener("listener", heard)
    conn.connect(*LOGIN, wait=True)
    conn.subscribe(QUEUE, id=1, ack="client-individual")
    return conn


# Long enough that it is still away when the program has replaced it; and so short that it is back before.
@pytest.mark.parametrize("sleep", [30.0, 0.01])
def test_a_connection_ends_when_its_listener_and_its_subscription_move_to_another(sleep: float, broker: Broker) -> None:
    """The shape of iDDS. The old one would come back, and take messages that are acknowledged on the new one."""
    heard = Heard()
    conn = subscribed(broker, heard, reconnect_sleep_initial=sleep)
    new = replacing(broker, conn, heard)
    if sleep < 1:
        broker.wait_for(lambda: len(broker.connections) == 2)
    new.set_listener("another name", heard)
    new.subscribe(QUEUE, id="other", ack="client-individual")
    broker.wait_for(lambda: [each.id for each in broker.subscriptions] == ["other"])
    until(lambda: not conn.transport.running)
    assert len(heard.of("disconnected")) == 1, "the listener has moved, and hears of the new connection alone"
    # It can be used all the same.
    conn.connect(*LOGIN, wait=True)
    conn.subscribe(QUEUE, id="again", ack="client-individual")
    broker.wait_for(lambda: {each.id for each in broker.subscriptions} == {"other", "again"})
    conn.disconnect()
    new.disconnect()


@pytest.mark.parametrize("keep", ["listener", "subscription", "use", "brokers"])
def test_a_connection_that_is_not_replaced_comes_back(keep: str, broker: Broker) -> None:
    heard = Heard()
    conn = subscribed(broker, heard)
    new = replacing(broker, conn, heard)
    broker.wait_for(lambda: len(broker.connections) == 2)
    if keep == "use":
        until(conn.is_connected)
    elif keep == "brokers":
        conn.transport.host_and_ports.append(("elsewhere", 1))
    new.set_listener("listener", Heard() if keep == "listener" else heard)
    new.subscribe("/queue/other" if keep == "subscription" else QUEUE, id=1, ack="client-individual")
    broker.wait_for(lambda: len(broker.subscriptions) == 2)
    assert conn.transport.running
    conn.disconnect()
    new.disconnect()


def test_a_hook_that_is_told_of_a_loss_is_not_connected_at_first(broker: Broker) -> None:
    """Else a program that subscribes where it connects never does, if the connection was lost before, and is back."""
    conn, heard = RESTORING.connection(broker), Heard()

    class Asks(RESTORING.stomp.ConnectionListener):  # type: ignore[name-defined, misc]
        def on_disconnected(self) -> None:
            until(lambda: conn.transport._life.is_connected)
            heard.note("asked", [conn.is_connected(), conn.is_connected()])

    conn.set_listener("", Asks())
    conn.connect(*LOGIN, wait=True)
    broker.drop_connections()
    assert heard.wait("asked") == [[False, True]]
    assert conn.is_connected()
    conn.disconnect()


def test_a_hook_that_connects_when_the_connection_is_back_waits_for_the_next_hooks(broker: Broker) -> None:
    conn, heard, connected = RESTORING.connection(broker), Heard(), threading.Event()

    class Waits(RESTORING.stomp.ConnectionListener):  # type: ignore[name-defined, misc]
        def on_connected(self, frame: Any) -> None:
            connected.set()

        def on_disconnected(self) -> None:
            connected.clear()
            until(lambda: conn.transport._life.is_connected)
            conn.connect(*LOGIN, wait=True)
            heard.note("connected", connected.wait(4))

    conn.set_listener("", Waits())
    conn.connect(*LOGIN, wait=True)
    broker.drop_connections()
    assert heard.wait("connected", timeout=4) == [True]
    conn.remove_listener("")
    conn.disconnect()
