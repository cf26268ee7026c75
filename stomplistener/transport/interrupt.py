"""The two things that end a wait while connecting: its deadline, and another thread's interrupt."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stomplistener.errors import StompError

# The longest wait that every platform's primitives accept; a deadline of infinity means "for ever" to a caller.
_LONGEST = 86_400.0


class ConnectInterrupted(StompError):
    """``Interrupt.set()`` ended a connect under way."""


class Interrupt:
    """Lets any thread end a connect under way at once, wherever it waits: nothing polls.

    It is set once and stays set: make a new one for connecting anew. It holds no descriptor and no thread of its own,
    so there is nothing to close.
    """

    def __init__(self) -> None:
        # Held while the actions run, so that none runs once its `doing` block has been left. A leaf for our callers:
        # an action may take a transport's locks, and nothing that holds one of those calls into an Interrupt.
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._actions: list[Callable[[], object]] = []

    def set(self) -> None:
        """End what is under way, and whatever begins later. Idempotent, from any thread, never blocks."""
        with self._lock:
            if not self._event.is_set():
                self._event.set()
                for action in self._actions:
                    action()

    def is_set(self) -> bool:
        """Whether ``set`` was called."""
        return self._event.is_set()

    def wait(self, seconds: float | None = None) -> bool:
        """Sleep for so many seconds, or less if interrupted; whether it was. For the delay between two attempts."""
        return self._event.wait(seconds)

    @contextmanager
    def doing(self, action: Callable[[], object]) -> Iterator[None]:
        """Call ``action`` in the interrupting thread, once, if the interrupt is or becomes set during the block.

        Args:
            action: must neither block nor raise.
        """
        with self._lock:
            self._actions.append(action)
            if self._event.is_set():
                action()
        try:
            yield
        finally:
            with self._lock:
                self._actions.remove(action)

    @contextmanager
    def waking(self) -> Iterator[socket.socket]:
        """A socket that becomes readable when the interrupt is set, for a selector."""
        reader, writer = socket.socketpair()
        with reader, writer, self.doing(lambda: writer.send(b"\0")):
            yield reader


def remaining(deadline: float) -> float:
    """The seconds until a moment of ``time.monotonic()``. Raises TimeoutError when it has passed."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("the deadline has passed")
    return min(seconds, _LONGEST)
