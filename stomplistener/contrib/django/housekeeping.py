"""Delete old rows in a separate thread, so that neither messages nor signals wait for the deletion."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from django.db import Error, connections

from stomplistener._util.loggers import library_logger

_log = library_logger("stomplistener.django")

PURGE_EVERY = 600.0
"""Seconds between two deletions of old rows."""


class Housekeeper:
    """Deletes old rows every ten minutes. Call ``start`` and ``stop`` from one thread.

    Args:
        purges: maps a name for the log to a generator function that deletes a chunk at a time and yields its size.
    """

    def __init__(self, purges: dict[str, Callable[[], Iterator[int]]]) -> None:
        self._purges = purges
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, unless there are no purges."""
        if self._purges:
            self._ending.clear()
            self._thread = threading.Thread(target=self._work, name="stomp-purge", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End after the chunk that is being deleted."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while True:
            for what, purge in self._purges.items():
                try:
                    self._purge(what, purge)
                except Error as error:
                    _log.warning("old rows of the %s were not deleted: %s", what, str(error).strip())
            # The next deletion is minutes away. Until then the thread keeps no database connection.
            connections.close_all()
            if self._ending.wait(PURGE_EVERY):
                return

    def _purge(self, what: str, purge: Callable[[], Iterator[int]]) -> None:
        count = 0
        for deleted in purge():
            count += deleted
            if self._ending.is_set():
                break
        if count:
            _log.info("deleted %d old rows of the %s", count, what)
