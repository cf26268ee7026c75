"""One lock over a state, and waits for conditions on that state."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from stomplistener.errors import TimedOut

T = TypeVar("T")


class Watch:
    """A lock, and a count of the changes made under it.

    The lock is reentrant, so code that holds it may call code that takes it. No thread holds the lock over I/O.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self._changes = 0

    def changed(self) -> None:
        """Wake the waiting threads after a change of the state."""
        with self.lock:
            self._changes += 1
            self._changed.notify_all()

    def pause(self, until: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait for a condition that is evaluated under the lock.

        Returns:
            whether the condition became true within ``timeout`` seconds.
        """
        with self.lock:
            return self._changed.wait_for(until, timeout)

    def wait_for(self, condition: Callable[[], T], timeout: float, what: str, describe: Callable[[], str]) -> T:
        """Wait until a caller's condition is true, and return its value.

        The caller's condition may block, so it is evaluated outside the lock. The count of changes detects a change
        between the evaluation and the wait.

        Raises:
            TimedOut: the condition was still false after ``timeout`` seconds.
        """
        __tracebackhide__ = True
        deadline = time.monotonic() + timeout
        while True:
            with self.lock:
                seen = self._changes
            if value := condition():
                return value
            if not self.pause(lambda: self._changes != seen, max(0.0, deadline - time.monotonic())):  # noqa: B023
                # The condition may depend on another state, whose changes are not reported here.
                if value := condition():
                    return value
                raise TimedOut(f"expected {what or 'the condition'} within {timeout:g} s; {describe()}")
