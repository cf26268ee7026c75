"""Record all feeds in SQLite: their messages, and the gaps in them."""

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
    """A message to record.

    Attributes:
        message_id: the message id of the broker.
        received: the time when it arrived, in seconds since 1970.
        sent: the time when it was sent, in seconds since 1970. Silences are measured by this time, because messages
            that the broker kept for this program arrive late, but are not missing.
        number: the number from the provider, if the feed has one.
        kind, summary: for readers of the page.
        body: the body as it is stored.
        error: the reason why it could not be read; None if it could be read.
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
    """A gap in a feed.

    Attributes:
        feed: its name.
        kind: ``missing`` numbers, a ``silence``, or ``renumbered``: the provider restarted its numbers, so missing
            messages are unknown.
        noticed: the time when it was noticed, in seconds since 1970.
        first, last: for ``missing``, the first and the last missing position. For a ``silence``, its begin and end in
            seconds since 1970. For ``renumbered``, the last position before and the first position after.
    """

    feed: str
    kind: str
    noticed: float
    first: float
    last: float


@dataclass(frozen=True)
class Recorded:
    """The new messages and gaps of a batch. ``filled`` is the number of late messages that filled a gap."""

    entries: Sequence[Entry]
    gaps: Sequence[Gap]
    filled: int


def position_of(number: int, last: int | None, modulus: int) -> int:
    """Return the position of a number: of all positions with this number, the one nearest to the last position.

    Positions only rise, while numbers start again at 0. ``position % modulus`` is the number.
    """
    if last is None:
        return number
    ahead = (number - last) % modulus
    return last + (ahead if ahead <= modulus // 2 else ahead - modulus)


class Recorder:
    """The database. Thread-safe; a context manager that closes it.

    When ``record`` returns, the messages are on the disk, and the broker may forget them. If an acknowledgement is
    lost, the broker delivers the message again, but it is not recorded twice.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False)
        self._database.row_factory = sqlite3.Row
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.executescript(SCHEMA)

    def record(self, feed: Feed, entries: Iterable[Entry]) -> Recorded:
        """Record a batch and the gaps before its messages, in one transaction."""
        with self._lock, self._database:
            batch = _Batch(self._database, feed)
            for entry in entries:
                batch.add(entry)
            return batch.end()

    def totals(self) -> list[dict[str, Any]]:
        """Return, for each feed, its name, the number of its messages, and the time of the last one."""
        return self._rows("SELECT feed, total, received FROM feeds")

    def latest(self, count: int) -> list[dict[str, Any]]:
        """Return the last messages of all feeds, newest first, without their bodies."""
        columns = "feed, received, kind, summary, error"
        return self._rows(f"SELECT {columns} FROM messages ORDER BY id DESC LIMIT ?", count)

    def gaps(self, count: int) -> list[dict[str, Any]]:
        """Return the last gaps of all feeds, newest first."""
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
    """Records the messages of one feed inside a transaction."""

    def __init__(self, database: sqlite3.Connection, feed: Feed) -> None:
        self._database = database
        self._feed = feed
        # Read this from the database, so that a gap while the program does not run is noticed, too.
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
        """Record a message, unless it is recorded already."""
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
        """Remove a late position from its gap, and return whether there was a gap."""
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
        """Store the last position of the feed."""
        if self._received is not None:
            self._database.execute(
                "INSERT OR REPLACE INTO feeds (feed, received, sent, position, total) VALUES (?, ?, ?, ?, ?)",
                (self._feed.name, self._received, self._sent, self._position, self._total + len(self._entries)),
            )
        return Recorded(self._entries, self._gaps, self._filled)
