"""The one thread for everything that is to happen at a time."""

from __future__ import annotations

import threading
import time

import pytest
from engine_support import wait_until

from stomplistener._util.timer import Entry, Timer


def test_entries_are_called_in_the_order_of_their_times() -> None:
    timer, called = Timer(), []
    now = time.monotonic()
    for number in (3, 1, 2):
        timer.call_at(now + 0.05 * number, lambda number=number: called.append(number))  # type: ignore[misc]
    wait_until(lambda: len(called) == 3)
    assert called == [1, 2, 3]
    wait_until(lambda: timer._thread is None)


def test_again_until_none() -> None:
    timer, times = Timer(), iter([0.0, 0.0])
    called: list[int] = []

    def look() -> float | None:
        called.append(1)
        return next(times, None)

    timer.call_at(0.0, look)
    wait_until(lambda: timer._thread is None)
    assert len(called) == 3


def test_cancel_ends_the_thread() -> None:
    timer = Timer()
    entry = timer.call_at(time.monotonic() + 100.0, lambda: None)
    assert timer._thread is not None
    timer.cancel(entry)
    timer.cancel(entry)
    assert timer._thread is None


def test_what_raises_does_not_end_the_others(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> float | None:
        raise SystemExit

    timer, called = Timer(), threading.Event()
    timer.call_at(0.0, fail)
    timer.call_at(time.monotonic() + 0.05, lambda: called.set())
    assert called.wait(10.0)
    assert "a timed call failed" in caplog.text
    caplog.clear()


def test_a_poke_has_the_watches_looked_at() -> None:
    timer, looked = Timer(), threading.Semaphore(0)
    timer.watch("key", looked.release)
    # Once when the thread begins, or with the poke; a second poke at the latest.
    for _ in range(3):
        timer.poke()
        timer.poke()
        assert looked.acquire(timeout=10.0)
    timer.unwatch("key")
    timer.unwatch("key")
    assert timer._thread is None


def test_a_thread_that_the_system_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    timer, entry = Timer(), Entry(0.0, lambda: None)
    with pytest.raises(RuntimeError):
        timer.add(entry)
    assert entry.cancelled
    with pytest.raises(RuntimeError):
        timer.watch("key", lambda: None)
    monkeypatch.undo()
    called = threading.Event()
    timer.call_at(0.0, lambda: called.set())
    assert called.wait(10.0)
    wait_until(lambda: timer._thread is None)
