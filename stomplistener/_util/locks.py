"""Take locks and wait for changes safely, although an exception may be raised at any moment.

CPython runs the handler of a signal in the main thread. The handler runs after a call, at the beginning of a function,
and when a loop jumps back. A handler may raise at these moments, as for Ctrl-C. Four forms are safe, and this library
uses only them:

- ``with lock`` on a lock that is written in C, which the interpreter itself enters and leaves;
- ``TryLock.attempt``, for a caller with something else to do if the lock is taken;
- ``Changes.wait_for``, called without the lock;
- a mark that is set inside ``try``, and removed in ``finally`` by a ``with lock`` block without any call.

Two forms look safe and are not:

- On CPython 3.14 and later, ``with`` calls ``__enter__`` as any other function. So a handler may raise after
  ``__enter__``, before the block begins, and leave a plain ``threading.RLock`` taken. Use ``ReentrantLock``.
- On CPython 3.12 and later, some loops jump back outside the ``with`` or ``try`` around them, and a handler may raise
  there. So a loop that runs with a lock held is in a separate function; a test checks this.

``threading.Condition`` is not safe: its ``__enter__`` is Python, and ``wait`` releases the lock before its ``try``
begins. An exception in between leads to the release of a lock that another thread holds.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import partial
from operator import methodcaller
from typing import TYPE_CHECKING, Any, TypeVarTuple

from stomplistener._util.deadline import Deadline
from stomplistener._util.pieces import in_pieces
from stomplistener.errors import TimedOut

if TYPE_CHECKING:
    from threading import RLock as _RLock
else:
    # If threads are greenlets, RLock is another class. Both kinds of locks know their owner.
    _RLock = type(threading.RLock())

_Arguments = TypeVarTuple("_Arguments")

RLock = Any
"""A ``threading.RLock``: reentrant, since a signal handler may call into an interrupted call of the same thread."""


class _GuardedRLock(_RLock):  # type: ignore[misc]  # final only for the type checker
    """See ``ReentrantLock``."""

    def __enter__(self) -> bool:  # type: ignore[override]
        # Python code is entered and left without a check for signals. So an exception can come only out of the calls in
        # this method: before the lock is taken, or after acquire().
        depth: int = self._recursion_count()  # type: ignore[attr-defined]
        try:
            return bool(self.acquire())
        except BaseException:
            if self._recursion_count() > depth:  # type: ignore[attr-defined]
                self.release()
            raise


_ENTERS_ATOMICALLY = sys.version_info < (3, 14) or not hasattr(_RLock, "_recursion_count")

ReentrantLock: type[Any] = _RLock if _ENTERS_ATOMICALLY else _GuardedRLock
"""A ``threading.RLock`` that ``with`` never leaves taken when a signal handler raises."""


is_owned: Callable[[RLock], bool] = methodcaller("_is_owned")
"""Whether the calling thread holds the lock; for assertions, and for handlers that interrupted a call."""


class Changes:
    """The threads that wait for a condition on state that one lock guards.

    Args:
        lock: guards the condition and the list of waiting threads.

    Attributes:
        gates: one lock for each waiting thread. Fast code calls ``notify_all`` only if this list has gates.
    """

    __slots__ = ("_lock", "gates")

    def __init__(self, lock: RLock) -> None:
        self._lock = lock
        self.gates: list[threading.Lock] = []

    def notify_all(self) -> None:
        """Let every waiting thread check its condition. Call with the lock held."""
        if self.gates:
            gates, self.gates = self.gates, []
            for gate in gates:
                gate.release()

    def wait_for(self, condition: Callable[[], bool], deadline: Deadline) -> bool:
        """Wait until the condition is true. Call without the lock.

        Args:
            condition: called with the lock held.
            deadline: limits the wait.

        Returns:
            whether the condition was true at the last check.

        Raises:
            TimedOut: the calling thread holds the lock. Such a caller is a signal handler, which cannot wait for the
                call that it interrupted.
        """
        if is_owned(self._lock):
            raise cannot_wait()
        while True:
            gate = threading.Lock()
            gate.acquire()
            try:
                with self._lock:
                    if condition():
                        return True
                    self.gates.append(gate)
                remaining = deadline.remaining()
                if remaining == 0.0 or not in_pieces(partial(_acquire, gate), remaining):
                    # Check again: the condition may have become true at the last moment.
                    with self._lock:
                        if condition():
                            return True
                    if deadline.expired:
                        return False
            finally:
                with self._lock:
                    # An opened gate is not in the list any more: notify_all took the whole list.
                    if gate in self.gates:
                        self.gates.remove(gate)

    def disown(self, lock: RLock) -> None:
        """In the child of a fork, forget all waits and replace the parent's lock by ``lock``. Takes no lock."""
        self.gates = []
        self._lock = lock


class TryLock(ReentrantLock):  # type: ignore[misc]  # the class depends on the interpreter
    """A lock to wait for (``with lock:``) or to try (``attempt``). No signal handler can leave the lock taken.

    Three common forms are not safe, since a handler may raise between two steps:

    - ``if lock.acquire(False):``: after the call took the lock, before the ``try`` begins;
    - ``taken = lock.acquire(False)``: before the result is stored;
    - ``if lock._is_owned(): lock.release()``: before the release.

    A lock that knows its owner needs no variable, and reading an attribute is not a call.

    Like any ``RLock``, this lock does not block the thread that holds it. Code that a signal handler may call checks
    ``held`` first: the interrupted code, in the same thread, may be changing the guarded state.
    """

    held = property(_RLock._is_owned)  # type: ignore[attr-defined]
    """Whether the calling thread holds the lock. Reading this attribute is not a call, so no signal handler runs right
    after."""

    def attempt(self, action: Callable[[*_Arguments], bool], *arguments: *_Arguments) -> bool:
        """Call ``action`` with the lock held, if no thread holds it.

        Args:
            action: the function to call; it must not wait for anything that needs the lock.
            arguments: the arguments of ``action``.

        Returns:
            The result of ``action``. False if the lock was taken, by another thread or by the code that this signal
            handler interrupted.
        """
        if self.held:
            return False
        try:
            return self.acquire(False) and action(*arguments)
        finally:
            if self.held:
                self.release()


def cannot_wait() -> TimedOut:
    """Make the exception for a signal handler that would wait for the call that it interrupted."""
    return TimedOut(
        "a signal handler interrupted a call of this connection and cannot wait for that call: "
        "call connection.stop() in a handler, or send without confirm"
    )


def _acquire(gate: threading.Lock, seconds: float | None) -> bool:
    return gate.acquire(timeout=-1 if seconds is None else min(seconds, threading.TIMEOUT_MAX))
