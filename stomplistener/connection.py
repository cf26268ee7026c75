"""The connection as an application uses it: one connection to one of several brokers, restored after every loss.

``_engine.context`` describes threads, locks and who owns which state; ``_engine.engine`` joins the parts.
"""

from __future__ import annotations

import atexit
import itertools
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Unpack

from stomplistener._engine.context import Context
from stomplistener._engine.engine import Engine, live_engines
from stomplistener._engine.life import Life
from stomplistener._util import arguments
from stomplistener._util.callables import refuse_unrun
from stomplistener._util.deadline import Deadline
from stomplistener._util.fork import ADVICE
from stomplistener._util.text import counted
from stomplistener.backoff import Backoff
from stomplistener.errors import ClosedAfterFork, NotConnected, TimedOut
from stomplistener.failover import BrokerURI
from stomplistener.listener import AnyListener, Listeners, call_all, is_same
from stomplistener.message import Message
from stomplistener.options import DEFAULT, AckMode, Config, ConnectOptions, SendOptions
from stomplistener.policy import SettlePolicy
from stomplistener.protocol import VERSIONS, Frame, Limits, Session
from stomplistener.states import ConnectionState
from stomplistener.statistics import SessionSnapshot, Statistics
from stomplistener.subscription import Consumer, Subscription
from stomplistener.transaction import Transaction
from stomplistener.transport import Transport
from stomplistener.transport import connect as connect_transport

if TYPE_CHECKING:
    import ssl

_numbers = itertools.count(1)
_connections: weakref.WeakSet[Connection] = weakref.WeakSet()

FINISH_SECONDS = 1.0
"""How long the end of the program waits for sent frames to be written."""

Body = bytes | bytearray | memoryview | str
StrHeaders = Mapping[str, str] | None


