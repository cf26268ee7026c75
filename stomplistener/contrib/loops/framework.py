"""The interface that a framework's event loop must have, and tools built on it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

_numbers = itertools.count(1)


class Turn(Protocol):
    """A lock of the framework. Tasks get the lock in the order of their requests."""

    def acquire(self) -> Awaitable[Any]: ...
    def release(self) -> Any: ...


class Loop(Protocol):
    """The interface of an event loop. Only ``post`` may be called outside the loop's thread."""

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Call the function soon in the loop's thread. Raises RuntimeError if the loop is closed."""

    def waiter(self) -> Awaitable[Any]:
        """Return an awaitable that ends when ``fire`` is called with it."""

    def fire(self, waiter: Any) -> None:
        """End the wait for a waiter, unless it has ended already."""

    def within(self, seconds: float | None, awaitable: Awaitable[T]) -> Awaitable[T]:
        """Await the awaitable. After ``seconds``, cancel it and raise a TimeoutError."""

    def turn(self) -> Turn:
        """Return a new lock."""


def in_thread(function: Callable[[], T]) -> Future[T]:
    """Run a blocking function in a new thread. The threads of a pool could all wait for the result of this call."""
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
    """A gate at which coroutines wait. ``open``, called in the loop's thread, lets all waiting coroutines pass."""

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
