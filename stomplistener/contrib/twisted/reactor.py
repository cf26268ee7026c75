"""Twisted's reactor, as an implementation of ``stomplistener.contrib.loops.Loop``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.python.failure import Failure

from stomplistener.contrib.loops import Turn

T = TypeVar("T")


class Reactor:
    """See :class:`stomplistener.contrib.loops.Loop`."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def post(self, function: Callable[..., object], *args: object) -> None:
        self._reactor.callFromThread(function, *args)

    def waiter(self) -> Deferred[None]:
        return Deferred()

    def fire(self, waiter: Deferred[None]) -> None:
        if not waiter.called:
            waiter.callback(None)

    def within(self, seconds: float | None, awaitable: Awaitable[T]) -> Deferred[T]:
        deferred: Deferred[T] = Deferred.fromCoroutine(_awaited(awaitable))
        return deferred if seconds is None else deferred.addTimeout(seconds, self._reactor, _late)

    def turn(self) -> Turn:
        return DeferredLock()


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


def _late(result: Any, seconds: float) -> Any:
    if isinstance(result, Failure) and isinstance(result.value, CancelledError):
        raise TimeoutError(f"{seconds} s are over")
    return result
