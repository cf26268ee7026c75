"""Reading lent to the dispatcher: while its listeners are quick, it reads by itself what it delivers.

Each message that the receiver hands over costs a change of threads, which is several times what the message itself
costs. So where message follows message and no listener takes long, the receiver lets the dispatcher read; listeners
stay in their one thread, and the receiver still runs no code of the application.

The receiver watches meanwhile. It reads again when a listener keeps the dispatcher away for longer than ``PATIENCE``,
at once when somebody waits for a receipt or for the end while a listener runs, and when the dispatcher gives the
reading back: because nothing comes any more, or because the connection has ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from stomplistener.threads.dispatcher import Bound, Item, Lane

PATIENCE = 0.005
"""Seconds that bytes may stay unread because of a listener, and that the dispatcher waits for bytes before it gives the
reading back: what others put in its line waits as long."""

TRUST = 16
"""How many batches in a row have to be worked off within ``PATIENCE`` of each other before the reading is lent."""


class LendingLane(Lane[Item]):
    """A lane of one thread to which the receiver may lend the reading.

    The lane's lock guards ``_read``, and so whose the reading is: whoever sets it to None has it from then on.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], None],
        weigh: Callable[[Sequence[Item]], tuple[int, int]],
        bound: Bound,
        name: str,
    ) -> None:
        super().__init__(self._deliver, weigh, bound, name)
        self._run_listeners = run
        self._read: Callable[[], object] | None = None
        # When the batch that runs was begun, None between two; and when the last one had ended.
        self._began: float | None = None
        self._ended = 0.0
        self._quick = 0

    @property
    def is_quick(self) -> bool:
        """Whether what came of late came close together, and was worked off at once."""
        return self._quick >= TRUST

    def lend(self, read: Callable[[], object]) -> None:
        """Let this lane's thread call ``read`` whenever it has nothing else to do; return when the loan is over."""
        with self._lock:
            self._read = read
            wake, self._idle = self._idle, 0
            if not self._threads:
                self._start()
        if wake:
            self._wake.put(None)
        with self._lock:
            while self._read is not None:
                began = self._began
                if began is not None and (self._bound.is_urgent or time.monotonic() - began >= PATIENCE):
                    self._end_loan()
                    return
                self._bound.changed.wait(PATIENCE)

    def give_back(self) -> None:
        """End the loan, from within ``read``."""
        with self._lock:
            self._end_loan()
            self._bound.changed.notify()

    def _end_loan(self) -> None:
        self._read = None
        self._quick = 0

    def _rest(self) -> Callable[[], object]:
        return self._read or super()._rest()

    def _deliver(self, items: Sequence[Item]) -> None:
        self._began = began = time.monotonic()
        self._run_listeners(items)
        self._began = None
        before, self._ended = self._ended, time.monotonic()
        follows, ends = began - before < PATIENCE, self._ended - began < PATIENCE
        self._quick = self._quick + 1 if follows and ends else 0
