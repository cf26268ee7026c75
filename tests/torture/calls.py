"""Every blocking call of a run, held against its own deadline: while it lasts, and not only when it has returned."""

from __future__ import annotations

import itertools
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")

GRACE = 5.0
"""Seconds that a call may be late: a machine with more to do than it can leaves a thread waiting that long."""


@dataclass
class Call:
    what: str
    thread: int
    deadline: float
    stuck: bool = False


class Calls:
    """The books of the calls, and a thread that looks through them; a context manager. Thread-safe.

    Attributes:
        count: how many calls have returned.
        latest: the most that one was late, in seconds.
        stuck: what each call that was late by more than ``GRACE`` was doing then.
    """

    def __init__(self) -> None:
        self.count = 0
        self.latest = 0.0
        self.stuck: list[str] = []
        self._open: dict[int, Call] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="calls")

    def timed(self, what: str, seconds: float, function: Callable[[], T]) -> T:
        """Call a function that was given so many seconds."""
        number, call = next(self._numbers), Call(what, threading.get_ident(), time.monotonic() + seconds)
        with self._lock:
            self._open[number] = call
        try:
            return function()
        finally:
            late = time.monotonic() - call.deadline
            with self._lock:
                del self._open[number]
                self.count += 1
                self.latest = max(self.latest, late)
                if late > GRACE and not call.stuck:
                    self.stuck.append(f"{what}: returned {late:.1f} s too late")

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._end.wait(0.5):
            self.look()

    def look(self) -> None:
        """Note the calls that should have returned by now, each once, with what their threads are doing."""
        with self._lock:
            for call in self._open.values():
                late = time.monotonic() - call.deadline
                if late > GRACE and not call.stuck:
                    call.stuck = True
                    self.latest = max(self.latest, late)
                    self.stuck.append(f"{call.what}: {late:.1f} s too late, and in\n{_stack(call.thread)}")


def _stack(thread: int) -> str:
    frame = sys._current_frames().get(thread)
    return "".join(traceback.format_stack(frame)[-6:]) if frame is not None else "no thread any more"
