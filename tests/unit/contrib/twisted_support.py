"""Twisted's reactor for tests: one for the process, in a thread, since it cannot be started twice."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from twisted.internet import reactor as _reactor
from twisted.internet import task
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.threads import blockingCallFromThread

T = TypeVar("T")

reactor: Any = _reactor
PATIENCE = 20.0


def start() -> None:
    """Run the reactor, unless it runs."""
    if not reactor.running:
        running = threading.Event()
        reactor.callWhenRunning(running.set)
        threading.Thread(
            target=reactor.run, kwargs={"installSignalHandlers": False}, name="reactor", daemon=True
        ).start()
        assert running.wait(PATIENCE)


def run(main: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine in the reactor thread; what it returns or raises."""
    start()

    async def guarded() -> T:
        return await main()

    def call() -> Deferred[T]:
        return ensureDeferred(guarded()).addTimeout(2 * PATIENCE, reactor)

    # Its annotation asks for a Deferred of what can be anything.
    untyped: Any = blockingCallFromThread
    result: T = untyped(reactor, call)
    return result


def pause(seconds: float) -> Deferred[None]:
    return task.deferLater(reactor, seconds)


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition; the reactor has to run on meanwhile."""
    for _ in range(int(PATIENCE / 0.005)):
        if condition():
            return
        await pause(0.005)
    raise AssertionError(f"not within {PATIENCE} s")


async def hold(deferred: Deferred[T]) -> Deferred[T]:
    """One that has begun to wait."""
    await pause(0.05)
    assert not deferred.called
    return deferred
