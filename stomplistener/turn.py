"""A lock that is cheap to try: for what is nearly always free, and held for a moment by most who want it."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self


class Turn:
    """A lock, in two ways. Both exclude each other.

    Who may wait, or hold it over a wait, uses it as a lock: ``with turn``. Who will do something else when it is taken,
    and nothing that blocks when not, takes the one thing out of ``free`` and puts it back::

        try:
            turn.free.pop()
        except IndexError:
            return False
        try:
            ...
        finally:
            turn.free.append(None)

    The first try of a ``threading.Lock`` after a pause costs ten times as much: a tenth of a whole send.
    """

    __slots__ = ("_lock", "free")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.free: list[None] = [None]

    def acquire(self, timeout: float = -1) -> bool:
        """Wait up to ``timeout`` seconds, for ever where -1; whether it is ours."""
        if not self._lock.acquire(timeout=timeout):
            return False
        while True:
            try:
                self.free.pop()
            except IndexError:
                # Somebody has it who does not block: the interpreter runs him sooner or later.
                time.sleep(0)
            else:
                return True

    def release(self) -> None:
        self.free.append(None)
        self._lock.release()

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
