"""A log handler that publishes records and never blocks the program that logs them.

::

    handler = StompHandler(connection, "/topic/logs")
    logging.getLogger().addHandler(handler)
"""

from __future__ import annotations

import atexit
import logging
import queue
import threading
import time
import weakref
from collections.abc import Mapping

from stomplistener.connection import Connection
from stomplistener.errors import StompError

__all__ = ["StompHandler"]

END_SECONDS = 1.0
"""Seconds that ``flush`` and ``close`` wait for records that are not sent yet."""


class StompHandler(logging.Handler):
    """Publishes each record as a message: its formatted text, with the headers ``level`` and ``logger``.

    A thread of the handler sends the records; ``emit`` only queues them. If ``capacity`` records wait already, the
    handler drops the new record. The header ``dropped`` of the next message has the number of dropped records.
    Thread-safe.

    Records of the loggers in ``ignore`` and of the sending thread are not published: each would cause another record.

    Args:
        connection: the connection to send with; the caller connects and ends it. Preferably use a separate connection
            for logs.
        destination: the destination to send to.
        headers: more headers of each message.
        capacity: how many records may wait.
        ignore: names of loggers, including their children.
        level: as for ``logging.Handler``.

    Raises:
        ValueError: the capacity is less than 1.
    """

    def __init__(
        self,
        connection: Connection,
        destination: str,
        *,
        headers: Mapping[str, str] | None = None,
        capacity: int = 10_000,
        ignore: tuple[str, ...] = ("stomplistener", "websockets"),
        level: int = logging.NOTSET,
    ) -> None:
        super().__init__(level)
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, not {capacity!r}")
        self._connection = connection
        self._destination = destination
        self._headers = dict(headers or {})
        self._capacity = capacity
        self._ignored = tuple(f"{name}." for name in ignore)
        # A SimpleQueue takes no lock that a signal handler or the child of a fork could find held.
        self._waiting: queue.SimpleQueue[tuple[str, dict[str, str]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_sending = False
        self._dropped = 0
        self._told = 0
        # Flush before the connection ends at exit. Functions that are registered last run first, and
        # ``logging.shutdown`` runs last.
        atexit.register(_flush, weakref.ref(self))

    @property
    def dropped(self) -> int:
        """The number of records that were not published: the queue was full, or the connection refused them."""
        return self._dropped

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record. Never waits."""
        thread = self._thread
        if f"{record.name}.".startswith(self._ignored) or (thread is not None and record.thread == thread.ident):
            return
        if self._waiting.qsize() >= self._capacity:
            self._dropped += 1
            return
        try:
            text = self.format(record)
            self._waiting.put((text, {"level": record.levelname, "logger": record.name}))
            # In the child of a fork the thread does not run.
            if thread is None or not thread.is_alive():
                self._thread = threading.Thread(target=self._send_all, name="stomp-log-handler", daemon=True)
                self._thread.start()
        except Exception:
            self.handleError(record)

    def _send_all(self) -> None:
        while True:
            self._is_sending = False
            item = self._waiting.get()
            if item is None:
                return
            self._is_sending = True
            text, headers = item
            dropped = self._dropped
            if dropped > self._told:
                headers["dropped"] = str(dropped - self._told)
            try:
                self._connection.send(self._destination, text, {**headers, **self._headers})
            except (StompError, ValueError):
                # The connection was closed or lost for too long, or STOMP 1.0 cannot send a header. The next record may
                # succeed.
                self._dropped += 1
            else:
                self._told = dropped

    def flush(self) -> None:
        """Wait, for at most a second, until all queued records are sent."""
        end = time.monotonic() + END_SECONDS
        while (self._is_sending or not self._waiting.empty()) and time.monotonic() < end:
            thread = self._thread
            if thread is None or not thread.is_alive():
                return
            thread.join(0.01)

    def close(self) -> None:
        """Send the queued records for at most a second, and end the thread. ``logging.shutdown`` calls this at exit."""
        thread, self._thread = self._thread, None
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            self._waiting.put(None)
            thread.join(END_SECONDS)
        super().close()


def _flush(reference: weakref.ref[StompHandler]) -> None:
    handler = reference()
    if handler is not None:
        handler.flush()
