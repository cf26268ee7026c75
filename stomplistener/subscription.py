"""Subscriptions as an application uses them: a handle for listeners, a consumer for a thread that takes messages."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType

from stomplistener._engine.engine import Engine
from stomplistener._engine.held_queue import HeldQueue, SubscriptionQueue
from stomplistener._engine.receipts import Receipt
from stomplistener._util import arguments
from stomplistener._util.deadline import Deadline
from stomplistener.errors import ClosedAfterFork, ConnectionLost, NotConnected, TimedOut
from stomplistener.listener import AnyListener, Hook, hooks_of
from stomplistener.message import Message
from stomplistener.options import DEFAULT
from stomplistener.policy import SettlePolicy
from stomplistener.protocol import Frame, Session, SubscriptionEntry, SubscriptionState
from stomplistener.states import ConnectionState


class Subscription:
    """A subscription, from ``subscribe()`` until ``unsubscribe()``, over any number of connections. Thread-safe."""

    def __init__(
        self,
        engine: Engine,
        queue: SubscriptionQueue,
        listener: AnyListener | None = None,
        policy: SettlePolicy | None = None,
    ) -> None:
        self._engine = engine
        self._entry: SubscriptionEntry | None = None
        self._sent = 0.0
        self._hooks = hooks_of(listener) if listener is not None else {}
        self.queue = queue
        self.listener = listener
        self.on_message = self._hooks.get("on_message")
        self.policy = policy or SettlePolicy()
        self.ack = "auto"
        self._ending_began = False

    def bind(self, entry: SubscriptionEntry) -> None:
        """Store the session's entry of this subscription."""
        self._entry = entry
        self._sent = time.monotonic()
        self.ack = entry.ack

    @property
    def entry(self) -> SubscriptionEntry:
        assert self._entry is not None
        return self._entry

    @property
    def id(self) -> str:
        """The id of the subscription on the wire, the same on every connection."""
        return self.entry.id

    @property
    def destination(self) -> str:
        """The destination that was given to ``subscribe``."""
        return self.entry.destination

    @property
    def state(self) -> SubscriptionState:
        """PENDING, ACTIVE, REPLAYING, REJECTED or ENDED."""
        return self.entry.state

    @property
    def has_ended(self) -> bool:
        return self._ending_began or self.entry.state in (SubscriptionState.ENDED, SubscriptionState.REJECTED)

    def pause(self) -> None:
        """Let no listener begin a message until ``resume()``. A running listener goes on.

        Received messages wait, unacknowledged. More messages arrive until ``prefetch`` is reached. Without
        ``prefetch``, messages arrive until the connection's ``Limits`` are reached; then the connection stops reading
        completely. So give a subscription that you pause a ``prefetch``. A pause survives reconnects. With
        ``ack="auto"``, the broker counts the waiting messages as delivered.
        """
        engine = self._engine
        with engine.context.lock:
            if isinstance(self.queue, HeldQueue):
                return
            held = HeldQueue(engine.context, engine.flow, engine.settlement.is_stale, self.queue)
            self.queue.discard(lambda item: isinstance(item, Message) and item.subscription is self and held.keep(item))
            self.queue = held

    def resume(self) -> None:
        """Undo ``pause()``. The messages that arrived meanwhile come first, in their order."""
        with self._engine.context.lock:
            held = self.queue
            if not isinstance(held, HeldQueue):
                return
            self.queue = queue = held.behind
            queue.line_up(held.release())
        queue.begin()

    @property
    def is_paused(self) -> bool:
        """Whether ``pause()`` was called, and ``resume()`` was not called since."""
        return isinstance(self.queue, HeldQueue)

    def hook(self, name: str) -> tuple[Hook, ...]:
        """Return the hook of the subscription's listener in a tuple; empty if the listener does not have it."""
        return (self._hooks[name],) if name in self._hooks else ()

    def wait_active(self, timeout: float | None = DEFAULT) -> Subscription:
        """Wait until the broker has confirmed the subscription.

        Args:
            timeout: seconds to wait.

        Raises:
            BrokerError: the broker rejected the subscription.
            NotConnected: the subscription was ended, or the connection was closed.
            TimedOut: no receipt arrived. The text quotes an ERROR without receipt-id that arrived meanwhile: RabbitMQ
                rejects some subscriptions this way, and keeps the connection.
        """
        engine, context = self._engine, self._engine.context
        deadline = Deadline(context.config.seconds(timeout))
        waiting = object()
        try:
            engine.flow.expect(waiting)
            engine.writer.flush(deadline)
            done = context.wait_until(self._is_decided, deadline)
        finally:
            engine.flow.unexpect(waiting)
        state = self.state
        if state is SubscriptionState.ACTIVE:
            return self
        if state is SubscriptionState.REJECTED and self.entry.error is not None:
            raise self.entry.error
        if state is SubscriptionState.ENDED:
            raise NotConnected(f"subscription {self.id} to {self.destination} has ended")
        if done:
            raise context.failure
        raise TimedOut(
            f"SUBSCRIBE to {self.destination} timed out after {deadline.timeout} s: no receipt from {context.where}; "
            f"the subscription stays and may become active later{engine.sender.meanwhile(self._sent)}"
        )

    def _ending(self, headers: Mapping[str, str], *, keep: bool) -> list[Mapping[str, str]]:
        """Return the headers of each necessary UNSUBSCRIBE. The application's headers win in the last UNSUBSCRIBE.

        A broker keeps a durable subscription unless UNSUBSCRIBE has the headers that name it.
        """
        context = self._engine.context
        connected = context.session.connected_frame
        if keep or connected is None or not context.is_current(self.entry.epoch):
            return [headers]
        *before, last = context.config.dialect.forget_headers(connected, self.entry)
        return [*before, {**last, **headers}]

    def _is_decided(self) -> bool:
        waits = (SubscriptionState.PENDING, SubscriptionState.REPLAYING)
        return self.entry.state not in waits or self._engine.context.state is ConnectionState.CLOSED

    def unsubscribe(
        self, confirm: bool = False, headers: Mapping[str, str] | None = None, timeout: float | None = DEFAULT
    ) -> None:
        """End the subscription, and wait within the time until its listener has returned.

        In a listener of this subscription, the call does not wait: the subscription ends when the listener has
        returned. Unacknowledged messages go back to the queue; RabbitMQ keeps them for this connection until it ends.
        The broker deletes a durable subscription; only ``disconnect()`` keeps it.

        Args:
            confirm: wait for the broker's receipt.
            headers: additional headers for UNSUBSCRIBE.
            timeout: seconds to wait for the listener and the receipt together.

        Raises:
            ConnectionLost: the connection was lost before the broker confirmed the end of a durable subscription.
            ProtocolError: this broker cannot delete the durable subscription in this STOMP version.
            TimedOut: no receipt arrived.
        """
        self.end(confirm, headers, timeout, keep=False)

    def end(
        self,
        confirm: bool = False,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = DEFAULT,
        *,
        keep: bool,
    ) -> None:
        """Do the same as ``unsubscribe``; with ``keep``, leave a durable subscription at the broker."""
        engine, entry, context = self._engine, self.entry, self._engine.context
        deadline = Deadline(context.config.seconds(timeout))
        receipt = engine.new_receipt() if confirm else None
        *before, last = self._ending(arguments.headers(headers), keep=keep)
        # After UNSUBSCRIBE, brokers ignore acknowledgements and deliver the messages again. So before UNSUBSCRIBE, no
        # listener begins any more, and running listeners finish.
        self._ending_began = True
        self.resume()
        with context.lock:
            # Wake each thread that has handed over a message: if its listener has not begun, the thread gives up.
            context.changes.notify_all()
        if self.ack != "auto":
            self.queue.discard(lambda item: isinstance(item, Message) and item.subscription is self)
            later = partial(self._send, before, last, None)
            if engine.settlement.after_listener(self, later):
                # A listener of this subscription called end(): the listener's message is settled first.
                return
        if not engine.settlement.wait_listeners(self, deadline):
            context.log.warning("the listener of %s still runs; its acknowledgements come too late", self.destination)
        sent = self._send(before, last, receipt)
        cut_off = context.state in (ConnectionState.SUSPENDED, ConnectionState.CONNECTING)
        if not sent and not keep and entry.durable is not None and cut_off:
            raise ConnectionLost(f"the durable subscription {entry.durable!r} was not deleted: there is no connection")
        if sent and receipt is not None:
            engine.sender.await_receipt(receipt, deadline, f"UNSUBSCRIBE from {self.destination}")

    def _send(self, before: list[Mapping[str, str]], last: Mapping[str, str], receipt: Receipt | None) -> bool:
        """Send UNSUBSCRIBE. Return whether the broker knew the subscription."""
        engine, entry = self._engine, self.entry

        def note(session: Session) -> Frame | None:
            return session.unsubscribe(entry, last, confirm=receipt is not None, context=receipt)

        for first in before:
            engine.sender.transmit_now(lambda session: session.unsubscribe(entry, first, keep=True))  # noqa: B023
        sent = engine.sender.transmit_now(note, receipt)
        if self.queue is not engine.main:
            self.queue.stop()
        return sent

    def __repr__(self) -> str:
        return f"<Subscription {self.id} to {self.destination}: {self.state.value}>"


