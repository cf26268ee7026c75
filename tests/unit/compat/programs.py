"""Programs in the shape of real ones that are written for stomp.py: life cycle, names they reach for, waits.

Each is written anew, as short as its shape allows. None knows which library it runs with, nor what the test does to its
connections. Pauses of seconds are hundredths here.
"""

from __future__ import annotations

import functools
import itertools
import json
import queue
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import IntEnum
from typing import Any, NamedTuple

from compat_support import Heard, Library

PAUSE = 0.02


class Outcome(IntEnum):
    """What became of a program, the worst first.

    STUCK: it does not stop.
    SILENT: it does not hear its messages any more, or what it sends is gone, and nothing tells it.
    ENDED: it was told, by an exception or a hook, and ended by that.
    WORKS: it receives and sends again.
    """

    STUCK, SILENT, ENDED, WORKS = range(4)


class Place(NamedTuple):
    """Where a program connects, and what it receives from or sends to."""

    port: int
    destination: str = "/queue/test"
    login: str = "admin"
    passcode: str = "password"
    vhost: str | None = None


class Program:
    """A program that starts, receives or sends, and stops.

    Attributes:
        receives, acks, sends: what it does.
        lost: what becomes of it, by its own making, when a connection is lost.
        restored: likewise, when the connection is restored behind its back.
        leaves: whether it never ends a lost connection that it replaces.
        handled: the bodies that it has received and dealt with.
        during: called once while it deals with a message.
        error: of its own thread, which has ended by that.
    """

    receives = acks = sends = False
    lost = restored = Outcome.WORKS
    leaves = False

    def __init__(self, library: Library, place: Place) -> None:
        self.library, self.stomp, self.place = library, library.stomp, place
        self.heard = Heard()
        self.during: Callable[[], object] = lambda: None
        self.error: BaseException | None = None
        self.stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def handled(self) -> list[str]:
        return self.heard.of("handled")

    def handle(self, body: Any) -> None:
        during, self.during = self.during, lambda: None
        during()
        self.heard.note("handled", body if isinstance(body, str) else body.decode())

    def connection(self, kind: str = "Connection", **arguments: Any) -> Any:
        if self.place.vhost is not None and kind != "Connection10":
            arguments.setdefault("vhost", self.place.vhost)
        return self.library.connection(self.place.port, kind, **arguments)

    @property
    def places(self) -> list[tuple[str, int]]:
        return [("127.0.0.1", self.place.port)]

    @property
    def login(self) -> tuple[str, str]:
        return self.place.login, self.place.passcode

    def start(self) -> None:
        raise NotImplementedError

    def send(self, body: str) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def in_thread(self, main: Callable[[], object]) -> None:
        """Run the main loop of a daemon; what it raises ends it."""

        def run() -> None:
            try:
                main()
            except BaseException as error:
                self.error = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def end_thread(self) -> None:
        self.stopping.set()
        if self._thread is not None:
            self._thread.join(10)
            assert not self._thread.is_alive(), "the main loop does not end"


class BlueskyStomp(Program):
    """bluesky-stomp, and so blueapi: subscriptions are deferred, and the hooks of one listener replaced.

    ``connect()`` waits for what another hook sets, also in ``on_disconnected``, which connects in a loop.
    """

    receives = sends = True

    def start(self) -> None:
        self.conn = self.connection("StompConnection11", auto_content_length=False)
        self.listener = self.stomp.connect.ConnectionListener()
        self.listener.on_message = lambda frame: self.handle(frame.body)
        self.conn.set_listener("", self.listener)
        self._connect()

    def _connect(self) -> None:
        if not self.conn.is_connected():
            connected = threading.Event()
            self.listener.on_connected = lambda frame: connected.set()
            self.listener.on_disconnected = self._on_disconnected
            self.conn.connect(username=self.place.login, passcode=self.place.passcode, wait=True)
            assert connected.wait(10), "on_connected does not run"
        if self.conn.is_connected():
            self.conn.subscribe(destination=self.place.destination, id="0", ack="auto")

    def _on_disconnected(self) -> None:
        time.sleep(PAUSE)
        while not (self.conn.is_connected() or self.stopping.is_set()):
            with suppress(self.stomp.exception.ConnectFailedException):
                self._connect()
            time.sleep(PAUSE)

    def send(self, body: str) -> None:
        headers = {"JMSType": "TextMessage", "correlation-id": str(uuid.uuid4())}
        self.conn.send(headers=headers, body=body.encode(), destination=self.place.destination + ".out")

    def stop(self) -> None:
        self.stopping.set()
        if self.conn.is_connected():
            disconnected = threading.Event()
            self.listener.on_disconnected = disconnected.set
            self.conn.disconnect()
            assert disconnected.wait(10), "on_disconnected does not run"


