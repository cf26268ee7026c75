"""Confirmed sends from views, commands and handlers, over one connection for each process.

The connection is made at the first message; a forked process (gunicorn, multiprocessing) makes its own.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Mapping
from typing import Any

from django.core.signals import setting_changed
from django.db import transaction

from stomplistener._util.deadline import Deadline
from stomplistener._util.environment import DEFAULT
from stomplistener.connection import Body
from stomplistener.contrib.django import test
from stomplistener.contrib.django.conf import NAME, stomp_settings
from stomplistener.contrib.outgoing import UNSET, kept, traced, with_json
from stomplistener.contrib.publisher import GOODBYE, Publisher
from stomplistener.options import with_persistence

_made: list[Publisher] = []


@functools.cache
def _publisher(name: str) -> Publisher:
    known = stomp_settings().connection(name)
    publisher = Publisher(known.broker_uri(), **known.options)
    _made.append(publisher)
    return publisher


def publish(
    destination: str,
    body: Body = b"",
    headers: Mapping[str, str] | None = None,
    *,
    connection: str = DEFAULT,
    persistent: bool = True,
    json: Any = UNSET,
    content_type: str | None = None,
    timeout: float | None = None,
    **options: Any,
) -> None:
    """Send a message now, independent of the transaction, and wait until the broker has confirmed it.

    In tests the message is kept in ``stomplistener.contrib.django.test.outbox`` instead. Thread-safe.

    Args:
        destination: as the broker spells it.
        body: bytes, or text, which goes as UTF-8.
        headers: more headers; they win over the arguments.
        connection: the name of the connection in the settings.
        persistent: whether the broker keeps the message on disk.
        json: a value to send as JSON in place of ``body``.
        content_type: the MIME type of the body.
        timeout: seconds to wait for a connection and the receipt together; None takes the setting ``PUBLISH_TIMEOUT``.
        **options: as for ``Connection.send``: ``expires=``, ``priority=``, ``delay=``, ``duplicate_id=``, …

    Raises:
        StompError: it was not confirmed; as for ``Connection.connect`` and ``Connection.send``.
        ImproperlyConfigured: there is no such connection, or it has no URI.
    """
    settings = stomp_settings()
    settings.connection(connection)
    body, content_type = with_json(body, json, content_type)
    if content_type is not None:
        options["content_type"] = content_type
    with traced(destination, body, with_persistence(headers, persistent)) as carried:
        if test.keeps_messages():
            test.outbox.append(kept(connection, destination, body, carried, options))
            return
        deadline = Deadline(settings.publish_timeout if timeout is None else timeout)
        sender = _publisher(connection).connection(timeout=deadline.remaining())
        sender.send(destination, body, carried, confirm=True, timeout=deadline.remaining(), **options)


def publish_on_commit(
    destination: str,
    body: Body = b"",
    headers: Mapping[str, str] | None = None,
    *,
    using: str | None = None,
    robust: bool = False,
    **options: Any,
) -> None:
    """Send a message when the transaction commits, and never if it is rolled back. Without a transaction, send it now.

    The commit comes first: a broker that cannot be reached does not undo it, and a process that ends between the two
    sends nothing. Use the outbox for a message that must not be lost.

    Args:
        using: the database of the transaction; the default one if None.
        robust: log what the send raises, as ``transaction.on_commit`` does, instead of raising it.
        destination, body, headers, options: as for ``publish``.

    Raises:
        StompError: at the commit, with ``robust=False``: the message was not confirmed.
    """

    # The span of the caller may have ended when the transaction commits, and is still what caused the message.
    context = contextvars.copy_context()

    # Django logs a robust one by its name, which a partial has not.
    def send() -> None:
        context.run(publish, destination, body, headers, **options)

    transaction.on_commit(send, using=using, robust=robust)


def close() -> None:
    """End the connections of this process; the next message makes new ones. All that was sent is confirmed already."""
    _publisher.cache_clear()
    while _made:
        _made.pop().close(GOODBYE)


def _forget(*, setting: str, **_: object) -> None:
    if setting == NAME:
        close()


setting_changed.connect(_forget)
