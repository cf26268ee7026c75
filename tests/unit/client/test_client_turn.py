"""A turn is a lock, whichever of the two ways it is taken."""

from __future__ import annotations

import sys
import threading

from client_support import eventually, in_thread

from stomplistener.turn import Turn


def test_one_at_a_time_has_it_however_it_is_taken() -> None:
    turn, counts = Turn(), [0, 0]
    interval = sys.getswitchinterval()

    def count() -> None:
        before = counts[0]
        counts[1] += 1
        counts[0] = before + 1

    def wait_for_it() -> None:
        for _ in range(1000):
            with turn:
                count()

    def ask_for_it() -> None:
        done = 0
        while done < 1000:
            if turn.attempt():
                try:
                    count()
                    done += 1
                finally:
                    turn.give_back()

    sys.setswitchinterval(1e-5)
    try:
        for thread in [in_thread(work) for work in (wait_for_it, ask_for_it) * 2]:
            thread.value(30)
    finally:
        sys.setswitchinterval(interval)
    assert counts == [4000, 4000]


def test_who_waits_has_it_when_whoever_tried_is_done() -> None:
    turn, had = Turn(), threading.Event()
    assert turn.attempt()

    def wait_for_it() -> None:
        turn.acquire()
        had.set()

    waiting = in_thread(wait_for_it)
    eventually(turn._lock.locked, "one who waits")
    assert not had.is_set()
    turn.give_back()
    waiting.done()
    assert not turn.attempt()
    turn.release()
    assert turn.attempt()


def test_the_wait_has_an_end() -> None:
    turn = Turn()
    with turn:
        assert not turn.acquire(timeout=0.01)
    assert turn.acquire(timeout=0.01)
