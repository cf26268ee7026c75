"""The log of a connection. Each record names the connection and the broker, and no log handler can break the client.

A handler may do anything: send over this connection, wait, or take a lock that another thread holds while it calls the
library. So no thread, neither ours nor one inside a call of the library, ever waits for a handler. Each record is made
at once, with its time and thread. A separate thread, which exists only while records wait, writes the records.
"""

from __future__ import annotations

import atexit
import collections
import logging
import os
import threading
import time
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from stomplistener._util.deadline import Deadline
from stomplistener._util.locks import ReentrantLock
from stomplistener._util.loggers import library_logger
from stomplistener._util.text import printable
from stomplistener.protocol import Frame

logger = library_logger("stomplistener")
frame_logger = library_logger("stomplistener.frames")
"""Logs every frame, at DEBUG. You can enable this logger alone, or disable it while the other loggers are at DEBUG."""

END_SECONDS = 1.0
"""How long the end of the program waits for records that a handler holds up."""


class Named(Protocol):
    """The owner of a log."""

    @property
    def broker_name(self) -> str:
        """The broker in use, without secrets; empty if there is none."""


class ConnectionLog:
    """The log of one connection. Call the methods without holding any lock.

    Each record has ``connection`` and ``broker`` as attributes (``extra``), for formatters and filters.

    Args:
        name: the name of the connection.
        where: knows the broker.
    """

    __slots__ = ("_name", "_where", "shows_frames")

    def __init__(self, name: str, where: Named) -> None:
        self._name = name
        self._where = where
        self.shows_frames = partial(frame_logger.isEnabledFor, logging.DEBUG)
        """Whether frames are to be logged."""

    def debug(self, text: str, *values: object) -> None:
        self._write(logger, logging.DEBUG, text, values)

    def info(self, text: str, *values: object) -> None:
        self._write(logger, logging.INFO, text, values)

    def warning(self, text: str, *values: object) -> None:
        self._write(logger, logging.WARNING, text, values)

    def error(self, text: str, *values: object, exc_info: BaseException | None = None) -> None:
        self._write(logger, logging.ERROR, text, values, exc_info)

    def frame(self, direction: str, frame: Frame) -> None:
        """Log one frame, sent (``>``) or received (``<``)."""
        if self.shows_frames():
            self._write(frame_logger, logging.DEBUG, f"{direction} %s", (frame.info,))

    def _write(
        self,
        target: logging.Logger,
        level: int,
        text: str,
        values: tuple[Any, ...],
        exc_info: BaseException | None = None,
    ) -> None:
        if not target.isEnabledFor(level):
            return
        caught = (type(exc_info), exc_info, exc_info.__traceback__) if exc_info is not None else None
        record = target.makeRecord(
            target.name,
            level,
            __file__,
            0,
            f"%s: {text}",
            (printable(self._name), *values),
            caught,
            extra={"connection": self._name, "broker": self._where.broker_name},
        )
        _deferred.add(target, record)


def _handle(target: logging.Logger, record: logging.LogRecord) -> None:
    # An exception of a handler is the application's fault: the record is lost, and nothing more.
    with suppress(BaseException):
        target.handle(record)


class _Deferred:
    """The records that wait to be written, and the thread that writes them."""

    def __init__(self) -> None:
        self._lock = ReentrantLock()
        self._records: collections.deque[tuple[logging.Logger, logging.LogRecord]] = collections.deque()
        self._thread: threading.Thread | None = None

    def add(self, target: logging.Logger, record: logging.LogRecord) -> None:
        with self._lock:
            self._records.append((target, record))
            if self._thread is not None:
                return
            self._thread = thread = threading.Thread(target=self._run, name="stomplistener-log", daemon=True)
        try:
            thread.start()
        except Exception:
            # The system refuses a thread: the next record tries again.
            with self._lock:
                self._thread = None

    def _run(self) -> None:
        while True:
            self._write()
            with self._lock:
                if not self._records:
                    self._thread = None
                    return

    def _write(self) -> None:
        with suppress(IndexError):
            while True:
                _handle(*self._records.popleft())

    def finish(self, seconds: float) -> None:
        """Wait up to ``seconds`` until all waiting records are written."""
        deadline = Deadline(seconds)
        while (thread := self._thread) is not None and not deadline.expired:
            if thread is threading.current_thread():
                return
            if thread.ident is None:
                # Another thread has made the log thread, but not started it yet.
                time.sleep(0.001)
            else:
                thread.join(deadline.remaining())
        if thread is None:
            # The system refuses a thread, as at the end of a program from Python 3.12 on.
            self._write()


_deferred = _Deferred()


def flush(seconds: float = END_SECONDS) -> None:
    """Wait up to ``seconds`` until all log records are written: at the end of the program, and for tests."""
    _deferred.finish(seconds)


def _forget_after_fork() -> None:
    # The log thread exists only in the parent, and its lock may have been held at the moment of the fork.
    global _deferred
    _deferred = _Deferred()


atexit.register(flush)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
