"""Subscriptions as an application holds them: a handle where listeners are called, a consumer where it asks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

from stomplistener._util.deadline import Deadline
from stomplistener._util.record import Record
from stomplistener.errors import ClosedAfterFork, ConnectionLost, NotConnected, TimedOut
from stomplistener.listener import AnyListener, Hook, hooks_of
from stomplistener.message import Message
from stomplistener.options import DEFAULT
from stomplistener.protocol import Frame, Session, SubscriptionEntry, SubscriptionState
from stomplistener.states import ConnectionState

if TYPE_CHECKING:
    from stomplistener.core import Core, Item
    from stomplistener.threads.dispatcher import Lane


class SettlePolicy(Record):
    """What becomes of a message when its listeners have ended."""

    settle: bool = False
    retries: int = 0
    retry_delay: float = 1.0
    error_destination: str | None = None


class Subscription:
    """A subscription, from ``subscribe()`` until ``unsubscribe()``, over any number of connections. Thread-safe."""

    def __init__(
        self,
        core: Core,
        lane: Lane[Item],
        listener: AnyListener | None = None,
        policy: SettlePolicy | None = None,
    ) -> None:
        policy = policy or SettlePolicy()
        self._core = core
        self._entry: SubscriptionEntry | None = None
        self._said = 0.0
        self._hooks = hooks_of(listener) if listener is not None else {}
        self.lane = lane
        self.listener = listener
        self.on_message = self._hooks.get("on_message")
        self.as_hooks = self.hook("on_message")
        self.settle = policy.settle
        self.retries = policy.retries
        self.retry_delay = policy.retry_delay
        self.error_destination = policy.error_destination
        self.ack = "auto"

    def bind(self, entry: SubscriptionEntry) -> None:
        """Connect the handle with what the session keeps of it."""
        self._entry = entry
        self._said = time.monotonic()
        self.ack = entry.ack

    @property
    def entry(self) -> SubscriptionEntry:
        assert self._entry is not None
        return self._entry

    @property
    def id(self) -> str:
        """Its id on the wire, the same on every connection."""
        return self.entry.id

    @property
    def destination(self) -> str:
        """What was subscribed to, as it was given to ``subscribe``."""
        return self.entry.destination

    @property
    def state(self) -> SubscriptionState:
        """PENDING, ACTIVE, REPLAYING, REJECTED or ENDED."""
        return self.entry.state

    @property
    def has_ended(self) -> bool:
        return self.entry.state in (SubscriptionState.ENDED, SubscriptionState.REJECTED)

    def hook(self, name: str) -> tuple[Hook, ...]:
        """The hook of this subscription's own listener, as a tuple of one or none."""
        return (self._hooks[name],) if name in self._hooks else ()

    def wait_active(self, timeout: float | None = DEFAULT) -> Subscription:
        """Wait until the broker has confirmed the subscription.

        Args:
            timeout: seconds to wait.

        Raises:
            BrokerError: the broker refused it.
            NotConnected: it was ended, or the connection closed.
            TimedOut: no receipt came. The message quotes an ERROR that came meanwhile and named no frame: RabbitMQ
                refuses some subscriptions so, and keeps the connection.
        """
        core = self._core
        deadline = Deadline(core.config.seconds(timeout))
        core.outbox.flush(deadline.remaining())
        with core.waiting_for_receipt():
            done = core.wait_until(self._is_decided, deadline)
        state = self.state
        if state is SubscriptionState.ACTIVE:
            return self
        if state is SubscriptionState.REJECTED and self.entry.error is not None:
            raise self.entry.error
        if state is SubscriptionState.ENDED:
            raise NotConnected(f"subscription {self.id} to {self.destination} has ended")
        if done:
            raise core.failure
        raise TimedOut(
            f"SUBSCRIBE to {self.destination}: no receipt from the broker for {deadline.timeout} s"
            f"{core.meanwhile(self._said)}"
        )

    def _ending(self, headers: Mapping[str, str]) -> list[Mapping[str, str]]:
        """The headers of each UNSUBSCRIBE that is needed; what the application gives wins in the last."""
        connected = self._core.session.connected_frame
        if connected is None or not self._core.is_current(self.entry.epoch):
            return [headers]
        *before, last = self._core.config.dialect.forget_headers(connected, self.entry)
        return [*before, {**last, **headers}]

    def _is_decided(self) -> bool:
        waits = (SubscriptionState.PENDING, SubscriptionState.REPLAYING)
        return self.entry.state not in waits or self._core.state is ConnectionState.CLOSED

    def unsubscribe(
        self, confirm: bool = False, headers: Mapping[str, str] | None = None, timeout: float | None = DEFAULT
    ) -> None:
        """End the subscription. Settle its messages first: brokers ignore what is acknowledged later.

        What was not acknowledged goes back to the queue; RabbitMQ keeps it for this connection until that ends.
        A durable one is deleted at the broker; ``disconnect()`` without this keeps it.

        Args:
            confirm: wait for the broker's receipt.
            headers: more headers for UNSUBSCRIBE.
            timeout: seconds to wait for the receipt.

        Raises:
            ConnectionLost: a durable subscription was to be deleted, and the connection was lost before the answer.
            ProtocolError: this broker cannot delete it in this version.
            TimedOut: no receipt came.
        """
        core, entry = self._core, self.entry
        answer = core.new_answer() if confirm else None
        *before, last = self._ending(headers or {})

        def make(session: Session) -> Frame | None:
            return session.unsubscribe(entry, last, confirm=confirm, context=answer)

        for first in before:
            core.say_now(lambda session: session.unsubscribe(entry, first, keep=True))  # noqa: B023
        said = core.say_now(make)
        if not said and entry.durable is not None and core.state is ConnectionState.SUSPENDED:
            raise ConnectionLost(f"the durable subscription {entry.durable!r} was not deleted: there is no connection")
        self.lane.discard(lambda item: isinstance(item, Message) and core.delivery.is_stale(item))
        if self.lane is not core.lane:
            self.lane.stop()
        if said and answer is not None:
            core.await_answer(answer, Deadline(core.config.seconds(timeout)), f"UNSUBSCRIBE from {self.destination}")

    def __repr__(self) -> str:
        return f"<Subscription {self.id} to {self.destination}: {self.state.value}>"


