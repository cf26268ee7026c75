"""Threads and memory that the system refuses once: the loss of one connection, and the end of none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from typing import Any

import pytest
from application_support import SOON, Keeper, Tampered, connected, still_works
from client_support import QUEUE, eventually, failover, in_thread, reconnected

from stomplistener import Connection, StompError
from stomplistener.testing import Broker

pytestmark = pytest.mark.timeout(60)

BEAT = 0.4
"""Seconds between heartbeats: long enough for a machine with much to do not to miss one."""
THREADS = 8
"""More than the library starts in the scenario below: past the last, nothing is refused."""


class Refusal:
    """Has the system refuse the n-th thread that the library starts, counted from ``arm``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
        self.refused: list[str] = []
        self._remaining = 0
        self._nth = nth
        self._lock = threading.Lock()
        real = threading.Thread.start

        def start(thread: threading.Thread) -> None:
            if self._refuses(thread):
                raise RuntimeError("can't start new thread")
            real(thread)

        monkeypatch.setattr(threading.Thread, "start", start)

    def arm(self) -> None:
        self._remaining = self._nth

    def disarm(self) -> None:
        self._remaining = 0

    def _refuses(self, thread: threading.Thread) -> bool:
        with self._lock:
            if not thread.name.startswith(("victim", "stomplistener-")) or not self._remaining:
                return False
            self._remaining -= 1
            if self._remaining == 0:
                self.refused.append(thread.name)
            return not self._remaining


def live(connection: Connection) -> None:
    """Make the library start every kind of thread that it has."""
    keeper = Keeper()
    connection.connect(timeout=SOON)
    subscription = connection.subscribe(QUEUE, keeper.on_message, workers=2, confirm=True, timeout=SOON)
    futures = [connection.send_async(QUEUE, "x" * 2000) for _ in range(200)]
    for future in futures:
        future.result(SOON)
    with connection.consume("/queue/consumed", ack="auto") as consumer:
        connection.send("/queue/consumed", "x", confirm=True, timeout=SOON)
        assert consumer.receive(SOON) is not None
    subscription.unsubscribe()


@pytest.mark.parametrize("nth", range(1, THREADS + 1))
def test_a_thread_that_is_refused(nth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with Broker(heartbeat=(BEAT, BEAT)) as broker, Broker(heartbeat=(BEAT, BEAT)) as others:
        with connected(others.uri, heartbeat=(BEAT, BEAT), name="stomp-other") as other, ExitStack() as stack:
            refusal = Refusal(monkeypatch, nth)
            refusal.arm()
            victim = stack.enter_context(
                closing(Connection(failover(broker.uri), heartbeat=(BEAT, BEAT), name="victim", timeout=2))
            )
            # What was refused may be said by this call, in a time of its own; that it may not hang is the point.
            outcome = in_thread(lambda: live(victim)).done(4 * SOON)
            refusal.disarm()
            if outcome.error is not None:
                assert isinstance(outcome.error, (StompError, RuntimeError, AssertionError)), repr(outcome.error)
            in_thread(lambda: live(victim)).value(4 * SOON)
            still_works(victim)
            beats = len(others.frames(command="HEARTBEAT"))
            eventually(lambda: len(others.frames(command="HEARTBEAT")) >= beats + 3, "the heartbeats of the other")
            assert other.is_connected
            assert other.statistics().reconnects == 0
            still_works(other)
            in_thread(victim.disconnect).value(SOON)
    eventually(lambda: not [t for t in threading.enumerate() if t.name.startswith("victim")], "its threads ended")


def test_the_scenario_starts_fewer_threads_than_are_refused(monkeypatch: pytest.MonkeyPatch, broker: Broker) -> None:
    refusal = Refusal(monkeypatch, THREADS)
    refusal.arm()
    victim = Connection(failover(broker.uri), name="victim")
    in_thread(lambda: live(victim)).value(2 * SOON)
    in_thread(victim.disconnect).value(SOON)
    assert refusal.refused == []


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_thread_refused_at_a_reconnect(nth: int, monkeypatch: pytest.MonkeyPatch, broker: Broker) -> None:
    refusal = Refusal(monkeypatch, nth)
    with connected(broker.uri, name="victim") as connection:
        keeper = Keeper()
        connection.subscribe(QUEUE, keeper, workers=2, confirm=True)
        refusal.arm()
        broker.drop_connections()
        with suppress(StompError, RuntimeError):
            for number in range(100):
                connection.send("/queue/x", str(number), timeout=SOON)
        reconnected(connection)
        for number in range(3):
            broker.publish(QUEUE, str(number))
        keeper.expect("0", "1", "2")
        still_works(connection)


METHODS = ("receive", "send", "settimeout", "unread", "close")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("make", [MemoryError, lambda: RuntimeError("can't start new thread"), RecursionError])
def test_memory_that_is_refused(method: str, make: Callable[[], Exception], broker: Broker) -> None:
    armed, refused = threading.Event(), threading.Event()

    def replace(real: Any) -> dict[str, Callable[..., Any]]:
        def once(name: str) -> Callable[..., Any]:
            def call(*args: object, **keywords: object) -> object:
                if armed.is_set() and not refused.is_set():
                    refused.set()
                    raise make()
                return getattr(real, name)(*args, **keywords)

            return call

        names = ("send", "send_nowait") if method == "send" else (method,)
        return {name: once(name) for name in names}

    with Broker(heartbeat=(BEAT, BEAT)) as others, connected(others.uri, heartbeat=(BEAT, BEAT)) as other:
        with connected(broker.uri, transport=Tampered(replace).dial) as connection:
            keeper = Keeper()
            connection.subscribe(QUEUE, keeper.on_message, confirm=True)
            armed.set()
            broker.publish(QUEUE, "wakes the receiver")
            with suppress(StompError):
                in_thread(lambda: connection.send("/queue/x", "x", confirm=True, timeout=2)).done()
            if method in ("settimeout", "unread", "close"):
                broker.drop_connections()
            reconnected(connection)
            assert refused.is_set() or method in ("settimeout", "unread")
            broker.publish(QUEUE, "next")
            keeper.expect("next")
            still_works(connection)
        assert other.statistics().reconnects == 0
        still_works(other)
