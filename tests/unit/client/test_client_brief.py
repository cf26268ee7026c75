"""A lock that is taken without sleeping for it is one all the same."""

from __future__ import annotations

import sys
import threading

from client_support import eventually, in_thread

from stomplistener.threads.brief import take


def test_one_at_a_time_has_it() -> None:
    lock, counts = threading.Lock(), [0]
    interval = sys.getswitchinterval()

    def count() -> None:
        for _ in range(2000):
            take(lock)
            try:
                before = counts[0]
                counts[0] = before + 1
            finally:
                lock.release()

    sys.setswitchinterval(1e-5)
    try:
        for thread in [in_thread(count) for _ in range(4)]:
            thread.value(30)
    finally:
        sys.setswitchinterval(interval)
    assert counts == [8000]


def test_who_finds_it_taken_has_it_when_it_is_free() -> None:
    lock = threading.Lock()
    lock.acquire()
    taker = in_thread(lambda: take(lock))
    assert taker.is_alive()
    lock.release()
    taker.done()
    eventually(lock.locked, "the lock in the hands of the taker")
