"""What an event loop has to give, and what is made of it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

_numbers = itertools.count(1)


class Turn(Protocol):
    """A lock of the framework, which tasks get in the order of their requests."""

    def acquire(self) -> Awaitable[Any]: ...
    def release(self) -> Any: ...


class Loop(Protocol):
    """What a framework has to give. Only ``post`` is called in other threads than the loop's own."""

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Call it soon in the loop's thread; RuntimeError if the loop is closed."""

    def waiter(self) -> Awaitable[Any]:
        """Something to await until ``fire``."""

    def fire(self, waiter: Any) -> None:
        """End the wait, unless it has ended."""

    def within(self, seconds: float | None, awaitable: Awaitable[T]) -> Awaitable[T]:
        """Await it, and cancel it with a TimeoutError when the time is over."""

    def turn(self) -> Turn:
        """A lock."""


def in_thread(function: Callable[[], T]) -> Future[T]:
    """Run a blocking function in its own thread: all threads of a pool could be blocked by tasks that wait for us."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result = function()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, name=f"stomp-call-{next(_numbers)}", daemon=True).start()
    return future


class Gate:
    """Where coroutines wait until it is opened for a moment; all in the loop's thread."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._waiters: set[Any] = set()

    async def wait(self) -> None:
        waiter = self._loop.waiter()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def open(self) -> None:
        for waiter in tuple(self._waiters):
            self._loop.fire(waiter)
