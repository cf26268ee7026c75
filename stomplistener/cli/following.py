"""Listening until something ends it: a count, a time, silence, a signal, the end of the connection."""

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
"""Seconds that the graceful end may take."""


class Follower(Listener):
    """Has messages handled, in the dispatcher thread, until its end.

    Args:
        handle: called with each message.
        count: how many; None for all.
    """

    def __init__(self, handle: Callable[[Message], object], *, count: int | None = None) -> None:
        self._handle = handle
        self._left = count
        self._quiet_since = time.monotonic()
        self._busy = False
        self.ended = threading.Event()
        self.failure: BaseException | None = None

    def on_message(self, message: Message) -> None:
        """Handle it, if any more are wanted."""
        if self.ended.is_set():
            return
        self._busy = True
        try:
            self._handle(message)
        except Exception as error:  # Told by the command: as a listener's error it would leave the command waiting.
            self.end(error)
            return
        finally:
            # In this order: a look between the two sees it busy, never idle for as long as the handling took.
            self._quiet_since = time.monotonic()
            self._busy = False
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                self.ended.set()

    def on_reconnecting(self, attempt: int, delay: float) -> None:  # noqa: ARG002 (the hook's signature)
        """Tell once for each loss."""
        if attempt == 1:
            say("connection lost; connecting again …")

    def end(self, failure: BaseException | None = None) -> None:
        """Handle no more. What fails after the end was reached is no failure of the listening."""
        if not self.ended.is_set():
            self.failure = failure
        self.ended.set()

    def wait(self, seconds: float | None, idle: float | None) -> int:
        """Have it go on until its end.

        Args:
            seconds: after which to end; None forever.
            idle: seconds without a message after which to end; None forever.

        Returns:
            the number of the signal that ended it, or 0.
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
    """Subscribe, let the follower have the messages until its end, and leave the broker as it should be.

    Args:
        connection: one that is connected.
        subscribe: makes the subscriptions, and says that they are made.

    Raises:
        Exit: a signal ended it.
        StompError: the connection was lost and is not restored, or the broker refused.
    """
    subscriptions: list[Subscription] = []
    try:
        connection.add_listener(follower)
        subscriptions += subscribe()
        threading.Thread(target=_keep, args=(connection, follower), name="keep", daemon=True).start()
        number = follower.wait(seconds, idle)
    finally:
        follower.end()
        # Before the connection ends: Artemis counts what is unacknowledged at the end of a connection, and not at the
        # end of a subscription, as a failed delivery, and makes it a dead letter after ten of them.
        for subscription in subscriptions:
            with suppress(StompError):
                subscription.unsubscribe(confirm=True, timeout=GOODBYE)
        connection.disconnect(timeout=GOODBYE)
    if follower.failure is not None:
        raise follower.failure
    if number:
        raise Exit(128 + number)


def _keep(connection: Connection, follower: Follower) -> None:
    """Tell the follower when the connection is closed for good, and why."""
    try:
        connection.run_forever()
    except StompError as error:
        follower.end(error)
    else:
        follower.end()
