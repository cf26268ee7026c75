"""Messages that commit or roll back with the caller's transaction and are published after the commit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from django.db import router
from django.db.models import QuerySet
from django.utils import timezone

from stomplistener._util.environment import DEFAULT
from stomplistener.connection import Body
from stomplistener.contrib.django.conf import stomp_settings
from stomplistener.contrib.django.models import OutboxMessage
from stomplistener.contrib.outgoing import UNSET, checked_frame, traced, with_json

State = OutboxMessage.State

_OF_THE_RELAY = ("destination", "content-length", "outbox-id")

TEXT = "text"
"""The option of a row whose body was given as text: some brokers deliver text as another message type."""


def enqueue(
    destination: str,
    body: Body = b"",
    headers: Mapping[str, str] | None = None,
    *,
    key: str | None = None,
    connection: str = DEFAULT,
    persistent: bool = True,
    expires: float | None = None,
    priority: int | None = None,
    delay: float | None = None,
    duplicate_id: str | None = None,
    json: Any = UNSET,
    content_type: str | None = None,
    auto_content_length: bool | None = None,
    using: str | None = None,
) -> OutboxMessage:
    """Write a message to the outbox in the current transaction; ``manage.py stomp_outbox`` publishes it.

    If the transaction commits, the relay publishes the message at least once, otherwise never. The header ``outbox-id``
    is the same in each copy of the message, so that consumers can recognize a repetition.

    Args:
        destination: the destination, in the syntax of the broker; at most 255 characters.
        body: bytes, or text, which is sent as UTF-8.
        headers: more headers; they override the arguments.
        key: messages with the same connection, destination and key are published in the order of their rows, each after
            the broker has confirmed the message before it. Messages without a key wait for no other message. At most
            255 characters.
        connection: the name of the connection in the settings.
        persistent: whether the broker keeps the message on disk.
        expires: seconds from now after which the broker no longer delivers the message. If the relay sends it later,
            the broker treats it as an expired message.
        priority: 0 to 9, 9 first, if the broker's queue has priorities.
        delay: seconds from now after which the broker delivers the message.
        duplicate_id: identifies the message for a broker that detects duplicates; None takes the row's id.
        json: a value to send as JSON in place of ``body``.
        content_type: the MIME type of the body.
        auto_content_length: as for ``Connection.send``.
        using: the database; None takes the one to which Django writes models.

    Returns:
        the row.

    Raises:
        ImproperlyConfigured: the settings have no connection of this name.
        ValueError: the destination is missing, the destination or the key is too long, or an option is out of range.
        InvalidHeader: a header cannot be sent in STOMP.
        TypeError: the body is neither bytes nor text, or a header is not text.
    """
    for name, text in (("destination", destination), ("key", key or "")):
        if len(text) > 255:
            raise ValueError(f"the {name} of an outbox message has at most 255 characters, not {len(text)}")
    stomp_settings().connection(connection)
    body, content_type = with_json(body, json, content_type)
    counted: dict[str, Any] = {} if auto_content_length is None else {"auto_content_length": auto_content_length}
    about: dict[str, Any] = {"expires": expires, "priority": priority, "delay": delay, "duplicate_id": duplicate_id}
    options: dict[str, Any] = {name: value for name, value in about.items() if value is not None} | counted
    if not persistent:
        options["persistent"] = False
    if isinstance(body, str):
        options[TEXT] = True
    with traced(destination, body, headers or {}) as carried:
        frame = checked_frame(destination, body, carried, content_type=content_type, **about, **counted)
        return _rows(using).create(
            connection=connection,
            destination=destination,
            key=key or "",
            headers={name: value for name, value in frame.headers.items() if name not in _OF_THE_RELAY},
            body=bytes(frame.body),
            options=options,
        )


def requeue(ids: Iterable[int], using: str | None = None) -> int:
    """Try again now the rows that failed or that wait for another attempt, and return their number.

    Args:
        ids: primary keys; published rows among them are left alone.
        using: the database; if None, the one that models are written to.
    """
    rows = _rows(using).filter(pk__in=list(ids)).exclude(state=State.PUBLISHED)
    return rows.update(state=State.PENDING, attempts=0, refusals=0, due=timezone.now(), settled=None)


def purge(keep: float, using: str | None = None, chunk: int = 1000) -> int:
    """Delete published rows, a chunk in each transaction, and return the number of deleted rows.

    Args:
        keep: delete only the rows that were published this number of seconds ago or earlier.
        using: the database; if None, the one that models are written to.
        chunk: the number of rows in each transaction.
    """
    return sum(old_rows_deleted(keep, using, chunk))


def old_rows_deleted(keep: float, using: str | None = None, chunk: int = 1000) -> Iterator[int]:
    """Delete as ``purge`` does, and yield the number of rows of each chunk after its deletion."""
    old = _rows(using).filter(state=State.PUBLISHED, settled__lte=timezone.now() - timedelta(seconds=keep))
    yield from deleted_in_chunks(old.order_by("settled"), chunk)


def deleted_in_chunks(rows: QuerySet[Any], chunk: int) -> Iterator[int]:
    """Delete rows, a chunk in each transaction, and yield the number of rows of each chunk."""
    while ids := list(rows.values_list("pk", flat=True)[:chunk]):
        yield rows.model.objects.using(rows.db).filter(pk__in=ids).delete()[0]


def _rows(using: str | None) -> QuerySet[OutboxMessage]:
    return OutboxMessage.objects.using(using or router.db_for_write(OutboxMessage))
