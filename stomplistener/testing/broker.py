"""An embedded STOMP broker, for tests and first steps. Not for production: it stores nothing on disk."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

from stomplistener._util import arguments
from stomplistener.protocol import VERSIONS, Frame, Limits
from stomplistener.protocol.frame import as_bytes
from stomplistener.protocol.heartbeat import HeartBeat
from stomplistener.testing import log
from stomplistener.testing.faults import Fault
from stomplistener.testing.log import Direction, Logged
from stomplistener.testing.messages import StoredMessage
from stomplistener.testing.server import Server
from stomplistener.testing.state import ConnectionInfo, Options, State
from stomplistener.testing.subscriptions import SubscriptionInfo

T = TypeVar("T")


class Broker:
    """An embedded STOMP broker on a loopback port. A test can inspect the broker's state and cause faults.

    This broker is for tests and first steps: it keeps messages in memory until the object is deleted, even after
    ``stop()``.

    ::

        with Broker() as broker:
            client.connect(broker.uri)
            broker.publish("/queue/a", "hello")
            broker.wait_for(lambda: not broker.unacknowledged("/queue/a"))

    Semantics: ``/topic/…`` names a topic; ``/temp-queue/…`` and ``/temp-topic/…`` belong to one connection. Any other
    name is a queue with competing consumers. When a subscription or connection ends, its unacknowledged messages are
    delivered again, with ``redelivered:true`` and their ``delivery-count``. With automatic acknowledgement, a message
    is acknowledged when it is written to the socket. After a NACK a message is delivered again. After
    ``max_deliveries`` rejections a message goes to the dead letters. SUBSCRIBE supports ``selector`` (comparisons, ``IS
    NULL``, ``AND``, ``OR``, ``NOT``), ``prefetch``, and on topics ``durable:true`` with the subscription's id and the
    connection's ``client-id``. UNSUBSCRIBE with ``durable:true`` removes a durable subscription. SUBSCRIBE with
    ``browser:true`` delivers copies of the messages that wait in a queue, and then a message with ``browser:end``. The
    broker obeys ``expires``.

    Any thread may call any method. Times are seconds. Connections are numbered from 1 in the order of their arrival,
    also across restarts. The argument ``connection`` of a fault is the number of a connection; None means any
    connection.

    Args:
        host: the address to listen on.
        port: 0 lets the system choose a port; it stays the same after ``stop()`` and ``start()``.
        versions: the STOMP versions to speak. With ``("1.0",)``, CONNECTED has no version, as before STOMP 1.1.
        login, passcode: required from clients if ``login`` is given.
        heartbeat: seconds between the heartbeats that the broker can send and that it wants to receive; 0 for none.
        max_deliveries: how many rejections make a message a dead letter.
        prefetch: how many unacknowledged messages a subscription may hold, unless SUBSCRIBE has a prefetch.
        dead_letters: the queue of the dead letters; ``{name}`` in it stands for the last part of the destination.
        virtual_hosts: the ``host`` headers that are accepted from STOMP 1.1 on; None accepts any host, or none.
        lenient_errors: keep the connection after an ERROR, as ActiveMQ does, although the specification forbids it.
        ssl_context: the context for TLS; None for plain TCP.
        server_name: the ``server`` header of CONNECTED.
        limits: the bounds on frames of clients.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        versions: Sequence[str] = ("1.0", "1.1", "1.2"),
        login: str | None = None,
        passcode: str | None = None,
        heartbeat: tuple[float, float] = (10.0, 10.0),
        max_deliveries: int = 5,
        prefetch: int = 1000,
        dead_letters: str = "/queue/DLQ",
        virtual_hosts: Collection[str] | None = None,
        lenient_errors: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        server_name: str = "stomplistener-testing/1",
        limits: Limits | None = None,
    ) -> None:
        if not versions or not set(versions) <= VERSIONS.keys():
            raise ValueError(f"versions must be some of {', '.join(VERSIONS)}, not {versions!r}")
        if max_deliveries < 1 or prefetch < 1:
            raise ValueError("max_deliveries and prefetch must be 1 or more")
        self._state = State(
            Options(
                host=host,
                port=port,
                versions=tuple(sorted(versions)),
                login=login,
                passcode=passcode,
                heartbeat=HeartBeat(*heartbeat),
                max_deliveries=max_deliveries,
                prefetch=prefetch,
                dead_letters=dead_letters,
                virtual_hosts=virtual_hosts,
                lenient_errors=lenient_errors,
                ssl_context=ssl_context,
                server_name=server_name,
                limits=limits or Limits(),
            )
        )
        self._watch = self._state.watch
        self._server = Server(self._state)
        # Starting and stopping wait for threads that need the broker's lock, so they use a separate lock.
        self._running = threading.Lock()

    # Life.

    def start(self) -> Self:
        """Listen. Returns when clients can connect. OSError if the port is taken. Does nothing if the broker runs."""
        with self._running:
            self._server.open()
        return self

    def stop(self, *, reset: bool = False) -> None:
        """Refuse connections and cut all open ones, with RST or FIN. The queues and the port are kept.

        Returns when every thread of the broker has ended.
        """
        with self._running:
            self._server.refuse()
            self._server.end_clients(reset=reset)

    def restart(self, after: float = 0.0, *, reset: bool = False) -> None:
        """Stop, wait ``after`` seconds, start. Returns when clients can connect again."""
        self.stop(reset=reset)
        time.sleep(after)
        self.start()

    def close(self) -> None:
        """Stop and give up the port. The messages stay readable."""
        with self._running:
            self._server.close()
            self._server.end_clients(reset=False)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def name(self) -> str:
        """``embedded``: the name of this broker among the brokers of a test."""
        return "embedded"

    @property
    def port(self) -> int:
        """The port; before the first start, 0 if the system chooses it."""
        return self._server.port

    @property
    def uri(self) -> str:
        """The URI for a client, with login and passcode if they are required."""
        options = self._state.options
        scheme = "tcp" if options.ssl_context is None else "ssl"
        user = "" if options.login is None else f"{quote(options.login, '')}:{quote(options.passcode or '', '')}@"
        host = f"[{options.host}]" if ":" in options.host else options.host
        return f"{scheme}://{user}{host}:{self.port}"

    def __repr__(self) -> str:
        return f"<Broker on port {self.port}, {len(self.connections)} connections>"

    # Messages.

    def publish(
        self, destination: str, body: bytes | str = b"", headers: Mapping[str, str] | None = None
    ) -> StoredMessage:
        """Put a message into a queue or topic, as if a client had sent it. A ``str`` is encoded as UTF-8.

        Raises:
            TypeError, ValueError: an argument that no client could send.
        """
        pairs = arguments.headers(headers)
        if not arguments.text("destination", destination):
            raise ValueError("a message needs a destination")
        if isinstance(body, str):
            body = body.encode()
            pairs.setdefault("content-type", "text/plain;charset=utf-8")
        with self._watch.lock:
            destinations = self._state.destinations
            message = destinations.message(destination, pairs.items(), as_bytes(body))
            snapshot = message.snapshot()
            destinations.put(message)
            self._watch.changed()
        return snapshot

    def published(self, destination: str) -> list[StoredMessage]:
        """Return all messages sent to a destination, by clients and ``publish()``; the oldest comes first.

        The list includes messages to a topic without a subscriber, which no queue keeps. The broker remembers the last
        10,000 messages or 64 MiB of all destinations together; ``clear()`` forgets them.
        """
        with self._watch.lock:
            return [message.snapshot() for message in self._state.destinations.published(destination)]

    def messages(self, destination: str) -> list[StoredMessage]:
        """Return the waiting messages, without the delivered ones; for a topic, those of all its subscriptions."""
        with self._watch.lock:
            queues = self._state.destinations.queues(destination)
            return [message.snapshot() for queue in queues for message in queue.waiting]

    def depth(self, destination: str) -> int:
        """Return the number of waiting messages; cheaper than ``messages``."""
        with self._watch.lock:
            return sum(len(queue.waiting) for queue in self._state.destinations.queues(destination))

    def unacknowledged(self, destination: str) -> list[StoredMessage]:
        """Return the delivered messages without an acknowledgement; an ACK in an open transaction does not count."""
        with self._watch.lock:
            return [
                delivery.message.snapshot()
                for client in self._state.clients.values()
                for subscription in client.subscriptions.values()
                if subscription.queue.name == destination
                for delivery in subscription.held.values()
            ]

    def clear(self, destination: str | None = None) -> None:
        """Drop the waiting messages of one destination or of all, and forget the published ones."""
        with self._watch.lock:
            self._state.destinations.clear(destination)
            self._watch.changed()

    # The visible state.

    @property
    def destinations(self) -> list[str]:
        """Every destination that was ever used."""
        with self._watch.lock:
            return self._state.destinations.names

    @property
    def subscriptions(self) -> list[SubscriptionInfo]:
        """The active subscriptions, in the order of their connections."""
        with self._watch.lock:
            clients = self._state.clients.values()
            return [subscription.info() for client in clients for subscription in client.subscriptions.values()]

    @property
    def connections(self) -> list[ConnectionInfo]:
        """The open connections, including those that have not sent CONNECT yet."""
        with self._watch.lock:
            return [client.info() for client in self._state.clients.values()]

    @property
    def connection_count(self) -> int:
        """How many connections this broker has accepted."""
        with self._watch.lock:
            return self._state.connection_count

    @property
    def log(self) -> list[Logged]:
        """The frames read and written on all connections, including heartbeats: the last 200,000 or 64 MiB."""
        with self._watch.lock:
            entries = self._state.log.entries()
        return log.read(entries)

    def frames(
        self, connection: int | None = None, command: str | None = None, direction: Direction = "in"
    ) -> list[Frame]:
        """Return the frames that were read (``in``) or written (``out``), without heartbeats.

        Args:
            connection: the number of the connection; None for all.
            command: the command of the frames, or ``"HEARTBEAT"``; None for all.
        """
        with self._watch.lock:
            entries = self._state.log.entries()
        wanted = [
            entry
            for entry in entries
            if entry.direction == direction
            and connection in (None, entry.connection)
            and (log.command(entry) != "HEARTBEAT" if command is None else log.command(entry) == command)
        ]
        return [each.frame for each in log.read(wanted)]

    def clear_log(self) -> None:
        """Forget all frames so far."""
        with self._watch.lock:
            self._state.log.clear()

    def wait_for(self, condition: Callable[[], T], timeout: float = 5.0, what: str = "") -> T:
        """Wait until a condition on the broker is true, and return its value.

        The calling thread evaluates the condition after each change at the broker, without holding a lock.

        Args:
            condition: a function of no arguments, such as ``lambda: len(broker.connections) == 2``.
            timeout: seconds to wait.
            what: a description of the condition, for the exception.

        Raises:
            TimedOut: the condition did not become true; the text shows the state of the broker.
        """
        __tracebackhide__ = True  # pytest shows the line of the test that waited
        return self._watch.wait_for(condition, timeout, what, self._describe)

    def _describe(self) -> str:
        queues = {name: count for name in self.destinations if (count := self.depth(name))}
        last = [f"{each.connection} {each.direction} {each.frame.info}" for each in self.log[-10:]]
        return (
            f"connections {[tuple(each)[:2] for each in self.connections]} of {self.connection_count}; subscriptions "
            f"{[tuple(each)[:6] for each in self.subscriptions]}; waiting {queues}; last frames {last}"
        )

    # Faults.

    def drop_connections(self, *, reset: bool = False, connection: int | None = None) -> int:
        """Cut every open connection at once, or only one, with RST or FIN. Return how many were cut."""
        with self._watch.lock:
            clients = [client for client in self._state.clients.values() if connection in (None, client.number)]
            # Let all connections leave the queues first: otherwise one that is about to be cut would get the messages
            # of another.
            for client in clients:
                client.leave_queues()
            for client in clients:
                client.cut(reset=reset)
            self._watch.changed()
        return len(clients)

    def refuse_connections(self) -> None:
        """Let the system refuse new connections. Open connections go on."""
        with self._running:
            self._server.refuse()

    def accept_connections(self) -> None:
        """Undo ``refuse_connections()``."""
        self.start()

    def go_silent(self) -> None:
        """Read nothing, write nothing, and keep every connection. New connections are accepted and get no answer."""
        self._set(silent=True)

    def speak(self) -> None:
        """Undo ``go_silent()``. Frames that arrived meanwhile are processed now."""
        self._set(silent=False)

    def stop_reading(self) -> None:
        """Read nothing, so that clients block when the buffers in between are full. Writing goes on."""
        self._set(deaf=True)

    def resume_reading(self) -> None:
        """Undo ``stop_reading()``."""
        self._set(deaf=False)

    def _set(self, *, silent: bool | None = None, deaf: bool | None = None) -> None:
        with self._watch.lock:
            faults = self._state.faults
            faults.silent = faults.silent if silent is None else silent
            faults.deaf = faults.deaf if deaf is None else deaf
            self._state.wake_writers()
            self._watch.changed()

    def answer_late(self, seconds: float, command: str | None = None, *, connection: int | None = None) -> None:
        """Delay the processing of each frame with this command, and of all frames behind it; 0 ends every delay."""
        with self._watch.lock:
            if arguments.seconds("seconds", seconds):
                self._add(Fault(kind="late", seconds=seconds, command=command, connection=connection, times=None))
            else:
                self._state.faults.remove("late")

    def error_next(
        self,
        command: str | None = None,
        message: str = "refused by the test",
        *,
        with_receipt_id: bool = True,
        close: bool = True,
        times: int | None = 1,
        connection: int | None = None,
    ) -> None:
        """Answer the next frames with this command by ERROR, instead of processing them.

        Args:
            command: the command of the frames; CONNECT also means STOMP, None means any.
            message: the ``message`` header of the ERROR, and its body.
            with_receipt_id: add the receipt that the frame requested.
            close: end the connection after the ERROR.
            times: the number of frames; None for all later ones.
        """
        self._add(
            Fault(
                kind="error",
                command=command,
                message=message,
                with_receipt_id=with_receipt_id,
                close=close,
                times=times,
                connection=connection,
            )
        )

    def drop_before(
        self, command: str | None = None, n: int | None = 1, *, reset: bool = False, connection: int | None = None
    ) -> None:
        """Cut the connection instead of processing the next frame with this command, ``n`` times (None: always).

        Frames that wait to be written are written first.
        """
        self._add(Fault(kind="cut before", command=command, times=n, reset=reset, connection=connection))

    def drop_after(
        self, command: str | None = None, n: int | None = 1, *, reset: bool = False, connection: int | None = None
    ) -> None:
        """Process the next such frame, then cut the connection without confirming it, ``n`` times (None: always)."""
        self._add(Fault(kind="cut after", command=command, times=n, reset=reset, connection=connection))

    def accept_and_close(self, times: int | None = 1, *, reset: bool = False) -> None:
        """Accept the next ``times`` connections (None: all) and close each without an answer."""
        self._add(Fault(kind="accept and close", times=times, reset=reset))

    def connected_then_close(self, times: int | None = 1, *, reset: bool = False) -> None:
        """Answer the next ``times`` connections (None: all) with CONNECTED and close each."""
        self._add(Fault(kind="connected then close", times=times, reset=reset))

    def withhold_receipts(self, command: str | None = None, *, connection: int | None = None) -> None:
        """Process frames, but hold back their receipts until ``release_receipts()``."""
        self._add(Fault(kind="withhold", command=command, connection=connection, times=None))

    def release_receipts(self) -> None:
        """Undo ``withhold_receipts()``, and send the withheld receipts on connections that are still open."""
        with self._watch.lock:
            self._state.faults.remove("withhold")
            for client in self._state.clients.values():
                client.release_receipts()

    def clear_faults(self) -> None:
        """Remove all faults, except for ``refuse_connections()``."""
        with self._watch.lock:
            self._state.faults.waiting.clear()
        self._set(silent=False, deaf=False)
        self.release_receipts()

    def _add(self, fault: Fault) -> None:
        with self._watch.lock:
            self._state.faults.add(fault)