class Connection:
    """A connection to a STOMP broker. Thread-safe: any thread and any listener may call any method.

    As a context manager, a connection connects, and disconnects gracefully. Durations are seconds.

    Args:
        uri: ``tcp://host:61613``, ``ssl://``, ``ws://``, ``wss://``, ``unix:///path``, or
            ``failover:(tcp://a:61613,tcp://b:61613)?option=value`` as in ActiveMQ; or the result of
            :func:`stomplistener.failover.parse`.
        login: the user's name; a login in the URI overrides it.
        passcode: the passcode; one in the URI overrides it. No log, repr or exception shows a passcode.
        host: the virtual host; None uses the virtual host of the URI, or the URI's host if it has none.
        versions: the STOMP versions to offer.
        heartbeat: seconds between the heartbeats that the client can send and that it wants to receive; 0 for none.
        headers: additional headers for CONNECT.
        before_connect: called before every attempt with :class:`ConnectOptions`, which it may change (a fresh token).
            The function runs in the receiver thread and must not wait for this connection. If the function raises, the
            attempt fails.
        ssl_context: for TLS; the default context verifies certificate and host name.
        reconnect: whether a lost connection is restored. The URI has the details. With a plain URI, the first connect
            is tried once, and a lost connection is restored forever.
        timeout: seconds that a call without its own ``timeout`` waits; None waits forever.
        limits: bounds on memory.
        name: the name of the connection, for threads and log lines.
        broker: the kind of broker (``activemq``, ``artemis``, ``apollo``, ``rabbitmq``), if its ``server`` header does
            not name it, as with Artemis in STOMP 1.0.
        duplicate_header: the header for ``duplicate_id`` of ``send``; None uses the broker's own.
        transport: makes the transport instead of ``stomplistener.transport.connect``, with the same arguments.

    Raises:
        InvalidURI: the URI is malformed.
        TypeError: another argument is of the wrong kind.
        ValueError: another argument is out of range, or two contradict each other.
    """

    def __init__(
        self,
        uri: str | BrokerURI,
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
        self._config = Config.checked(
            uri=uri,
            login=login,
            passcode=passcode,
            host=host,
            versions=versions,
            heartbeat=heartbeat,
            headers=headers,
            before_connect=before_connect,
            ssl_context=ssl_context,
            reconnect=reconnect,
            timeout=timeout,
            limits=limits,
            name=arguments.optional_text("name", name) or f"stomp-{next(_numbers)}",
            connect_transport=transport,
            broker=broker,
            duplicate_header=duplicate_header,
        )
        # The URI's ``timeout`` also limits the time of a SEND.
        self._send_limit = self._config.uri.options.timeout
        self._send_timeout = _shorter(self._config.timeout, self._send_limit)
        self._listeners = Listeners()
        self._engine = Engine(self._config, self._listeners)
        for warning in self._config.warnings:
            self._engine.context.log.warning("%s", warning)
        _connections.add(self)

    # Listeners

    def add_listener(self, listener: AnyListener, name: str | None = None) -> str:
        """Register a listener for all events and messages of this connection.

        Args:
            listener: a :class:`Listener`, an object with some of its methods, or a callable that takes a Message.
            name: the name of the listener; it replaces a listener of the same name.

        Returns:
            the name.

        Raises:
            TypeError: the argument is not a listener.
        """
        return self._listeners.add(listener, arguments.optional_text("name", name))

    def set_listener(self, name: str, listener: AnyListener) -> None:
        """Register a listener under a name; it replaces a listener of that name.

        Raises:
            TypeError: the argument is not a listener.
        """
        self._listeners.add(listener, arguments.text("name", name))

    def get_listener(self, name: str) -> AnyListener | None:
        """Return the listener of that name, or None."""
        return self._listeners.get(name)

    def remove_listener(self, name_or_listener: AnyListener) -> None:
        """Remove a listener. A call that has begun may still reach the listener. An unknown listener is ignored."""
        self._listeners.remove(name_or_listener)

    # Life

    def connect(self, timeout: float | None = DEFAULT) -> Connection:
        """Connect, and wait until the connection is ready. Do nothing if the connection is ready already.

        Args:
            timeout: seconds to wait for all attempts together.

        Returns:
            the connection itself.

        Raises:
            ConnectFailed: each broker was tried as often as the URI allows; the text has the reason of each. A
                sub-interpreter that allows no threads fails at once.
            TimedOut: the time is over. The attempts of this call have ended; an earlier reconnect goes on.
            NotConnected: another thread closed the connection.
            BrokerError: the broker rejected a subscription that was declared before; the connection is ready.
            RuntimeError: gevent has patched the standard library only in part, or too late.
        """
        _finish_with_multiprocessing()
        self._engine.connect(Deadline(self._config.seconds(timeout)))
        return self

    def _begin(self) -> Life | None:
        """Begin to connect without waiting. From now on, a request to end finds the life that it has to end.

        Returns:
            the life that was begun; None if a life goes on already.

        Raises:
            ConnectFailed, RuntimeError: as in ``connect``.
        """
        _finish_with_multiprocessing()
        return self._engine.begin_life()

    def disconnect(self, timeout: float | None = DEFAULT, headers: StrHeaders = None) -> None:
        """End gracefully, from any thread; a listener may call it, too.

        No listener begins another message. Running listeners may return and acknowledge within the time, and confirmed
        sends wait for their receipts. Finally, the client sends DISCONNECT with a receipt. The broker delivers
        unfinished messages again. A graceful end is also possible while a new connection restores the subscriptions.
        Without a connection, the call closes at once, and running listeners may return within the time. Subscriptions
        end.

        Args:
            timeout: seconds for all steps together; when they are over, the connection is closed anyway.
            headers: additional headers for DISCONNECT.

        In a signal handler, call :meth:`stop`. If the handler interrupted a call of this connection, this method works
        like :meth:`stop`.
        """
        if self._engine.is_interrupted:
            # A signal handler that interrupted a call of this connection cannot wait for that call,
            # but it can call stop().
            self.stop()
            return
        self._engine.shutdown.disconnect(Deadline(self._config.seconds(timeout)), arguments.headers(headers))

    def close(self) -> None:
        """End at once, from any thread, without DISCONNECT. Waiting calls raise ``NotConnected``. Subscriptions end."""
        if self._engine.is_interrupted:
            self.stop()
            return
        self._engine.shutdown.close()

    def stop(self) -> None:
        """Request the graceful end, and return at once. ``wait()`` returns when the connection has ended.

        Use this method to end a connection in a signal handler: it takes no lock and never waits.
        """
        self._engine.shutdown.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the connection is closed and will not be restored.

        Args:
            timeout: seconds to wait; None waits forever.

        Returns:
            whether the connection is closed.
        """
        context = self._engine.context
        deadline = Deadline(arguments.seconds("timeout", timeout))
        return context.wait_until(lambda: context.state is ConnectionState.CLOSED, deadline)

    def run_forever(self) -> None:
        """Connect if necessary, and wait until the connection is closed. SIGTERM and SIGINT disconnect gracefully.

        A second signal closes the connection at once. Call this in the main thread; in other threads, no signal is
        handled.

        Raises:
            ConnectFailed: the connection could not be made or restored.
            BrokerError: the broker rejected a subscription.
        """
        # Imported only in programs that call this: the module makes enums of all signals.
        from stomplistener._util.signals import EndingSignals

        engine, failures = self._engine, list[BaseException]()
        # Handle signals before the first message can arrive: from then on, a signal must end the connection gracefully.
        with EndingSignals() as signals:
            life = self._begin()

            def watch() -> None:
                try:
                    engine.wait_until_ready(life, Deadline(self._config.timeout))
                    self.wait()
                except BaseException as error:
                    failures.append(error)
                signals.tell()

            watcher = threading.Thread(target=watch, name=f"{self._config.name}-watch", daemon=True)
            try:
                watcher.start()
            except RuntimeError:
                # The system refuses the thread, so nothing would end the connection later.
                self.close()
                raise
            if signals.wait():
                ending = threading.Thread(target=self.disconnect, name=f"{self._config.name}-disconnect", daemon=True)
                ending.start()
                if signals.wait():
                    self.close()
                ending.join()
            elif failures:
                self.disconnect()
            watcher.join()
        failure = failures[0] if failures else engine.context.failure
        if type(failure) is not NotConnected:
            raise failure

    @property
    def state(self) -> ConnectionState:
        """The current state of the connection."""
        return self._engine.context.state

    @property
    def is_connected(self) -> bool:
        """Whether the connection is ready now."""
        return self._engine.context.state is ConnectionState.CONNECTED

    @property
    def last_error(self) -> Exception | None:
        """Why the last connection ended, or why the last attempt failed; None if neither happened."""
        return self._engine.context.last_error

    @property
    def session(self) -> SessionSnapshot:
        """A snapshot of the negotiated values and the subscriptions."""
        return self._engine.session_snapshot()

    def statistics(self) -> Statistics:
        """Return a snapshot of the counts since this object was made."""
        return self._engine.statistics()

    # Receiving

    def subscribe(
        self,
        destination: str,
        listener: AnyListener | None = None,
        *,
        id: str | None = None,
        ack: AckMode | None = None,
        settle: bool = False,
        workers: int = 1,
        call_in: Callable[[Callable[[], object]], object] | None = None,
        retries: int = 0,
        retry_delay: float | Backoff = 1.0,
        error_destination: str | None = None,
        dead_letter_on: Iterable[type[BaseException]] | type[BaseException] = (),
        retry_on: Iterable[type[BaseException]] | type[BaseException] | None = None,
        max_deliveries: int | None = None,
        ordered_by: str | None = None,
        durable: str | None = None,
        prefetch: int | None = None,
        selector: str | None = None,
        headers: StrHeaders = None,
        confirm: bool = False,
        timeout: float | None = DEFAULT,
    ) -> Subscription:
        """Subscribe, on this connection and every later one. You may subscribe before ``connect()``, too.

        Each message goes to the connection's listeners and then to ``listener``, in the order of the wire. A message
        without any listener is not acknowledged, and the client logs a warning.

        Args:
            destination: the destination as the broker spells it, such as ``/queue/orders``.
            listener: the listener of this subscription only.
            id: the subscription's id; None generates one.
            ack: ``auto``, ``client`` (an ack covers all earlier messages) or ``client-individual``; None means
                ``client-individual`` with ``settle``, otherwise ``auto``.
            settle: acknowledge a message when the listeners return, reject it when one raises.
            workers: threads to run the listeners in; with more than one, messages are handled out of order.
            call_in: runs the listeners in a thread of yours. The client passes a function to it, and your thread has to
                call this function: ``loop.call_soon_threadsafe``, ``executor.submit`` or ``lambda call: root.after(0,
                call)``. At most ``workers`` messages are handed over at a time. If a message has not begun when the
                connection ends, the broker delivers it again.
            retries: how often the listeners get a message again before it is rejected.
            retry_delay: seconds between tries, or a :class:`Backoff`; other messages are handled meanwhile.
            error_destination: the destination to which a message is forwarded after its last try. The message is then
                acknowledged, not rejected.
            dead_letter_on: exceptions that are not worth a retry, with their subclasses.
            retry_on: the only exceptions that are worth a retry, with their subclasses; None for all. An exception in
                both arguments is not retried.
            max_deliveries: how often the broker may deliver a message, by its own counter if it has one; None for no
                limit. A message beyond this number is given up without running the listener. Messages that wait behind
                the running one count as delivered; with ``prefetch=1``, none wait. If the broker has its own limit, the
                lower limit decides: ``max-delivery-attempts`` of Artemis (10 by default), ``x-delivery-limit`` of
                RabbitMQ's quorum queues.
            ordered_by: the name of a header. With ``workers``, messages with the same value of this header are handled
                one at a time, in order, including retries. Messages with different values are handled in parallel.
                Messages without the header have no order.
            durable: the name of a durable subscription, which is also its id. ActiveMQ and Artemis keep the
                subscription for the ``client-id`` in the connection's headers. ``disconnect()`` keeps the subscription,
                ``unsubscribe()`` deletes it.
            prefetch: how many messages the broker may send ahead of their acknowledgements; Artemis counts KiB.
            selector: an SQL 92 condition on headers; not on RabbitMQ.
            headers: additional headers for SUBSCRIBE; they win over all arguments.
            confirm: wait for the broker's receipt.
            timeout: seconds to wait for the receipt.

        Raises:
            TypeError: an argument is of the wrong kind, or the listener cannot work; nothing was registered.
            ValueError: an argument is out of range, arguments contradict each other, or the id is in use.
            BrokerError: with ``confirm``, the broker rejected the subscription.
            TimedOut: with ``confirm``, no receipt arrived; the subscription stays and may become active later.
            ProtocolError: no offered STOMP version can express the subscription, or this broker does not support it.
        """
        asked = {**arguments.headers(headers)}
        mode = asked.get("ack", ack)
        if mode is None:
            mode = "client-individual" if settle else "auto"
        self._config.check_ack(mode, settle=settle)
        if not settle and (retries or error_destination is not None or dead_letter_on or max_deliveries is not None):
            raise ValueError("retries, error_destination, dead_letter_on and max_deliveries belong to settle=True")
        if not settle and retry_on is not None:
            raise ValueError("retry_on belongs to settle=True")
        policy = SettlePolicy(
            settle=settle,
            retries=arguments.count("retries", retries, 0),
            backoff=Backoff.of("retry_delay", retry_delay),
            error_destination=arguments.optional_text("error_destination", error_destination),
            dead_letter_on=_exceptions("dead_letter_on", dead_letter_on),
            retry_on=(BaseException,) if retry_on is None else _exceptions("retry_on", retry_on),
            max_deliveries=None if max_deliveries is None else arguments.count("max_deliveries", max_deliveries, 1),
        )
        engine = self._engine
        count = arguments.count("workers", workers, 1)
        waits = arguments.seconds("timeout", timeout) if timeout is not DEFAULT else timeout
        if call_in is not None and not callable(call_in):
            raise TypeError(f"call_in must be a callable that takes a function, not {type(call_in).__name__}")
        refuse_unrun(call_in)
        if ordered_by is not None and not arguments.text("ordered_by", ordered_by):
            raise ValueError("ordered_by must be the name of a header, not empty")
        queue = engine.subscription_queue(f"{self._config.name}-worker-{next(_numbers)}", count, ordered_by, call_in)
        subscription = Subscription(engine, queue, listener, policy)
        _warn_of_repetition(engine.context, destination, listener)
        self._register(subscription, destination, id, mode, durable, prefetch, selector, asked)
        if confirm:
            subscription.wait_active(waits)
        return subscription

    def consume(
        self,
        destination: str,
        *,
        ack: AckMode = "client-individual",
        headers: StrHeaders = None,
        durable: str | None = None,
        prefetch: int | None = None,
        selector: str | None = None,
        notify: Callable[[], object] | None = None,
        confirm: bool = False,
        timeout: float | None = DEFAULT,
    ) -> Consumer:
        """Subscribe, and take the messages in your own thread.

        Args:
            destination: the destination as the broker spells it.
            ack: as in ``subscribe``.
            headers: additional headers for SUBSCRIBE.
            durable: as in ``subscribe``. The end of the consumer does not delete the durable subscription.
            prefetch: how many messages the broker may send ahead of their acknowledgements.
            selector: as in ``subscribe``.
            notify: called when messages have arrived, and at the end; for event loops, which then call ``receive(0)``.
                Threads of the library call the function, so it must not block.
            confirm: wait for the broker's receipt. The consumer may miss messages to a topic that were sent before the
                receipt.
            timeout: seconds to wait for the receipt.

        Returns:
            a context manager: iterate it, or call ``receive(timeout)``.

        Raises:
            TypeError: an argument is of the wrong kind; nothing was registered.
            ValueError: an argument is out of range.
            BrokerError: with ``confirm``, the broker rejected the subscription.
            TimedOut: with ``confirm``, no receipt arrived; the subscription has ended.
            ProtocolError: the STOMP version in use cannot express the subscription, or this broker does not support it.
        """
        asked = arguments.headers(headers)
        waits = arguments.seconds("timeout", timeout) if timeout is not DEFAULT else timeout
        mode = asked.get("ack", ack)
        self._config.check_ack(mode, settle=False)
        refuse_unrun(notify)
        engine = self._engine
        notified = partial(call_all, (notify,), report=engine.context.log.error) if notify is not None else None
        subscription = Subscription(engine, engine.new_queue(f"{self._config.name}-consumer", 0, notified))
        self._register(subscription, destination, None, mode, durable, prefetch, selector, asked)
        consumer = Consumer(engine, subscription)
        if confirm:
            try:
                subscription.wait_active(waits)
            except BaseException:
                consumer.close()
                raise
        return consumer

    def browse(
        self,
        destination: str,
        *,
        selector: str | None = None,
        limit: int | None = None,
        idle: float = 1.0,
        timeout: float | None = DEFAULT,
    ) -> Iterator[Message]:
        """Look at the messages of a queue, without taking any.

        Args:
            destination: the queue.
            selector: an SQL 92 condition on headers.
            limit: the largest number of messages; None for all.
            idle: seconds without a message after which to stop, if the broker does not mark the end.
            timeout: seconds to wait for a connection and the first message.

        Returns:
            the messages; closing the iterator ends the browsing.

        Raises:
            ProtocolError: this broker cannot browse over STOMP; the text names the broker.
        """
        from stomplistener.browse import browse  # rarely used

        return browse(
            self,
            destination,
            selector=selector,
            limit=limit,
            idle=idle,
            timeout=self._config.seconds(timeout),
            broker=self._config.dialect.name,
            log=self._engine.context.log,
        )

    def _register(
        self,
        subscription: Subscription,
        destination: str,
        id: str | None,
        ack: str,
        durable: str | None,
        prefetch: int | None,
        selector: str | None,
        headers: Mapping[str, str],
    ) -> None:
        destination = arguments.text("destination", destination)
        durable = arguments.optional_text("durable", durable)
        # If the id is the name of a durable subscription, it is the same on every broker of the list.
        named = arguments.optional_text("id", id) or durable
        selector = arguments.optional_text("selector", selector)
        if prefetch is not None:
            arguments.count("prefetch", prefetch, 1)

        def note(session: Session) -> Frame | None:
            entry, frame = session.subscribe(
                destination,
                id=named,
                ack=ack,
                headers=headers,
                durable=durable,
                prefetch=prefetch,
                selector=selector,
                context=subscription,
            )
            subscription.bind(entry)
            return frame

        self._engine.sender.transmit_now(note, subscription)

    # Sending

    def send(
        self,
        destination: str,
        body: Body = b"",
        headers: StrHeaders = None,
        *,
        transaction: Transaction | str | None = None,
        confirm: bool = False,
        timeout: float | None = DEFAULT,
        **options: Unpack[SendOptions],
    ) -> None:
        """Send a message. Without a connection, the call waits until one is restored.

        Without ``confirm``, the message may be lost together with its connection, as TCP allows. With ``confirm``, the
        client resends the message after every loss until the broker's receipt arrives. So the message arrives at least
        once, or this call raises.

        Args:
            destination: the destination as the broker spells it.
            body: bytes, or text, which is sent as UTF-8 with a matching content-type.
            headers: additional headers; they win over the arguments.
            transaction: the transaction that the message is part of.
            confirm: wait for the broker's receipt.
            timeout: seconds to wait for a connection and the receipt together.
            content_type: the MIME type of the body.
            json: a value that is sent as JSON, with its content-type, instead of ``body``.
            auto_content_length: whether to send a content-length. None sends a content-length, except with text for
                ActiveMQ and Artemis. Both brokers make a JMS BytesMessage of a SEND with the header, and a TextMessage
                of one without it.
            persistent: whether the broker should keep the message on disk; None uses the broker's default.
            expires: seconds after which the broker no longer delivers it.
            priority: 0 to 9, where 9 is the highest, if the broker's queue has priorities.
            delay: seconds before the broker delivers it.
            duplicate_id: a permanent name of the message, such as a UUID. A broker that detects duplicates stores only
                the first of several messages with the same name. So a confirmed message is stored exactly once.

        Raises:
            TypeError: an argument is of the wrong kind, or an option does not exist; nothing was sent.
            ValueError: an argument is out of range, or ``confirm`` was given with ``transaction``.
            TimedOut: no connection within the time: nothing was written, and nothing will be. With ``confirm`` on a
                live connection: no receipt arrived.
            ConnectionLost: the transaction was lost. Or the message was written, the connection was lost, and the time
                is over.
            BrokerError: with ``confirm``, the broker refused the message.
            NotConnected: the client is neither connected nor reconnecting.
            InvalidHeader: a header cannot be written in the STOMP version in use.
            ProtocolError: this broker does not support an option.
        """
        sender = self._engine.sender
        seconds = self._send_timeout if timeout is DEFAULT else self._shortened(timeout)
        if transaction is not None:
            if confirm:
                raise ValueError("a SEND in a transaction is confirmed by its COMMIT: leave confirm out")
            self._send_in(transaction, destination, body, headers, seconds, options)
            return
        if confirm:
            self._send_and_wait(destination, body, headers, seconds, timeout, options)
        elif sender.tracks_messages:
            sender.send_confirmed(destination, body, headers, None, seconds, options, wait=False)
        else:
            sender.send(sender.make_send(destination, body, headers, None, seconds, options), seconds)

    def _send_in(
        self,
        transaction: Transaction | str,
        destination: str,
        body: Body,
        headers: StrHeaders,
        seconds: float | None,
        options: SendOptions,
    ) -> None:
        if not isinstance(transaction, Transaction):
            transaction = _open_transaction(self._engine, arguments.text("transaction", transaction))
        transaction.send(destination, body, headers, timeout=seconds, **options)

    def _send_and_wait(
        self,
        destination: str,
        body: Body,
        headers: StrHeaders,
        seconds: float | None,
        timeout: Any,
        options: SendOptions,
    ) -> None:
        engine = self._engine
        engine.writer.check_may_wait()
        receipt = engine.new_receipt()
        deadline = Deadline(self._config.seconds(timeout))
        engine.sender.send_confirmed(destination, body, headers, receipt, seconds, options, wait=True)
        engine.sender.await_receipt(receipt, deadline, f"SEND to {destination}")

    def send_async(
        self,
        destination: str,
        body: Body = b"",
        headers: StrHeaders = None,
        *,
        timeout: float | None = DEFAULT,
        **options: Unpack[SendOptions],
    ) -> Future[Frame]:
        """Send a confirmed message without waiting for its receipt. Without a connection, the client keeps the message.

        The call waits only while the number of unconfirmed messages is at the bound of ``Limits``, and for the few
        seconds of a move to a preferred broker.

        Args:
            timeout: seconds to wait for room among the unconfirmed messages. The other arguments are those of ``send``.

        Returns:
            a future: the RECEIPT frame, or the exception. The callbacks run in the dispatcher thread. If you cancel the
            future before the answer, the message is not sent or resent any more; if it was written already, it may
            arrive.

        Raises:
            TimedOut: there was no room; nothing was written, and nothing will be.
            NotConnected: the client is neither connected nor reconnecting.
            InvalidHeader: a header cannot be written in the STOMP version in use.
            ProtocolError: this broker does not support an option.
        """
        engine = self._engine
        seconds, receipt = self._config.seconds(timeout), engine.new_receipt()
        engine.sender.send_confirmed(destination, body, headers, receipt, seconds, options, wait=False)
        return receipt

    def request(
        self,
        destination: str,
        body: Body = b"",
        *,
        headers: StrHeaders = None,
        timeout: float | None = DEFAULT,
        **options: Unpack[SendOptions],
    ) -> Message:
        """Send a message and wait for its answer, which arrives on a temporary queue of this connection.

        The other program sends the answer to the message's ``reply-to``, with its ``correlation-id``, as
        ``Message.reply`` does. Many threads may wait at once, including listeners.

        Args:
            timeout: seconds to wait for a connection and the answer together. The other arguments are those of
            ``send``.

        Returns:
            the answer.

        Raises:
            TimedOut: no answer arrived.
            ConnectionLost: the connection and the queue for the answer were lost; send the request again.
            NotConnected: the client is neither connected nor reconnecting.
            ProtocolError: the broker does not name itself; set ``broker``.
        """
        deadline = Deadline(self._config.seconds(timeout))
        make = self._maker(destination, body, headers, deadline.timeout, options)
        return self._engine.requests.request(make, deadline, f"request to {destination}")

    def request_async(
        self,
        destination: str,
        body: Body = b"",
        *,
        headers: StrHeaders = None,
        timeout: float | None = DEFAULT,
        **options: Unpack[SendOptions],
    ) -> Future[Message]:
        """Send a request without waiting for its answer.

        Args:
            timeout: seconds to wait until the request is sent; the first request of a connection also waits for the
                queue for answers. The other arguments are those of ``request``.

        Returns:
            a future: the answer, or ``ConnectionLost``. The callbacks run in the dispatcher thread. Cancel the future
            when you no longer need the answer.

        Raises:
            TimedOut: there was no connection; nothing was written, and nothing will be.
            NotConnected: the client is neither connected nor reconnecting.
            ProtocolError: the broker does not name itself; set ``broker``.
        """
        deadline = Deadline(self._config.seconds(timeout))
        make = self._maker(destination, body, headers, deadline.timeout, options)
        return self._engine.requests.start(make, deadline, f"request to {destination}")

    def _maker(
        self, destination: str, body: Body, headers: StrHeaders, seconds: float | None, options: SendOptions
    ) -> Callable[[Mapping[str, str]], Frame]:
        def make(own: Mapping[str, str]) -> Frame:
            merged = {**own, **(headers or {})}
            return self._engine.sender.make_send(destination, body, merged, None, seconds, options)

        return make

    def reply(
        self,
        message: Message,
        body: Body = b"",
        headers: StrHeaders = None,
        *,
        timeout: float | None = DEFAULT,
        **options: Unpack[SendOptions],
    ) -> None:
        """Answer a request over this connection; see :meth:`Message.reply`.

        Args:
            message: the request, from this connection or another one.
        """
        self._engine.sender.reply(message, body, headers, self._config.seconds(timeout), options)

    def wait_ready(self, timeout: float | None = DEFAULT) -> None:
        """Wait until a message can be sent without waiting; for callers with ``timeout=0``, such as event loops.

        Args:
            timeout: seconds to wait for a connection, room among the unconfirmed messages, and a broker that reads.

        Raises:
            TimedOut: the time is over.
            NotConnected: the client is neither connected nor reconnecting.
        """
        self._engine.sender.wait_ready(Deadline(self._config.seconds(timeout)))

    @property
    def is_full(self) -> bool:
        """Whether too many bytes wait to be written, because the broker does not read; see ``flush``."""
        return self._engine.writer.is_full

    def batch(self) -> Batch:
        """Gather the frames that this thread sends inside a ``with`` block, and write them together at its end."""
        return Batch(self._engine)

    def flush(self, timeout: float | None = DEFAULT) -> None:
        """Wait until all sent frames are handed to the operating system.

        Args:
            timeout: seconds to wait.

        Raises:
            TimedOut: the broker does not read.
        """
        deadline = Deadline(self._config.seconds(timeout))
        if not self._engine.writer.flush(deadline):
            raise TimedOut(f"flush() timed out after {deadline.timeout} s: the broker takes no more bytes")

    def transaction(self, headers: StrHeaders = None, *, id: str | None = None, retry: int = 0) -> Transaction:
        """Make a transaction, to use in a ``with`` statement.

        Args:
            headers: additional headers for BEGIN.
            id: the name of the transaction; None generates one.
            retry: how often ``Transaction.run`` runs its function again when the connection is lost.
        """
        return Transaction(self._engine, headers, id=id, retry=retry)

    def _shortened(self, timeout: Any) -> float | None:
        return _shorter(arguments.seconds("timeout", timeout), self._send_limit)

    # Ends

    def __enter__(self) -> Connection:
        try:
            return self.connect()
        except BaseException:
            # A rejected subscription makes connect() raise, even if the connection is ready.
            self.disconnect()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect()

    def __repr__(self) -> str:
        return f"<Connection {self._config.name} to {self._config.uri}: {self.state.value}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Connection has threads and a socket and cannot be pickled: make one in each process")

    def _after_fork(self) -> None:
        """Become a new connection with the same listeners, in the child of a fork. Send nothing to the broker."""
        self._listeners.renew_lock()
        parents = self._engine
        if parents.context.state is ConnectionState.NEW:
            return
        parents.abandon()
        self._engine = Engine(self._config, self._listeners)
        self._engine.context.fail(ClosedAfterFork(ADVICE))


class Batch:
    """The context manager of ``Connection.batch()``."""

    __slots__ = ("_writer",)

    def __init__(self, engine: Engine) -> None:
        self._writer = engine.writer

    def __enter__(self) -> None:
        self._writer.cork()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.uncork()


def _shorter(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else min(one, other)


def _exceptions(what: str, kinds: Any) -> tuple[type[BaseException], ...]:
    if not isinstance(kinds, (type, Iterable)):
        raise TypeError(f"{what} must be exception classes, not {kinds!r}")
    listed = (kinds,) if isinstance(kinds, type) else tuple(kinds)
    for kind in listed:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(f"{what} must be exception classes, not {kind!r}")
    return listed


def _warn_of_repetition(context: Context, destination: str, listener: AnyListener | None) -> None:
    """Warn of a second subscription, such as in ``on_connected``: the client restores the first one."""
    if listener is None:
        return
    with context.lock:
        entries = tuple(context.session.subscriptions.values())
    for entry in entries:
        other = entry.context
        if not isinstance(other, Subscription) or entry.destination != destination:
            continue
        if other.listener is not None and is_same(other.listener, listener):
            context.log.warning(
                "the same listener is subscribed to %s again and gets each message twice; subscriptions are "
                "restored automatically after a connection loss",
                destination,
            )
            return


def _open_transaction(engine: Engine, name: str) -> Transaction:
    with engine.context.lock:
        begun = engine.context.session.open_transaction(name).context
    if not isinstance(begun, Transaction):
        raise ValueError(f"transaction {name!r} was not begun by the application")
    return begun


def _finish_program() -> None:
    """Write the sent frames of all connections before the interpreter ends, within one second."""
    end = time.monotonic() + FINISH_SECONDS
    for engine in live_engines():
        log = engine.context.log
        try:
            left = engine.finish(max(end - time.monotonic(), 0.1))
            if left:
                log.warning("the program ends, and %s could not be sent", counted(left, "message"))
        except Exception as error:
            log.warning("the program ends: %s", error)


_finishes_in = 0
"""The id of the process whose ``multiprocessing`` calls ``_finish_program``; 0 for none."""


def _finish_with_multiprocessing() -> None:
    """Finish also a process that ``multiprocessing`` forked: it ends with ``os._exit``, without ``atexit``.

    Such a process forgets the finalizers of its parent when it begins, so each process registers its own.
    """
    global _finishes_in
    util = sys.modules.get("multiprocessing.util")
    if util is not None and _finishes_in != os.getpid():
        _finishes_in = os.getpid()
        util.Finalize(None, _finish_program, exitpriority=0)


def _after_fork_in_child() -> None:
    for connection in list(_connections):
        connection._after_fork()


atexit.register(_finish_program)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
