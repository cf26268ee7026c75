"""One thread for all timed calls of this process: heartbeats and retries.

The called functions must not block: a heartbeat of one connection never waits for another one. The thread starts with
the first entry and ends with the last, so an idle process has none. The thread also carries out the requests of signal
handlers. A handler may take no lock and start no thread, and ``poke`` does neither.
"""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from stomplistener._util.locks import ReentrantLock
from stomplistener._util.loggers import library_logger

_log = library_logger(__name__)

_LONGEST = 3600.0
"""The longest wait in seconds: a broker may ask for a heartbeat in a thousand years, which no platform can wait for."""

_SLACK = 0.02
"""How many seconds early an entry may be called, so that many connections with equal intervals share one wake-up."""

_JOIN_SECONDS = 1.0


class Entry:
    """A function to call at a time on the monotonic clock.

    Args:
        at: the time.
        function: returns the time of the next call, or None.
    """

    __slots__ = ("at", "cancelled", "function")

    def __init__(self, at: float, function: Callable[[], float | None]) -> None:
        self.at = at
        self.function = function
        self.cancelled = False


class Timer:
    """Calls functions at their time, in a daemon thread. All methods are thread-safe."""

    def __init__(self) -> None:
        self._lock = ReentrantLock()
        # The thread that changes the next wait of the timer opens this gate; ``poke`` may open it at any moment.
        self._gate = threading.Lock()
        self._heap: list[tuple[float, int, Entry]] = []
        self._order = itertools.count()
        self._live = 0
        self._thread: threading.Thread | None = None
        self._watches: dict[object, Callable[[], object]] = {}

    def call_at(self, at: float, function: Callable[[], float | None]) -> Entry:
        """Call ``function`` at ``at``, and again at the time that it returns, until it returns None."""
        entry = Entry(at, function)
        self.add(entry)
        return entry

    def add(self, entry: Entry) -> None:
        """Call the entry's function at its time.

        Raises:
            RuntimeError: the system refuses the thread; the entry is cancelled.
        """
        with self._lock:
            self._live += 1
            self._push(entry)
        try:
            self._ensure_thread()
        except BaseException:
            self.cancel(entry)
            raise

    def cancel(self, entry: Entry) -> None:
        """Stop calling the entry's function; do not wait for a call under way. Idempotent."""
        with self._lock:
            if entry.cancelled:
                return
            entry.cancelled = True
            self._live -= 1
        self._end_if_idle()

    def watch(self, key: object, look: Callable[[], object]) -> None:
        """Call ``look`` after each ``poke``, until ``unwatch``.

        Raises:
            RuntimeError: the system refuses the thread.
        """
        with self._lock:
            self._watches[key] = look
        try:
            self._ensure_thread()
        except BaseException:
            self.unwatch(key)
            raise

    def unwatch(self, key: object) -> None:
        """Undo ``watch``. Idempotent."""
        with self._lock:
            self._watches.pop(key, None)
        self._end_if_idle()

    def poke(self) -> None:
        """Let the thread call all watches. Takes no lock and starts no thread, so a signal handler may call it."""
        # The gate may be open already.
        with suppress(RuntimeError):
            self._gate.release()

    @property
    def _is_needed(self) -> bool:
        return bool(self._live or self._watches)

    def _ensure_thread(self) -> None:
        with self._lock:
            thread = None
            if self._thread is None and self._is_needed:
                self._thread = thread = threading.Thread(target=self._run, name="stomplistener-timer", daemon=True)
        if thread is None:
            self.poke()
            return
        try:
            thread.start()
        except BaseException:
            with self._lock:
                if self._thread is thread and thread.ident is None:
                    self._thread = None
            raise

    def _end_if_idle(self) -> None:
        with self._lock:
            thread, idle = self._thread, not self._is_needed
        if idle and thread is not None:
            self.poke()
            # The thread ends together with its last entry: after disconnect() nothing is left behind.
            if thread is not threading.current_thread() and thread.ident is not None:
                thread.join(_JOIN_SECONDS)

    def _push(self, entry: Entry) -> None:
        heapq.heappush(self._heap, (entry.at, next(self._order), entry))

    def _run(self) -> None:
        me = threading.current_thread()
        while True:
            with self._lock:
                if self._thread is not me:
                    return
                if not self._is_needed:
                    self._heap.clear()
                    self._thread = None
                    return
                due = self._due()
                looks = tuple(self._watches.values())
                wait = min(self._heap[0][0] - time.monotonic(), _LONGEST) if self._heap else _LONGEST
            for look in looks:
                _call(look)
            for entry in due:
                self._call(entry)
            if not due:
                self._gate.acquire(timeout=max(wait, 0.0))

    def _due(self) -> list[Entry]:
        now = time.monotonic()
        due = []
        while self._heap and (self._heap[0][0] <= now + _SLACK or self._heap[0][2].cancelled):
            entry = heapq.heappop(self._heap)[2]
            if not entry.cancelled:
                due.append(entry)
        return due

    def _call(self, entry: Entry) -> None:
        again = _call(entry.function)
        with self._lock:
            if entry.cancelled:
                return
            if isinstance(again, (int, float)):
                entry.at = again
                self._push(entry)
            else:
                entry.cancelled = True
                self._live -= 1


def _call(function: Callable[[], object]) -> object:
    try:
        return function()
    except BaseException:  # the heartbeats of all connections need this thread
        with suppress(BaseException):
            _log.exception("a timed call failed")
        return None


_timer = Timer()


def timer() -> Timer:
    """Return the timer of this process."""
    return _timer


def _forget_after_fork() -> None:
    # The timer thread exists only in the parent, and its lock may have been held at the moment of the fork.
    global _timer
    _timer = Timer()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