class PythonWorkflows(Program):
    """python-workflows: ``connect(wait=False)``, then it polls; a service ends when it sees the connection lost."""

    receives = acks = sends = True
    lost = restored = Outcome.ENDED

    def start(self) -> None:
        self.conn = self.connection()
        listener, failed = self.stomp.listener.ConnectionListener(), threading.Event()
        listener.on_message = self._on_message
        listener.on_before_message = lambda frame: frame
        self.conn.set_listener("", listener)
        before, listener.on_disconnected = listener.on_disconnected, failed.set
        self.conn.connect(*self.login, wait=False)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and not self.conn.is_connected() and not failed.is_set():
            time.sleep(PAUSE)
        listener.on_disconnected = before
        if failed.is_set() or not self.conn.is_connected():
            raise ConnectionError("could not initiate the connection")
        headers = {"activemq.priority": 5}
        self.conn.subscribe(self.place.destination, 1, headers=headers, ack="client-individual")
        self.in_thread(self._watch)

    def _watch(self) -> None:
        while not self.stopping.wait(PAUSE):
            if not self.conn.is_connected():
                raise ConnectionError("the connection is lost")

    def _on_message(self, frame: Any) -> None:
        assert int(frame.headers.get("subscription")) == 1
        transaction = self.conn.begin(transaction=str(uuid.uuid4()))
        self.handle(str(json.loads(frame.body)))
        self.conn.ack(frame.headers["message-id"], 1, transaction=transaction)
        self.conn.commit(transaction)

    def send(self, body: str) -> None:
        expires = int((time.time() + 60) * 1000)
        headers = {"persistent": "true", "expires": expires}
        self.conn.send(self.place.destination + ".out", body, headers=headers)

    def stop(self) -> None:
        self.end_thread()
        self.conn.disconnect()


class RucioReceiver(Program):
    """rucio's daemons that receive: a loop over the connections, which sets the listener and reads private names."""

    receives = True
    lost = Outcome.ENDED

    def start(self) -> None:
        self.conn = self.connection("Connection12", reconnect_attempts_max=999)
        self.conn.set_ssl(("/no/key",), ("/no/certificate",))
        self.in_thread(self._main)

    def _main(self) -> None:
        while not self.stopping.wait(PAUSE):
            if not self.conn.is_connected():
                host = self.conn.transport._Transport__host_and_ports[0][0]
                self.heard.note("reconnect", host.split(".")[0])
                self.conn.set_listener("rucio", self._Receiver(self))
                self.conn.connect(*self.login, wait=True)
                self.conn.subscribe(destination=self.place.destination, id="rucio", ack="auto")

    class _Receiver:
        def __init__(self, program: RucioReceiver) -> None:
            self._program = program

        def on_error(self, frame: Any) -> None:
            self._program.heard.note("error", frame.body)

        def on_message(self, frame: Any) -> None:
            self._program.handle(frame.body)

    def stop(self) -> None:
        self.end_thread()
        self.conn.disconnect()


