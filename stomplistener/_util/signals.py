"""One wait for two events: a signal that asks the process to end, and a call from another thread."""

from __future__ import annotations

import signal
import socket
import threading
from types import FrameType, TracebackType
from typing import Any

from stomplistener._util.deadline import Deadline

ENDING = (signal.SIGTERM, signal.SIGINT)

_WORD = 0


class EndingSignals:
    """Inside the ``with`` block, SIGTERM and SIGINT end ``wait`` instead of the process.

    In any other thread than the main one, signals keep their effect: Python handles them in the main thread only.
    """

    def __enter__(self) -> EndingSignals:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._former: dict[signal.Signals, Any] = {}
        self._former_fd = -1
        if threading.current_thread() is threading.main_thread():
            # Python runs a handler between two instructions. A signal just before a wait for a lock would be handled
            # only after the wait. But the byte that arrives in this socket ends the wait, even if the wait begins
            # later.
            self._former_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
            self._former = {number: signal.signal(number, _note) for number in ENDING}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        if self._former:
            signal.set_wakeup_fd(self._former_fd)
        self._reader.close()
        self._writer.close()

    def tell(self) -> None:
        """End ``wait`` from any thread."""
        self._writer.send(bytes([_WORD]))

    def wait(self, timeout: float | None = None) -> int:
        """Wait, forever or for ``timeout`` seconds. Return the signal's number, or 0 after ``tell`` or the timeout."""
        deadline = Deadline(timeout)
        while True:
            self._reader.settimeout(deadline.remaining())
            try:
                number = self._reader.recv(1)[0]
            except (TimeoutError, BlockingIOError):
                return 0
            if number in (_WORD, *ENDING):
                return number


def _note(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: with a handler, the signal does not end the process."""
