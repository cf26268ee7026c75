"""Listen until a count, a time, a pause in the messages, a signal or the end of the connection."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from click.exceptions import Exit

from stomplistener import Connection, Listener, Message, StompError, Subscription
from stomplistener._util.deadline import Deadline
from stomplistener._util.signals import EndingSignals
from stomplistener.cli.terminal import say

GOODBYE = 5.0
"""Seconds within which the connection may end gracefully."""


class Follower(Listener):
    """Handles messages in the dispatcher thread, until the listening ends.

    Args:
        handle: called with each message.
        count: the number of messages to handle; None for all.
    """

    def __init__(self, handle: Callable[[Message], object], *, count: int | None = None) -> None:
        self._handle = handle
        self._left = count
        self._quiet_since = time.monotonic()
        self._busy = False
        self.ended = threading.Event()
        self.failure: BaseException | None = None

    def on_message(self, message: Message) -> None:
        """Handle the message, unless the count is reached."""
        if self.ended.is_set():
            return
        self._busy = True
        try:
            self._handle(message)
        except Exception as error:
            # The command reports the error and ends. If the listener raised it, the command would wait forever.
            self.end(error)
            return
        finally:
            # Set the time before the flag. Otherwise a check between the two lines would count the time of the handling
            # as idle.
            self._quiet_since = time.monotonic()
            self._busy = False
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                self.ended.set()

    def on_reconnecting(self, attempt: int, delay: float) -> None:  # noqa: ARG002 (the hook's signature)
        """Report each connection loss once."""
        if attempt == 1:
            say("connection lost; connecting again …")

    def end(self, failure: BaseException | None = None) -> None:
        """Stop handling messages. A failure after the first call is ignored."""
        if not self.ended.is_set():
            self.failure = failure
        self.ended.set()

    def wait(self, seconds: float | None, idle: float | None) -> int:
        """Wait until the listening ends.

        Args:
            seconds: end after this time; None for no limit.
            idle: end after this number of seconds without a message; None for no limit.

        Returns:
            the number of the signal that ended the listening, or 0.
        """
        deadline = Deadline(seconds)
        self._quiet_since = time.monotonic()
        with EndingSignals() as signals:

            def tell() -> None:
                self.ended.wait()
                signals.tell()

            teller = threading.Thread(target=tell, name="end", daemon=True)
            teller.start()
            number = 0
            while not number and not self.ended.is_set():
                waits = [each for each in (deadline.remaining(), self._idle_left(idle)) if each is not None]
                if waits and min(waits) <= 0:
                    break
                number = signals.wait(min(waits) if waits else None)
            self.end()
            teller.join()
        return number

    def _idle_left(self, idle: float | None) -> float | None:
        if idle is None:
            return None
        return idle if self._busy else self._quiet_since + idle - time.monotonic()


def follow(
    connection: Connection,
    follower: Follower,
    subscribe: Callable[[], Iterable[Subscription]],
    *,
    seconds: float | None,
    idle: float | None,
) -> None:
    """Subscribe, pass messages to the follower until it ends, then unsubscribe and disconnect.

    Args:
        connection: a connected connection.
        subscribe: makes the subscriptions, and reports that they are made.

    Raises:
        Exit: a signal ended the listening.
        StompError: the connection was lost for good, or the broker refused a frame.
    """
    subscriptions: list[Subscription] = []
    try:
        connection.add_listener(follower)
        subscriptions += subscribe()
        threading.Thread(target=_keep, args=(connection, follower), name="keep", daemon=True).start()
        number = follower.wait(seconds, idle)
    finally:
        follower.end()
        # Unsubscribe before the connection ends. Artemis counts messages that are unacknowledged at the end of a
        # connection as failed deliveries, and makes them dead letters after ten. At the end of a subscription, Artemis
        # does not count unacknowledged messages.
        for subscription in subscriptions:
            with suppress(StompError):
                subscription.unsubscribe(confirm=True, timeout=GOODBYE)
        connection.disconnect(timeout=GOODBYE)
    if follower.failure is not None:
        raise follower.failure
    if number:
        raise Exit(128 + number)


def _keep(connection: Connection, follower: Follower) -> None:
    """End the follower when the connection is closed for good, with the reason."""
    try:
        connection.run_forever()
    except StompError as error:
        follower.end(error)
    else:
        follower.end()
