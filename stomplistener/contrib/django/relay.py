"""From the outbox to the broker.

A relay takes rows that are due, sends them, waits for the receipts and marks the rows, all in one transaction that
holds the rows' locks (``SELECT … FOR UPDATE SKIP LOCKED``): others see which rows are taken, and when a relay dies its
rows are free again at once. Databases without such locks, SQLite among them, must have one relay only.

Order: of the rows with the same destination and key only the first one that is pending, the *head*, is ever taken, so
its lock guards the whole group. Who has it may send the followers, too, each when its predecessor was confirmed.

Failures: what the broker refuses counts against the row, is tried again after a growing delay, and is parked as failed
at last. When the broker is away rows are tried again for ever. What failed before is sent alone: where one message
makes the broker hang up, the others do not suffer for it again.
"""

from __future__ import annotations

import logging
import queue
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any

from django.db import DEFAULT_DB_ALIAS, Error, close_old_connections, connections, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from stomplistener._util.deadline import Deadline
from stomplistener.connection import Connection
from stomplistener.contrib.django.conf import OutboxSettings
from stomplistener.contrib.django.models import OutboxMessage
from stomplistener.contrib.django.outbox import State, purge
from stomplistener.errors import BrokerError, ProtocolError, StompError, TimedOut
from stomplistener.worker import signals
from stomplistener.worker.alive import AliveFile
from stomplistener.worker.backoff import BackOff

_log = logging.getLogger("stomplistener.django")

PURGE_EVERY = 600.0
"""Seconds between two looks for old rows."""

Outcomes = dict[int, Exception | None]
"""What came of each row that was sent, by its primary key; None: the broker has confirmed it."""


