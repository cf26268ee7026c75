"""Messages that are part of the caller's transaction: committed with it, rolled back with it, published afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from django.db import router
from django.utils import timezone

from stomplistener.connection import Body
from stomplistener.contrib.django.models import OutboxMessage
from stomplistener.protocol import commands, encode

State = OutboxMessage.State

_OF_THE_RELAY = ("destination", "content-length", "outbox-id")


def enqueue(
    destination: str,
    body: Body = b"",
    headers: Mapping[str, str] | None = None,
    *,
    key: str = "",
    content_type: str | None = None,
    using: str | None = None,
) -> OutboxMessage:
    """Write a message to the outbox, in the transaction that is open; ``manage.py stomp_outbox`` publishes it.

    It is published at least once if the transaction commits, and never if it does not. Its header ``outbox-id`` is the
    same each time, so that consumers can leave out what they have seen.

    Args:
        destination: as the broker spells it; at most 255 characters.
        body: bytes, or text, which goes as UTF-8.
        headers: more headers.
        key: messages with the same destination and key are published in the order of their rows, each when its
            predecessor is confirmed; those without one are not held up by any other. At most 255 characters.
        content_type: the MIME type of the body.
        using: the database; where None, the one that models are written to.

    Returns:
        the row.

    Raises:
        ValueError: there is no destination, or it or the key is too long.
        InvalidHeader: a header cannot be sent in STOMP.
        TypeError: the body is neither bytes nor text, or a header is no text.
    """
    for name, text in (("destination", destination), ("key", key)):
        if len(text) > 255:
            raise ValueError(f"the {name} of an outbox message has at most 255 characters, not {len(text)}")
    for name, value in (headers or {}).items():
        if not isinstance(value, str):
            raise TypeError(f"header {name!r} is {type(value).__name__}, not str")
    frame = commands.send(destination, body, headers, content_type=content_type)
    encode(frame, "1.2")
    return OutboxMessage.objects.using(using or router.db_for_write(OutboxMessage)).create(
        destination=destination,
        key=key,
        headers={name: value for name, value in frame.headers.items() if name not in _OF_THE_RELAY},
        body=bytes(frame.body),
    )


def requeue(ids: Iterable[int], using: str | None = None) -> int:
    """Have rows that failed, or wait for another attempt, tried again now; the number of them.

    Args:
        ids: primary keys; published rows among them are left alone.
        using: the database; where None, the one that models are written to.
    """
    rows = OutboxMessage.objects.using(using or router.db_for_write(OutboxMessage)).filter(pk__in=list(ids))
    return rows.exclude(state=State.PUBLISHED).update(state=State.PENDING, attempts=0, due=timezone.now(), settled=None)


def purge(keep: float, using: str | None = None, chunk: int = 1000) -> int:
    """Delete published rows, a chunk in each transaction; the number of them.

    Args:
        keep: only those that were published so many seconds ago or earlier.
        using: the database; where None, the one that models are written to.
        chunk: how many at a time.
    """
    rows = OutboxMessage.objects.using(using or router.db_for_write(OutboxMessage))
    old = rows.filter(state=State.PUBLISHED, settled__lte=timezone.now() - timedelta(seconds=keep)).order_by("pk")
    deleted = 0
    while ids := list(old.values_list("pk", flat=True)[:chunk]):
        deleted += rows.filter(pk__in=ids).delete()[0]
    return deleted
