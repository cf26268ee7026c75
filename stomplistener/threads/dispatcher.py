"""From the receiver to the listeners: a hand-off that is bounded, and the threads that run application code.

A *lane* is a line of items with the threads that work it off. The main lane has one thread, so everything in it, events
and messages alike, happens in the order of the wire. A subscription with ``workers=N`` has a lane of its own with N
threads; a consumer has one that the application's own threads work off.

All lanes of a connection share one bound, in messages and bytes. When it is reached the receiver pauses, and TCP holds
the broker back; except while somebody waits for a receipt, which may lie behind the messages that are still unread.

Locks: the bound and all of its lanes share one, for lines and counts alike, taken last of all and held for a few steps
only; not while an item runs.
"""

from __future__ import annotations

import collections
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from stomplistener._util.deadline import Deadline

Item = TypeVar("Item")

OVERSHOOT_BYTES = 8
OVERSHOOT_MESSAGES = 100_000
"""How far the bound may be exceeded while somebody waits for a receipt: so many times the bytes, so many messages more.

A listener that waits for a receipt for every message reads a piece of the broker's backlog into memory each time; past
this the wait ends by its own deadline.
"""


class Bound:
    """How much is received and not worked off; the receiver waits here when it is too much."""

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.messages = 0
        self.bytes = 0
        self._waiting_for_receipt = 0
        self._open = True
        self.paused = False

    # With the lock held

    def add(self, messages: int, size: int) -> None:
        self.messages += messages
        self.bytes += size

    def remove(self, messages: int, size: int) -> None:
        self.messages -= messages
        self.bytes -= size
        if self.paused and not self._is_over(0.5):
            self.changed.notify()

    # Without it

    @property
    def has_room(self) -> bool:
        return self.messages < self._max_messages and self.bytes < self._max_bytes

    def wait_for_room(self, timeout: float | None = None) -> bool:
        """Block while the bound is reached; the receiver's only wait for listeners.

        Args:
            timeout: seconds to wait.

        Returns:
            whether there is room.
        """
        if self.has_room:
            return True
        deadline = Deadline(timeout)
        with self.lock:
            while self._open and self._is_too_much():
                remaining = deadline.remaining()
                if remaining == 0.0:
                    break
                self.paused = True
                self.changed.wait(remaining)
            self.paused = False
            return not self._is_too_much()

    @property
    def is_urgent(self) -> bool:
        """Whether somebody waits for what is still unread, or the receiver is to look at once."""
        return self._waiting_for_receipt > 0 or not self._open

    def open(self) -> None:
        with self.lock:
            self._open = True

    def interrupt(self) -> None:
        """End the receiver's pause: the connection broke or is to be closed."""
        with self.lock:
            self._open = False
            self.changed.notify()

    def waiting_for_receipt(self, more: int) -> None:
        with self.lock:
            self._waiting_for_receipt += more
            self.changed.notify()

    def _is_too_much(self) -> bool:
        if self._waiting_for_receipt:
            return (
                self.messages >= self._max_messages + OVERSHOOT_MESSAGES
                or self.bytes >= self._max_bytes * OVERSHOOT_BYTES
            )
        # Once paused, half has to be worked off: else the receiver would wake for every single message.
        return self._is_over(0.5 if self.paused else 1.0)

    def _is_over(self, factor: float) -> bool:
        return self.messages >= self._max_messages * factor or self.bytes >= self._max_bytes * factor


