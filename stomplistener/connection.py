"""What an application holds: one connection to one of several brokers, restored whenever it is lost.

Threads of a connection, each started when it is needed, all daemons:

- ``receiver``: connects, reads, reconnects, closes; one, from ``connect()`` to the end.
- the dispatcher, named as the connection: calls listeners; ``…-worker`` threads for subscriptions that ask for them.
- ``writer``: sends what gathered in a burst.
- ``stomplistener-timer``: one for all connections of the process; heart-beats and delayed retries.

Who owns which state, and the order of locks, is told in ``core``.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from stomplistener._util.deadline import Deadline
from stomplistener._util.fork import ADVICE
from stomplistener._util.greenlets import refuse_half_a_patch
from stomplistener.brokers import Dialect
from stomplistener.core import Core
from stomplistener.errors import ClosedAfterFork, NotConnected, StompError, TimedOut
from stomplistener.failover import parse
from stomplistener.lifecycle import Lifecycle
from stomplistener.listener import AnyListener, Listeners, call_all
from stomplistener.message import Message
from stomplistener.options import DEFAULT, Config, ConnectOptions
from stomplistener.protocol import VERSIONS, Frame, Limits, Session, commands
from stomplistener.requests import reply_frame, request_frame
from stomplistener.states import ConnectionState
from stomplistener.statistics import SessionSnapshot, Statistics
from stomplistener.subscription import Consumer, SettlePolicy, Subscription
from stomplistener.transaction import Transaction
from stomplistener.transport import Transport
from stomplistener.transport import connect as connect_transport

if TYPE_CHECKING:
    import ssl

_log = logging.getLogger("stomplistener")
_numbers = itertools.count(1)
_connections: weakref.WeakSet[Connection] = weakref.WeakSet()

Body = bytes | bytearray | memoryview | str
StrHeaders = Mapping[str, str] | None


class Connection:
    """A connection to a STOMP broker. Thread-safe, listeners included: call anything from anywhere.

    As a context manager it connects, and disconnects gracefully. Durations are seconds.

    Args:
        uri: ``tcp://host:61613``, ``ssl://``, ``ws://``, ``wss://``, ``unix:///path``, or
            ``failover:(tcp://a:61613,tcp://b:61613)?option=value`` as in ActiveMQ.
        login: the user's name; one in the URI goes before it.
        passcode: likewise. It never shows in a log, a repr or an exception.
        host: the virtual host; the URI's virtual host, else its host, where None.
        versions: the STOMP versions to offer.
        heartbeat: seconds between the beats that we offer to send, and that we want to receive; 0 for none.
        headers: more headers for CONNECT.
        before_connect: called before every attempt with :class:`ConnectOptions`, which it may change (a fresh token).
            In the receiver thread: it must not wait for this connection. What it raises fails the attempt.
        ssl_context: for TLS, in place of the default one, which verifies certificate and host name.
        reconnect: whether a lost connection is restored. The URI says how: a plain one fails at once at the start and
            is restored for ever later.
        timeout: seconds that a call waits where it does not say; None waits for ever.
        limits: bounds on memory.
        name: for threads and log lines.
        broker: which broker it is (``activemq``, ``artemis``, ``apollo``, ``rabbitmq``), where it does not say so in
            its ``server`` header, as Artemis in STOMP 1.0.
        duplicate_header: the header that ``duplicate_id`` of ``send`` goes into; the broker's own where None.
        transport: makes the transport, instead of ``stomplistener.transport.connect``, with the same arguments.

    Raises:
        InvalidURI: the URI is malformed.
        ValueError: another argument is out of range.
    """

    def __init__(
        self,
        uri: str,
        login: str | None = None,
        passcode: str | None = None,
        host: str | None = None,
        *,
        versions: Iterable[str] = tuple(VERSIONS),
        heartbeat: tuple[float, float] = (10.0, 10.0),
        headers: StrHeaders = None,
        before_connect: Callable[[ConnectOptions], object] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        reconnect: bool = True,
        timeout: float | None = 30.0,
        limits: Limits | None = None,
        name: str | None = None,
        broker: str | None = None,
        duplicate_header: str | None = None,
        transport: Callable[..., Transport] = connect_transport,
    ) -> None:
        self._config = Config(
            uri=parse(uri),
            login=login,
            passcode=passcode,
            host=host,
            versions=tuple(versions),
            heartbeat=heartbeat,
            headers=dict(headers or {}),
            before_connect=before_connect,
            ssl_context=ssl_context,
            reconnect=reconnect,
            timeout=timeout,
            limits=limits or Limits(),
            name=name or f"stomp-{next(_numbers)}",
            connect_transport=transport,
            # What before_connect adds shows only then: the broker says if it misses a client-id.
            dialect=Dialect(broker, (headers or {}).get("client-id", "" if before_connect else None), duplicate_header),
        )
        for warning in self._config.uri.warnings:
            _log.warning("%s: %s", self._config.name, warning)
        self._listeners = Listeners()
        self._core = Core(self._config, self._listeners)
        self._lifecycle = Lifecycle(self._core)
        _connections.add(self)

    # Listeners

    def add_listener(self, listener: AnyListener, name: str | None = None) -> str:
        """Register a listener for everything on this connection.

        Args:
            listener: a :class:`Listener`, an object with some of its methods, or a callable that takes a Message.
            name: to find it again; an older one of that name is replaced.

        Returns:
            the name.

        Raises:
            TypeError: it is no listener.
        """
        return self._listeners.add(listener, name)

    def set_listener(self, name: str, listener: AnyListener) -> None:
        """Register a listener under a name, in the place of an older one.

        Raises:
            TypeError: it is no listener.
        """
        self._listeners.add(listener, name)

    def get_listener(self, name: str) -> AnyListener | None:
        """The listener of that name, or None."""
        return self._listeners.get(name)

    def remove_listener(self, name_or_listener: AnyListener) -> None:
        """Forget a listener; it may hear what is being called right now. One that is not there is no error."""
        self._listeners.remove(name_or_listener)

    # Life

    def connect(self, timeout: float | None = DEFAULT) -> Connection:
        """Connect, and wait until the connection is ready; one that is ready is left as it is.

        Args:
            timeout: seconds to wait for all attempts together.

        Returns:
            the connection itself.

        Raises:
            ConnectFailed: each broker was tried as often as the URI says; the message has the reason of each.
            TimedOut: the time is over; nothing goes on in the background.
            NotConnected: another thread closed the connection.
            RuntimeError: gevent has patched the standard library in part, or too late.
        """
        refuse_half_a_patch()
        core, deadline = self._core, Deadline(self._config.seconds(timeout))
        self._lifecycle.start()
        settled = (ConnectionState.CONNECTED, ConnectionState.CLOSED)
        if not core.wait_until(lambda: core.state in settled, deadline):
            last = f": {core.last_failure}" if core.last_failure else ""
            late = TimedOut(f"could not connect to {self._config.uri} within {deadline.timeout} s{last}")
            self.close()
            raise late
        if core.state is ConnectionState.CLOSED:
            raise core.failure
        return self

    def disconnect(self, timeout: float | None = DEFAULT, headers: StrHeaders = None) -> None:
        """End gracefully, from any thread; a listener may call it, too.

        No further message is begun, listeners that run may end and acknowledge within the time, confirmed sends wait
        for their receipts, DISCONNECT goes out with a receipt. What was not finished, the broker gets back. While cut
        off there is nobody to say goodbye to: then it is as ``close()``. Subscriptions end.

        Args:
            timeout: seconds for all of it; past it the connection is closed all the same.
            headers: more headers for DISCONNECT.
        """
        self._lifecycle.disconnect(Deadline(self._config.seconds(timeout)), headers)

    def close(self) -> None:
        """End at once, from any thread: no goodbye, whoever waits raises ``NotConnected``. Subscriptions end."""
        self._lifecycle.close()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the connection is closed for good.

        Args:
            timeout: seconds to wait; None for ever.

        Returns:
            whether it is closed.
        """
        core = self._core
        return core.wait_until(lambda: core.state is ConnectionState.CLOSED, Deadline(timeout))

    def run_forever(self) -> None:
        """Connect if need be, and stay until the connection is closed; SIGTERM and SIGINT disconnect gracefully.

        A second signal closes at once. Call it in the main thread; elsewhere no signal is handled.

        Raises:
            ConnectFailed: the connection could not be made, or not be restored.
        """
        # Only for the programs that call this: it makes enums of all the signals.
        from stomplistener._util.signals import EndingSignals

        failures: list[StompError] = []
        # Handled before the first message can come: from then on a signal has something to bring to an end.
        with EndingSignals() as signals:

            def watch() -> None:
                try:
                    self.connect()
                    self.wait()
                except StompError as error:
                    failures.append(error)
                signals.tell()

            watcher = threading.Thread(target=watch, name=f"{self._config.name}-watch", daemon=True)
            watcher.start()
            if signals.wait():
                ending = threading.Thread(target=self.disconnect, name=f"{self._config.name}-disconnect", daemon=True)
                ending.start()
                if signals.wait():
                    self.close()
                ending.join()
            watcher.join()
        failure = failures[0] if failures else self._core.failure
        if type(failure) is not NotConnected:
            raise failure

    @property
    def state(self) -> ConnectionState:
        """Where the connection stands."""
        return self._core.state

    @property
    def is_connected(self) -> bool:
        """Whether the connection is ready now."""
        return self._core.state is ConnectionState.CONNECTED

    @property
    def session(self) -> SessionSnapshot:
        """What was negotiated and is registered, as a snapshot."""
        return self._core.session_snapshot()

    def statistics(self) -> Statistics:
        """Counts since the connection was made, as a snapshot."""
        return self._core.statistics()

    # Receiving

    def subscribe(
        self,
        destination: str,
        listener: AnyListener | None = None,
        *,
        id: str | None = None,
        ack: str = "auto",
        settle: bool = False,
        workers: int = 1,
        retries: int = 0,
        retry_delay: float = 1.0,
        error_destination: str | None = None,
        durable: str | None = None,
        prefetch: int | None = None,
        selector: str | None = None,
        headers: StrHeaders = None,
        confirm: bool = False,
        timeout: float | None = DEFAULT,
    ) -> Subscription:
        """Subscribe, over this and every later connection; before ``connect()``, too.

        Messages go to the connection's listeners and then to ``listener``, one after the other in the order of the
        wire.

        Args:
            destination: as the broker spells it, such as ``/queue/orders``.
            listener: for this subscription alone.
            id: the subscription's id; made up where None.
            ack: ``auto``, ``client`` (an ack covers what came before it) or ``client-individual``.
            settle: acknowledge when the listeners return, reject when they raise; needs ``client-individual``.
            workers: threads to run the listeners in; with more than one, messages are handled out of order.
            retries: how often a message is tried again before it is rejected.
            retry_delay: seconds between tries; other messages go on meanwhile.
            error_destination: where a message goes, acknowledged in the same transaction, instead of being rejected.
            durable: the name of a durable subscription, which is then its id. ActiveMQ and Artemis keep it for the
                ``client-id`` in the connection's headers. ``disconnect()`` leaves it there, ``unsubscribe()`` deletes
                it.
            prefetch: how many messages the broker may send ahead of their acknowledgements; Artemis counts KiB.
            selector: an SQL 92 condition on headers; not on RabbitMQ.
            headers: more headers for SUBSCRIBE; they win over everything else.
            confirm: wait for the broker's receipt.
            timeout: seconds to wait for it.

        Raises:
            ValueError: arguments that do not fit together; an id in use.
            BrokerError: with ``confirm``, the broker refused.
            TimedOut: with ``confirm``, no receipt came; the subscription stays and may become active later.
            ProtocolError: the STOMP version in use cannot express it, or this broker cannot do it.
        """
        if settle and ack != "client-individual":
            raise ValueError("settle=True settles each message by itself: it needs ack='client-individual'")
        if not settle and (retries or error_destination is not None):
            raise ValueError("retries and error_destination belong to settle=True")
        if workers < 1:
            raise ValueError("workers must be at least 1")
        core = self._core
        policy = SettlePolicy(
            settle=settle, retries=retries, retry_delay=retry_delay, error_destination=error_destination
        )
        number = next(_numbers)
        lane = core.lane if workers == 1 else core.new_lane(f"{self._config.name}-worker-{number}", workers)
        subscription = Subscription(core, lane, listener, policy)
        self._register(subscription, destination, id, ack, durable, prefetch, selector, headers)
        if confirm:
            subscription.wait_active(timeout)
        return subscription

    def consume(
        self,
        destination: str,
        *,
        ack: str = "client-individual",
        headers: StrHeaders = None,
        prefetch: int | None = None,
        notify: Callable[[], object] | None = None,
    ) -> Consumer:
        """Subscribe, and ask for the messages instead of being called.

        Args:
            destination: as the broker spells it.
            ack: as for ``subscribe``.
            headers: more headers for SUBSCRIBE.
            prefetch: how many messages the broker may send ahead of their acknowledgements.
            notify: called when messages have come, or the end; for event loops, which then ask by ``receive(0)``. It
                is called in threads of the library, and must not block.

        Returns:
            a context manager: iterate it, or call ``receive(timeout)``.

        Raises:
            ValueError: ``prefetch`` is less than 1.
            ProtocolError: the STOMP version in use cannot express it, or this broker cannot do it.
        """
        core = self._core
        told = partial(call_all, (notify,) if notify is not None else ())
        subscription = Subscription(core, core.new_lane(f"{self._config.name}-consumer", workers=0, notify=told))
        self._register(subscription, destination, None, ack, None, prefetch, None, headers)
        return Consumer(core, subscription)

    def _register(
        self,
        subscription: Subscription,
        destination: str,
        id: str | None,
        ack: str,
        durable: str | None,
        prefetch: int | None,
        selector: str | None,
        headers: StrHeaders,
    ) -> None:
        if prefetch is not None and prefetch < 1:
            raise ValueError("prefetch must be at least 1")

        def make(session: Session) -> Frame | None:
            entry, frame = session.subscribe(
                destination,
                # Where the id is a durable subscription's name, it is the same on every broker of the list.
                id=durable if id is None else id,
                ack=ack,
                headers=headers,
                durable=durable,
                prefetch=prefetch,
                selector=selector,
                context=subscription,
            )
            subscription.bind(entry)
            return frame

        self._core.say_now(make)

    # Sending

    def send(
        self,
        destination: str,
        body: Body = b"",
        headers: StrHeaders = None,
        content_type: str | None = None,
        transaction: Transaction | str | None = None,
        confirm: bool = False,
        auto_content_length: bool | None = None,
        persistent: bool | None = None,
        expires: float | None = None,
        priority: int | None = None,
        delay: float | None = None,
        duplicate_id: str | None = None,
        timeout: float | None = DEFAULT,
    ) -> None:
        """Send a message. While cut off it waits until the connection is restored. Give options by name.

        Without ``confirm`` the message may be lost with its connection, as TCP allows. With it, it is sent again after
        every loss until the broker's receipt has come: it arrives at least once, or this raises.

        Args:
            destination: as the broker spells it.
            body: bytes, or text, which goes as UTF-8 with a content-type that says so.
            headers: more headers; they win over the arguments.
            content_type: the MIME type of the body.
            transaction: send as part of it.
            confirm: wait for the broker's receipt.
            auto_content_length: whether there is a content-length. Where None, all have one but the texts for ActiveMQ
                and Artemis: these make a JMS BytesMessage of what has one, and a TextMessage of what has none.
            persistent: whether the broker is to keep it on disk; its default where None.
            expires: seconds after which nobody is to get it any more.
            priority: 0 to 9, 9 first, where the broker's queue has priorities.
            delay: seconds before the broker delivers it.
            duplicate_id: what names the message for good, such as a UUID. A broker that detects duplicates stores only
                the first of several with the same one, so that a confirmed message is there exactly once.
            timeout: seconds to wait, for a connection and the receipt together.

        Raises:
            ValueError: an argument is out of range; ``confirm`` with ``transaction``, whose COMMIT confirms.
            TimedOut: without a connection: nothing was written, and nothing will be. With ``confirm`` on a connection
                that lives: no receipt came.
            ConnectionLost: its transaction was lost; or it was written, the connection lost, and the time is over.
            BrokerError: with ``confirm``, the broker refused it.
            NotConnected: there is no connection, nor is one being restored.
            InvalidHeader: a header cannot be written in the STOMP version in use.
            ProtocolError: this broker cannot do what an option asks.
        """
        core, config = self._core, self._config
        # First of all, and in one look: a burst is made of these. No asterisk stands before the options, since to fill
        # in the defaults of keyword-only arguments costs a send after a pause a microsecond.
        usual = (
            (headers is None and content_type is None and transaction is None and not confirm)
            and (auto_content_length is None and persistent is None and expires is None)
            and (priority is None and delay is None and duplicate_id is None)
        )
        if usual:
            shortcut = core.shortcut
            if shortcut is not None and shortcut.send(destination, body):
                return
        deadline = Deadline(config.seconds(timeout))
        headers = core.spelled(
            headers,
            deadline,
            persistent=persistent,
            expires=expires,
            priority=priority,
            delay=delay,
            duplicate_id=duplicate_id,
        )
        frame = commands.send(
            destination,
            body,
            headers,
            content_type=content_type,
            transaction=transaction.id if isinstance(transaction, Transaction) else transaction,
            auto_content_length=core.counted(body, auto_content_length),
        )
        if transaction is not None:
            if confirm:
                raise ValueError("a SEND in a transaction is confirmed by its COMMIT: leave confirm out")
            core.send(frame, deadline)
        elif confirm:
            answer = core.new_answer()
            patience = deadline.sooner(config.uri.options.timeout)
            core.confirm(frame, patience, answer=answer, wait=True)
            core.await_answer(answer, deadline, f"SEND to {destination}")
        elif config.track_messages:
            core.confirm(frame, deadline.sooner(config.uri.options.timeout), answer=None, wait=False)
        else:
            core.send(frame, deadline.sooner(config.uri.options.timeout))

    def send_async(
        self,
        destination: str,
        body: Body = b"",
        headers: StrHeaders = None,
        *,
        content_type: str | None = None,
        auto_content_length: bool | None = None,
        persistent: bool | None = None,
        expires: float | None = None,
        priority: int | None = None,
        delay: float | None = None,
        duplicate_id: str | None = None,
        timeout: float | None = DEFAULT,
    ) -> Future[Frame]:
        """Send a confirmed message without waiting for its receipt. While cut off it is kept, and sent when restored.

        Holds its caller only while as many messages are unconfirmed as ``Limits`` allow.

        Args:
            timeout: seconds to wait for room among the unconfirmed ones. The others are as for ``send``.

        Returns:
            a future: the RECEIPT frame, or the exception. Its callbacks run in the dispatcher thread. Cancelled before
            the answer came, the message is not sent (again); written already, it may arrive.

        Raises:
            TimedOut: there was no room; nothing was or will be written.
            NotConnected: there is no connection, nor is one being restored.
            InvalidHeader: a header cannot be written in the STOMP version in use.
            ProtocolError: this broker cannot do what an option asks.
        """
        answer = self._core.new_answer()
        usual = (
            (headers is None and content_type is None and auto_content_length is None)
            and (persistent is None and expires is None and priority is None)
            and (delay is None and duplicate_id is None)
        )
        if usual:
            shortcut = self._core.shortcut
            if shortcut is not None and shortcut.confirm(destination, body, answer):
                return answer
        deadline = Deadline(self._config.seconds(timeout))
        headers = self._core.spelled(
            headers,
            deadline,
            persistent=persistent,
            expires=expires,
            priority=priority,
            delay=delay,
            duplicate_id=duplicate_id,
        )
        frame = commands.send(
            destination,
            body,
            headers,
            content_type=content_type,
            auto_content_length=self._core.counted(body, auto_content_length),
        )
        self._core.confirm(frame, deadline, answer=answer, wait=False)
        return answer

    def request(
        self,
        destination: str,
        body: Body = b"",
        *,
        headers: StrHeaders = None,
        content_type: str | None = None,
        auto_content_length: bool | None = None,
        timeout: float | None = DEFAULT,
    ) -> Message:
        """Send a message and wait for the answer to it, which comes over a temporary queue of this connection.

        Who answers sends to the message's ``reply-to`` with its ``correlation-id``, as ``reply`` does. Many threads may
        wait at once, listeners among them.

        Args:
            timeout: seconds to wait for a connection and the answer together. The others are as for ``send``.

        Returns:
            the answer.

        Raises:
            TimedOut: no answer came.
            ConnectionLost: the connection was lost, and the queue for the answer with it; ask again.
            NotConnected: there is no connection, nor is one being restored.
            ProtocolError: the broker does not say what it is: see ``broker``.
        """
        counted = self._core.counted(body, auto_content_length)
        make = partial(request_frame, destination, body, headers, content_type, counted)
        return self._core.requests.request(make, Deadline(self._config.seconds(timeout)), f"request to {destination}")

    def request_async(
        self,
        destination: str,
        body: Body = b"",
        *,
        headers: StrHeaders = None,
        content_type: str | None = None,
        auto_content_length: bool | None = None,
        timeout: float | None = DEFAULT,
    ) -> Future[Message]:
        """Send a request without waiting for its answer.

        Args:
            timeout: seconds to wait until it is sent; the first one on a connection waits for the queue for answers,
                too. The others are as for ``request``.

        Returns:
            a future: the answer, or ``ConnectionLost``. Its callbacks run in the dispatcher thread. Cancel it when
            nobody waits for the answer any more.

        Raises:
            TimedOut: there was no connection; nothing was written, and nothing will be.
            NotConnected: there is no connection, nor is one being restored.
            ProtocolError: the broker does not say what it is: see ``broker``.
        """
        counted = self._core.counted(body, auto_content_length)
        make = partial(request_frame, destination, body, headers, content_type, counted)
        return self._core.requests.start(make, Deadline(self._config.seconds(timeout)), f"request to {destination}")

    def reply(
        self, message: Message, body: Body = b"", headers: StrHeaders = None, *, timeout: float | None = DEFAULT
    ) -> None:
        """Answer a request: send to its ``reply-to``, with its ``correlation-id``.

        Args:
            message: the request.
            body: as for ``send``.
            headers: more headers.
            timeout: seconds to wait for a connection.

        Raises:
            ValueError: the message asks for no answer.
            TimedOut: there was no connection; nothing was written, and nothing will be.
            NotConnected: there is no connection, nor is one being restored.
        """
        frame = reply_frame(message, body, headers or {}, self._core.counted(body, None))
        self._core.send(frame, Deadline(self._config.seconds(timeout)))

    def wait_ready(self, timeout: float | None = DEFAULT) -> None:
        """Wait until a message could be sent without waiting: for who sends with ``timeout=0``, as an event loop.

        Args:
            timeout: seconds to wait for a connection, room among the unconfirmed messages, and a broker that reads.

        Raises:
            TimedOut: the time is over.
            NotConnected: there is no connection, nor is one being restored.
        """
        self._core.wait_ready(Deadline(self._config.seconds(timeout)))

    @property
    def is_full(self) -> bool:
        """Whether the bound on bytes that wait to be written is reached: the broker does not read. See ``flush``."""
        return self._core.outbox.is_full

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Let the frames that this thread sends inside gather, and write them together at the end."""
        outbox = self._core.outbox
        outbox.hold()
        try:
            yield
        finally:
            outbox.release()

    def flush(self, timeout: float | None = DEFAULT) -> None:
        """Wait until all that was sent is handed to the operating system.

        Args:
            timeout: seconds to wait.

        Raises:
            TimedOut: the broker does not read.
        """
        seconds = self._config.seconds(timeout)
        if not self._core.outbox.flush(seconds):
            raise TimedOut(f"flush: the broker takes no more bytes; waited {seconds} s")

    def transaction(self, headers: StrHeaders = None, *, id: str | None = None, retry: int = 0) -> Transaction:
        """A transaction, to use in a ``with`` statement.

        Args:
            headers: more headers for BEGIN.
            id: its name; made up where None.
            retry: how often ``Transaction.run`` runs its function again when the connection is lost.
        """
        return Transaction(self._core, headers, id=id, retry=retry)

    # Ends

    def __enter__(self) -> Connection:
        return self.connect()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect()

    def __repr__(self) -> str:
        return f"<Connection {self._config.name} to {self._config.uri}: {self.state.value}>"

    def _after_fork(self) -> None:
        """In the child: leave the parent's socket alone, and begin as a new connection with the same listeners."""
        self._listeners.renew_lock()
        parents = self._core
        if parents.state is ConnectionState.NEW:
            return
        parents.abandon()
        self._core = Core(self._config, self._listeners)
        self._core.give_up(ClosedAfterFork(ADVICE))
        self._lifecycle = Lifecycle(self._core)


def _after_fork_in_child() -> None:
    for connection in list(_connections):
        connection._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
