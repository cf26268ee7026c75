"""Confirmed sends from views, commands and handlers, over one connection per process.

The first message makes the connection. A forked process (gunicorn, multiprocessing) makes its own connection.
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
        destination: the destination, in the syntax of the broker.
        body: bytes, or text, which is sent as UTF-8.
        headers: more headers; they override the arguments.
        connection: the name of the connection in the settings.
        persistent: whether the broker keeps the message on disk.
        json: a value to send as JSON in place of ``body``.
        content_type: the MIME type of the body.
        timeout: seconds to wait for the connection and the receipt together; None takes the setting
            ``PUBLISH_TIMEOUT``.
        **options: as for ``Connection.send``: ``expires=``, ``priority=``, ``delay=``, ``duplicate_id=``, …

    Raises:
        StompError: the broker did not confirm the message; the subclasses are those of ``Connection.connect`` and
            ``Connection.send``.
        ImproperlyConfigured: the settings have no connection of this name, or the connection has no URI.
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
    connection: str = DEFAULT,
    persistent: bool = True,
    json: Any = UNSET,
    content_type: str | None = None,
    **options: Any,
) -> None:
    """Send a message when the transaction commits, and never if it rolls back. Without a transaction, send it now.

    The message is sent after the commit. A broker that cannot be reached does not undo the commit. A process that ends
    between the commit and the send does not send the message. Use the outbox for messages that must not be lost.

    Args:
        using: the database of the transaction; None takes the default database.
        robust: if the send raises, log the exception instead of raising it, as ``transaction.on_commit`` does.
        destination, body, headers, connection, persistent, json, content_type, options: as for ``publish``. They are
            checked and copied now, so a mistake rolls the transaction back.

    Raises:
        TypeError, ValueError, InvalidHeader, ImproperlyConfigured: no broker could accept the message.
        StompError: at the commit, with ``robust=False``: the broker did not confirm the message.
    """
    stomp_settings().connection(connection)
    body, content_type = with_json(body, json, content_type)
    if content_type is not None:
        options["content_type"] = content_type
    message = kept(connection, destination, body, with_persistence(headers, persistent), options)
    own = dict(headers or {})
    if not isinstance(body, str):
        body = message.body
    # The caller's span caused the message, even if the span ends before the transaction commits.
    context = contextvars.copy_context()

    # Django logs the name of a robust callback, and a ``partial`` has no name.
    def send() -> None:
        context.run(publish, destination, body, own, connection=connection, persistent=persistent, **options)

    transaction.on_commit(send, using=using, robust=robust)


def close() -> None:
    """Disconnect the connections of this process. All sends are confirmed already, and the next send connects again."""
    _publisher.cache_clear()
    while _made:
        _made.pop().close(GOODBYE)


def _forget(*, setting: str, **_: object) -> None:
    if setting == NAME:
        close()


setting_changed.connect(_forget)