class RucioHermes(Program):
    """rucio's hermes: connections that stall are made anew; a message that was not sent waits for the next turn."""

    sends = leaves = True

    def start(self) -> None:
        self.waiting: list[str] = []
        self.conn: Any = None
        self.in_thread(self._main)

    def _refresh(self) -> None:
        if self.conn is None or self._is_stalled():
            if self.conn is not None and self.conn.is_connected():
                self.conn.disconnect()
            self.conn = self.connection(timeout=5, heartbeats=(0, 1000), reconnect_attempts_max=1)

    def _is_stalled(self) -> bool:
        if not self.conn.is_connected():
            return True
        beat = self.conn.received_heartbeat
        return bool(beat and beat + 10 < time.monotonic())

    def _main(self) -> None:
        while not self.stopping.wait(PAUSE):
            if not self.waiting:
                continue
            self._refresh()
            try:
                if not self.conn.is_connected():
                    self.heard.note("connecting", self.conn.transport._Transport__host_and_ports[0][0])
                    self.conn.connect(*self.login, wait=True)
                headers = {"persistent": "true", "event_type": "transfer"}
                self.conn.send(body=self.waiting[0], destination=self.place.destination + ".out", headers=headers)
            except (self.stomp.exception.StompException, OSError) as error:
                self.heard.note("not delivered", error)
            else:
                self.waiting.pop(0)

    def send(self, body: str) -> None:
        self.waiting.append(body)
        deadline = time.monotonic() + 20
        while self.waiting and self.error is None and time.monotonic() < deadline and not self.stopping.is_set():
            time.sleep(PAUSE)

    def stop(self) -> None:
        self.end_thread()
        if self.conn is not None:
            self.conn.disconnect()


class Idds(Program):
    """iDDS: ``on_disconnected`` replaces the lost connection by a new one, and the listener moves to that."""

    receives = acks = sends = True

    def start(self) -> None:
        self.conns: list[Any] = []
        self.has_failures = False
        self.listener = self._Listener(self)
        self._busy = threading.Lock()
        self.in_thread(self._main)

    def _main(self) -> None:
        self.monitor()
        while not self.stopping.wait(10 * PAUSE):
            self.monitor()

    def monitor(self) -> None:
        if not self._busy.acquire(blocking=False):
            return
        try:
            if not self.conns or self.has_failures:
                self._disconnect()
                self.conns = [self._new_connection()]
                self.has_failures = False
            for conn in self.conns:
                if not conn.is_connected():
                    self._subscribe(conn)
        except Exception as error:
            self.heard.note("failed", error)
        finally:
            self._busy.release()

    def _disconnect(self) -> None:
        for conn in self.conns:
            if conn.is_connected():
                conn.disconnect()

    def _new_connection(self) -> Any:
        arguments = {"keepalive": True, "try_loopback_connect": False, "auto_content_length": False}
        return self.connection("Connection12", heartbeats=(50000, 50000), **arguments)

    def _subscribe(self, conn: Any) -> None:
        self.heard.note("connecting", conn.transport._Transport__host_and_ports[0][0])
        self.listener.conn = conn
        conn.set_listener("message-receiver", self.listener)
        self._connect(conn)
        conn.subscribe(destination=self.place.destination, id="idds", ack="client-individual", headers={})

    def _connect(self, conn: Any) -> None:
        headers = {"client-id": f"idds-{uuid.uuid4()}", "heart-beat": "30000,30000"}
        conn.connect(*self.login, wait=True, heartbeats=(30000, 30000), headers=headers)

    class _Listener:
        def __init__(self, program: Idds) -> None:
            self._program = program
            self.conn: Any = None

        def on_connected(self, headers: Any, body: Any = None) -> None:
            self._program.heard.note("connected", getattr(headers, "headers", headers))

        def on_disconnected(self) -> None:
            if not self._program.stopping.is_set():
                self._program.has_failures = True
                self._program.monitor()

        def on_message(self, frame: Any) -> None:
            self._program.handle(frame.body)
            self.conn.ack(frame.headers["ack"])

    def send(self, body: str) -> None:
        conn = random.sample(self.conns, 1)[0]
        headers = {"persistent": "true", "ttl": 60000}
        conn.send(body=body, destination=self.place.destination + ".out", id="idds", ack="auto", headers=headers)

    def stop(self) -> None:
        self.end_thread()
        self._disconnect()


