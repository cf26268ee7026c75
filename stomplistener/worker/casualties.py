"""Messages that were in the hands of a process that died, so that one that kills its process is given up in time.

Each child writes what its handlers begin and end into a file of its own, which outlives it. When a child dies, its
supervisor adds up what was in its hands; all children read these counts before they handle a message. A broker may be
quicker than the supervisor: a message that is still in the hands of another child is held back until that one's end is
counted. Files are small: only handlers with ``max_deliveries`` are noted. The broker's own counter, where it has one,
is looked at before, by the connection.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stomplistener._util.deadline import Deadline
from stomplistener.message import Message

_CHANGING = frozenset(
    {"message-id", "ack", "subscription", "redelivered", "delivery-count", "x-delivery-count", "JMSXDeliveryCount"}
)

MOST = 10_000
"""Messages that are remembered."""

COUNTED_SECONDS = 2.0
"""How long a child that died may wait to be counted. What is in the hands of a child for longer is no copy from a dead
one, but an equal message that a living one handles."""


class TooManyDeaths(Exception):
    """The processes that handled a message died, as often as ``max_deliveries`` allows."""


class Casualties:
    """What one process has in its hands, and what the supervisor knows of its predecessors. Thread-safe.

    Args:
        directory: shared with the supervisor; None where there is none, and nothing is known.
        slot: the number of this child.
    """

    def __init__(self, directory: Path | None = None, slot: int = 0) -> None:
        self._directory = directory
        self._hands = None if directory is None else _hands(directory, slot)
        self._lock = threading.Lock()
        self._keys: list[str] = []

    @contextmanager
    def in_hands(self, message: Message, most: int) -> Iterator[None]:
        """Note that a message is handled while the block lasts.

        Raises:
            TooManyDeaths: so many processes died of it already.
        """
        if self._directory is None:
            yield
            return
        key = key_of(message)
        deadline = Deadline(COUNTED_SECONDS)
        while self._others_have(key) and not deadline.expired:
            time.sleep(0.01)
        deaths = Deaths(self._directory).read()[key]
        if deaths >= most:
            raise TooManyDeaths(f"{deaths} processes died while they handled it; max_deliveries is {most}")
        self._change(key, begins=True)
        try:
            yield
        finally:
            self._change(key, begins=False)

    def _others_have(self, key: str) -> bool:
        assert self._directory is not None
        return any(key in _read(hands) for hands in self._directory.glob("*.hands") if hands != self._hands)

    def _change(self, key: str, *, begins: bool) -> None:
        assert self._hands is not None
        with self._lock:
            if begins:
                self._keys.append(key)
            else:
                self._keys.remove(key)
            # Written at once and without a sync: the file outlives the process, not the machine.
            self._hands.write_text("\n".join(self._keys))


class Deaths:
    """How many processes died with each message in their hands. For one thread of the supervisor.

    Args:
        directory: shared with the children.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = directory / "deaths"

    def read(self) -> Counter[str]:
        """Return the counts, by key."""
        try:
            return Counter(json.loads(self._file.read_text()))
        except FileNotFoundError:
            return Counter()

    def count(self, slot: int) -> None:
        """A child has died: count what was in its hands."""
        hands = _hands(self._directory, slot)
        if keys := _read(hands):
            counts = self.read()
            for key in keys:
                # The latest last: the first is forgotten first.
                counts[key] = counts.pop(key, 0) + 1
            written = self._file.with_suffix(".new")
            written.write_text(json.dumps(dict(list(counts.items())[-MOST:])))
            os.replace(written, self._file)
        # Only now, since another child waits for it before it reads the counts.
        hands.unlink(missing_ok=True)

    def forget(self, slot: int) -> None:
        """A child has ended as it was told: nothing that it had in its hands is to blame."""
        _hands(self._directory, slot).unlink(missing_ok=True)


def _hands(directory: Path, slot: int) -> Path:
    return directory / f"{slot}.hands"


def _read(hands: Path) -> list[str]:
    try:
        return hands.read_text().split()
    except FileNotFoundError:
        return []


def key_of(message: Message) -> str:
    """What stays the same when a broker delivers a message again; RabbitMQ gives it another id each time."""
    if "outbox-id" in message.headers:
        return hashlib.sha256(message.headers["outbox-id"].encode(errors="surrogateescape")).hexdigest()
    digest = hashlib.sha256(message.body)
    for name, value in sorted(message.headers.items()):
        if name not in _CHANGING:
            digest.update(f"\n{name}:{value}".encode(errors="surrogateescape"))
    return digest.hexdigest()
