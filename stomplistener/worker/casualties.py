"""Messages that were in the hands of a process that died, so that one that kills its process is given up in time.

Each child writes what its handlers begin and end into a file of its own, which outlives it. When a child dies, its
supervisor adds up what was in its hands; the next children read these counts. Files are small: only handlers with
``max_deliveries`` are noted. The broker's own counter, where it has one, is looked at before, by the connection.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stomplistener.message import Message

_CHANGING = frozenset(
    {"message-id", "ack", "subscription", "redelivered", "delivery-count", "x-delivery-count", "JMSXDeliveryCount"}
)

MOST = 10_000
"""Messages that are remembered."""


class TooManyDeaths(Exception):
    """The processes that handled a message died, as often as ``max_deliveries`` allows."""


class Casualties:
    """What one process has in its hands, and what the supervisor knows of its predecessors. Thread-safe.

    Args:
        directory: shared with the supervisor; None where there is none, and nothing is known.
        slot: the number of this child.
    """

    def __init__(self, directory: Path | None = None, slot: int = 0) -> None:
        self._deaths = Deaths(directory).read() if directory is not None else Counter[str]()
        self._hands = None if directory is None else _hands(directory, slot)
        self._lock = threading.Lock()
        self._keys: list[str] = []

    @contextmanager
    def in_hands(self, message: Message, most: int) -> Iterator[None]:
        """Note that a message is handled while the block lasts.

        Raises:
            TooManyDeaths: so many processes died of it already.
        """
        if self._hands is None:
            yield
            return
        key = key_of(message)
        if self._deaths[key] >= most:
            raise TooManyDeaths(f"{self._deaths[key]} processes died while they handled it; max_deliveries is {most}")
        self._change(key, begins=True)
        try:
            yield
        finally:
            self._change(key, begins=False)

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
        try:
            keys = hands.read_text().split()
        except FileNotFoundError:
            return
        hands.unlink()
        if not keys:
            return
        counts = self.read()
        for key in keys:
            # The latest last: the first is forgotten first.
            counts[key] = counts.pop(key, 0) + 1
        written = self._file.with_suffix(".new")
        written.write_text(json.dumps(dict(list(counts.items())[-MOST:])))
        os.replace(written, self._file)

    def forget(self, slot: int) -> None:
        """A child has ended as it was told: nothing that it had in its hands is to blame."""
        _hands(self._directory, slot).unlink(missing_ok=True)


def _hands(directory: Path, slot: int) -> Path:
    return directory / f"{slot}.hands"


def key_of(message: Message) -> str:
    """What stays the same when a broker delivers a message again; RabbitMQ gives it another id each time."""
    if "outbox-id" in message.headers:
        return hashlib.sha256(message.headers["outbox-id"].encode(errors="surrogateescape")).hexdigest()
    digest = hashlib.sha256(message.body)
    for name, value in sorted(message.headers.items()):
        if name not in _CHANGING:
            digest.update(f"\n{name}:{value}".encode(errors="surrogateescape"))
    return digest.hexdigest()
