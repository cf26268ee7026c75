"""The two events that end a wait during a connect: the deadline, and an interrupt from another thread."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from stomplistener._util.locks import ReentrantLock
from stomplistener._util.pieces import in_pieces
from stomplistener.errors import StompError

# The longest wait that every platform accepts. An infinite deadline means "forever" to the caller.
_LONGEST = 86_400.0


class ConnectInterrupted(StompError):
    """``Interrupt.set()`` ended a connect under way."""


class Interrupt:
    """Lets any thread end a connect under way at once, in any of its waits, without polling.

    An interrupt stays set: make a new one to connect again. An interrupt holds no descriptor and no thread, so it need
    not be closed. A signal handler may call ``set``, even in a thread that waits here or connects.

    Attributes:
        step: the step for which ``connect`` waits, such as "the TLS handshake with ssl://mq1:61614"; empty before the
            first. A caller that times out at the same moment can name the step.
    """

    def __init__(self) -> None:
        self.step = ""
        # This lock is held while an action runs, so that no action runs after its `doing` block was left. The lock is a
        # leaf for our callers. An action may take the locks of a transport, and no holder of such a lock calls an
        # Interrupt. The lock is reentrant: a signal handler may call set() in the middle of any code below. A
        # threading.Event would not do: its wait() and set() share a lock that is not reentrant.
        self._lock = ReentrantLock()
        self._is_set = False
        self._actions: list[Callable[[], object]] = []

    def set(self) -> None:
        """End a connect under way, and every later one. Idempotent, from any thread, never blocks."""
        if self._is_set:
            return
        # Set the mark before taking the lock. A block entered meanwhile sees the mark, and its action may run twice.
        self._is_set = True
        try:
            self._run_actions()
        except BaseException:
            # A signal handler raised. Run the actions again: no second set() may follow, and the connect would go on.
            self._run_actions()
            raise

    def is_set(self) -> bool:
        """Whether ``set`` was called."""
        return self._is_set

    def wait(self, seconds: float | None = None) -> bool:
        """Sleep between two attempts, for ``seconds`` or until interrupted; True if interrupted."""
        # The sleeper acquires this lock twice. The second time it waits until set() releases the lock.
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
            action: must not block; it may be called more than once, and its exceptions are ignored.
        """
        # No lock is held while the block runs. A signal handler may raise just before the block. In that case the
        # generator is closed when nothing refers to it, and the code after ``yield`` runs.
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
                # A signal handler raised: CPython 3.14 runs handlers also while a ``with`` statement enters a lock.
                self._forget(action)
                raise

    def _forget(self, action: Callable[[], object]) -> None:
        with self._lock:
            if action in self._actions:
                self._actions.remove(action)

    @contextmanager
    def waking(self) -> Iterator[socket.socket]:
        """Make a socket that becomes readable when the interrupt is set, for a selector."""
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
    """Return the seconds until a time of ``time.monotonic()``. Raises TimeoutError if this time has passed."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("the deadline has passed")
    return min(seconds, _LONGEST)
