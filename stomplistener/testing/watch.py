"""One lock over some state, and waits until that state is as wished."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from stomplistener.errors import TimedOut

T = TypeVar("T")


class Watch:
    """A lock, and a count of the changes made under it.

    The lock is reentrant, so that what needs it may be called by what holds it. It is never held over I/O.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self._changes = 0

    def changed(self) -> None:
        """Wake the waiting threads, because the state has changed."""
        with self.lock:
            self._changes += 1
            self._changed.notify_all()

    def pause(self, until: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait for a condition, which is evaluated under the lock.

        Returns:
            whether it came true within ``timeout`` seconds.
        """
        with self.lock:
            return self._changed.wait_for(until, timeout)

    def wait_for(self, condition: Callable[[], T], timeout: float, what: str, describe: Callable[[], str]) -> T:
        """Wait until a caller's condition is true, and return its value.

        The condition is evaluated outside the lock, since it is not ours and may block; so a change may come between
        the look and the wait, which is what the count is for.

        Raises:
            TimedOut: it was still false after ``timeout`` seconds.
        """
        __tracebackhide__ = True
        deadline = time.monotonic() + timeout
        while True:
            with self.lock:
                seen = self._changes
            if value := condition():
                return value
            if not self.pause(lambda: self._changes != seen, max(0.0, deadline - time.monotonic())):  # noqa: B023
                # What the condition looks at may not be ours to tell the changes of.
                if value := condition():
                    return value
                raise TimedOut(f"expected {what or 'the condition'} within {timeout:g} s; {describe()}")
