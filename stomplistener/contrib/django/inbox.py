"""Handle each message once, even if the broker delivers it twice.

A handler with ``once`` runs in a transaction whose first statement writes a row. The row has the handler, the
destination and the identity of the message. If the row exists already, the message is acknowledged without a call of
the handler. If two copies arrive at the same time, even in two processes, the second waits in the database until the
first transaction ends. If the handler raises, the row is rolled back with everything that the handler wrote.

The module ``worker.inbox`` defines the identity of a message.
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
    """An inbox that writes its row in the transaction of the handler; see ``worker.inbox.Inbox``. Thread-safe.

    Args:
        destination: the one that the handler listens to.
        using: the database of the handler's transaction; None takes the one to which Django writes models.
    """

    def __init__(self, destination: str, using: str | None) -> None:
        self._destination = destination[:LONGEST]
        self._using = using

    @contextmanager
    def handling(self, handler: str, identity: str) -> Iterator[None]:
        """Open the transaction of the handler, with the row of the message as its first statement.

        Raises:
            Repeated: the row exists already.
        """
        using = self._using or router.db_for_write(InboxMessage)
        with transaction.atomic(using=using):
            try:
                # The row gets a savepoint. Without one, an error would make the outer transaction unusable on
                # PostgreSQL.
                with transaction.atomic(using=using):
                    InboxMessage.objects.using(using).create(
                        handler=handler[:LONGEST], destination=self._destination, message=identity
                    )
            except IntegrityError as error:
                raise Repeated from error
            yield


def purge_inbox(keep: float, using: str | None = None, chunk: int = 1000) -> int:
    """Delete rows of handled messages, a chunk in each transaction, and return the number of deleted rows.

    If another copy of a message arrives after its row was deleted, the handler runs again.

    Args:
        keep: delete only the rows of messages that were handled this number of seconds ago or earlier.
        using: the database; None takes the one to which Django writes models.
        chunk: the number of rows in each transaction.
    """
    return sum(handled_rows_deleted(keep, using, chunk))


def handled_rows_deleted(keep: float, using: str | None = None, chunk: int = 1000) -> Iterator[int]:
    """Delete as ``purge_inbox`` does, and yield the number of rows of each chunk after its deletion."""
    rows = InboxMessage.objects.using(using or router.db_for_write(InboxMessage))
    old = rows.filter(handled__lte=timezone.now() - timedelta(seconds=keep)).order_by("handled")
    yield from deleted_in_chunks(old, chunk)
