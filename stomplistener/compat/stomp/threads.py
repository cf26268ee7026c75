"""A thread of the program's own making, for its listeners."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

Call = Callable[[], object]


class ListenerThread:
    """Runs calls, one at a time, in what the program's function makes of a loop.

    The dispatcher waits for the end of each call, so the order stays, and a slow listener holds the broker back as
    ever. What only the dispatcher may do, a call can have it do meanwhile: see ``elsewhere``.

    Args:
        create: is given the loop, and starts it in a thread, an executor, a greenlet.
    """

    def __init__(self, create: Callable[[Call], object]) -> None:
        self._create = create
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._favours: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._is_wanted = self._is_running = False
        self._ident: int | None = None

    def start(self) -> None:
        """Have the loop run, unless it does."""
        with self._lock:
            self._is_wanted = True
            if self._is_running:
                return
            self._is_running = True
        self._create(self._loop)

    def stop(self) -> None:
        """Let the loop end behind what it has to do already."""
        with self._lock:
            self._is_wanted = False
            self._calls.put(None)

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread is this one."""
        return self._ident == threading.get_ident()

    def call(self, call: Call) -> None:
        """Run something in the thread, or here if that has ended; from the dispatcher."""
        with self._turn:
            with self._lock:
                is_running = self._is_running
                if is_running:
                    self._calls.put(call)
            if not is_running:
                call()
                return
            while (favour := self._favours.get()) is not None:
                favour()

    def elsewhere(self, favour: Call) -> None:
        """Have the dispatcher, which waits for this thread, do something for it."""
        done = threading.Event()

        def do() -> None:
            try:
                favour()
            finally:
                done.set()

        self._favours.put(do)
        done.wait()

    def _loop(self) -> None:
        while not self._is_at_its_end():
            call = self._calls.get()
            if call is None:
                continue
            self._ident = threading.get_ident()
            try:
                call()
            finally:
                self._ident = None
                self._favours.put(None)

    def _is_at_its_end(self) -> bool:
        with self._lock:
            if self._is_wanted or not self._calls.empty():
                return False
            self._is_running = False
            return True
