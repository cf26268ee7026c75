"""A log handler, installed for the whole unit suite, that notices records written while a lock of the library is held.

For each record of the library it asks another thread to look at the statistics and the session of every connection that
exists. These calls take the library's locks: if one of them does not come back while the handler waits, the thread that
logs holds a lock. The handler holds a lock of its own meanwhile, as many handlers do.

``STOMPLISTENER_LOG_GUARD=debug`` shows it every record, and not only those that the test's level lets pass; ``off``
installs nothing.
"""

from __future__ import annotations

import functools
import logging
import os
import queue
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from stomplistener import Connection

PATIENCE = 3.0
"""Seconds: longer than the library may hold a lock on a machine with too much to do."""

stuck: list[str] = []
"""What was noticed since the test began, each with the stack that wrote the record."""

_LOGGER = logging.getLogger("stomplistener")


class _Looker:
    """The other thread."""

    def __init__(self) -> None:
        self.connections: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._jobs: queue.SimpleQueue[threading.Event] = queue.SimpleQueue()
        self._process = os.getpid()
        threading.Thread(target=self._run, name="log-guard", daemon=True).start()

    def look(self) -> bool:
        """Whether every connection could be looked at in time. In a child of a fork the thread is missing: yes."""
        if os.getpid() != self._process:
            return True
        done = threading.Event()
        self._jobs.put(done)
        return done.wait(PATIENCE)

    def _run(self) -> None:
        while True:
            done = self._jobs.get()
            self._look_at_all()
            done.set()

    def _look_at_all(self) -> None:
        """A function of its own, so that no name keeps a connection alive afterwards."""
        for connection in list(self.connections):
            # One that is not made whole yet, or not any more, is not what this is about.
            with suppress(Exception):
                connection.statistics()
                _ = connection.session


class Guard(logging.Handler):
    """Has the other thread look, once for each record that is written outside of it."""

    def __init__(self, looker: _Looker) -> None:
        super().__init__()
        self._looker = looker
        self._broken = False

    def emit(self, record: logging.LogRecord) -> None:
        # Once stuck, the other thread stays so until the lock is free: every further record would wait in vain.
        if self._broken or threading.current_thread().name == "log-guard":
            return
        self._broken = True
        if self._looker.look():
            self._broken = False
            return
        stack = "".join(traceback.format_stack(sys._getframe(1))[-14:])
        stuck.append(f"written while a lock is held: {record.getMessage()}\n{stack}")
        threading.Thread(target=self._recover, name="log-guard-recovery", daemon=True).start()

    def _recover(self) -> None:
        self._broken = not self._looker.look()


def _noting(init: Callable[..., None], connections: weakref.WeakSet[Connection]) -> Callable[..., None]:
    @functools.wraps(init)
    def init_and_note(self: Connection, *args: Any, **keywords: Any) -> None:
        init(self, *args, **keywords)
        connections.add(self)

    return init_and_note


@contextmanager
def installed() -> Iterator[None]:
    """The handler on the library's logger, and every connection that is made meanwhile under its eyes."""
    mode = os.environ.get("STOMPLISTENER_LOG_GUARD", "on")
    if mode == "off":
        yield
        return
    looker = _Looker()
    guard, level, init = Guard(looker), _LOGGER.level, Connection.__init__
    Connection.__init__ = _noting(init, looker.connections)  # type: ignore[method-assign]
    _LOGGER.addHandler(guard)
    if mode == "debug":
        _LOGGER.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        _LOGGER.setLevel(level)
        _LOGGER.removeHandler(guard)
        Connection.__init__ = init  # type: ignore[method-assign]