class Consumer:
    """A subscription whose messages the application takes in its own threads.

    A consumer is a context manager, which ends the subscription. Iterating over a consumer blocks for each message, and
    stops when the connection is closed and will not be restored. Thread-safe: several threads share the messages.
    """

    def __init__(self, engine: Engine, subscription: Subscription) -> None:
        self._engine = engine
        self.subscription = subscription

    def receive(self, timeout: float | None = DEFAULT) -> Message | None:
        """Return the next message, or None if none arrived.

        Args:
            timeout: seconds to wait; None waits until a message arrives or the connection is closed.

        Raises:
            BrokerError: the broker rejected the subscription.
            ProtocolError: the STOMP version in use cannot express the subscription.
            ConnectionLost, ConnectFailed: the connection was lost and will not be restored.
        """
        engine, context = self._engine, self._engine.context
        if timeout is not DEFAULT:
            arguments.seconds("timeout", timeout)
        deadline = Deadline(context.config.seconds(timeout))

        def is_closed() -> bool:
            # Nothing stops a queue that was made when the connection was closed already.
            return context.state is ConnectionState.CLOSED

        engine.writer.hurry()
        while (item := self.subscription.queue.take(deadline, is_closed)) is not None:
            # The broker delivers a message of an older connection again; an acknowledgement would have no effect.
            if isinstance(item, Message) and not engine.settlement.is_stale(item):
                return item
        entry = self.subscription.entry
        if entry.state is SubscriptionState.REJECTED and entry.error is not None:
            raise entry.error
        failure = context.failure
        if context.state is ConnectionState.CLOSED and type(failure) is not NotConnected:
            raise failure
        return None

    @property
    def has_ended(self) -> bool:
        """Whether no further message will arrive; messages that already arrived can still be received."""
        return self.subscription.has_ended or self.subscription.queue.is_over

    def __iter__(self) -> Iterator[Message]:
        """Iterate over the messages until this program ends the subscription or the connection.

        Raises:
            StompError: the connection was lost and not restored.
        """
        while (message := self.receive(None)) is not None:
            yield message

    def close(self) -> None:
        """End the subscription. Unacknowledged messages go back to the queue; see ``unsubscribe``.

        A durable subscription stays at the broker and collects messages; ``consumer.subscription.unsubscribe()``
        deletes it.
        """
        self.subscription.end(keep=True)

    def __enter__(self) -> Consumer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # In the child of a fork, there is no subscription to end.
        with suppress(ClosedAfterFork):
            self.close()
