"""Publish the rows of the outbox to the broker.

A relay locks rows that are due, sends them, waits for the receipts and marks the rows, all in one transaction. Other
relays skip the locked rows. If a relay dies, its rows are free again at once. A relay has two *lanes*, threads with a
database connection each: while one lane waits for receipts or for the database, the other one sends. A database without
``SKIP LOCKED``, such as SQLite, must have only one relay, which then has one lane.

Order: see ``claims``. The lock of a head protects its whole group from other lanes and other relays.

Failures: a message that the broker refuses is tried again after a growing delay, and after the last attempt its row is
marked as failed. A connection loss is not a refusal: the row stays due, and it is sent again as soon as there is a
connection. But if a message was sent alone when the connection was lost, it may have made the broker close the
connection. The relay skips such a row for up to five seconds, so that the other rows are sent meanwhile.
"""

from __future__ import annotations

import queue
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any

from django.db import DEFAULT_DB_ALIAS, Error, close_old_connections, connections, transaction
from django.db.models import F
from django.utils import timezone

from stomplistener._util.environment import DEFAULT
from stomplistener._util.loggers import library_logger
from stomplistener.connection import Connection
from stomplistener.contrib.django.claims import Claims
from stomplistener.contrib.django.conf import OutboxSettings
from stomplistener.contrib.django.housekeeping import Housekeeper
from stomplistener.contrib.django.models import OutboxMessage
from stomplistener.contrib.django.outbox import State, old_rows_deleted
from stomplistener.contrib.django.sending import Outcomes, Sender, is_loss, is_refusal, reason
from stomplistener.errors import StompError
from stomplistener.worker import signals
from stomplistener.worker.alive import AliveFile
from stomplistener.worker.backoff import BackOff

_log = library_logger("stomplistener.django")

LANES = 2
TICK = 1.0
"""Seconds between two checks of the lanes."""

LONGEST_PAUSE = 2.0
"""The longest pause in seconds before the relay tries the broker or the database again, so that an outage ends soon."""


