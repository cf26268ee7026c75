"""The threads that call the hooks of a program, one for each connection, as in stomp.py."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from stomplistener.compat.stomp import log

Call = Callable[[], object]
Create = Callable[[Call], object]

# The bounds of the queue for the hooks. The engine has its own queue before it.
_MOST_ITEMS = 256
_MOST_BYTES = 4 * 1024 * 1024


class ReceiverLoop:
    """Calls the hooks of one connection in order, and ends with that connection.

    The loop of the next connection starts when this one has ended or is *passed*, which means that ``connect()`` was
    called while one of its hooks ran. In stomp.py, this ``connect()`` starts a second receiver thread, so programs wait
    in a hook of the first connection for hooks of the second one.

    Args:
        create: takes a function, and runs it in a new thread, a task of an executor or a greenlet.
        deliver: called with each item.
        after: the loop of the previous connection.
    """

    def __init__(self, create: Create, deliver: Callable[[Any], object], after: ReceiverLoop | None) -> None:
        self._create = create
        self._deliver = deliver
        self._after = after
        # Taken by its own name: Condition's ``with`` is two calls of Python for each message.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._items: deque[Any] = deque()
        self._bytes = 0
        self._is_idle = self._is_closed = self._is_passed = self._is_unbounded = self._is_started = False
        self._next: list[ReceiverLoop] = []
        self._ident: int | None = None
        self.has_ended = False
        self.thread: object = None

    def start(self) -> None:
        """Start as soon as the previous loop allows it."""
        before, self._after = self._after, None
        if before is None or not before._hands_over_to(self):
            self._begin()

    def put(self, item: Any, size: int = 0) -> None:
        """Queue one item for delivery.

        Args:
            item: the item to deliver.
            size: its size in bytes. A call with a size waits for room in the queue; a call without a size never waits.
                A thread that the hooks may wait for must not wait for the hooks.
        """
        with self._lock:
            if size and not self._has_room():
                self._changed.wait_for(self._has_room)
            self._items.append(item)
            self._bytes += size
            if self._is_idle:
                self._changed.notify_all()

    def close(self) -> None:
        """End the loop after the queued items."""
        with self._lock:
            self._is_closed = self._is_unbounded = True
            self._changed.notify_all()

    def lift_bounds(self) -> None:
        """End every wait for room, because the connection is ending."""
        with self._lock:
            self._is_unbounded = True
            self._changed.notify_all()

    def let_pass(self) -> None:
        """Let the loop of the next connection run beside this loop."""
        with self._lock:
            self._is_passed = True
            followers, self._next = self._next, []
        for each in followers:
            each._begin()

    def wait(self, seconds: float) -> bool:
        """Wait until the loop has ended or is passed, and return whether it has ended. A passed loop may never end."""
        deadline = time.monotonic() + seconds
        with self._lock:
            while not (self.has_ended or self._is_passed) and (rest := deadline - time.monotonic()) > 0:
                self._changed.wait(rest)
            return self.has_ended

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread runs this loop."""
        return self._ident == threading.get_ident()

    def _has_room(self) -> bool:
        return self._is_unbounded or (len(self._items) < _MOST_ITEMS and self._bytes < _MOST_BYTES)

    def _hands_over_to(self, follower: ReceiverLoop) -> bool:
        """Whether this loop will start the follower later."""
        with self._lock:
            if self.has_ended or self._is_passed:
                return False
            self._next.append(follower)
            return True

    def _begin(self) -> None:
        with self._lock:
            if self._is_started:
                return
            self._is_started = True
        self.thread = self._create(self._run)
        log.debug("created thread %s using func %s", self.thread, self._create)

    def _run(self) -> None:
        self._ident = threading.get_ident()
        try:
            while items := self._take():
                for item in items:
                    self._deliver(item)
        finally:
            self._ident = None
            with self._lock:
                self.has_ended = True
                self._changed.notify_all()
            self.let_pass()

    def _take(self) -> deque[Any]:
        """Return all queued items, so that a burst takes the lock only once. Empty at the end."""
        with self._lock:
            while not self._items and not self._is_closed:
                self._is_idle = True
                self._changed.wait()
                self._is_idle = False
            items, self._items, self._bytes = self._items, deque(), 0
            if items:
                self._changed.notify_all()
            return items
