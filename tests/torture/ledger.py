"""What was confirmed and what was received: the books that have to balance."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future

from stomplistener import Frame, Listener


class Ledger:
    """Thread-safe books of one run.

    Attributes:
        moment: what happens in the run just now, noted with each confirmation.
        committed: what was confirmed by the receipt of a COMMIT, and not by that of a SEND.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._confirmed: dict[str, str] = {}
        self.moment = "before the first fault"
        self.committed: set[str] = set()
        self._received: dict[str, int] = {}
        self._futures = 0

    def confirm(self, id: str) -> None:
        with self._changed:
            self._confirmed[id] = self.moment
            self._changed.notify_all()

    def commit(self, id: str) -> None:
        with self._changed:
            self.committed.add(id)
        self.confirm(id)

    def expect(self, future: Future[Frame], id: str) -> None:
        """Confirm when the future has its receipt; one that fails promised nothing."""
        with self._changed:
            self._futures += 1
        future.add_done_callback(lambda done: self._resolved(done, id))

    def _resolved(self, future: Future[Frame], id: str) -> None:
        with self._changed:
            self._futures -= 1
            if future.exception() is None:
                self._confirmed[id] = self.moment
            self._changed.notify_all()

    def receive(self, id: str) -> None:
        with self._changed:
            self._received[id] = self._received.get(id, 0) + 1
            self._changed.notify_all()

    @property
    def confirmed(self) -> int:
        return len(self._confirmed)

    @property
    def backlog(self) -> int:
        """How many messages the brokers keep, about."""
        return len(self._confirmed) - len(self._received)

    @property
    def duplicates(self) -> int:
        with self._changed:
            return sum(count - 1 for count in self._received.values())

    def missing(self) -> dict[str, str]:
        """What was confirmed and never received, each with the moment of its confirmation."""
        with self._changed:
            return {id: moment for id, moment in self._confirmed.items() if id not in self._received}

    def wait_progress(self, messages: int, timeout: float) -> bool:
        """Wait until so many more messages are confirmed, and as many received; whether they were."""
        with self._changed:
            confirmed, received = len(self._confirmed) + messages, len(self._received) + messages
            return self._changed.wait_for(
                lambda: len(self._confirmed) >= confirmed and len(self._received) >= received, timeout
            )

    def wait_answered(self, timeout: float) -> bool:
        """Wait until no future is left without its result."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._futures, timeout)

    def wait_balanced(self, timeout: float) -> bool:
        """Wait until all that was confirmed has been received."""
        with self._changed:
            return self._changed.wait_for(lambda: self._confirmed.keys() <= self._received.keys(), timeout)


class Outages(Listener):
    """How long a connection was away, each time; in seconds."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._since: float | None = None

    def on_disconnected(self) -> None:
        self._since = time.monotonic()

    def on_connected(self, frame: Frame) -> None:
        if self._since is not None:
            self.seconds.append(time.monotonic() - self._since)
            self._since = None