class DjangoStomp(Program):
    """django-stomp: the listener looks whether it is connected; messages run in a pool, and are acknowledged there.

    The publisher connects when it sends, again and again until that works.
    """

    receives = acks = sends = True

    def start(self) -> None:
        program = self

        class Listener(self.stomp.ConnectionListener):  # type: ignore[name-defined, misc]
            def on_message(self, frame: Any) -> None:
                program.pool.submit(program._process, frame.headers["message-id"], frame.body)

        arguments = {"heartbeats": (10000, 10000), "vhost": None}
        self.conn = self.connection("StompConnection11", **arguments)
        self.publisher = self.connection("StompConnection11", **arguments)
        self.pool = ThreadPoolExecutor(max_workers=1)
        self.listener = Listener()
        self.in_thread(self._main)

    def _start(self, conn: Any) -> None:
        headers = {"client-id": f"django-{uuid.uuid4()}", "activemq.prefetchSize": "1", "prefetch-count": "1"}
        conn.connect(username=self.place.login, passcode=self.place.passcode, wait=True, headers=headers)

    def _main(self) -> None:
        while not self.stopping.is_set():
            try:
                self.conn.set_listener("listener", self.listener)
                while not self.stopping.wait(PAUSE):
                    if not self.conn.is_connected():
                        self._start(self.conn)
                        self.conn.subscribe(id="sub-listener", ack="client", destination=self.place.destination)
            except BaseException as error:
                self.heard.note("failed", error)
            finally:
                if self.conn.is_connected():
                    self.conn.disconnect(receipt=str(uuid.uuid4()))
            time.sleep(PAUSE)

    def _process(self, message_id: str, body: str) -> None:
        try:
            self.handle(body)
            self.conn.ack(message_id, "sub-listener")
        except BaseException:
            if self.conn.is_connected():
                self.conn.nack(message_id, "sub-listener", requeue=False)

    def send(self, body: str) -> None:
        for attempt in itertools.count():
            try:
                if not self.publisher.is_connected():
                    self._start(self.publisher)
                self.publisher.send(
                    destination=self.place.destination + ".out",
                    body=body,
                    headers={"correlation-id": uuid.uuid4(), "persistent": "true"},
                    content_type="application/json;charset=utf-8",
                )
            except Exception:
                if attempt == 9:
                    raise
                time.sleep(PAUSE)
            else:
                return

    def stop(self) -> None:
        self.end_thread()
        self.pool.shutdown()
        self.publisher.disconnect(receipt=str(uuid.uuid4()))


class DjangoOutboxPattern(Program):
    """django-outbox-pattern: both sides connect in a loop, also in ``on_disconnected``; ``send`` is tried again."""

    receives = acks = sends = True

    def start(self) -> None:
        stomp, program = self.stomp, self

        class Reconnects(stomp.listener.ConnectionListener):  # type: ignore[name-defined, misc]
            def __init__(self, start: Callable[[], object]) -> None:
                self._start = start

            def on_disconnected(self) -> None:
                if not program.stopping.is_set():
                    self._start()

            def on_message(self, frame: Any) -> None:
                if program.subscribe_id in frame.headers["subscription"]:
                    program.pool.submit(program._process, frame)

        self.subscribe_id = self.stomp.utils.get_uuid()
        self.pool = ThreadPoolExecutor(max_workers=1)
        self.consumer = self.connection("StompConnection12", heartbeats=(10000, 10000))
        self.producer = self.connection("StompConnection12", heartbeats=(10000, 10000))
        self.consumer.set_listener("consumer", Reconnects(self._start_consumer))
        self.producer.set_listener("producer", Reconnects(lambda: self._connect(self.producer)))
        self._start_consumer()
        self._connect(self.producer)

    def _connect(self, connection: Any) -> None:
        while not (connection.is_connected() or self.stopping.is_set()):
            try:
                connection.connect(username=self.place.login, passcode=self.place.passcode, wait=True)
            except self.stomp.exception.StompException:
                time.sleep(PAUSE)

    def _start_consumer(self) -> None:
        self._connect(self.consumer)
        headers = {"durable": "true", "auto-delete": "false", "prefetch-count": "1"}
        self.consumer.subscribe(self.place.destination, self.subscribe_id, ack="client", headers=headers)

    def _process(self, frame: Any) -> None:
        self.handle(frame.body)
        self.consumer.ack(frame.headers["ack"])

    def send(self, body: str) -> None:
        for _ in range(50):
            try:
                self.producer.send(body=body, destination=self.place.destination + ".out", headers={"dop": "1"})
            except self.stomp.exception.StompException:
                time.sleep(PAUSE)
            else:
                return
        raise ConnectionError("the attempts are exceeded")

    def stop(self) -> None:
        self.stopping.set()
        self.pool.shutdown(wait=True)
        if self.consumer.is_connected():
            self.consumer.unsubscribe(self.subscribe_id)
        if self.consumer.is_connected():
            self.consumer.remove_listener("consumer")
            self.consumer.disconnect()
        self.producer.disconnect()


