"""One thread for everything in this process that is to happen at a time: heart-beats and delayed retries.

What is called must not block: a heart-beat of one connection never waits for another. The thread starts with the first
entry and ends with the last, so an idle process has none.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable

_log = logging.getLogger(__name__)

_LONGEST = 3600.0
"""Seconds of one wait: a broker may ask for a heart-beat in a thousand years, and no platform waits that long."""

_SLACK = 0.02
"""Seconds that an entry may be early, so that many connections with equal intervals share one wake-up."""


class Entry:
    """Something to call at a time on the monotonic clock. It returns when to be called again, or None."""

    __slots__ = ("at", "cancelled", "function")

    def __init__(self, at: float, function: Callable[[], float | None]) -> None:
        self.at = at
        self.function = function
        self.cancelled = False


class Timer:
    """Calls functions at their time, in a daemon thread of its own. All methods are thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._heap: list[tuple[float, int, Entry]] = []
        self._order = itertools.count()
        self._live = 0
        self._thread: threading.Thread | None = None

    def call_at(self, at: float, function: Callable[[], float | None]) -> Entry:
        """Call ``function`` at ``at``, and again at the time that it returns until that is None."""
        entry = Entry(at, function)
        with self._changed:
            self._live += 1
            self._push(entry)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="stomplistener-timer", daemon=True)
                self._thread.start()
            self._changed.notify()
        return entry

    def cancel(self, entry: Entry) -> None:
        """Do not call it any more; a call that runs now is not waited for. Idempotent."""
        with self._changed:
            if entry.cancelled:
                return
            entry.cancelled = True
            self._live -= 1
            thread = self._thread
            last = self._live == 0
            if last:
                self._changed.notify()
        # With its last entry the thread ends at once: whoever disconnects finds nothing left behind.
        if last and thread is not None and thread is not threading.current_thread():
            thread.join(timeout=1.0)

    def _push(self, entry: Entry) -> None:
        heapq.heappush(self._heap, (entry.at, next(self._order), entry))

    def _run(self) -> None:
        while due := self._wait():
            for entry in due:
                again = None
                try:
                    again = entry.function()
                except Exception:
                    _log.exception("a timed call failed")
                with self._changed:
                    if entry.cancelled:
                        continue
                    if again is None:
                        entry.cancelled = True
                        self._live -= 1
                    else:
                        entry.at = again
                        self._push(entry)

    def _wait(self) -> list[Entry]:
        """The entries that are due, as soon as there are any; none when the thread is to end."""
        with self._changed:
            while self._live:
                now = time.monotonic()
                due = []
                while self._heap and (self._heap[0][0] <= now + _SLACK or self._heap[0][2].cancelled):
                    entry = heapq.heappop(self._heap)[2]
                    if not entry.cancelled:
                        due.append(entry)
                if due:
                    return due
                self._changed.wait(min(self._heap[0][0] - now, _LONGEST) if self._heap else None)
            self._heap.clear()
            self._thread = None
            return []


_timer = Timer()


def timer() -> Timer:
    """The timer of this process."""
    return _timer


def _forget_after_fork() -> None:
    # The thread stayed with the parent, and its lock may have been held at the moment of the fork.
    global _timer
    _timer = Timer()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
