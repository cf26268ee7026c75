"""The broker's answer to one frame, as a future.

All callbacks of futures run in the dispatcher thread, even if the answer is already there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any, Protocol, TypeVar

from stomplistener._engine.context import Context
from stomplistener._engine.flow_control import FlowControl
from stomplistener._util.deadline import Deadline
from stomplistener._util.locks import Changes, ReentrantLock
from stomplistener.protocol import Frame

T = TypeVar("T")

_PENDING = "RUNNING"
_FINISHED = "FINISHED"

STDLIB_PATIENCE_SECONDS = 1.0
"""How long completing a future waits for the lock of the condition that ``concurrent.futures.wait`` uses.

An application may hold the lock of this condition for longer, or leave it locked when a signal handler raises. The
client must go on nevertheless.
"""


class Hurried(Protocol):
    """The part of the writer that futures need."""

    def hurry(self) -> None:
        """Have the frames of this thread's batch written."""


class Desk(Protocol):
    """The methods of the engine that futures need."""

    context: Context
    flow: FlowControl

    @property
    def writer(self) -> Hurried: ...
    def call(self, event: Callable[[], object]) -> None:
        """Let the dispatcher call ``event``."""

    def withdraw(self, future: object) -> bool:
        """Stop waiting for an answer and never resend its frame; False if the broker has answered."""


class Answer(Future[T]):
    """A future for the broker's answer, or an exception. Thread-safe.

    A ``Future`` waits on a ``threading.Condition``, which an exception of a signal handler can leave locked forever
    (see ``_util.locks``). So this class waits without a condition. The future makes a condition only when
    ``concurrent.futures.wait`` or ``as_completed`` needs one. While a thread waits here, the receiver reads on, since
    the answer may lie behind unread messages.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lock = desk.context.lock
        self._changes = Changes(self._lock)
        self._state = _PENDING
        self._result: T | None = None
        self._exception: BaseException | None = None
        self._calls: list[Callable[[Future[T]], object]] = []
        self._shared_condition: threading.Condition | None = None

    # Methods for users of Future

    def done(self) -> bool:
        return self._state == _FINISHED

    def running(self) -> bool:
        return self._state == _PENDING

    def cancelled(self) -> bool:
        return isinstance(self._exception, CancelledError)

    def cancel(self) -> bool:
        """Stop waiting for the answer; False if the answer came first. A frame that was written may still arrive."""
        if not self.done() and self._desk.withdraw(self):
            self.complete(CancelledError())
        return self.cancelled()

    def result(self, timeout: float | None = None) -> T:
        if self._state == _PENDING:
            self._wait(timeout)
        if self._exception is not None:
            try:
                raise self._exception
            finally:
                # The traceback of the exception refers to this frame, which refers to this future, which refers to the
                # exception. Deleting ``self`` breaks this cycle of references.
                self = None  # type: ignore[assignment]
        return self._result  # type: ignore[return-value]

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._wait(timeout)
        return self._exception

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """Let the dispatcher thread call ``fn`` with this future when it is done, or soon if it is done already."""
        with self._lock:
            if self._state == _PENDING:
                self._calls.append(fn)
                return
        self._desk.call(partial(fn, self))

    @property
    def _condition(self) -> Any:  # type: ignore[override]
        self._desk.writer.hurry()
        with self._lock:
            if self._shared_condition is None:
                self._waiters: list[Any] = []
                self._shared_condition = threading.Condition()
            if self._state == _PENDING:
                # A thread may wait on the condition from now on, and nothing reports the end of that wait.
                self._desk.flow.expect(self)
        return self._shared_condition

    def awaited(self) -> Awaited:
        """Let the receiver read on for this answer inside a ``with`` block, for other waits than ``result``."""
        return Awaited(self._desk.flow)

    # Methods for the engine

    def wait(self, deadline: Deadline) -> bool:
        """Wait for the answer. Return whether the answer has arrived."""
        if self._state == _FINISHED:
            return True
        return self._desk.flow.wait_reading(self._changes, self.done, deadline)

    def finish(self, answer: T | BaseException) -> bool:
        """Set the answer, with the lock held. Return whether to call ``publish`` after the lock is released."""
        if self._state == _FINISHED:
            return False
        if isinstance(answer, BaseException):
            self._exception = answer
        else:
            self._result = answer
        self._state = _FINISHED
        if self._changes.gates:
            self._changes.notify_all()
        return bool(self._calls) or self._shared_condition is not None

    def publish(self) -> None:
        """Run callbacks and wake ``concurrent.futures.wait``. Call without the lock."""
        with self._lock:
            calls, self._calls = self._calls, []
        condition = self._shared_condition
        if condition is not None:
            self._desk.flow.unexpect(self)
            taken = condition.acquire(timeout=STDLIB_PATIENCE_SECONDS)
            try:
                for waiter in self._waiters:
                    (waiter.add_result if self._exception is None else waiter.add_exception)(self)
            finally:
                if taken:
                    condition.release()
        for call in calls:
            self._desk.call(partial(call, self))

    def complete(self, answer: T | BaseException) -> None:
        """Set the answer, unless the future has one. Call without the lock."""
        with self._lock:
            to_publish = self.finish(answer)
        if to_publish:
            self.publish()

    def abandon(self, error: BaseException) -> None:
        """Finish in the child of a fork, where no answer arrives. Takes no lock and runs no callback."""
        self._exception, self._state, self._shared_condition = error, _FINISHED, None
        self._lock = ReentrantLock()

    def _wait(self, timeout: float | None) -> None:
        self._desk.writer.hurry()
        if not self.wait(Deadline(timeout)):
            raise TimeoutError


class Awaited:
    """The context manager of ``Answer.awaited``."""

    __slots__ = ("_flow",)

    def __init__(self, flow: FlowControl) -> None:
        self._flow = flow

    def __enter__(self) -> None:
        self._flow.expect(self)

    def __exit__(self, *_error: object) -> None:
        self._flow.unexpect(self)


class Receipt(Answer[Frame]):
    """The RECEIPT for one frame."""
