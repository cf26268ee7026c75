"""Waits and locks that an exception may end at any moment."""

from __future__ import annotations

import threading

import pytest
from engine_support import Running, wait_until

from stomplistener._util.deadline import Deadline
from stomplistener._util.locks import Changes, TryLock, is_owned
from stomplistener.errors import TimedOut


def test_a_wait_ends_with_the_change() -> None:
    lock = threading.RLock()
    changes, done = Changes(lock), threading.Event()
    waiting = [Running(lambda: changes.wait_for(done.is_set, Deadline(10.0))) for _ in range(3)]
    wait_until(lambda: len(changes.gates) == 3)
    with lock:
        changes.notify_all()
    # Nothing has become true: they wait on.
    wait_until(lambda: len(changes.gates) == 3)
    done.set()
    with lock:
        changes.notify_all()
    assert [each.result() for each in waiting] == [True] * 3
    assert not changes.gates


def test_a_wait_that_takes_too_long_leaves_nothing() -> None:
    changes = Changes(threading.RLock())
    assert not changes.wait_for(lambda: False, Deadline(0.01))
    assert not changes.wait_for(lambda: False, Deadline(0.0))
    assert not changes.gates


def test_the_condition_is_looked_at_with_the_lock() -> None:
    lock = threading.RLock()
    assert Changes(lock).wait_for(lambda: is_owned(lock), Deadline(0.0))
    assert not is_owned(lock)


def test_an_exception_in_the_condition_leaves_nothing() -> None:
    lock = threading.RLock()
    changes, calls = Changes(lock), []

    def condition() -> bool:
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        changes.wait_for(condition, Deadline(0.01))
    assert not changes.gates
    assert not is_owned(lock)


def test_no_wait_with_the_lock_held() -> None:
    lock = threading.RLock()
    with lock, pytest.raises(TimedOut, match="signal handler"):
        Changes(lock).wait_for(lambda: True, Deadline(1.0))


def test_a_child_of_a_fork_disowns() -> None:
    lock, other = threading.RLock(), threading.RLock()
    changes = Changes(lock)
    changes.disown(other)
    Running(lock.acquire).result()
    assert changes.wait_for(lambda: is_owned(other), Deadline(1.0))


def test_attempt() -> None:
    lock = TryLock()
    assert lock.attempt(lambda value: value and lock.held, True)
    assert not lock.attempt(lambda value: value, False)
    assert not lock.held
    with lock:
        # Not in the thread that has it, which a signal handler interrupted, and in no other.
        assert not lock.attempt(lambda: True)
        assert Running(lambda: lock.attempt(lambda: True)).result() is False
    assert lock.attempt(lambda: True)


def test_an_exception_in_an_attempt_gives_the_lock_back() -> None:
    lock = TryLock()

    def fail() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lock.attempt(fail)
    assert Running(lambda: lock.attempt(lambda: True)).result() is True
