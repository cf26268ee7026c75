"""The sources of a channel's messages: the subscriptions to a queue, a mailbox for broadcasts, a single message."""

from __future__ import annotations

import collections
import re
from collections.abc import Callable, Mapping
from contextlib import suppress

from stomplistener._util.loggers import library_logger
from stomplistener.connection import Connection
from stomplistener.errors import StompError
from stomplistener.message import Message
from stomplistener.subscription import Consumer, Subscription

_log = library_logger("stomplistener.kombu")

MAILBOX_MESSAGES = 10_000
"""The number of unread broadcasts that a process keeps. Further broadcasts replace the oldest ones."""


class QueueSource:
    """The subscriptions of one channel to one queue.

    STOMP fixes the prefetch of a subscription when it is made, but kombu changes its prefetch: Celery raises the
    prefetch for each task that waits for its ETA. So a higher prefetch makes another subscription to the same queue,
    which at least doubles the number of messages that the broker may send ahead. The prefetch on the broker is never
    lowered, but the channel itself keeps exactly to kombu's prefetch.

    Args:
        connection: the connection.
        destination: the queue.
        headers: more headers for SUBSCRIBE.
        notify: called when a message arrives, and when the subscription ends.
        prefetch: how many messages the broker may send ahead; 0 for the broker's own limit.
    """

    def __init__(
        self,
        connection: Connection,
        destination: str,
        headers: Mapping[str, str],
        notify: Callable[[], object],
        prefetch: int,
    ) -> None:
        self._connection = connection
        self._destination = destination
        self._headers = headers
        self._notify = notify
        self._consumers: collections.deque[Consumer] = collections.deque()
        self._width = 0
        self._unlimited = False
        self._unsettled: set[str] = set()
        self._cancelled = False
        self.widen(prefetch)

    def widen(self, prefetch: int) -> None:
        """Ensure that the broker may send this number of messages ahead."""
        missing = prefetch - self._width
        if self._unlimited or self._cancelled or (prefetch and missing <= 0):
            return
        self._unlimited = not prefetch
        added = max(missing, self._width) if prefetch else None
        self._consumers.append(
            self._connection.consume(self._destination, headers=self._headers, prefetch=added, notify=self._notify)
        )
        self._width += added or 0

    def receive(self) -> Message | None:
        """Return the next message that has arrived already, or None.

        Raises:
            StompError: the connection was lost, or the broker refused the subscription.
        """
        for _ in range(len(self._consumers)):
            self._consumers.rotate(1)
            message = self._consumers[0].receive(0)
            if message is not None:
                return message
        if not self._connection.is_connected and not self._cancelled:
            raise self._connection.last_error or StompError("the connection has ended")
        return None

    def hold(self, tag: str) -> None:
        """Note that the message with this delivery tag must be settled."""
        self._unsettled.add(tag)

    def settled(self, tag: str) -> None:
        """Note that a message was acknowledged or rejected."""
        self._unsettled.discard(tag)
        if self._cancelled and not self._unsettled:
            self.close()

    def cancel(self) -> None:
        """Take no further message. The subscriptions end when all taken messages are settled.

        Brokers ignore an ACK after UNSUBSCRIBE, and deliver the message again. Celery cancels its consumers first, and
        acknowledges the running tasks later.
        """
        self._cancelled = True
        if not self._unsettled:
            self.close()

    def close(self) -> None:
        """End the subscriptions. The broker delivers unsettled messages again."""
        while self._consumers:
            with suppress(StompError):
                self._consumers.pop().close()


class SingleSource:
    """One message that ``basic_get`` took over a separate connection, which ends when the message is settled."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def hold(self, tag: str) -> None:
        """Do nothing: this source has only one message."""

    def settled(self, tag: str) -> None:
        """End the connection."""
        with suppress(StompError):
            self._connection.disconnect()


class Mailbox:
    """A bounded buffer of broadcasts for a private queue, such as the replies to a remote control command.

    Args:
        name: the queue.
        notify: called when a message arrives.
    """

    def __init__(self, name: str, notify: Callable[[], object]) -> None:
        self._name = name
        self._notify = notify
        self._messages: collections.deque[Message] = collections.deque(maxlen=MAILBOX_MESSAGES)
        self._subscriptions: dict[tuple[str, str], Subscription] = {}
        self.dropped = 0
        """The number of broadcasts that were dropped unread."""

    def listen(self, connection: Connection, destination: str, pattern: str | None) -> None:
        """Receive the broadcasts to a destination. Return when the broker has confirmed the subscription.

        Args:
            pattern: a regular expression for the routing keys to receive; None for all.
        """
        key = (destination, pattern or "")
        if key in self._subscriptions:
            return
        wanted = re.compile(pattern) if pattern is not None else None

        def put(message: Message) -> None:
            if wanted is None or wanted.match(message.headers.get("routing-key", "")):
                self._put(message)

        self._subscriptions[key] = connection.subscribe(destination, put, ack="auto", confirm=True)

    def _put(self, message: Message) -> None:
        if len(self._messages) == MAILBOX_MESSAGES:
            self.dropped += 1
            if self.dropped == 1:
                _log.warning(
                    "the queue %s is not read: of %d broadcasts the oldest are dropped", self._name, MAILBOX_MESSAGES
                )
        self._messages.append(message)
        self._notify()

    def receive(self) -> Message | None:
        """Return the oldest message, or None."""
        return self._messages.popleft() if self._messages else None

    def clear(self) -> int:
        """Drop all messages, and return their number."""
        count = len(self._messages)
        self._messages.clear()
        return count

    def close(self) -> None:
        """End the subscriptions."""
        for subscription in self._subscriptions.values():
            with suppress(StompError):
                subscription.unsubscribe()
        self._subscriptions.clear()
