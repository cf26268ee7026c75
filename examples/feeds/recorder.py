"""The record of all feeds in SQLite: their messages, and the gaps in them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from accounts import Feed

SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY,
    feed TEXT NOT NULL,
    message_id TEXT NOT NULL,
    received REAL NOT NULL,
    sent REAL NOT NULL,
    position INTEGER,
    kind TEXT NOT NULL,
    summary TEXT NOT NULL,
    body BLOB NOT NULL,
    error TEXT,
    UNIQUE (feed, message_id)
);
CREATE TABLE IF NOT EXISTS gaps (
    id INTEGER PRIMARY KEY,
    feed TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('missing', 'silence', 'renumbered')),
    noticed REAL NOT NULL,
    first NUMERIC NOT NULL,
    last NUMERIC NOT NULL
);
CREATE TABLE IF NOT EXISTS feeds (
    feed TEXT PRIMARY KEY,
    received REAL NOT NULL,
    sent REAL NOT NULL,
    position INTEGER,
    total INTEGER NOT NULL
);
"""


@dataclass(frozen=True)
class Entry:
    """A message to be recorded.

    Attributes:
        message_id: the broker's.
        received: when it came, in seconds since 1970.
        sent: when it was sent, likewise. A silence is measured by this: what the broker kept while this program was cut
            off comes late, and was not missed.
        number: the provider's own, if the feed has one.
        kind, summary: for people.
        body: as it is kept.
        error: why it could not be read; None if it could.
    """

    message_id: str
    received: float
    sent: float
    number: int | None
    kind: str
    summary: str
    body: bytes
    error: str | None = None


@dataclass(frozen=True)
class Gap:
    """Something that a feed did not bring.

    Attributes:
        feed: its name.
        kind: ``missing`` numbers, a ``silence``, or ``renumbered``: the provider began to count again, and nobody knows
            what is missing.
        noticed: seconds since 1970.
        first, last: the missing positions; begin and end of the silence in seconds since 1970; the last position
            before, and the first one after the renumbering.
    """

    feed: str
    kind: str
    noticed: float
    first: float
    last: float


@dataclass(frozen=True)
class Recorded:
    """What was new in a batch. ``filled``: how many of its messages came late, and filled a gap."""

    entries: Sequence[Entry]
    gaps: Sequence[Gap]
    filled: int


def position_of(number: int, last: int | None, modulus: int) -> int:
    """A number as a position that only rises: of all positions with this number, the one nearest to the last.

    ``position % modulus`` is the number again.
    """
    if last is None:
        return number
    ahead = (number - last) % modulus
    return last + (ahead if ahead <= modulus // 2 else ahead - modulus)


class Recorder:
    """The database. Thread-safe; a context manager that closes it.

    What ``record`` has returned is on the disk, so that the broker may forget it. A message that comes a second time,
    because the first acknowledgement was lost, is not recorded twice.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False)
        self._database.row_factory = sqlite3.Row
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.executescript(SCHEMA)

    def record(self, feed: Feed, entries: Iterable[Entry]) -> Recorded:
        """Record a batch and the gaps that it shows, in one transaction."""
        with self._lock, self._database:
            batch = _Batch(self._database, feed)
            for entry in entries:
                batch.add(entry)
            return batch.end()

    def totals(self) -> list[dict[str, Any]]:
        """For each feed its name, the number of its messages, and when the last one came."""
        return self._rows("SELECT feed, total, received FROM feeds")

    def latest(self, count: int) -> list[dict[str, Any]]:
        """The last messages of all feeds, the newest first, without their bodies."""
        columns = "feed, received, kind, summary, error"
        return self._rows(f"SELECT {columns} FROM messages ORDER BY id DESC LIMIT ?", count)

    def gaps(self, count: int) -> list[dict[str, Any]]:
        """The last gaps of all feeds, the newest first."""
        return self._rows("SELECT feed, kind, noticed, first, last FROM gaps ORDER BY id DESC LIMIT ?", count)

    def _rows(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        with self._lock:
            return [dict(row) for row in self._database.execute(query, arguments)]

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Batch:
    """Messages of one feed, inside of a transaction."""

    def __init__(self, database: sqlite3.Connection, feed: Feed) -> None:
        self._database = database
        self._feed = feed
        # Kept in the database, so that what is missed while this program does not run shows, too.
        stands = database.execute(
            "SELECT received, sent, position, total FROM feeds WHERE feed = ?", (feed.name,)
        ).fetchone()
        self._received: float | None
        self._sent: float | None
        self._position: int | None
        self._total: int
        self._received, self._sent, self._position, self._total = stands or (None, None, None, 0)
        self._entries: list[Entry] = []
        self._gaps: list[Gap] = []
        self._filled = 0

    def add(self, entry: Entry) -> None:
        """Record a message, unless it is there."""
        position = None
        if entry.number is not None:
            position = position_of(entry.number, self._position, self._feed.modulus)
        inserted = self._database.execute(
            "INSERT INTO messages (feed, message_id, received, sent, position, kind, summary, body, error) "
            "VALUES (:feed, :message_id, :received, :sent, :position, :kind, :summary, :body, :error) "
            "ON CONFLICT (feed, message_id) DO NOTHING",
            {**asdict(entry), "feed": self._feed.name, "position": position},
        )
        if not inserted.rowcount:
            return
        self._entries.append(entry)
        if self._sent is not None and entry.sent - self._sent > self._feed.quiet:
            self._note("silence", entry, self._sent, entry.sent)
        self._received, self._sent = entry.received, max(entry.sent, self._sent or 0.0)
        if position is not None:
            self._place(entry, position)

    def _place(self, entry: Entry, position: int) -> None:
        last = self._position
        if last is not None and position <= last:
            if self._fill(position):
                self._filled += 1
                return
            self._note("renumbered", entry, last, position)
        elif last is not None and position > last + 1:
            self._note("missing", entry, last + 1, position - 1)
        self._position = position

    def _note(self, kind: str, entry: Entry, first: float, last: float) -> None:
        gap = Gap(self._feed.name, kind, entry.received, first, last)
        self._database.execute(
            "INSERT INTO gaps (feed, kind, noticed, first, last) VALUES (:feed, :kind, :noticed, :first, :last)",
            asdict(gap),
        )
        self._gaps.append(gap)

    def _fill(self, position: int) -> bool:
        """Take a position that came late out of its gap; whether there was one."""
        gap = self._database.execute(
            "SELECT id, noticed, first, last FROM gaps "
            "WHERE feed = ? AND kind = 'missing' AND ? BETWEEN first AND last ORDER BY id DESC",
            (self._feed.name, position),
        ).fetchone()
        if gap is None:
            return False
        self._database.execute("DELETE FROM gaps WHERE id = ?", (gap["id"],))
        self._database.executemany(
            "INSERT INTO gaps (feed, kind, noticed, first, last) VALUES (?, 'missing', ?, ?, ?)",
            [
                (self._feed.name, gap["noticed"], first, last)
                for first, last in ((gap["first"], position - 1), (position + 1, gap["last"]))
                if first <= last
            ],
        )
        return True

    def end(self) -> Recorded:
        """Note where the feed stands."""
        if self._received is not None:
            self._database.execute(
                "INSERT OR REPLACE INTO feeds (feed, received, sent, position, total) VALUES (?, ?, ?, ?, ?)",
                (self._feed.name, self._received, self._sent, self._position, self._total + len(self._entries)),
            )
        return Recorded(self._entries, self._gaps, self._filled)
