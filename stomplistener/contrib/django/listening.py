"""Handlers of messages that Django apps declare in their ``listeners.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from django.db import connections, transaction
from django.utils.module_loading import autodiscover_modules

from stomplistener.contrib.django import publishing
from stomplistener.contrib.django.conf import stomp_settings
from stomplistener.contrib.django.database import DatabaseCare
from stomplistener.message import Message
from stomplistener.worker import Application, Around, Handler

H = TypeVar("H", bound=Handler)

app = Application(name="django")
"""The application of this project: for more managers around messages, hooks, and ``app.running()`` in tests."""

_care = DatabaseCare(app)
app.around(_care.around)
app.on_stop(_care.close)
app.on_stop(publishing.close)


def listener(
    destination: str,
    *,
    atomic: bool | None = None,
    using: str | None = None,
    around: Sequence[Around] = (),
    **options: Any,
) -> Callable[[H], H]:
    """Declare the decorated function, which takes a Message, a handler; in an app's ``listeners.py``.

    Each message is acknowledged when the handler has returned and its transaction is committed, and rejected when it
    raises; but when a database connection was lost it is tried again.

    Args:
        destination: as the broker spells it, such as ``/queue/orders``.
        atomic: whether to run it in ``transaction.atomic``; the setting ``ATOMIC`` where None.
        using: the database of that transaction; the default one where None.
        around: more context managers, inside of that transaction.
        **options: as for ``Application.listener``: ``workers=``, ``retries=``, ``error_destination=``, …

    Raises:
        ValueError: there is no such database, or the arguments do not fit together.
    """
    if using is not None and using not in connections:
        raise ValueError(f"there is no database {using!r} in DATABASES, which has {', '.join(connections)}")

    @contextmanager
    def in_transaction(_message: Message) -> Iterator[None]:
        if stomp_settings().atomic if atomic is None else atomic:
            with transaction.atomic(using=using):
                yield
        else:
            yield

    return app.listener(destination, around=(in_transaction, *around), **options)


def load() -> Application:
    """Import ``listeners.py`` of each installed app and declare the connections of the settings; once a process."""
    autodiscover_modules("listeners")
    for name, connection in stomp_settings().connections.items():
        app.add_connection(name, connection.uri, **connection.options)
    return app
