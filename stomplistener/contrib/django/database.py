"""Close stale database connections before each message, and broken ones after each message.

Django does this around each request, but a worker has no requests. A handler that fails because a database connection
was lost says nothing about its message. The thread therefore waits until the database answers again, and then the
message is tried again.
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
"""A message that loses its database connection more often counts as failed: it may make the server disconnect."""

NOT_HERE = 3600.0
"""The retry delay, in seconds, in a worker that is ending: the broker gives the message to another consumer sooner."""


class DatabaseCare:
    """Wraps the handling of each message of an application. Thread-safe.

    Args:
        application: the worker; a thread stops waiting for the database when it ends.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._lock = threading.Lock()
        self._idle: dict[int, list[BaseDatabaseWrapper]] = {}
        """The database connections of each thread that handles no message at the moment."""

    @contextmanager
    def around(self, message: Message) -> Iterator[None]:
        """Close stale connections before and after. Postpone a message whose handler failed on a lost connection."""
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
        """Wait until all these databases answer. Return False if the worker ends first."""
        back_off = BackOff(first=0.1, most=5.0)
        while not all(_answers(each) for each in lost):
            if self._application.wait_ending(back_off.delay(0.0)):
                return False
        return True

    def close(self) -> None:
        """Close the connections of idle threads. The connections of a running handler end with the process."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connection in (each for several in idle.values() for each in several):
            # Django lets another thread close a connection only after this call. The thread that owns it no longer uses
            # it.
            connection.inc_thread_sharing()
            connection.close()


def _is_lost(connection: BaseDatabaseWrapper) -> bool:
    """Whether the connection could not be made, or was found broken and closed."""
    return connection.errors_occurred and connection.connection is None


def _answers(connection: BaseDatabaseWrapper) -> bool:
    try:
        connection.ensure_connection()
    except Error as error:
        _log.warning("database %s: %s", connection.alias, str(error).strip())
        return False
    return True