class Relay:
    """Publishes what is in the outbox of one database. One thread uses it.

    Args:
        connection: to the broker; the relay connects it.
        options: from the settings.
        using: the database.
        alive: touched after each look at the outbox that went well.
    """

    def __init__(
        self,
        connection: Connection,
        options: OutboxSettings,
        *,
        using: str = DEFAULT_DB_ALIAS,
        alive: AliveFile | None = None,
    ) -> None:
        self._connection = connection
        self._options = options
        self._using = using
        self._alive = alive or AliveFile(None)
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._locks = connections[using].features.has_select_for_update_skip_locked
        self._purged = -PURGE_EVERY

    def run(self) -> None:
        """Publish until SIGTERM, SIGINT or SIGHUP; what is under way then is finished."""
        if not self._locks:
            _log.warning("database %s has no SKIP LOCKED: run this relay only once", self._using)
        with signals.handled(self._signals.put):
            back_off = BackOff()
            pause = 0.0
            while not self._is_told_to_end(pause):
                try:
                    pause = 0.0 if self.publish_due() else self._options.poll
                    self._purge_now_and_then()
                    back_off = BackOff()
                    self._alive.touch()
                except (StompError, Error) as error:
                    pause = back_off.delay(0.0)
                    _log.warning("the outbox waits %g s: %s", pause, str(error).strip())
                close_old_connections()
        self._alive.remove()
        self._connection.disconnect(timeout=self._options.timeout)
        connections.close_all()

    def _is_told_to_end(self, pause: float) -> bool:
        try:
            number = self._signals.get(timeout=pause)
        except queue.Empty:
            return False
        _log.info("ending: signal %d", number)
        return True

    def _purge_now_and_then(self) -> None:
        if self._options.keep is None or time.monotonic() - self._purged < PURGE_EVERY:
            return
        self._purged = time.monotonic()
        if count := purge(self._options.keep, self._using):
            _log.info("purged %d rows", count)

    def publish_due(self) -> int:
        """Publish one batch of what is due.

        Returns:
            how many rows were tried.

        Raises:
            StompError: the broker is away; what was confirmed before is marked.
            Error: the database is away: what it does not know as published is published again.
        """
        self._connection.connect(timeout=self._options.timeout)
        with self._holding():
            outcomes = self._publish(self._claim())
            self._note(outcomes)
        for outcome in outcomes.values():
            if outcome is not None and not _is_refusal(outcome):
                # A send that was not confirmed must not go out later, behind its successors.
                self._connection.close()
                raise outcome
        return len(outcomes)

    # Taking

    def _holding(self) -> AbstractContextManager[Any]:
        """What the locks last for; without locks a transaction would only keep others from writing."""
        return transaction.atomic(using=self._using) if self._locks else nullcontext()

    @property
    def _rows(self) -> QuerySet[OutboxMessage]:
        return OutboxMessage.objects.using(self._using)

    def _claim(self) -> list[deque[OutboxMessage]]:
        """Rows to send, those that have to be sent one after the other together."""
        pending = self._rows.filter(state=State.PENDING)
        earlier = pending.filter(destination=OuterRef("destination"), key=OuterRef("key"), pk__lt=OuterRef("pk"))
        due = pending.filter(Q(key="") | ~Exists(earlier), due__lte=timezone.now()).order_by("pk")
        if self._locks:
            due = due.select_for_update(skip_locked=True)
        groups = [deque([row]) for row in due[: self._options.batch]]
        keyed = {(group[0].destination, group[0].key): group for group in groups if group[0].key}
        room = self._options.batch - len(groups)
        if keyed and room:
            heads = [group[0].pk for group in keyed.values()]
            followers = pending.filter(
                destination__in={destination for destination, _ in keyed}, key__in={key for _, key in keyed}
            )
            for row in followers.exclude(pk__in=heads).order_by("pk")[:room]:
                if (group := keyed.get((row.destination, row.key))) is not None:
                    group.append(row)
        return groups

    # Sending

    def _publish(self, groups: list[deque[OutboxMessage]]) -> Outcomes:
        """Send the first of each group, then, where it was confirmed, the next; up to the first sign of an outage."""
        outcomes: Outcomes = {}
        while groups:
            heads = [group.popleft() for group in groups]
            fresh = [row for row in heads if not row.attempts]
            suspects = [[row] for row in heads if row.attempts]
            for together in filter(None, [fresh, *suspects]):
                outcomes |= self._send(together)
                if any(outcome is not None and not _is_refusal(outcome) for outcome in outcomes.values()):
                    return outcomes
            groups = [group for group, head in zip(groups, heads, strict=True) if group and outcomes[head.pk] is None]
        return outcomes

    def _send(self, rows: Sequence[OutboxMessage]) -> Outcomes:
        deadline = Deadline(self._options.timeout)
        with self._connection.batch():
            answers = {row.pk: self._begin(row, deadline) for row in rows}
        return {pk: _outcome(answer, deadline) for pk, answer in answers.items()}

    def _begin(self, row: OutboxMessage, deadline: Deadline) -> Future[Any] | Exception:
        headers: Mapping[str, str] = {**row.headers, "outbox-id": str(row.uuid)}
        try:
            return self._connection.send_async(row.destination, bytes(row.body), headers, timeout=deadline.remaining())
        except (StompError, ValueError, TypeError) as error:
            return error

    # Marking

    def _note(self, outcomes: Outcomes) -> None:
        now = timezone.now()
        published = [pk for pk, outcome in outcomes.items() if outcome is None]
        failed = {pk: outcome for pk, outcome in outcomes.items() if outcome is not None}
        with transaction.atomic(using=self._using):
            if published:
                self._rows.filter(pk__in=published).update(
                    state=State.PUBLISHED, settled=now, attempts=F("attempts") + 1, error=""
                )
            for row in self._rows.filter(pk__in=failed):
                row.attempts += 1
                row.error = f"{type(failed[row.pk]).__name__}: {failed[row.pk]}"[:2000]
                if _is_refusal(failed[row.pk]) and row.attempts >= self._options.attempts:
                    row.state, row.settled = State.FAILED, now
                    _log.error("%s is given up after %d attempts: %s", row, row.attempts, row.error)
                else:
                    row.due = now + timedelta(seconds=self._options.delay(row.attempts))
                    _log.warning("%s was not published: %s", row, row.error)
                row.save(update_fields=["attempts", "error", "state", "settled", "due"])


def _is_refusal(error: Exception) -> bool:
    """Whether it is about this message, and not about the way to the broker."""
    return isinstance(error, (BrokerError, ProtocolError, TypeError)) or (
        isinstance(error, ValueError) and not isinstance(error, TimedOut)
    )


def _outcome(answer: Future[Any] | Exception, deadline: Deadline) -> Exception | None:
    if isinstance(answer, Exception):
        return answer
    try:
        answer.result(deadline.remaining())
    except TimeoutError:
        return TimedOut(f"no receipt from the broker for {deadline.timeout} s")
    except Exception as error:
        return error
    return None