class Consumer:
    """A subscription whose messages wait until the application asks for them.

    A context manager that ends the subscription; iterating it blocks for one message after the other, and stops when
    the connection is closed for good. Thread-safe: several threads share the messages.
    """

    def __init__(self, core: Core, subscription: Subscription) -> None:
        self._core = core
        self.subscription = subscription

    def receive(self, timeout: float | None = DEFAULT) -> Message | None:
        """The next message, or None when none came.

        Args:
            timeout: seconds to wait; None waits until one comes or the connection is closed.

        Raises:
            BrokerError: the broker refused the subscription.
            ProtocolError: the STOMP version in use cannot express it.
        """
        deadline = Deadline(self._core.config.seconds(timeout))
        while (item := self.subscription.lane.take(deadline)) is not None:
            # A message of an older connection comes again; its acknowledgement would mean nothing.
            if isinstance(item, Message) and not self._core.delivery.is_stale(item):
                return item
        entry = self.subscription.entry
        if entry.state is SubscriptionState.REJECTED and entry.error is not None:
            raise entry.error
        return None

    @property
    def has_ended(self) -> bool:
        """Whether no further message will come; those that are here can still be received."""
        return self.subscription.has_ended or self.subscription.lane.is_over

    def __iter__(self) -> Iterator[Message]:
        while (message := self.receive(None)) is not None:
            yield message

    def close(self) -> None:
        """End the subscription; what was received and not acknowledged goes back to the queue, see ``unsubscribe``."""
        self.subscription.unsubscribe()

    def __enter__(self) -> Consumer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # In the child of a fork there is nothing to end.
        with suppress(ClosedAfterFork):
            self.close()
