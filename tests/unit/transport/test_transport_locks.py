"""The lock that can be tried: who gets it, and that no signal leaves it taken."""

from __future__ import annotations

import random
import signal
import threading
import time
from types import FrameType

import pytest
from transport_servers import Background
from transport_signals import Interrupted, handling_everywhere, raising_everywhere

import stomplistener
from stomplistener._util.locks import TryLock


def is_free(lock: TryLock) -> bool:
    """Whether another thread can have it."""
    taken: bool = Background(lock.attempt, lambda: True).result()
    return taken


def test_a_free_lock_is_held_during_the_action_alone() -> None:
    lock = TryLock()
    for answer in True, False:
        held: list[bool] = []

        def act(answer: bool = answer, held: list[bool] = held) -> bool:
            held.append(lock.held)
            return answer

        assert lock.attempt(act) is answer
        assert held == [True]
        assert not lock.held
        assert is_free(lock)


def test_the_arguments_are_passed_on() -> None:
    assert TryLock().attempt(lambda one, other: one == other == 1, 1, 1)


def test_a_lock_that_another_thread_has_is_not_waited_for() -> None:
    lock, taken, release = TryLock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            release.wait(5)

    holder = Background(hold)
    assert taken.wait(5)
    assert not lock.attempt(pytest.fail)
    assert not lock.held
    release.set()
    holder.result()
    assert lock.attempt(lambda: True)


def test_a_lock_that_this_thread_has_is_taken_too() -> None:
    lock = TryLock()
    with lock:
        assert lock.held
        assert not lock.attempt(pytest.fail)
        assert lock.held
    assert not lock.attempt(lambda: lock.attempt(pytest.fail))
    assert is_free(lock)


def test_an_exception_of_the_action_frees_it() -> None:
    lock = TryLock()
    with pytest.raises(ZeroDivisionError):
        lock.attempt(lambda: bool(1 // 0))
    assert is_free(lock)


def test_a_signal_handler_that_raises_at_any_instant_leaves_it_free() -> None:
    lock = TryLock()
    calls = 0
    for calls in raising_everywhere(lambda: lock.attempt(lambda: True)):  # noqa: B007
        assert not lock.held
        assert is_free(lock)
    assert calls >= 3  # it began, it took the lock, it gave it back


@pytest.mark.parametrize(
    "unsafe",
    [
        "if lock.acquire(False):\n  try: pass\n  finally: lock.release()",
        "taken = False\ntry: taken = lock.acquire(False)\nfinally:\n  if taken: lock.release()",
        "try: lock.acquire(False)\nfinally:\n  if lock._is_owned(): lock.release()",
    ],
)
def test_the_simulation_finds_what_is_not_safe(unsafe: str) -> None:
    locks: list[TryLock] = []
    code = compile(unsafe, stomplistener.__path__[0] + "/unsafe.py", "exec")

    def act() -> None:
        locks.append(TryLock())
        exec(code, {"lock": locks[-1]})

    assert any(locks[-1].held for _ in raising_everywhere(act))


def test_a_signal_handler_that_tries_at_any_instant_gets_it_only_if_it_is_free() -> None:
    lock = TryLock()
    active: list[int] = []
    got: list[bool] = []

    def act(who: int) -> bool:
        assert not active
        active.append(who)
        active.pop()
        return True

    for _ in handling_everywhere(lambda: lock.attempt(act, 1), lambda: got.append(lock.attempt(act, 2))):
        assert is_free(lock)
    assert {*got} == {True, False}


def _take_for_long(lock: TryLock) -> None:
    # A function of its own: CPython 3.12 and later may jump back outside of the `try` around a loop.
    end = time.monotonic() + 5
    while time.monotonic() < end:
        lock.attempt(lambda: True)
        with lock:
            pass


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer that sends signals on this platform")
def test_real_signals() -> None:
    lock, dice, left = TryLock(), random.Random(1), 500

    def handler(_number: int, _frame: FrameType | None) -> None:
        raise Interrupted

    former = signal.signal(signal.SIGALRM, handler)
    try:
        while left:
            try:
                signal.setitimer(signal.ITIMER_REAL, dice.uniform(1e-5, 3e-4))
                _take_for_long(lock)
                pytest.fail("no signal came")
            except Interrupted:
                left -= 1
                assert lock.attempt(lambda: True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
    assert is_free(lock)