class Zhmcclient(Program):
    """zhmcclient: hooks hand messages over to a generator, and wait until each is taken; a loss ends the generator."""

    receives = True

    def start(self) -> None:
        self.in_thread(self._main)

    def _main(self) -> None:
        while not self.stopping.is_set():
            receiver = self._Receiver(self.stopping)
            conn = self.connection(heartbeats=(5000, 5000), heart_beat_receive_scale=2.5)
            conn.set_listener("", receiver)
            try:
                conn.connect(*self.login, wait=True)
                conn.subscribe(destination=self.place.destination, id=f"zhmcclient.{id(self)}", ack="auto")
                for _headers, body in receiver.notifications():
                    self.handle(body)
            except self.stomp.exception.StompException:
                time.sleep(PAUSE)
            finally:
                conn.disconnect()

    class _Receiver:
        def __init__(self, stopping: threading.Event) -> None:
            self._stopping = stopping
            self._handover: dict[str, Any] = {}
            self._changed = threading.Condition()

        def notifications(self) -> Iterator[tuple[Any, Any]]:
            while True:
                with self._changed:
                    while not self._handover and not self._stopping.is_set():
                        self._changed.wait(PAUSE)
                    if not self._handover or self._handover["headers"] is None:
                        return
                    yield self._handover["headers"], self._handover["body"]
                    self._handover.clear()
                    self._changed.notify_all()

        def _hand_over(self, headers: Any, body: Any) -> None:
            with self._changed:
                while self._handover and not self._stopping.is_set():
                    self._changed.wait(PAUSE)
                self._handover.update(headers=headers, body=body)
                self._changed.notify_all()

        def on_message(self, frame: Any) -> None:
            self._hand_over(frame.headers, frame.body)

        def on_disconnected(self) -> None:
            self._hand_over(None, None)

    def stop(self) -> None:
        self.end_thread()


class DiracProducer(Program):
    """DIRAC: ``connect`` disconnects first, so that no thread is left behind; ``put`` connects when it cannot send."""

    sends = True

    def start(self) -> None:
        self.conn = self.connection(keepalive=True, timeout=60, heartbeats=(15000, 15000), reconnect_attempts_max=1e4)
        self._connect()

    def _connect(self) -> None:
        for _ in range(10):
            if self.stopping.is_set():
                return
            with suppress(Exception):
                self.conn.disconnect()
                self.conn.connect(username=self.place.login, passcode=self.place.passcode, wait=True)
                if self.conn.is_connected():
                    self.heard.note("connected", self.conn.transport.socket.getpeername()[0])
                    return
            time.sleep(PAUSE)
        raise ConnectionError("failed to connect")

    def send(self, body: str) -> None:
        destination = self.place.destination + ".out"
        try:
            self.conn.send(body=body, destination=destination)
        except (self.stomp.exception.StompException, ConnectionError):
            self._connect()
            self.conn.send(body=body, destination=destination)

    def stop(self) -> None:
        self.stopping.set()
        listener = self.conn.get_listener("StompListener")
        if listener is not None:
            listener.wants_disconnect = True
        self.conn.disconnect()


class DiracConsumer(DiracProducer):
    """DIRAC's consumer: the listener connects in ``on_disconnected``. It does not subscribe again."""

    receives = acks = True
    lost = restored = Outcome.SILENT

    def start(self) -> None:
        program = self

        class Listener(self.stomp.ConnectionListener):  # type: ignore[name-defined, misc]
            wants_disconnect = False

            def on_message(self, frame: Any) -> None:
                program.handle(frame.body)
                program.conn.ack(frame.headers["message-id"], "messenger")

            def on_disconnected(self) -> None:
                if not self.wants_disconnect:
                    program._connect()

        super().start()
        self.conn.set_listener("StompListener", Listener())
        self.conn.subscribe(destination=self.place.destination, id="messenger", ack="client-individual", headers={})


