"""From the receiver to the listeners: queues of messages and events, and the threads that run application code.

The main queue has one thread, the dispatcher, which handles its items in the order of the wire. A subscription with
``workers=N`` has a separate queue with N threads. A consumer has a separate queue without threads: the application
takes the messages.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Protocol

from stomplistener._engine.context import Context
from stomplistener._engine.flow_control import FlowControl
from stomplistener._util.deadline import Deadline
from stomplistener._util.locks import Changes
from stomplistener.message import Message
from stomplistener.states import QueueState

Event = Callable[[], object]
Item = Message | Event
Batch = Sequence[Item]


QUICK_SECONDS = 0.005
"""A batch is quick if it begins within this time after the end of the batch before, and ends within this time."""


class Runner(Protocol):
    """Handles the items of a queue."""

    def run(self, items: Batch) -> None:
        """Handle items in order; skip stale ones. Never raises."""


class DispatchQueue:
    """A queue and its threads, which start when there is an item to handle.

    Args:
        context: the context of the connection; its lock guards the queue.
        flow: counts the items that wait or run here.
        runner: handles the items.
        broken: called when a thread cannot be started, or when an exception reaches a thread's last handler.
        name: the name of the threads.
        workers: the number of threads; 0 if the application takes the items.
        notify: called without the lock after each new item and at the end; must not raise.
    """

    def __init__(
        self,
        context: Context,
        flow: FlowControl,
        runner: Runner,
        broken: Callable[[BaseException], None],
        name: str,
        workers: int = 1,
        notify: Event | None = None,
    ) -> None:
        self._lock = context.lock
        self._flow = flow
        self._runner = runner
        self._broken = broken
        self._name = name
        self._workers = workers
        self._notify = notify
        self._changes = Changes(context.lock)
        self._state = QueueState.RUNNING
        self._waiting: collections.deque[tuple[Batch, int]] = collections.deque()
        self._threads: set[threading.Thread] = set()
        self._to_start: list[threading.Thread] = []
        self._busy: set[threading.Thread] = set()
        self._idle: list[threading.Lock] = []
        self.idle_work: Event | None = None
        """The function that the one thread calls instead of sleeping while no item waits; see ``inline_dispatch``."""
        self.quick_batches = 0
        """How many quick batches came in a row."""
        self._began: float | None = None
        self._ended = 0.0

    def line_up(self, batch: list[Item]) -> None:
        """Line up items in order. Items count towards the bound until they are handled.

        Call with the lock held, then ``begin`` without the lock. A thread that looks up a subscription's queue under
        the same lock finds the queue that gets the items.
        """
        parts: list[list[Item]] = [batch] if batch and self._workers == 1 else [[item] for item in batch]
        for part in parts:
            size = weight(part)
            self._flow.add(len(part), size)
            self._waiting.append((part, size))
            if self._idle:
                self._idle.pop().release()
            elif len(self._threads) < self._workers:
                self._to_start.append(self._new_thread())
        if not self._workers:
            self._changes.notify_all()

    def begin(self) -> None:
        """Start the threads that handle the new items. Call without the lock."""
        if self._to_start:
            with self._lock:
                start, self._to_start = self._to_start, []
            for thread in start:
                self._start(thread)
        if self._notify is not None:
            self._notify()

    def call(self, event: Event) -> None:
        """Let a thread of the queue call ``event`` after all earlier items. Call without the lock."""
        with self._lock:
            self.line_up([event])
        self.begin()

    def take(self, deadline: Deadline, called_off: Callable[[], bool] = lambda: False) -> Item | None:
        """Return the next item for a thread of the application; None if the time is over or the queue is stopped.

        Args:
            called_off: whether to give up the wait, called with the lock held after each change, such as ``stop``.
        """
        taken: list[Item] = []

        def ready() -> bool:
            if self._waiting:
                batch, size = self._waiting.popleft()
                self._flow.remove(len(batch), size)
                taken.extend(batch)
                return True
            return self._state is QueueState.STOPPED or called_off()

        self._changes.wait_for(ready, deadline)
        return taken[0] if taken else None

    def discard(self, unwanted: Callable[[Item], bool]) -> None:
        """Drop the waiting items for which ``unwanted`` is true; it is called with the lock held."""
        with self._lock:
            self._sift(unwanted)
            self._changes.notify_all()

    def _sift(self, unwanted: Callable[[Item], bool]) -> None:
        waiting, self._waiting = self._waiting, collections.deque()
        for batch, size in waiting:
            kept = [item for item in batch if not unwanted(item)]
            kept_size = weight(kept)
            if kept:
                self._waiting.append((kept, kept_size))
            self._flow.remove(len(batch) - len(kept), size - kept_size)

    def drain(self, deadline: Deadline, called_off: Callable[[], bool]) -> bool:
        """Wait until no item waits or runs, except in the calling thread. Return False if the deadline came first.

        Args:
            called_off: whether to give up the wait; called after each change, such as ``stop``.
        """
        me = threading.current_thread()

        def is_drained() -> bool:
            # A listener that calls this cannot wait for the items behind its own message, which run only after the
            # listener.
            follows = self._workers == 1 and me in self._busy
            return not (self._busy - {me}) and (not self._workers or not self._waiting or follows)

        self._changes.wait_for(lambda: is_drained() or called_off(), deadline)
        with self._lock:
            return is_drained()

    def stop(self) -> None:
        """Let the threads end when the queue is empty; ``restart`` undoes it."""
        with self._lock:
            self._state = QueueState.STOPPED
            self._changes.notify_all()
            self._wake_all()
        if self._notify is not None:
            self._notify()

    def restart(self) -> None:
        """Undo ``stop``."""
        with self._lock:
            self._state = QueueState.RUNNING
            self.quick_batches = 0
            self._changes.notify_all()

    def join(self, deadline: Deadline, called_off: Callable[[], bool]) -> bool:
        """Wait until all threads except the calling one have ended, or until ``restart`` keeps them.

        Args:
            called_off: whether to give up the wait, as in ``drain``.
        """
        me = threading.current_thread()
        return self._changes.wait_for(
            lambda: not (self._threads - {me}) or self._state is QueueState.RUNNING or called_off(), deadline
        )

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread belongs to this queue."""
        return threading.current_thread() in self._threads

    @property
    def is_over(self) -> bool:
        """Whether the queue was stopped and its threads have ended."""
        return self._state is QueueState.STOPPED and not self._threads

    @property
    def has_threads(self) -> bool:
        """Whether a thread handles items, or is about to start."""
        return bool(self._threads)

    def offer_idle_work(self, work: Event) -> None:
        """Let the only thread call ``work`` whenever no item waits. Call without the lock."""
        thread = None
        with self._lock:
            self.idle_work = work
            self._wake_all()
            if not self._threads:
                thread = self._new_thread()
        if thread is not None:
            self._start(thread)

    @property
    def is_running(self) -> bool:
        """Whether a thread handles a batch; exact only with the lock held."""
        return self._began is not None

    def is_kept(self, patience: float) -> bool:
        """Whether a batch has run for ``patience`` seconds already."""
        began = self._began
        return began is not None and monotonic() - began >= patience

    # Threads

    def _wake_all(self) -> None:
        idle, self._idle = self._idle, []
        for gate in idle:
            gate.release()

    def _new_thread(self) -> threading.Thread:
        number = f"-{len(self._threads) + 1}" if self._workers > 1 else ""
        thread = threading.Thread(target=self._work, name=f"{self._name}{number}", daemon=True)
        self._threads.add(thread)
        return thread

    def _start(self, thread: threading.Thread) -> None:
        try:
            thread.start()
        except BaseException as error:
            with self._lock:
                # A thread that started nevertheless removes itself at its end.
                if thread.ident is None:
                    self._threads.discard(thread)
            if not isinstance(error, Exception):
                raise
            # The system refuses the thread for the waiting messages. So the connection is broken, and the broker
            # delivers the messages again on the next one.
            self._broken(error)

    def _work(self) -> None:
        me = threading.current_thread()
        batch: Batch = ()
        size = 0
        gate = threading.Lock()
        gate.acquire()
        while True:
            with self._lock:
                if batch:
                    self._flow.remove(len(batch), size)
                    self._busy.discard(me)
                    if self._began is not None:
                        self._ended = ended = monotonic()
                        quick = ended - self._began < QUICK_SECONDS
                        self.quick_batches = self.quick_batches + 1 if quick else 0
                        self._began = None
                    # An idle thread must not keep the last messages alive.
                    batch, size = (), 0
                work = None
                if self._waiting:
                    batch, size = self._waiting.popleft()
                    self._busy.add(me)
                    self._began = began = monotonic()
                    if began - self._ended >= QUICK_SECONDS:
                        self.quick_batches = 0
                else:
                    if self._changes.gates:
                        self._changes.notify_all()
                    if self._state is QueueState.STOPPED or me not in self._threads:
                        self._threads.discard(me)
                        return
                    work = self.idle_work
                    if work is None:
                        self._idle.append(gate)
            try:
                if batch:
                    self._runner.run(batch)
                elif work is not None:
                    work()
                else:
                    gate.acquire()
            except BaseException as error:  # a bug or a MemoryError: it ends the connection, not the thread
                self._broken(error)


def weight(batch: Batch) -> int:
    """The size of a batch in bytes: the sum of its messages."""
    size = 0
    for item in batch:
        if type(item) is Message:
            size += item.frame.size
    return size
