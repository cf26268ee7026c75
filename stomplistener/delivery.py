"""One message to its listeners, and what their end means for it: acknowledged, tried again, forwarded or rejected."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from stomplistener._util.deadline import Deadline
from stomplistener._util.timer import Entry, timer
from stomplistener.errors import ProtocolError, StompError
from stomplistener.listener import Hook, call_all
from stomplistener.message import Message

if TYPE_CHECKING:
    from stomplistener.core import Core, Item
    from stomplistener.subscription import Subscription

_log = logging.getLogger("stomplistener")

# What a broker sets anew, or what speaks of the delivery and not of the message. Artemis obeys destination-type: what
# came by a topic would vanish on its way to a queue.
_NOT_FORWARDED = frozenset(
    ("destination", "destination-type", "message-id", "subscription", "ack", "content-length", "redelivered")
) | {"transaction", "receipt", "receipt-id"}


def _writable(text: str) -> str:
    """Without what STOMP 1.1 cannot write in a header."""
    return text.replace("\r", "").replace("\0", "")


class TryAgain(Exception):
    """What a listener raises to be given the message again later, through no fault of the message.

    With ``settle=True`` it stays unacknowledged, which counts neither against ``retries`` nor as an error of the
    listener: it is tried again on this connection, or delivered again by the broker when that ends first.

    Args:
        reason: for the log.
        delay: seconds until then; other messages go on meanwhile.
    """

    def __init__(self, reason: str, delay: float = 0.0) -> None:
        super().__init__(reason)
        self.delay = delay


class Delivery:
    """Runs in the threads of the lanes; many at a time where a subscription has workers."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._changed = threading.Condition(threading.Lock())
        self._running: dict[int, Message | None] = {}
        """The threads that run listeners, each with its message if that one has to be acknowledged."""
        self._retries: set[Entry] = set()
        self._holding = False
        self.draining = False
        """Whether no further message is to be begun that the broker would deliver again."""

    def run(self, items: Sequence[Item]) -> None:
        """Work off items of a lane in order. Never raises."""
        ident, running = threading.get_ident(), self._running
        running[ident] = None
        for item in items:
            if not isinstance(item, Message):
                self._call(item)
            elif (subscription := item.subscription) is None or subscription.ack == "auto":
                self._deliver(item, subscription)
            else:
                # Noted before the flags are looked at: whoever sets one looks at what is noted afterwards.
                running[ident] = item
                if self._holding:
                    self._wait_while_held(ident, item)
                if not self.is_stale(item):
                    self._deliver(item, subscription)
                running[ident] = None
                self._tell_waiting()
        del running[ident]

    def hold(self) -> None:
        """Begin no further message that has to be acknowledged; those that come wait, until ``go_on``."""
        self._holding = True

    def go_on(self) -> None:
        """Undo ``hold``."""
        with self._changed:
            self._holding = False
            self._changed.notify_all()

    def _wait_while_held(self, ident: int, message: Message) -> None:
        self._running[ident] = None
        with self._changed:
            self._changed.notify_all()
            while self._holding:
                self._changed.wait()
        self._running[ident] = message

    def _tell_waiting(self) -> None:
        if self.draining or self._holding:
            with self._changed:
                self._changed.notify_all()

    def _call(self, event: Callable[[], object]) -> None:
        try:
            event()
        except Exception:
            _log.exception("%s: a callback raised", self._core.config.name)

    def is_in_listener(self) -> bool:
        """Whether the calling thread is one that runs a listener on a message."""
        return threading.get_ident() in self._running

    def wait_settled(self, deadline: Deadline) -> bool:
        """Wait until no listener runs on a message that has to be acknowledged; whether it came to that."""
        with self._changed:
            while any(self._running.copy().values()):
                remaining = deadline.remaining()
                if remaining == 0.0:
                    return False
                self._changed.wait(remaining)
        return True

    def is_stale(self, item: Item) -> bool:
        """Whether the broker will deliver it again, so that it must not be begun here (ack mode ``auto``: never)."""
        return (
            isinstance(item, Message)
            and (subscription := item.subscription) is not None
            and subscription.ack != "auto"
            and (not self._core.is_current(item.epoch) or self.draining or subscription.has_ended)
        )

    def _deliver(self, message: Message, subscription: Subscription | None) -> None:
        hooks = self._core.listeners.on_message
        if subscription is not None and subscription.on_message is not None:
            hooks = (*hooks, subscription.on_message) if hooks else subscription.as_hooks
        error: Exception | None = None
        for hook in hooks:
            try:
                hook(message)
            except Exception as raised:
                error = raised
                if isinstance(raised, TryAgain) and subscription is not None and subscription.settle:
                    _log.warning("%s: %r is tried again: %s", self._core.config.name, message, raised)
                else:
                    self._report(message, hook, raised)
            except SystemExit as raised:
                # sys.exit() in a listener would end the dispatcher without a word.
                error = RuntimeError(f"the listener called sys.exit({raised.code!r})")
                self._report(message, hook, error)
        if subscription is not None and subscription.settle and not message.settled:
            self._settle(message, subscription, error)

    def _report(self, message: Message, hook: Hook, error: Exception) -> None:
        core = self._core
        core.count_listener_error()
        where = getattr(hook, "__qualname__", repr(hook))
        _log.error("%s: %s raised on %r", core.config.name, where, message, exc_info=error)
        core.listeners.call("on_listener_error", message, error)
        if message.subscription is not None:
            call_all(message.subscription.hook("on_listener_error"), message, error)

    def _settle(self, message: Message, subscription: Subscription, error: Exception | None) -> None:
        try:
            if error is None:
                message.ack()
            elif isinstance(error, TryAgain):
                message.postponed += 1
                self._try_again(message, subscription, error.delay)
            elif message.attempts < subscription.retries:
                message.attempts += 1
                self._try_again(message, subscription, subscription.retry_delay)
            elif subscription.error_destination is not None:
                self._forward(message, subscription.error_destination, error)
            else:
                self._reject(message)
        except StompError as failure:
            # The connection is going or gone: unsettled, the message comes again.
            _log.warning("%s: could not settle %r: %s", self._core.config.name, message, failure)

    def _try_again(self, message: Message, subscription: Subscription, delay: float) -> None:
        if not self._core.is_current(message.epoch):
            return
        entries: list[Entry] = []

        def put() -> None:
            self._retries.difference_update(entries)
            subscription.lane.put([message])

        entries.append(timer().call_at(time.monotonic() + delay, put))
        self._retries.update(entries)

    def cancel_retries(self) -> None:
        """Forget the messages that wait to be tried again: the broker has them back."""
        while self._retries:
            timer().cancel(self._retries.pop())

    def _reject(self, message: Message) -> None:
        try:
            message.nack()
        except ProtocolError:
            _log.warning("%s: STOMP 1.0 cannot reject %r; it stays unacknowledged", self._core.config.name, message)

    def _forward(self, message: Message, destination: str, error: Exception) -> None:
        """Send it to the error destination and acknowledge it, both or neither."""
        headers = {name: value for name, value in message.headers.items() if name not in _NOT_FORWARDED}
        headers |= {
            "original-destination": message.destination,
            "original-message-id": message.id,
            "error": _writable(f"{type(error).__name__}: {error}")[:1000],
            "error-traceback": _writable("".join(traceback.format_exception(error)))[-4000:],
            "attempts": str(message.attempts + 1),
        }
        self._core.forward(message, destination, headers)
