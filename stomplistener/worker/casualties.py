"""Count the processes that died while they handled a message, and reject a message that killed too many.

Each child keeps a file with the messages that its handlers have begun and not ended. The file outlives the child. When
a child dies, the supervisor adds the messages in its file to the counts. All children read these counts before they
handle a message. The broker may redeliver a message before the supervisor has counted the death. So a child waits while
the message is still in the file of another child. The files are small, because only handlers with ``max_deliveries``
are noted. If the broker counts deliveries, the connection checks that counter first.
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
"""The number of messages whose counts are kept."""

COUNTED_SECONDS = 2.0
"""Seconds within which the death of a child is counted. If a message stays in the file of another child for longer,
that child is alive and handles an equal message."""


class TooManyDeaths(Exception):
    """``max_deliveries`` processes have died while they handled the message."""


class Casualties:
    """The messages that this process handles, and the counts that the supervisor keeps. Thread-safe.

    Args:
        directory: the directory shared with the supervisor; None without a supervisor: nothing is counted.
        slot: the number of this child.
    """

    def __init__(self, directory: Path | None = None, slot: int = 0) -> None:
        self._directory = directory
        self._hands = None if directory is None else _hands(directory, slot)
        self._lock = threading.Lock()
        self._keys: list[str] = []

    @contextmanager
    def in_hands(self, message: Message, most: int) -> Iterator[None]:
        """Note that a message is handled inside the block.

        Raises:
            TooManyDeaths: ``most`` processes have died already while they handled the message.
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
            raise TooManyDeaths(f"{deaths} processes died while they handled the message; max_deliveries is {most}")
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
            # Written at once, but without a sync: the file must survive the process, not a crash of the machine.
            self._hands.write_text("\n".join(self._keys))


class Deaths:
    """Counts, for each message, the processes that died while they handled it. For one thread of the supervisor.

    Args:
        directory: the directory shared with the children.
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
        """Count the messages that a child handled when it died."""
        hands = _hands(self._directory, slot)
        if keys := _read(hands):
            counts = self.read()
            for key in keys:
                # Move the key to the end. The oldest keys are dropped first.
                counts[key] = counts.pop(key, 0) + 1
            written = self._file.with_suffix(".new")
            written.write_text(json.dumps(dict(list(counts.items())[-MOST:])))
            os.replace(written, self._file)
        # Remove the file only now: another child waits for its end before it reads the counts.
        hands.unlink(missing_ok=True)

    def forget(self, slot: int) -> None:
        """Forget the messages of a child that ended on request: they did not kill it."""
        _hands(self._directory, slot).unlink(missing_ok=True)


def _hands(directory: Path, slot: int) -> Path:
    return directory / f"{slot}.hands"


def _read(hands: Path) -> list[str]:
    try:
        return hands.read_text().split()
    except FileNotFoundError:
        return []


def key_of(message: Message) -> str:
    """Return a key that is the same in each redelivery. The message id would not do: RabbitMQ changes the id."""
    if "outbox-id" in message.headers:
        return hashlib.sha256(message.headers["outbox-id"].encode(errors="surrogateescape")).hexdigest()
    digest = hashlib.sha256(message.body)
    for name, value in sorted(message.headers.items()):
        if name not in _CHANGING:
            digest.update(f"\n{name}:{value}".encode(errors="surrogateescape"))
    return digest.hexdigest()