class SsmSender(Program):
    """ssm's sender: a connection for each broker of a list; it polls for what its hooks set."""

    sends = True
    lost = Outcome.ENDED

    def start(self) -> None:
        self.connected = False
        self.last_receipt: str | None = None
        self._handle_connect()

    def _handle_connect(self) -> None:
        for _broker in range(2):
            self.conn = self.connection(timeout=10, reconnect_attempts_max=1)
            self.conn.set_listener("SSM", self)
            with suppress(self.stomp.exception.ConnectFailedException, TimeoutError):
                self._start_connection()
                return
        raise ConnectionError("attempts to start failed")

    def _start_connection(self) -> None:
        self.conn.connect(*self.login, wait=False)
        deadline = time.monotonic() + 0.5
        while not self.connected:
            time.sleep(PAUSE)
            if time.monotonic() > deadline:
                raise TimeoutError
        if self.receives:
            self.conn.subscribe(destination=self.place.destination, id=1, ack="auto")

    def _close(self) -> None:
        with suppress(self.stomp.exception.NotConnectedException, OSError):
            self.conn.disconnect()

    def on_connected(self, frame: Any) -> None:
        self.connected = True

    def on_disconnected(self) -> None:
        self.connected = False

    def on_receipt(self, frame: Any) -> None:
        self.last_receipt = frame.headers["receipt-id"]

    def send(self, body: str) -> None:
        destination = self.place.destination + ".out"
        headers = {"destination": destination, "receipt": body, "empa-id": body}
        self.conn.send(destination, body, headers=headers)
        while self.last_receipt is None:
            if not self.connected:
                raise ConnectionError("lost connection")
            time.sleep(PAUSE)
        self.last_receipt = None

    def stop(self) -> None:
        self._close()


class SsmReceiver(SsmSender):
    """ssm's receiver: a loop makes another connection when the hooks say that one is lost; it pings by transactions."""

    receives, sends = True, False
    lost = Outcome.WORKS

    def start(self) -> None:
        super().start()
        self.in_thread(self._main)

    def _main(self) -> None:
        for turn in itertools.count():
            if self.stopping.wait(PAUSE):
                return
            if not self.connected:
                self._close()
                time.sleep(10 * PAUSE)
                self._handle_connect()
            elif turn % 5 == 0:
                self._ping()

    def _ping(self) -> None:
        name = {"transaction": str(time.time())}
        with suppress(self.stomp.exception.NotConnectedException, OSError):
            self.conn.begin(name)
            self.conn.abort(name)

    def on_message(self, frame: Any) -> None:
        self.handle(frame.body)

    def stop(self) -> None:
        self.end_thread()
        super().stop()


class ResilientCircuits(Program):
    """resilient-circuits: hooks only fire events; one thread connects, subscribes, acknowledges and sends."""

    receives = acks = sends = True

    def start(self) -> None:
        program = self

        class Listener(self.stomp.ConnectionListener):  # type: ignore[name-defined, misc]
            def on_message(self, frame: Any) -> None:
                program.events.put(functools.partial(program._process, frame))

            def on_disconnected(self) -> None:
                program.events.put(program._reconnect)

            def on_heartbeat_timeout(self) -> None:
                program.events.put(program._reconnect)

        self.events: queue.Queue[Callable[[], object] | None] = queue.Queue()
        self.conn = self.connection(
            "StompConnection12",
            reconnect_attempts_max=-1,
            timeout=120,
            keepalive=True,
            heartbeats=(15000, 15000),
            heart_beat_receive_scale=2,
        )
        self.conn.set_listener("", Listener())
        self.events.put(self._connect)
        self.in_thread(self._main)

    def _main(self) -> None:
        while (event := self.events.get()) is not None:
            event()

    def _connect(self) -> None:
        try:
            username, passcode = self.login
            self.conn.connect(username=username, passcode=passcode, wait=True, with_connect_command=True)
            destination = self.place.destination
            headers = {"ack": "client-individual", "id": destination}
            self.conn.subscribe(destination=destination, id=destination, ack="client-individual", headers=headers)
        except (self.stomp.exception.ConnectFailedException, self.stomp.exception.NotConnectedException):
            time.sleep(PAUSE)
            self.events.put(self._reconnect)

    def _reconnect(self) -> None:
        if not self.stopping.is_set() and not self.conn.is_connected():
            self._connect()

    def _process(self, frame: Any) -> None:
        self.handle(frame.body)
        with suppress(self.stomp.exception.StompException):
            self.conn.ack(frame.headers.get("ack"))

    def send(self, body: str) -> None:
        self.conn.send(self.place.destination + ".out", body=body.encode("utf-8"), headers=None, receipt=None)

    def stop(self) -> None:
        self.stopping.set()
        self.events.put(None)
        self.end_thread()
        if self.conn.is_connected():
            self.conn.disconnect(receipt=None)


