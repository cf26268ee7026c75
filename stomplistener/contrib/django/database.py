"""Database connections around each message: none that is stale at its beginning, none that is broken at its end.

Django cares for its connections around each request; a worker has none. A handler that fails because a connection was
lost is no verdict on its message: the thread waits until the database answers again, and the message is tried again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import close_old_connections, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import Error

from stomplistener._util.loggers import library_logger
from stomplistener.message import Message
from stomplistener.worker import Application, TryAgain
from stomplistener.worker.backoff import BackOff

_log = library_logger("stomplistener.django")

MOST_LOSSES = 10
"""How often a message may lose its connection before that counts as its own fault: some make the server hang up."""

NOT_HERE = 3600.0
"""Seconds until another try in a worker that ends before them: the broker gives the message to another consumer."""


class DatabaseCare:
    """Goes around each message of an application. Thread-safe.

    Args:
        application: that is told to end while a thread waits for the database.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._lock = threading.Lock()
        self._idle: dict[int, list[BaseDatabaseWrapper]] = {}
        """The connections of each thread that handles no message now."""

    @contextmanager
    def around(self, message: Message) -> Iterator[None]:
        """Close what is stale before and after; put the message off if the handler failed with a lost connection."""
        with self._lock:
            self._idle.pop(threading.get_ident(), None)
        close_old_connections()
        try:
            yield
        except Exception as error:
            close_old_connections()
            lost = [each for each in connections.all(initialized_only=True) if _is_lost(each)]
            if not lost or message.postponed >= MOST_LOSSES:
                raise
            delay = 0.0 if self._wait_for(lost) else NOT_HERE
            raise TryAgain(f"the database was lost: {error}", delay) from error
        finally:
            close_old_connections()
            with self._lock:
                self._idle[threading.get_ident()] = list(connections.all(initialized_only=True))

    def _wait_for(self, lost: list[BaseDatabaseWrapper]) -> bool:
        """Wait until all answer; False if the worker ends first."""
        back_off = BackOff(first=0.1, most=5.0)
        while not all(_answers(each) for each in lost):
            if self._application.wait_ending(back_off.delay(0.0)):
                return False
        return True

    def close(self) -> None:
        """Close what threads left open between messages; those of a handler that still runs end with the process."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connection in (each for several in idle.values() for each in several):
            # Django lets a connection be closed by another thread only when told so; its own does nothing any more.
            connection.inc_thread_sharing()
            connection.close()


def _is_lost(connection: BaseDatabaseWrapper) -> bool:
    """Whether it could not be made, or was found broken and closed."""
    return connection.errors_occurred and connection.connection is None


def _answers(connection: BaseDatabaseWrapper) -> bool:
    try:
        connection.ensure_connection()
    except Error as error:
        _log.warning("database %s: %s", connection.alias, str(error).strip())
        return False
    return True