class Relay:
    """Publishes the rows of one database for one connection. Call ``run`` in the main thread.

    Args:
        connection: to the broker; the relay connects it.
        options: the settings of the relay.
        using: the database.
        name: of the connection; only rows for it are published.
        alive: the file to touch while reading the outbox succeeds.
        detects_duplicates: whether to send the ids of rows as ``duplicate_id``; None decides by the broker in use.
    """

    def __init__(
        self,
        connection: Connection,
        options: OutboxSettings,
        *,
        using: str = DEFAULT_DB_ALIAS,
        name: str = DEFAULT,
        alive: AliveFile | None = None,
        detects_duplicates: bool | None = None,
    ) -> None:
        self._connection = connection
        self._options = options
        self._using = using
        self._name = name
        self._alive = alive or AliveFile(None)
        self._sender = Sender(connection, options.timeout, detects_duplicates)
        self._events: queue.SimpleQueue[int | BaseException] = queue.SimpleQueue()
        self._locks = connections[using].features.has_select_for_update_skip_locked
        self._claims = Claims(using, name)
        self._suspects = Suspects()
        self._outage = Outage()
        self._ending = threading.Event()
        self._all_is_well = False
        self._life = 0
        self._life_lock = threading.Lock()
        self.counts = Counts()

    # Running

    def run(self) -> None:
        """Publish until SIGTERM, SIGINT or SIGHUP, then finish the current batches."""
        if not self._locks:
            _log.warning("database %s has no SKIP LOCKED: run this relay only once", self._using)
        keep = self._options.keep
        housekeeper = Housekeeper({} if keep is None else {"outbox": lambda: old_rows_deleted(keep, self._using)})
        lanes = [
            threading.Thread(target=self._lane, name=f"outbox-{number}", daemon=True)
            for number in range(LANES if self._locks else 1)
        ]
        with signals.handled(self._events.put):
            for thread in lanes:
                thread.start()
            housekeeper.start()
            failure = self._watch()
            self._ending.set()
            for thread in lanes:
                thread.join()
            housekeeper.stop()
        self._alive.remove()
        self._connection.disconnect(timeout=self._options.timeout)
        connections.close_all()
        if failure is not None:
            raise failure

    def _watch(self) -> BaseException | None:
        """Touch the alive-file until a signal comes or a lane raises. Return the lane's exception, or None."""
        while True:
            try:
                event = self._events.get(timeout=TICK)
            except queue.Empty:
                # Each round of a lane that succeeds sets the flag again, so it is set often while the lanes send.
                if self._all_is_well:
                    self._all_is_well = False
                    self._alive.touch()
                continue
            if isinstance(event, BaseException):
                return event
            _log.info("ending: signal %d", event)
            return None

    def _lane(self) -> None:
        claims, back_off = Claims(self._using, self._name), BackOff(most=LONGEST_PAUSE)
        pause = 0.0
        try:
            while not self._ending.wait(pause):
                try:
                    pause = 0.0 if self._publish_from(claims) else self._options.poll
                    self._outage.ends()
                    self._all_is_well = True
                    back_off = BackOff(most=LONGEST_PAUSE)
                except (StompError, Error) as error:
                    pause = back_off.delay(0.0)
                    self._outage.begins(error)
                close_old_connections()
        except BaseException as error:
            self._events.put(error)
        finally:
            connections.close_all()

    def publish_due(self) -> int:
        """Publish one batch of the rows that are due.

        Returns:
            the number of rows that were tried.

        Raises:
            StompError: the broker cannot be reached. Rows that the broker had already confirmed are marked.
            Error: the database cannot be reached. Rows that are not marked as published are published again.
        """
        return self._publish_from(self._claims)

    def _publish_from(self, claims: Claims) -> int:
        self._connection.connect(timeout=self._options.timeout)
        life = self._life
        with self._holding():
            outcomes = self._sender.send(claims.take(self._options.batch, self._suspects.shunned()))
            self._note(outcomes)
        for outcome in outcomes.values():
            if outcome is not None and is_loss(outcome):
                self._end_connection(life)
                raise outcome
        return len(outcomes)

    def _end_connection(self, life: int) -> None:
        """Close the connection, because an unconfirmed send must not be resent later, after its successors.

        The lanes notice the same loss one after the other. The second lane must not close the new connection of the
        first one.
        """
        with self._life_lock:
            if self._life == life:
                self._life += 1
                self._connection.close()

    def _holding(self) -> AbstractContextManager[Any]:
        """Return the transaction that holds the locks. Without locks, a transaction would only block other writers."""
        return transaction.atomic(using=self._using) if self._locks else nullcontext()

    # Marking

    def _note(self, outcomes: Outcomes) -> None:
        now = timezone.now()
        rows = OutboxMessage.objects.using(self._using)
        published = [pk for pk, outcome in outcomes.items() if outcome is None]
        failed = {pk: outcome for pk, outcome in outcomes.items() if outcome is not None}
        with transaction.atomic(using=self._using):
            if published:
                rows.filter(pk__in=published).update(
                    state=State.PUBLISHED, settled=now, attempts=F("attempts") + 1, error=""
                )
            for row in rows.filter(pk__in=failed) if failed else ():
                self._note_failure(row, failed[row.pk])
                row.save(update_fields=["attempts", "refusals", "error", "state", "settled", "due"])
        self.counts.add("published", len(published))
        self._suspects.note(outcomes)

    def _note_failure(self, row: OutboxMessage, error: Exception) -> None:
        now = timezone.now()
        row.error = f"{type(error).__name__}: {error}"[:2000]
        row.attempts += 1
        if not is_refusal(error):
            # The row stays due. The loss is logged once, not for each row.
            if row.attempts > 1:
                self._suspects.add(row.pk)
            return
        row.refusals += 1
        self.counts.add("refused")
        if row.refusals >= self._options.attempts:
            row.state, row.settled = State.FAILED, now
            _log.error("%s is given up after %d attempts: %s", row, row.refusals, reason(error))
        else:
            row.due = now + timedelta(seconds=self._options.delay(row.refusals))
            _log.warning("%s was refused and is tried again at %s: %s", row, row.due, reason(error))


class Counts:
    """Counts the rows that this relay published and the refusals that it got. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = {"published": 0, "refused": 0}

    def add(self, outcome: str, number: int = 1) -> None:
        with self._lock:
            self._counts[outcome] += number

    def snapshot(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)


class Suspects:
    """Rows that were sent alone when the connection was lost. The relay skips each for seconds. Thread-safe."""

    FIRST = 1.0
    MOST = 5.0

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[int, tuple[float, float]] = {}
        """By primary key: the monotonic time until which the row is skipped, and the length of this pause."""

    def add(self, pk: int) -> None:
        """Skip a row, for twice as long as the last time."""
        with self._lock:
            _, last = self._held.get(pk, (0.0, self.FIRST / 2))
            wait = min(2 * last, self.MOST)
            self._held[pk] = (time.monotonic() + wait, wait)

    def note(self, outcomes: Outcomes) -> None:
        """Forget the rows that the broker answered."""
        with self._lock:
            for pk, outcome in outcomes.items():
                if pk in self._held and not is_loss(outcome):
                    del self._held[pk]

    def shunned(self) -> set[int]:
        """Return the rows to skip now."""
        now = time.monotonic()
        with self._lock:
            # Another relay may have published a row, and this relay does not learn that. So old entries are removed
            # here.
            self._held = {pk: held for pk, held in self._held.items() if held[0] + self.MOST > now}
            return {pk for pk, (until, _) in self._held.items() if until > now}


class Outage:
    """Logs the beginning and the end of an outage once, although each lane notices it at each attempt. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began: float | None = None

    def begins(self, error: Exception) -> None:
        with self._lock:
            if self._began is not None:
                return
            self._began = time.monotonic()
        _log.warning("the outbox waits; no row is lost: %s", str(error).strip().partition("\n")[0])

    def ends(self) -> None:
        with self._lock:
            if self._began is None:
                return
            lasted, self._began = time.monotonic() - self._began, None
        _log.info("the outbox is published again after %.1f s", lasted)