class Gridappsd(Program):
    """gridappsd-python: each call makes a connection if there is none; one listener routes messages to callbacks."""

    receives = sends = leaves = True
    lost = Outcome.SILENT

    def start(self) -> None:
        self.conn: Any = None
        conn = self._make_connection()
        conn.set_listener("gridappsd", self)
        conn.subscribe(destination=self.place.destination, ack="auto", id=str(random.randint(1, 1000000)))

    def _make_connection(self) -> Any:
        if self.conn is None or not self.conn.is_connected():
            self.conn = self.connection("Connection12", heartbeats=(10000, 10000))
            self.conn.transport.override_threading(self._new_thread)
            self.conn.connect(*self.login, wait=True)
            if self.conn.get_listener("gridappsd") is None:
                self.conn.set_listener("gridappsd", self)
        return self.conn

    @staticmethod
    def _new_thread(run: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def on_message(self, *args: Any) -> None:
        self.handle(args[0].body)

    def send(self, body: str) -> None:
        self._make_connection()
        headers = {"GOSS_HAS_SUBJECT": True, "GOSS_SUBJECT": "token", "reply-to": f"/temp-queue/{uuid.uuid4().hex}"}
        self.conn.send(body=body, destination=self.place.destination + ".out", headers=headers)

    def stop(self) -> None:
        self.conn.disconnect()


class Plastron(Program):
    """plastron: ``on_connected`` subscribes, a heartbeat listener of its own is added; a loss ends the daemon."""

    receives = acks = sends = True
    lost = restored = Outcome.ENDED

    def start(self) -> None:
        program = self

        class Commands(self.stomp.listener.ConnectionListener):  # type: ignore[name-defined, misc]
            def on_connected(self, frame: Any) -> None:
                program.conn.subscribe(destination=program.place.destination, id="plastron", ack="client-individual")
                program.started.set()

            def on_message(self, frame: Any) -> None:
                program.handle(frame.body)
                program.conn.ack(frame.headers["message-id"], "plastron")

            def on_disconnected(self) -> None:
                program.stopping.set()

        self.started = threading.Event()
        self.conn = self.connection("Connection11")
        self.conn.set_listener("command", Commands())
        heartbeats = self.stomp.listener.HeartbeatListener(self.conn.transport, (10000, 10000))
        self.conn.set_listener("heartbeat", heartbeats)
        self.in_thread(self._main)

    def _main(self) -> None:
        self.conn.connect(*self.login, wait=True, headers={"client-id": f"plastrond-{uuid.uuid4()}"})
        self.stopping.wait()
        self.conn.disconnect()
        if self.heard.of("asked to stop") == []:
            raise ConnectionError("stopped by a loss")

    def send(self, body: str) -> None:
        self.started.wait(5)
        self.conn.send(destination=self.place.destination + ".out", headers={"PlastronJobId": "1"}, body=body)

    def stop(self) -> None:
        self.heard.note("asked to stop", True)
        self.end_thread()


class AmbariAgent(Program):
    """ambari's agent: a connection of its own class; ``send`` counts; a registered agent starts anew after a loss."""

    receives = sends = True

    def start(self) -> None:
        class Connection(self.stomp.Connection12):  # type: ignore[name-defined, misc]
            correlation = itertools.count()

            def send(self, destination: str, message: Any, content_type: Any = None, headers: Any = None) -> int:
                number = next(self.correlation)
                arguments = {"content_type": content_type, "headers": headers, "correlationId": number}
                super().send(destination, json.dumps(int(message)), **arguments)
                return number

            def add_listener(self, listener: Any) -> None:
                self.set_listener(type(listener).__name__, listener)

        self._class = Connection
        self.registered = threading.Event()
        self.disconnected = threading.Event()
        self.in_thread(self._main)

    def _main(self) -> None:
        while not self.stopping.is_set():
            self.disconnected.clear()
            vhost = {} if self.place.vhost is None else {"vhost": self.place.vhost}
            self.conn = self._class(self.places, reconnect_attempts_max=1, **vhost, **self.library.arguments)
            self.conn.add_listener(self)
            try:
                self._establish()
                self.conn.subscribe(destination=self.place.destination, id="sub", ack="auto")
                self.registered.set()
                while not (self.disconnected.wait(PAUSE) or self.stopping.is_set()):
                    pass
            except Exception as error:
                self.heard.note("failed", error)
                time.sleep(PAUSE)
            finally:
                self.registered.clear()
                with suppress(Exception):
                    self.conn.disconnect()

    def _establish(self) -> None:
        try:
            self.conn.connect(*self.login, wait=True)
        except Exception:
            self.conn.disconnect()
            raise

    def on_message(self, frame: Any) -> None:
        self.handle(frame.body)

    def on_disconnected(self) -> None:
        self.disconnected.set()

    def send(self, body: str) -> None:
        self.registered.wait(5)
        with suppress(self.stomp.exception.StompException, OSError):
            self.conn.send(self.place.destination + ".out", body)

    def stop(self) -> None:
        self.end_thread()


class KombuStomp(Program):
    """kombu-stomp: STOMP 1.0; the hook fills a queue, and each use of the connection connects it if it must."""

    receives = acks = sends = True
    lost = Outcome.SILENT

    def start(self) -> None:
        messages: queue.Queue[Any] = queue.Queue()

        class Connection(self.stomp.Connection10):  # type: ignore[name-defined, misc]
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                listener = type("Listener", (), {"on_message": lambda _self, frame: messages.put(frame)})
                self.set_listener("message_listener", listener())

        self.messages = messages
        self.conn = Connection(self.places, **self.library.arguments)
        self.subscribed = False
        self._acquire()
        self.in_thread(self._main)

    def _acquire(self) -> Any:
        if not self.conn.is_connected():
            self.conn.connect(username=self.place.login, passcode=self.place.passcode, wait=True)
        return self.conn

    def _main(self) -> None:
        while not self.stopping.is_set():
            try:
                conn = self._acquire()
                if not self.subscribed:
                    conn.subscribe(self.place.destination, ack="client-individual")
                    self.subscribed = True
                frame = self.messages.get(block=True, timeout=PAUSE)
                self.handle(frame.body)
                conn.ack(frame.headers["message-id"])
            except queue.Empty:
                continue
            except self.stomp.exception.StompException:
                time.sleep(PAUSE)

    def send(self, body: str) -> None:
        headers = {"properties": "{}", "persistent": "true"}
        self._acquire().send(self.place.destination + ".out", body, **headers)

    def stop(self) -> None:
        self.end_thread()
        if self.conn.is_connected():
            self.conn.unsubscribe(self.place.destination)
        self.conn.disconnect()


class Dump2polarion(Program):
    """dump2polarion: one subscription, one wait for one message; its host is bytes, its login a header."""

    receives = True
    lost = Outcome.SILENT

    def start(self) -> None:
        self.conn = self.stomp.Connection([(b"127.0.0.1", self.place.port)], **self.library.arguments)
        self.received = threading.Condition()
        self.conn.set_listener("XUnit Listener", self)
        self.conn.connect(login=self.place.login, passcode=self.place.passcode)
        self.conn.subscribe(destination=self.place.destination, id=1, ack="auto", headers={})

    def on_message(self, frame: Any) -> None:
        with self.received:
            self.handle(frame.body)
            self.received.notify_all()

    def stop(self) -> None:
        self.conn.disconnect()


PROGRAMS: tuple[type[Program], ...] = (
    BlueskyStomp,
    RucioReceiver,
    RucioHermes,
    Idds,
    DjangoStomp,
    DiracProducer,
    DiracConsumer,
    PythonWorkflows,
    DjangoOutboxPattern,
    Zhmcclient,
    SsmSender,
    SsmReceiver,
    ResilientCircuits,
    Gridappsd,
    Plastron,
    AmbariAgent,
    KombuStomp,
    Dump2polarion,
)
