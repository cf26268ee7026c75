"""Handle each message once, even if it arrives twice: identify messages and remember them in a store.

A message is identified by the first of these that it has:

1. the header that ``once`` names;
2. with ``once=True`` its ``outbox-id``, or the header that django-outbox-pattern or CAP sets;
3. its message id, only on ActiveMQ, which keeps the id for a redelivery and never gives it to another message.
   RabbitMQ gives each delivery a new id, and Artemis may reuse an id after its journal was recreated.

A message without any of these fails, because the worker cannot know whether it was handled before.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Protocol

from stomplistener._util.loggers import library_logger
from stomplistener.message import Message
from stomplistener.policy import TryAgain

_log = library_logger("stomplistener.worker")

KNOWN = ("outbox-id", "dop-msg-id", "cap-msg-id")
"""Headers that identify a message with ``once=True``: those of this package, django-outbox-pattern and CAP."""

KEEPS_IDS = "activemq/"
"""The prefix of the ``server`` header of ActiveMQ, the only broker whose message ids identify a message."""

LONGEST = 255
"""The largest number of characters in an identity. The digest of a longer identity replaces it."""

LEASE = 30.0
"""Seconds without a renewal of its notes after which a process counts as dead. Other processes may then handle its
messages."""


class NoIdentity(ValueError):
    """No header identifies the message."""


class Repeated(Exception):
    """The message was handled before."""


class Inbox(Protocol):
    """A store of handled messages, safe for threads and for processes that use the same store.

    To keep the inbox in the database of your handlers, write a class with this method. Inbox and handler can then share
    a transaction.
    """

    def handling(self, handler: str, identity: str) -> AbstractContextManager[object]:
        """Remember a message if the block succeeds, and forget it if the block raises.

        Args:
            handler: the name of the handler.
            identity: the text that identifies the message, at most 255 characters.

        Raises:
            Repeated: the message was handled before.
            TryAgain: another thread or process handles it at this moment.
        """


def identity_of(message: Message, once: bool | str, server: str) -> str:
    """Return the text that identifies a message.

    Args:
        once: the name of the identifying header; True for the usual headers.
        server: the ``server`` header of CONNECTED.

    Raises:
        NoIdentity: nothing identifies the message.
    """
    wanted = KNOWN if once is True else (str(once),)
    for name in wanted:
        if value := message.headers.get(name):
            return _shortened(f"{name}:{value}")
    if once is True and server.lower().startswith(KEEPS_IDS):
        return _shortened(f"message-id:{message.id}")
    raise NoIdentity(
        f"the message has no header {' or '.join(wanted)}, so nothing tells whether it was handled before; "
        "have its sender set one, and name it with once="
    )


def _shortened(identity: str) -> str:
    if len(identity) <= LONGEST:
        return identity
    return "sha256:" + hashlib.sha256(identity.encode()).hexdigest()


class Once:
    """The context managers around the messages of one handler with ``once``. Thread-safe.

    Args:
        inbox: the store.
        handler: the name of the handler; it may be set later, before the first message.
        once: as for ``identity_of``.
        server: returns the ``server`` header of CONNECTED.
    """

    def __init__(self, inbox: Inbox, handler: str, once: bool | str, server: Callable[[], str]) -> None:
        self._inbox = inbox
        self.handler = handler
        self._once = once
        self._server = server

    @contextmanager
    def unless_repeated(self, message: Message) -> Iterator[None]:
        """Acknowledge a message that was handled before. This context manager goes around ``noted``."""
        try:
            yield
        except Repeated:
            _log.info("%s was handled before; acknowledging it without a call of the handler", message.id)

    @contextmanager
    def noted(self, message: Message) -> Iterator[None]:
        """Handle the message inside a block of the store.

        Raises:
            Repeated: the message was handled before.
            NoIdentity: nothing identifies the message.
        """
        with self._inbox.handling(self.handler, identity_of(message, self._once, self._server())):
            yield


class SQLiteInbox:
    """An inbox in a file, for all processes on one machine. Thread-safe.

    The inbox notes a message before its handler begins, and marks the note when the handler has ended. If the process
    dies in between, the note expires after 30 seconds, and the message is handled again. The handler then repeats its
    earlier work. To prevent a repetition, keep the inbox in the transaction of the handler.

    Args:
        path: the file, in a directory on a local disk; it is created if necessary.
        keep: seconds to remember a handled message; a copy that arrives later is handled again. None remembers forever.
    """

    def __init__(self, path: str | os.PathLike[str], *, keep: float | None = 7 * 24 * 3600.0) -> None:
        self._path = Path(path)
        self._keep = keep
        self._owner = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._running: set[tuple[str, str]] = set()
        self._pid: int | None = None
        self._wakes = threading.Event()
        self._purged = 0.0

    @contextmanager
    def handling(self, handler: str, identity: str) -> Iterator[None]:
        """See :class:`Inbox`."""
        self._begin_process()
        key = (handler, identity)
        with self._lock:
            if key in self._running:
                raise TryAgain("a copy of the message is being handled", delay=1.0)
            self._claim(key)
            self._running.add(key)
            self._wakes.set()
        done = False
        try:
            yield
            done = True
        finally:
            with self._lock:
                self._running.discard(key)
                self._end(key, done=done)

    def purge(self) -> int:
        """Forget messages that were handled longer than ``keep`` ago, and return their number.

        Runs automatically, too.
        """
        if self._keep is None:
            return 0
        with self._connected() as database:
            old = time.time() - self._keep
            return database.execute("DELETE FROM inbox WHERE done AND until < ?", (old,)).rowcount

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """Return a short transaction that holds the file's write lock from its beginning."""
        with closing(sqlite3.connect(self._path, timeout=30.0, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                database.execute(
                    "CREATE TABLE IF NOT EXISTS inbox (handler TEXT, identity TEXT, owner TEXT, done INTEGER, "
                    "until REAL, PRIMARY KEY (handler, identity)) WITHOUT ROWID"
                )
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise

    def _claim(self, key: tuple[str, str]) -> None:
        now = time.time()
        with self._connected() as database:
            row = database.execute("SELECT done, until FROM inbox WHERE handler = ? AND identity = ?", key).fetchone()
            if row is not None and row[0]:
                raise Repeated
            if row is not None and row[1] > now:
                raise TryAgain("another process handles a copy of the message", delay=1.0)
            database.execute("REPLACE INTO inbox VALUES (?, ?, ?, 0, ?)", (*key, self._owner, now + LEASE))

    def _end(self, key: tuple[str, str], *, done: bool) -> None:
        with self._connected() as database:
            if done:
                database.execute(
                    "UPDATE inbox SET done = 1, until = ? WHERE handler = ? AND identity = ? AND owner = ?",
                    (time.time(), *key, self._owner),
                )
            else:
                database.execute(
                    "DELETE FROM inbox WHERE handler = ? AND identity = ? AND owner = ? AND NOT done",
                    (*key, self._owner),
                )

    def _begin_process(self) -> None:
        """Start the thread that renews the notes of this process, once per process."""
        with self._lock:
            if self._pid == os.getpid():
                return
            self._pid, self._owner = os.getpid(), uuid.uuid4().hex
            threading.Thread(target=self._renew, name="inbox", daemon=True).start()

    def _renew(self) -> None:
        while True:
            self._wakes.wait()
            with self._lock:
                running = set(self._running)
                if not running:
                    self._wakes.clear()
                    continue
            try:
                with self._connected() as database:
                    database.execute(
                        "UPDATE inbox SET until = ? WHERE owner = ? AND NOT done", (time.time() + LEASE, self._owner)
                    )
                if time.monotonic() - self._purged > 3600:
                    self._purged = time.monotonic()
                    self.purge()
            except sqlite3.Error as error:
                _log.error("the inbox %s cannot be written: %s", self._path, error)
            threading.Event().wait(LEASE / 3)
