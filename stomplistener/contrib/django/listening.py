"""Declare handlers of messages in the ``listeners.py`` of Django apps."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from django.db import connections, transaction
from django.utils.module_loading import autodiscover_modules

from stomplistener._util.environment import DEFAULT
from stomplistener.contrib.django import publishing
from stomplistener.contrib.django.conf import stomp_settings
from stomplistener.contrib.django.database import DatabaseCare
from stomplistener.contrib.django.housekeeping import Housekeeper
from stomplistener.message import Message
from stomplistener.worker import Application, Around, Handler
from stomplistener.worker.inbox import Once

H = TypeVar("H", bound=Handler)

app = Application(name="django")
"""The worker application of this project: add hooks and context managers, and call ``app.running()`` in tests."""

_care = DatabaseCare(app)
_inboxes: set[str | None] = set()
"""The databases in which handlers with ``once`` write rows."""

app.around(_care.around)


def listener(
    destination: str,
    *,
    atomic: bool | None = None,
    using: str | None = None,
    once: bool | str = False,
    around: Sequence[Around] = (),
    **options: Any,
) -> Callable[[H], H]:
    """Declare the decorated function, which takes a Message, as a handler.

    Declare handlers in an app's ``listeners.py``.

    Each message is acknowledged when the handler has returned and its transaction is committed. If the handler raises,
    the message is rejected. If a lost database connection made the handler raise, the message is tried again instead.

    Args:
        destination: the destination, in the syntax of the broker, such as ``/queue/orders``.
        atomic: whether to run the handler in ``transaction.atomic``; None takes the setting ``ATOMIC``.
        using: the database of that transaction; None takes the default database.
        once: whether to call the handler only once for a message that arrives several times. True identifies the
            message by its header ``outbox-id``; a string names another header. Needs the transaction, which writes a
            row to the inbox. See ``inbox`` for messages without this header.
        around: more context managers, entered inside that transaction.
        **options: as for ``Application.listener``: ``workers=``, ``retries=``, ``error_destination=``, …

    Raises:
        ValueError: the database does not exist, or the arguments contradict each other.
    """
    if using is not None and using not in connections:
        raise ValueError(f"there is no database {using!r} in DATABASES, which has {', '.join(connections)}")
    if not once:
        return app.listener(destination, around=(_in_transaction(atomic, using), *around), **options)
    if atomic is False:
        raise ValueError("once writes a row in the handler's transaction: remove atomic=False")
    # Models can be imported only when the apps are ready, as they are when ``listeners.py`` is imported.
    from stomplistener.contrib.django.inbox import DatabaseInbox

    name = options.get("connection", DEFAULT)
    inbox = Once(DatabaseInbox(destination, using), "", once, functools.partial(_server, name))
    _inboxes.add(using)
    declare: Callable[[H], H] = app.listener(
        destination, around=(inbox.unless_repeated, inbox.noted, *around), **options
    )

    def declared(handler: H) -> H:
        inbox.handler = f"{handler.__module__}.{handler.__qualname__}"
        return declare(handler)

    return declared


def _in_transaction(atomic: bool | None, using: str | None) -> Around:
    @contextmanager
    def in_transaction(_message: Message) -> Iterator[None]:
        if stomp_settings().atomic if atomic is None else atomic:
            with transaction.atomic(using=using):
                yield
        else:
            yield

    return in_transaction


def _server(name: str) -> str:
    """Return the broker's name from CONNECTED; empty if there is none or the application does not run."""
    connection = app.connections.get(name)
    return "" if connection is None else connection.session.server or ""


class InboxCare:
    """Purges the inbox while the worker runs, if a handler uses the inbox."""

    def __init__(self) -> None:
        self._housekeepers: list[Housekeeper] = []

    def start(self) -> None:
        keep = stomp_settings().keep_inbox
        if keep is None or not _inboxes:
            return
        from stomplistener.contrib.django.inbox import handled_rows_deleted

        purges = {
            f"inbox of {using or 'the default database'}": functools.partial(handled_rows_deleted, keep, using)
            for using in _inboxes
        }
        self._housekeepers.append(Housekeeper(dict(purges)))
        self._housekeepers[-1].start()

    def stop(self) -> None:
        while self._housekeepers:
            self._housekeepers.pop().stop()


_inbox_care = InboxCare()
app.on_start(_inbox_care.start)
app.on_stop(_inbox_care.stop)
app.on_stop(_care.close)
app.on_stop(publishing.close)


def load() -> Application:
    """Import ``listeners.py`` of each installed app and declare the connections of the settings, once per process."""
    autodiscover_modules("listeners")
    for name, connection in stomp_settings().connections.items():
        app.add_connection(name, connection.uri, **connection.options)
    return app
