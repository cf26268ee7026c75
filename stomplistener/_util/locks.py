"""Taking locks and waiting for changes such that an exception may be raised at any moment.

CPython runs the handler of a signal in the main thread, after a call returned, where a function begins and where a loop
jumps back. A handler may raise there, as Ctrl-C does. Four forms are safe against that and are the only ones used:

- ``with lock`` on a lock that is written in C, which the interpreter itself enters and leaves;
- ``TryLock.attempt``, for a caller that does something else if the lock is taken;
- ``Changes.wait_for``, called without the lock;
- a mark that is set inside ``try`` and removed in ``finally`` by a block ``with lock`` in which nothing is called.

Two things look safe and are not:

- On CPython 3.14 and later, ``with`` calls ``__enter__`` as any other function, so a handler may raise behind it and
  before the block begins: a plain ``threading.RLock`` is then left taken. Use ``ReentrantLock``.
- On CPython 3.12 and later, some loops jump back outside of the ``with`` or ``try`` around them; a handler may raise
  there. A loop that runs with a lock held stands in a function of its own; a test finds those that do not.

``threading.Condition`` is not among the safe forms: its ``__enter__`` is Python, and ``wait`` releases the lock before
its ``try`` begins, so that an exception in between releases a lock that another thread holds.
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
    # With threads that are greenlets this is another class; both know their owner.
    _RLock = type(threading.RLock())

_Arguments = TypeVarTuple("_Arguments")

RLock = Any
"""A ``threading.RLock``: reentrant, since a signal handler may call into an interrupted call of the same thread."""


class _GuardedRLock(_RLock):  # type: ignore[misc]  # final to the type checker alone
    """See ``ReentrantLock``."""

    def __enter__(self) -> bool:  # type: ignore[override]
        # Written in Python, this is entered and left without a look for signals. So an exception can come only out of
        # the calls in here: before the lock is taken, or behind acquire().
        depth: int = self._recursion_count()  # type: ignore[attr-defined]
        try:
            return bool(self.acquire())
        except BaseException:
            if self._recursion_count() > depth:  # type: ignore[attr-defined]
                self.release()
            raise


_ENTERS_ATOMICALLY = sys.version_info < (3, 14) or not hasattr(_RLock, "_recursion_count")

ReentrantLock: type[Any] = _RLock if _ENTERS_ATOMICALLY else _GuardedRLock
"""A ``threading.RLock`` that an exception of a signal handler never leaves taken by ``with``."""


is_owned: Callable[[RLock], bool] = methodcaller("_is_owned")
"""Whether the calling thread holds the lock; for assertions, and for handlers that interrupted a call."""


class Changes:
    """The threads that wait until something becomes true of what one lock guards.

    Args:
        lock: guards the condition and the list of waiting threads.

    Attributes:
        gates: one for each waiting thread; where a call is too much, ``notify_all`` is called only if there are any.
    """

    __slots__ = ("_lock", "gates")

    def __init__(self, lock: RLock) -> None:
        self._lock = lock
        self.gates: list[threading.Lock] = []

    def notify_all(self) -> None:
        """Let every waiting thread look again; the lock is held."""
        if self.gates:
            gates, self.gates = self.gates, []
            for gate in gates:
                gate.release()

    def wait_for(self, condition: Callable[[], bool], deadline: Deadline) -> bool:
        """Wait until the condition holds; call without the lock.

        Args:
            condition: called with the lock held.
            deadline: for the wait.

        Returns:
            whether the condition held when it was last looked at.

        Raises:
            TimedOut: the calling thread holds the lock: a signal handler interrupted a call, and cannot wait for
                what only that call can do.
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
                    # What became true at the last moment counts.
                    with self._lock:
                        if condition():
                            return True
                    if deadline.expired:
                        return False
            finally:
                with self._lock:
                    # A gate that was opened is not on the list any more: notify_all took the list as a whole.
                    if gate in self.gates:
                        self.gates.remove(gate)

    def disown(self, lock: RLock) -> None:
        """In the child of a fork: nobody waits here, and ``lock`` takes the place of the parent's. Takes no lock."""
        self.gates = []
        self._lock = lock


class TryLock(ReentrantLock):  # type: ignore[misc]  # the class depends on the interpreter
    """A lock to wait for (``with lock:``) or to try (``attempt``). No exception of a signal handler leaves it taken.

    These three are not safe, although they are often seen: a handler may raise after the call took the lock and before
    the ``try`` begins (``if lock.acquire(False):``), before the answer is kept (``taken = lock.acquire(False)``), and
    before the lock is released (``if lock._is_owned(): lock.release()``). A lock that knows its owner needs no
    variable, and an attribute is read without a call.

    Like the ``RLock`` that it is, it does not block the thread that has it. Code that a signal handler may call looks
    at ``held`` first: the interrupted code, in the same thread, may be in the middle of what the lock guards.
    """

    held = property(_RLock._is_owned)  # type: ignore[attr-defined]
    """Whether the calling thread has the lock. Reading it is no call, so that no handler of a signal runs behind it."""

    def attempt(self, action: Callable[[*_Arguments], bool], *arguments: *_Arguments) -> bool:
        """Call ``action`` with the lock held, if no thread has it.

        Args:
            action: what to do; it must not wait for anything that needs the lock.
            arguments: for ``action``.

        Returns:
            What ``action`` returned. False if the lock was taken, by this thread (which a signal handler interrupted)
            or by another one.
        """
        if self.held:
            return False
        try:
            return self.acquire(False) and action(*arguments)
        finally:
            if self.held:
                self.release()


def cannot_wait() -> TimedOut:
    """What is raised where a signal handler would wait for what only the call that it interrupted can do."""
    return TimedOut(
        "a signal handler interrupted a call of this connection and cannot wait there for what that call holds up: "
        "call connection.stop() in a handler, or send without confirm"
    )


def _acquire(gate: threading.Lock, seconds: float | None) -> bool:
    return gate.acquire(timeout=-1 if seconds is None else min(seconds, threading.TIMEOUT_MAX))