class Lane(Generic[Item]):
    """A line of items and the threads that work it off, started when there is something to do.

    Args:
        run: works off a batch of items in order; it must not raise, and passes over what has become stale since.
        weigh: how many messages and bytes a batch counts for.
        bound: shared by the lanes of a connection.
        workers: how many threads; 0 where the application takes the items itself.
        notify: called without a lock whenever something was put, and when the lane was stopped; it must not raise.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], None],
        weigh: Callable[[Sequence[Item]], tuple[int, int]],
        bound: Bound,
        name: str,
        workers: int = 1,
        notify: Callable[[], object] | None = None,
    ) -> None:
        self._run = run
        self._notify = notify
        self._weigh = weigh
        self._bound = bound
        self._name = name
        self._workers = workers
        self._lock = bound.lock
        self._changed = threading.Condition(self._lock)
        # Each with the messages and bytes that it counts for.
        self._batches: collections.deque[tuple[Sequence[Item], int, int]] = collections.deque()
        self._threads: set[threading.Thread] = set()
        self._busy: set[threading.Thread] = set()
        self._idle = self._draining = 0
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stopping = False

    def put(self, batch: list[Item]) -> None:
        """Line up items, in order; messages count towards the bound until they are worked off."""
        wake = self._put_whole(batch) if self._workers == 1 else self._put_each(batch)
        # A thread of ours is woken by this queue, in C and without the lock, and so half as late as by the condition.
        for _ in range(wake):
            self._wake.put(None)
        if self._notify is not None:
            self._notify()

    def _put_whole(self, batch: list[Item]) -> int:
        """For the one thread; whether it has to be woken."""
        messages, size = self._weigh(batch)
        with self._lock:
            self._bound.add(messages, size)
            self._batches.append((batch, messages, size))
            wake, self._idle = self._idle, 0
            if not self._threads:
                self._start()
        return wake

    def _put_each(self, batch: list[Item]) -> int:
        """One by one, for whichever thread is free; how many have to be woken."""
        batches = [([item], *self._weigh([item])) for item in batch]
        with self._lock:
            for _item, messages, size in batches:
                self._bound.add(messages, size)
            self._batches.extend(batches)
            wake = min(self._idle, len(batches))
            self._idle -= wake
            if wake < len(batches):
                # Threads that were told and still sleep are not busy either: what waits is compared with all of them.
                while len(self._threads) < min(self._workers, len(self._busy) + len(self._batches)):
                    self._start()
                if not self._workers:
                    self._changed.notify(len(batch))
        return wake

    def take(self, deadline: Deadline) -> Item | None:
        """The next item for a thread of the application; None when the time is over or the lane is stopped."""
        with self._lock:
            while not self._batches:
                remaining = deadline.remaining()
                if self._stopping or remaining == 0.0:
                    return None
                self._changed.wait(remaining)
            items, messages, size = self._batches.popleft()
            self._bound.remove(messages, size)
        return items[0]

    def discard(self, unwanted: Callable[[Item], bool]) -> None:
        """Drop the items that wait in line and for which ``unwanted`` is true."""
        dropped: list[Item] = []
        with self._lock:
            batches, self._batches = self._batches, collections.deque()
            for items, _messages, _size in batches:
                kept: list[Item] = []
                for item in items:
                    (dropped if unwanted(item) else kept).append(item)
                if kept:
                    self._batches.append(self._weighed(kept))
            self._bound.remove(*self._weigh(dropped))

    def drain(self, deadline: Deadline, called_off: Callable[[], bool]) -> bool:
        """Wait until nothing waits and nothing runs but the caller itself; whether it came to that.

        Args:
            called_off: whether to wait no longer; ``stop`` makes it be asked.
        """
        me = threading.current_thread()
        with self._lock:
            self._draining += 1
            try:
                while self._busy - {me} or (self._workers and self._batches and not self._follows(me)):
                    remaining = deadline.remaining()
                    if remaining == 0.0 or called_off():
                        return False
                    self._changed.wait(remaining)
            finally:
                self._draining -= 1
        return True

    def _follows(self, me: threading.Thread) -> bool:
        """Whether what waits comes after what this thread does itself."""
        return self._workers == 1 and me in self._busy

    def stop(self) -> None:
        """Let the threads end when the line is empty; ``restart`` undoes it."""
        with self._lock:
            self._stopping = True
            self._changed.notify_all()
            wake, self._idle = self._idle, 0
        for _ in range(wake):
            self._wake.put(None)
        if self._notify is not None:
            self._notify()

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread is one of this lane's."""
        return threading.current_thread() in self._threads

    @property
    def is_over(self) -> bool:
        """Whether it was stopped and its threads have ended."""
        return self._stopping and not self._threads

    def restart(self) -> None:
        with self._lock:
            self._stopping = False

    def join(self, deadline: Deadline) -> bool:
        """Wait until the threads have ended; whether they have. The calling thread itself does not count."""
        with self._lock:
            others = [thread for thread in self._threads if thread is not threading.current_thread()]
        for thread in others:
            thread.join(deadline.remaining())
        return not any(thread.is_alive() for thread in others)

    def _weighed(self, items: Sequence[Item]) -> tuple[Sequence[Item], int, int]:
        messages, size = self._weigh(items)
        return items, messages, size

    def _start(self) -> None:
        number = f"-{len(self._threads) + 1}" if self._workers > 1 else ""
        thread = threading.Thread(target=self._work, name=f"{self._name}{number}", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _work(self) -> None:
        me = threading.current_thread()
        items: Sequence[Item] = ()
        messages = size = 0
        while True:
            with self._lock:
                if messages:
                    self._bound.remove(messages, size)
                    self._busy.discard(me)
                if self._batches:
                    items, messages, size = self._batches.popleft()
                    self._busy.add(me)
                else:
                    if self._draining or self._stopping:
                        self._changed.notify_all()
                    if self._stopping:
                        self._threads.discard(me)
                        return
                    # Nothing is held on to in idleness, least of all the last message.
                    items, messages = (), 0
                    rest = self._rest()
            if messages:
                self._run(items)
            else:
                rest()

    def _rest(self) -> Callable[[], object]:
        """What a thread is to do while nothing waits; asked with the lock held."""
        self._idle += 1
        return self._wake.get
