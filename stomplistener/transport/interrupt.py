"""The two things that end a wait while connecting: its deadline, and another thread's interrupt."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from stomplistener._util.locks import ReentrantLock
from stomplistener._util.pieces import in_pieces
from stomplistener.errors import StompError

# The longest wait that every platform's primitives accept; a deadline of infinity means "forever" to a caller.
_LONGEST = 86_400.0


class ConnectInterrupted(StompError):
    """``Interrupt.set()`` ended a connect under way."""


class Interrupt:
    """Lets any thread end a connect under way at once, wherever it waits: nothing polls.

    It is set once and stays set: make a new one to connect again. It holds no descriptor and no thread of its own,
    so there is nothing to close. A signal handler may call ``set``, also in a thread that waits here or connects.

    Attributes:
        step: what ``connect`` waits for, such as "the TLS handshake with ssl://mq1:61614"; empty before it began. A
            caller whose own time is over at the same moment can say so.
    """

    def __init__(self) -> None:
        self.step = ""
        # Held while an action runs, so that none runs once its `doing` block has been left. A leaf for our callers:
        # an action may take a transport's locks, and nothing that holds one of those calls into an Interrupt. The
        # thread that has it may take it again: a signal handler may call set() in the middle of anything below. A
        # threading.Event would not do, since its wait() and its set() share a lock that cannot be taken twice.
        self._lock = ReentrantLock()
        self._is_set = False
        self._actions: list[Callable[[], object]] = []

    def set(self) -> None:
        """End what is under way, and whatever begins later. Idempotent, from any thread, never blocks."""
        if self._is_set:
            return
        # Before the lock is taken: a block that is entered meanwhile sees it, and its action may run twice.
        self._is_set = True
        try:
            self._run_actions()
        except BaseException:
            # Of a signal handler. What was to be ended would go on, for no second set() need come.
            self._run_actions()
            raise

    def is_set(self) -> bool:
        """Whether ``set`` was called."""
        return self._is_set

    def wait(self, seconds: float | None = None) -> bool:
        """Sleep for so many seconds, or less if interrupted; whether it was. For the delay between two attempts."""
        # The sleeper takes it twice, and waits the second time for the release by set().
        sleeping = threading.Lock()
        sleeping.acquire()
        with self.doing(sleeping.release):
            in_pieces(
                lambda left: sleeping.acquire(timeout=-1 if left is None else min(left, _LONGEST)),
                None if seconds is None else max(seconds, 0.0),
            )
        return self._is_set

    @contextmanager
    def doing(self, action: Callable[[], object]) -> Iterator[None]:
        """Call ``action`` in the interrupting thread if the interrupt is or becomes set during the ``with`` block.

        Args:
            action: must not block; it may be called more than once. What it raises is ignored.
        """
        # No lock is held from the first part to the second. If a signal handler raises between the two and the block,
        # the generator is closed as soon as nothing refers to it, and its last part runs then.
        try:
            with self._lock:
                self._actions.append(action)
                if self._is_set:
                    self._run(action)
            yield
        finally:
            try:
                self._forget(action)
            except BaseException:
                # Of a signal handler, which CPython 3.14 runs also where a lock is entered.
                self._forget(action)
                raise

    def _forget(self, action: Callable[[], object]) -> None:
        with self._lock:
            if action in self._actions:
                self._actions.remove(action)

    @contextmanager
    def waking(self) -> Iterator[socket.socket]:
        """A socket that becomes readable when the interrupt is set, for a selector."""
        reader, writer = socket.socketpair()
        with reader, writer, self.doing(lambda: writer.send(b"\0")):
            yield reader

    def _run_actions(self) -> None:
        with self._lock:
            for action in tuple(self._actions):
                self._run(action)

    def _run(self, action: Callable[[], object]) -> None:
        with suppress(Exception):
            action()


def remaining(deadline: float) -> float:
    """The seconds until a moment of ``time.monotonic()``. Raises TimeoutError when it has passed."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("the deadline has passed")
    return min(seconds, _LONGEST)
