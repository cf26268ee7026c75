"""What the broker answers to one frame, as a future.

One rule for callbacks: those of every future run in the dispatcher thread, also if the answer is there already.
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
"""How long the completion of a future waits for the condition that ``concurrent.futures.wait`` takes.

An application that holds it for longer, or left it taken when a signal handler raised, must not stop the client.
"""


class Desk(Protocol):
    """What futures need of the engine that made them."""

    context: Context
    flow: FlowControl

    def call(self, event: Callable[[], object]) -> None:
        """Let the dispatcher call something."""

    def withdraw(self, future: object) -> bool:
        """Wait for no answer any more, and do not send again what it is to; False if it was answered."""


class Answer(Future[T]):
    """What becomes the broker's answer, or an exception. Thread-safe.

    A ``Future`` waits on a ``threading.Condition``, which an exception of a signal handler can leave taken forever
    (see ``_util.locks``). So this one waits by itself. It makes a condition when ``concurrent.futures.wait`` or
    ``as_completed`` first asks for one. While a thread waits here the receiver reads on, since the answer may lie
    behind messages that are still unread.
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

    # What Future's users call

    def done(self) -> bool:
        return self._state == _FINISHED

    def running(self) -> bool:
        return self._state == _PENDING

    def cancelled(self) -> bool:
        return isinstance(self._exception, CancelledError)

    def cancel(self) -> bool:
        """Do not wait for the answer any more; whether that came before it. What was written may still arrive."""
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
                # An exception that is kept here and has this frame in its traceback keeps itself.
                self = None  # type: ignore[assignment]
        return self._result  # type: ignore[return-value]

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._wait(timeout)
        return self._exception

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """Let the dispatcher thread call ``fn`` with this future when it is done, or soon if it is."""
        with self._lock:
            if self._state == _PENDING:
                self._calls.append(fn)
                return
        self._desk.call(partial(fn, self))

    @property
    def _condition(self) -> Any:  # type: ignore[override]
        with self._lock:
            if self._shared_condition is None:
                self._waiters: list[Any] = []
                self._shared_condition = threading.Condition()
            if self._state == _PENDING:
                # A thread may wait for it from now on, and does not say when it gives up.
                self._desk.flow.expect(self)
        return self._shared_condition

    def awaited(self) -> Awaited:
        """While it is entered the receiver reads on for this answer: for a wait otherwise than by ``result``."""
        return Awaited(self._desk.flow)

    # What the engine calls

    def wait(self, deadline: Deadline) -> bool:
        """Wait for the answer; whether it is there."""
        if self._state == _FINISHED:
            return True
        return self._desk.flow.wait_reading(self._changes, self.done, deadline)

    def finish(self, answer: T | BaseException) -> bool:
        """Set the answer, with the lock held; whether ``publish`` has to be called when it is released."""
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
        """Tell callbacks and ``concurrent.futures.wait``; without the lock."""
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
        """Set the answer, unless that was done; without the lock."""
        with self._lock:
            to_publish = self.finish(answer)
        if to_publish:
            self.publish()

    def abandon(self, error: BaseException) -> None:
        """Be over in the child of a fork, where no answer comes: takes no lock and runs no callback."""
        self._exception, self._state, self._shared_condition = error, _FINISHED, None
        self._lock = ReentrantLock()

    def _wait(self, timeout: float | None) -> None:
        if not self.wait(Deadline(timeout)):
            raise TimeoutError


class Awaited:
    """What ``Answer.awaited`` returns."""

    __slots__ = ("_flow",)

    def __init__(self, flow: FlowControl) -> None:
        self._flow = flow

    def __enter__(self) -> None:
        self._flow.expect(self)

    def __exit__(self, *_error: object) -> None:
        self._flow.unexpect(self)


class Receipt(Answer[Frame]):
    """The RECEIPT for one frame."""
