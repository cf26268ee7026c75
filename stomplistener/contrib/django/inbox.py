"""Messages that are handled once, though they may come twice.

A handler with ``once`` runs in a transaction whose first statement writes a row: the handler, the destination, and what
identifies the message. If the row is there already, the handler is not called and the message is acknowledged. Of two
copies at the same moment the second one waits in the database until the transaction of the first one has ended, in
whatever process it runs. A handler that raises takes the row back with everything else that it wrote.

What identifies a message is told in ``worker.inbox``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db import IntegrityError, router, transaction
from django.utils import timezone

from stomplistener.contrib.django.models import InboxMessage
from stomplistener.contrib.django.outbox import deleted_in_chunks
from stomplistener.worker.inbox import LONGEST, Repeated


class DatabaseInbox:
    """An inbox whose row is written in the transaction of the handler; see ``worker.inbox.Inbox``. Thread-safe.

    Args:
        destination: that the handler listens to.
        using: the database of the handler's transaction; if None, the one that models are written to.
    """

    def __init__(self, destination: str, using: str | None) -> None:
        self._destination = destination[:LONGEST]
        self._using = using

    @contextmanager
    def handling(self, handler: str, identity: str) -> Iterator[None]:
        """Open the transaction of the handler, with the row of the message as its first statement.

        Raises:
            Repeated: the row is there already.
        """
        using = self._using or router.db_for_write(InboxMessage)
        with transaction.atomic(using=using):
            try:
                # A transaction of its own within: an error would make the outer one unusable on PostgreSQL.
                with transaction.atomic(using=using):
                    InboxMessage.objects.using(using).create(
                        handler=handler[:LONGEST], destination=self._destination, message=identity
                    )
            except IntegrityError as error:
                raise Repeated from error
            yield


def purge_inbox(keep: float, using: str | None = None, chunk: int = 1000) -> int:
    """Delete rows of handled messages, a chunk in each transaction; the number of them.

    A copy of a message that comes after its row was deleted is handled again.

    Args:
        keep: only those that were handled so many seconds ago or earlier.
        using: the database; if None, the one that models are written to.
        chunk: how many at a time.
    """
    return sum(handled_rows_deleted(keep, using, chunk))


def handled_rows_deleted(keep: float, using: str | None = None, chunk: int = 1000) -> Iterator[int]:
    """Delete as ``purge_inbox`` does, and yield after each chunk how many rows it had."""
    rows = InboxMessage.objects.using(using or router.db_for_write(InboxMessage))
    old = rows.filter(handled__lte=timezone.now() - timedelta(seconds=keep)).order_by("handled")
    yield from deleted_in_chunks(old, chunk)
