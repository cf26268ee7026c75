"""Run the listeners of one message, then acknowledge, retry, forward or reject the message.

One rule holds in every state of the session. A frame that cannot be sent now waits until the subscriptions are
restored. If the connection ends before that, the broker delivers the message again.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from stomplistener._engine.context import Context
from stomplistener._engine.dead_letters import DeadLetters, reject
from stomplistener._engine.deliveries import Deliveries
from stomplistener._engine.dispatch_queue import Batch, DispatchQueue, Event, Item
from stomplistener._engine.flow_control import FlowControl
from stomplistener._engine.held_queue import HeldQueue, SubscriptionQueue
from stomplistener._util.callables import name_of, refuse_unawaited
from stomplistener._util.deadline import Deadline
from stomplistener._util.locks import Changes
from stomplistener._util.text import text_of
from stomplistener._util.timer import Entry, timer
from stomplistener.errors import StompError
from stomplistener.listener import Hook, call_all
from stomplistener.message import Message
from stomplistener.policy import SettlePolicy, TryAgain, Verdict
from stomplistener.states import ConnectionState, MessageState, SettlementState


class Subscribed(Protocol):
    """The part of a subscription that the engine needs."""

    policy: SettlePolicy
    ack: str
    queue: SubscriptionQueue
    on_message: Hook | None

    @property
    def has_ended(self) -> bool: ...
    @property
    def destination(self) -> str: ...
    def hook(self, name: str) -> tuple[Hook, ...]: ...


class TooManyDeliveries(StompError):
    """The broker delivered a message more often than ``max_deliveries`` allows."""


class Settlement:
    """Settles messages. Runs in the threads of the dispatch queues, in several at a time if a subscription has workers.

    Args:
        context: the context of the connection; its lock guards the state of this object.
        flow: counts the messages that wait for a retry.
        call: lets the dispatcher call a function.
    """

    def __init__(self, context: Context, flow: FlowControl, call: Callable[[Event], None]) -> None:
        self._context = context
        self._lock = context.lock
        self._flow = flow
        self._call = call
        self._changes = Changes(context.lock)
        self._state = SettlementState.RUNNING
        # The threads that run listeners, each with its message.
        self._running: dict[int, Message] = {}
        self._retries: dict[Entry, Message] = {}
        # The actions that wait until the subscriptions are restored.
        self._deferred: list[tuple[Message, Event]] = []
        self._deliveries = Deliveries()
        self._unheard: set[str] = set()
        # The actions of each thread for the time when its listener has returned and its message is settled.
        self._afterwards: dict[int, list[Event]] = {}
        self.dead_letters: DeadLetters

    def run(self, items: Batch) -> None:
        """Handle the items of a queue in order. Never raises."""
        taken: set[int] = set()
        ident = threading.get_ident()
        for item in items:
            if not isinstance(item, Message):
                self._run_event(item)
            elif id(item) in taken or (
                isinstance(getattr(item.subscription, "queue", None), HeldQueue) and self._hold_back(item, items, taken)
            ):
                continue
            elif self._begin(item, ident):
                try:
                    self._deliver(item)
                except StompError as failure:
                    # The connection is closing or lost: the broker delivers an unsettled message again.
                    self._context.log.warning("could not settle %s: %s", item.frame.heading, failure)
                except Exception as error:  # a defect costs its message, and no other one of the batch
                    self._context.log.error("could not settle %s", item.frame.heading, exc_info=error)
                finally:
                    self._end(ident)

    # The messages in hand

    def _hold_back(self, message: Message, items: Batch, taken: set[int]) -> bool:
        """If a subscription was paused since the batch began, give back this message and the later ones.

        All go back at once: after a ``resume()`` in the middle of the batch, later messages would overtake earlier
        ones.
        """
        follows = itertools.dropwhile(lambda item: item is not message, items)
        rest = [item for item in follows if isinstance(item, Message) and item.subscription is message.subscription]
        with self._lock:
            held = getattr(message.subscription, "queue", None)
            if not isinstance(held, HeldQueue):
                return False
            held.keep_first(rest)
        taken.update(map(id, rest))
        return True

    def _begin(self, message: Message, ident: int) -> bool:
        """Note that a listener begins in this thread; False if the listener must not begin any more."""
        settles = needs_settling(message)
        while True:
            with self._lock:
                if not settles or self._state is not SettlementState.HELD:
                    if settles and self.is_stale(message):
                        return False
                    self._running[ident] = message
                    return True
            self._changes.wait_for(lambda: self._state is not SettlementState.HELD, Deadline(None))

    def _end(self, ident: int) -> None:
        with self._lock:
            del self._running[ident]
            afterwards = self._afterwards.pop(ident, ()) if self._afterwards else ()
            if self._changes.gates:
                self._changes.notify_all()
        for event in afterwards:
            self._run_event(event)

    def after_listener(self, subscription: object, event: Event) -> bool:
        """Call ``event`` when the listener in this thread has returned and its message is settled.

        Returns:
            False if this thread runs no listener on a message of this subscription.
        """
        ident = threading.get_ident()
        with self._lock:
            message = self._running.get(ident)
            if message is None or message.subscription is not subscription:
                return False
            self._afterwards.setdefault(ident, []).append(event)
        return True

    def is_in_listener(self) -> bool:
        """Whether the calling thread runs a listener on a message."""
        return threading.get_ident() in self._running

    def is_stale(self, item: Item) -> bool:
        """Whether the broker will deliver this message again, so that no listener may begin.

        False in ack mode ``auto``.
        """
        if not isinstance(item, Message) or not needs_settling(item):
            return False
        if self._state is SettlementState.DRAINING or not self._context.is_current(item.epoch):
            return True
        return item.subscription is not None and item.subscription.has_ended

    def discard_stale(self, queues: Sequence[DispatchQueue]) -> None:
        """Drop the waiting messages, in queues and in front of them, that the broker will deliver again."""
        with self._lock:
            subscriptions: list[Any] = [entry.context for entry in self._context.session.subscriptions.values()]
            fronts = [subscription.queue for subscription in subscriptions]
        for queue in dict.fromkeys([*fronts, *queues]):
            queue.discard(self.is_stale)

    def move(self, state: SettlementState) -> None:
        """Hold messages back, drain, or resume."""
        with self._lock:
            self._state = state
            self._changes.notify_all()

    @property
    def is_draining(self) -> bool:
        """Whether no listener may begin on a message that the broker would deliver again."""
        return self._state is SettlementState.DRAINING

    @property
    def has_deferred(self) -> bool:
        """Whether actions wait until the subscriptions are restored."""
        return bool(self._deferred)

    def wait_settled(self, deadline: Deadline) -> bool:
        """Wait until no listener runs on a message that needs an acknowledgement; False if the deadline came first."""
        return self._changes.wait_for(lambda: not any(map(needs_settling, tuple(self._running.values()))), deadline)

    def wait_listeners(self, subscription: object, deadline: Deadline) -> bool:
        """Wait until no listener runs on a message of this subscription; False if the deadline came first.

        A thread that itself runs such a listener does not wait: two such threads would wait for each other.
        """

        def is_over() -> bool:
            running = [ident for ident, message in self._running.items() if message.subscription is subscription]
            is_mine = threading.get_ident() in running
            return not running or is_mine or self._context.state is ConnectionState.CLOSED

        return self._changes.wait_for(is_over, deadline)

    # Listeners

    def _run_event(self, event: Event) -> None:
        try:
            event()
        except BaseException as error:  # any exception: the next callback runs nevertheless
            self._context.log.error("a callback raised", exc_info=error)

    def _deliver(self, message: Message) -> None:
        subscription: Subscribed | None = message.subscription
        hooks = self._context.listeners.on_message
        if subscription is not None:
            if subscription.on_message is not None:
                hooks = (*hooks, subscription.on_message) if hooks else (subscription.on_message,)
            if subscription.policy.max_deliveries is not None and self._is_over_delivered(message, subscription):
                return
        if not hooks:
            self._warn_unheard(message)
            return
        error: BaseException | None = None
        culprit: Hook | None = None
        for hook in hooks:
            try:
                returned = hook(message)
                if returned is not None:
                    refuse_unawaited(hook, returned)
            except BaseException as raised:  # includes sys.exit() and the timeout of a green thread
                error, culprit = raised, hook
                if not isinstance(raised, TryAgain) or subscription is None or not subscription.policy.settle:
                    self._note_error(message, raised)
        if subscription is not None and subscription.policy.settle:
            if message.state is MessageState.UNSETTLED:
                self._settle(message, subscription, error, culprit)
            elif error is not None:
                self._log_error(message, error, culprit, "it was settled by its listener")
        elif error is not None:
            self._log_error(message, error, culprit, "")

    def _note_error(self, message: Message, error: BaseException) -> None:
        context = self._context
        with self._lock:
            context.counters.listener_errors += 1
        context.listeners.call("on_listener_error", message, error)
        if message.subscription is not None:
            call_all(message.subscription.hook("on_listener_error"), message, error, report=context.log.error)

    def _log_error(self, message: Message, error: BaseException, hook: Hook | None, then: str) -> None:
        after = f"; {then}" if then else ""
        self._context.log.error("%s raised on %s%s", name_of(hook), message.frame.heading, after, exc_info=error)

    def _warn_unheard(self, message: Message) -> None:
        with self._lock:
            known = message.destination in self._unheard or len(self._unheard) >= 1000
            self._unheard.add(message.destination)
        if not known:
            what = "is not acknowledged" if needs_settling(message) else "is dropped"
            self._context.log.warning("no listener for messages of %s: each %s", message.destination, what)

    # Settling

    def _settle(
        self, message: Message, subscription: Subscribed, error: BaseException | None, hook: Hook | None
    ) -> None:
        policy = subscription.policy
        if error is None:
            message.ack()
        elif isinstance(error, TryAgain):
            message.postponed += 1
            self._context.log.warning("%s is tried again: %s", message.frame.heading, error)
            self._try_again(message, subscription, error.delay)
        elif policy.decide(message.attempts, error) is Verdict.RETRIED:
            message.attempts += 1
            self._context.log.warning(
                "%s raised %s: %s; attempt %d of %d follows for %s",
                name_of(hook),
                type(error).__name__,
                text_of(error),
                message.attempts + 1,
                policy.retries + 1,
                message.frame.heading,
            )
            self._try_again(message, subscription, policy.backoff.delay(message.attempts))
        else:
            then = self._give_up(message, subscription, error)
            attempts = f"attempt {message.attempts + 1} of {policy.retries + 1} failed" if policy.retries else ""
            self._log_error(message, error, hook, "; ".join(filter(None, (attempts, then))))

    def _give_up(self, message: Message, subscription: Subscribed, error: BaseException) -> str:
        """Forward or reject a message. Return the outcome as a text for the log."""
        destination = subscription.policy.error_destination
        if destination is None:
            self._when_restored(message, lambda: reject(self._context, message))
            if not self._context.is_current(message.epoch):
                return "its connection is lost, so the broker delivers it again"
            return "it is rejected"
        self._when_restored(message, lambda: self.dead_letters.forward(message, destination, error))
        return f"it goes to {destination}"

    def _is_over_delivered(self, message: Message, subscription: Subscribed) -> bool:
        most = subscription.policy.max_deliveries or 0
        with self._lock:
            number = self._deliveries.number(message, self._context.profile)
        if number <= most:
            return False
        error = TooManyDeliveries(f"this is delivery {number} of the message; max_deliveries is {most}")
        then = self._give_up(message, subscription, error)
        self._context.log.error("%s was delivered more than %d times; %s", message.frame.heading, most, then)
        return True

    # Actions that must wait

    def _when_restored(self, message: Message, action: Event) -> None:
        """Act now, or when the subscriptions are restored, or never if the connection ends first."""
        with self._lock:
            if self._context.session.is_open and not self._context.session.is_connected:
                self._keep(message)
                self._deferred.append((message, action))
                return
        action()

    def restored(self) -> None:
        """Let the dispatcher do the actions that waited until the subscriptions were restored."""
        with self._lock:
            deferred, self._deferred = self._deferred, []
            for message, _ in deferred:
                self._let_go(message)
        for message, action in deferred:
            self._call(lambda message=message, action=action: self._do_deferred(message, action))  # type: ignore[misc]

    def _do_deferred(self, message: Message, action: Event) -> None:
        try:
            action()
        except StompError as failure:
            self._context.log.warning("could not settle %s: %s", message.frame.heading, failure)

    def _try_again(self, message: Message, subscription: Subscribed, delay: float) -> None:
        if delay <= 0:
            self._line_up(message, subscription)
            return
        entry = Entry(time.monotonic() + delay, lambda: self._put_back(entry, subscription))
        with self._lock:
            if not self._context.is_current(message.epoch):
                return
            self._retries[entry] = message
            self._keep(message)
        timer().add(entry)

    def _put_back(self, entry: Entry, subscription: Subscribed) -> None:
        with self._lock:
            message = self._retries.pop(entry, None)
            if message is None:
                return
            self._let_go(message)
        self._line_up(message, subscription)

    def _line_up(self, message: Message, subscription: Subscribed) -> None:
        with self._lock:
            queue = subscription.queue
            queue.line_up([message])
        queue.begin()

    def lost(self) -> None:
        """Forget the messages that wait here: the connection is lost, so the broker delivers them again."""
        with self._lock:
            retries, self._retries = self._retries, {}
            deferred, self._deferred = self._deferred, []
            for message in (*retries.values(), *(message for message, _ in deferred)):
                self._let_go(message)
            self._changes.notify_all()
        for entry in retries:
            timer().cancel(entry)

    def _keep(self, message: Message) -> None:
        """Count a message that waits here towards the bound, like a message in a queue."""
        self._flow.add(1, message.frame.size)

    def _let_go(self, message: Message) -> None:
        self._flow.remove(1, message.frame.size)


def needs_settling(message: Message) -> bool:
    """Whether the broker expects an acknowledgement of this message."""
    subscription = message.subscription
    return subscription is not None and subscription.ack != "auto"
