"""What was confirmed and what was received: the books that have to balance."""

from __future__ import annotations

import statistics
import threading
import time
from dataclasses import dataclass, field

from stomplistener import Frame, Listener


class Ledger:
    """Thread-safe books of one run."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._confirmed: set[str] = set()
        self._received: dict[str, int] = {}
        self.longest_call = 0.0

    def confirm(self, id: str) -> None:
        with self._changed:
            self._confirmed.add(id)
            self._changed.notify_all()

    def receive(self, id: str) -> None:
        with self._changed:
            self._received[id] = self._received.get(id, 0) + 1
            self._changed.notify_all()

    def timed(self, seconds: float) -> None:
        with self._changed:
            self.longest_call = max(self.longest_call, seconds)

    @property
    def confirmed(self) -> int:
        return len(self._confirmed)

    @property
    def duplicates(self) -> int:
        with self._changed:
            return sum(count - 1 for count in self._received.values())

    def missing(self) -> set[str]:
        with self._changed:
            return self._confirmed - self._received.keys()

    def wait_progress(self, messages: int, timeout: float) -> bool:
        """Wait until so many more messages are confirmed, and as many received; whether they were."""
        with self._changed:
            confirmed, received = len(self._confirmed) + messages, len(self._received) + messages
            return self._changed.wait_for(
                lambda: len(self._confirmed) >= confirmed and len(self._received) >= received, timeout
            )

    def wait_balanced(self, timeout: float) -> bool:
        """Wait until all that was confirmed has been received."""
        with self._changed:
            return self._changed.wait_for(lambda: self._confirmed <= self._received.keys(), timeout)


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


@dataclass
class Result:
    """What a run on one broker came to."""

    broker: str
    seed: int
    seconds: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)
    confirmed: int = 0
    missing: int = 0
    dead_letters: int = 0
    duplicates: int = 0
    outages: list[float] = field(default_factory=list)
    longest_call: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def outage(self) -> tuple[float, float, float]:
        """Median, 99th percentile and maximum, in seconds."""
        if len(self.outages) < 2:
            only = self.outages[0] if self.outages else 0.0
            return only, only, only
        return statistics.median(self.outages), statistics.quantiles(self.outages, n=100)[98], max(self.outages)
