"""A lock that is cheap to try: for what is nearly always free, and held for a moment by most who want it."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self


class Turn:
    """A lock, in two ways. Both exclude each other.

    Who may wait, or hold it over a wait, uses it as a lock: ``with turn``. Who will do something else when it is taken,
    and nothing that blocks when not, calls ``attempt()`` and, if that was true, ``give_back()``. On the way of a single
    send these two are written out, with ``free``: a call costs it as much as the attempt.

    The first try of a ``threading.Lock`` after a pause costs ten times as much: a tenth of a whole send.
    """

    __slots__ = ("_lock", "free")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.free: list[None] = [None]
        """One thing, which is taken out by who has the turn."""

    def acquire(self, timeout: float = -1) -> bool:
        """Wait up to ``timeout`` seconds, for ever where -1; whether it is ours."""
        if not self._lock.acquire(timeout=timeout):
            return False
        while not self.attempt():
            # Somebody has it who does not block: the interpreter runs him sooner or later.
            time.sleep(0)
        return True

    def release(self) -> None:
        self.give_back()
        self._lock.release()

    def attempt(self) -> bool:
        """Take it if it is free; whether it was."""
        try:
            self.free.pop()
        except IndexError:
            return False
        return True

    def give_back(self) -> None:
        """The end of an ``attempt`` that was true."""
        self.free.append(None)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
