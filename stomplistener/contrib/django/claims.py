"""Find the rows of the outbox to publish next, in time that does not grow with the backlog.

A claim reads the first pending rows in the order of their ids, through an index of pending rows only. Each row without
a key is a candidate. Rows with the same connection, destination and key form a group, whose first pending row, the
*head*, is its only candidate. The relay that holds the lock of the head may send its followers, too. The claim locks
the candidates with ``FOR UPDATE SKIP LOCKED``, and then the followers of the heads that it got.

One query may return no candidate, because all its rows belong to a few keys whose heads are not due or are locked by
another relay. The claim then queries again, beyond these rows and without the keys that it has seen. Such further
queries pass over many rows. After further queries that found nothing, each claim makes only its first query for one
second.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple

from django.db import connections
from django.db.models import Q, QuerySet
from django.utils import timezone

from stomplistener.contrib.django.models import OutboxMessage

Group = deque[OutboxMessage]
"""Rows to be sent one after the other."""

Key = tuple[str, str]
"""A destination and a key."""

LOOKS = 10
"""The number of queries of one claim that has already found rows."""

LEFT_OUT = 100
"""The number of known keys that a query excludes at most: the keys with the most rows. Other rows are skipped
singly."""

REST = 1.0
"""Seconds during which a claim makes only its first query, after further queries found no rows."""


class Seen(NamedTuple):
    """The columns of one row that the query reads."""

    pk: int
    destination: str
    key: str
    due: datetime


class Claims:
    """Claims rows of one database and connection.

    One thread uses a Claims; if the database has locks, in a transaction.

    Args:
        using: the database.
        connection: the name of the connection.
    """

    def __init__(self, using: str, connection: str) -> None:
        self._using = using
        self._connection = connection
        self._locks = connections[using].features.has_select_for_update_skip_locked
        self._resting_until = 0.0

    def take(self, most: int, shunned: Collection[int] = ()) -> list[Group]:
        """Lock rows that are due.

        Args:
            most: the largest number of rows to lock.
            shunned: primary keys of rows to skip; their followers are skipped, too.

        Returns:
            the rows in groups. Send the rows of a group one after the other, and stop the group at the first that
            fails.
        """
        groups: dict[int, Group] = {}
        followers: dict[int, list[int]] = {}
        known: Counter[Key] = Counter()
        after, size, now = 0, max(2 * most, 200), timezone.now()
        found_further: bool | None = None
        # Only a claim that has found rows is limited to LOOKS queries.
        for number in itertools.count():
            if number and (time.monotonic() < self._resting_until or (groups and number >= LOOKS)):
                break
            rows = self._look(after, known, now, size)
            heads = _candidates(rows, known, shunned, now)
            taken = self._locked(heads, most - len(groups), now) if heads else []
            for row in taken:
                groups[row.pk] = deque([row])
                followers[row.pk] = heads[row.pk]
            if number:
                found_further = found_further or bool(taken)
            if len(rows) < size or len(groups) >= most:
                break
            after = rows[-1].pk
        if found_further is False:
            self._resting_until = time.monotonic() + REST
        self._add_followers(groups, followers, most - len(groups), now)
        return list(groups.values())

    @property
    def _pending(self) -> QuerySet[OutboxMessage]:
        rows = OutboxMessage.objects.using(self._using)
        return rows.filter(connection=self._connection, state=OutboxMessage.State.PENDING)

    def _look(self, after: int, known: Counter[Key], now: datetime, size: int) -> list[Seen]:
        rows = self._pending.filter(Q(due__lte=now) | ~Q(key=""), pk__gt=after)
        if left_out := [key for key, _ in known.most_common(LEFT_OUT)]:
            each = [Q(destination=destination, key=key) for destination, key in left_out]
            rows = rows.exclude(Q(*each, _connector=Q.OR))
        return [Seen(*values) for values in rows.order_by("pk").values_list(*Seen._fields)[:size]]

    def _locked(self, pks: Iterable[int], most: int, now: datetime) -> list[OutboxMessage]:
        """Lock and return those rows that are still pending and due, and that no other relay has locked."""
        rows = self._pending.filter(pk__in=list(pks), due__lte=now).order_by("pk")
        # Another relay may have published a row since the first query. Locking reads the row again, and the filter
        # drops it.
        return list((rows.select_for_update(skip_locked=True) if self._locks else rows)[:most])

    def _add_followers(
        self, groups: dict[int, Group], followers: dict[int, list[int]], most: int, now: datetime
    ) -> None:
        # Lock the second row of each group first, then the third rows. Groups are sent in parallel, and a long group
        # must not exclude other groups.
        wanted = sorted((depth, pk) for pks in followers.values() for depth, pk in enumerate(pks))[: max(most, 0)]
        if not wanted:
            return
        locked = {row.pk: row for row in self._locked([pk for _, pk in wanted], len(wanted), now)}
        for head, group in groups.items():
            for pk in followers[head]:
                if pk not in locked:
                    break
                group.append(locked[pk])


def _candidates(
    rows: Iterable[Seen], known: Counter[Key], shunned: Collection[int], now: datetime
) -> dict[int, list[int]]:
    """Return the rows to lock, each with its followers among ``rows``, and add the keys of ``rows`` to ``known``."""
    heads: dict[int, list[int]] = {}
    groups: dict[Key, list[int]] = defaultdict(list)
    blocked: set[Key] = set()
    seen: Counter[Key] = Counter()
    for row in rows:
        key = (row.destination, row.key)
        if not row.key:
            if row.pk not in shunned:
                heads[row.pk] = []
            continue
        if key not in known and key not in seen and (row.due > now or row.pk in shunned):
            blocked.add(key)
        elif key not in known and key not in blocked:
            groups[key].append(row.pk)
        seen[key] += 1
    known += seen
    return heads | {pks[0]: pks[1:] for pks in groups.values()}
