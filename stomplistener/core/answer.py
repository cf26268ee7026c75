"""What the broker answers to one frame, as a future."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

from stomplistener.protocol import Frame

if TYPE_CHECKING:
    from stomplistener.core.saying import Saying

_making = threading.Lock()


class Answer(Future[Frame]):
    """The broker's answer to one frame: its RECEIPT, or an exception.

    Callbacks run in the dispatcher thread, as every other code of the application does. ``cancel()`` works until the
    answer comes: the message is not sent (again); where it was written already, the broker may have taken it.

    There may be a hundred thousand a second, nearly all of them done before anybody waits. So what a Future needs for
    waiting is made by the first one who waits: all of ``Future`` and ``concurrent.futures.wait`` begins with
    ``_condition``.
    """

    def __init__(self, core: Saying) -> None:
        self._state = "RUNNING"
        self._result: Frame | None = None
        self._exception: BaseException | None = None
        self._made: threading.Condition | None = None
        self._core = core

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        if self._made is None:
            with _making:
                if self._made is None:
                    self._waiters: list[Any] = []
                    self._done_callbacks: list[Any] = []
                    self._made = threading.Condition()
        return self._made

    def done(self) -> bool:
        return self._state == "FINISHED"

    def result(self, timeout: float | None = None) -> Frame:
        if self._state == "FINISHED" and self._result is not None:
            return self._result
        with self.awaited():
            return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        with self.awaited():
            return super().exception(timeout)

    def awaited(self) -> AbstractContextManager[None]:
        """While it is entered, the receiver reads on for this answer: for who waits otherwise than by ``result()``."""
        return self._core.waiting_for_receipt()

    def cancel(self) -> bool:
        """Do not wait for the answer any more; whether that came before it."""
        if self._core.forget(self) is not None:
            self.settle(CancelledError())
        return self.cancelled()

    def cancelled(self) -> bool:
        return isinstance(self._exception, CancelledError)

    def settle(self, answer: Frame | BaseException) -> None:
        """Set the result or the exception, unless that was done."""
        with _making:
            if self._state == "FINISHED":
                return
            if isinstance(answer, Frame):
                self._result = answer
            else:
                self._exception = answer
            # Last: who makes the condition from here on finds that there is nothing to wait for.
            self._state = "FINISHED"
        if self._made is not None:
            with self._made:
                for waiter in self._waiters:
                    (waiter.add_result if self._exception is None else waiter.add_exception)(self)
                self._made.notify_all()
            self._invoke_callbacks()  # type: ignore[attr-defined]

    def abandon(self, error: BaseException) -> None:
        """Be over in the child of a fork, where no answer comes: takes no lock and calls nobody."""
        self._exception, self._made, self._state = error, None, "FINISHED"

    def add_done_callback(self, fn: Callable[[Future[Frame]], object]) -> None:
        if self.done():
            super().add_done_callback(fn)
        else:
            super().add_done_callback(lambda future: self._core.call(partial(fn, future)))


def _renew_after_fork() -> None:
    # Another thread of the parent may have held it at the moment of the fork.
    global _making
    _making = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
