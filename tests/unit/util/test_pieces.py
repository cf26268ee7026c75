"""Waits in pieces, in the main thread of a platform where a signal ends no wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from stomplistener._util import pieces
from stomplistener._util.deadline import Deadline
from stomplistener._util.locks import Changes
from stomplistener._util.pieces import in_pieces
from stomplistener.transport.interrupt import Interrupt

PIECE = 0.02


@pytest.fixture(autouse=True)
def _pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_SECONDS", PIECE)


def recorder(*answers: bool) -> tuple[list[float | None], Callable[[float | None], bool]]:
    """A wait that notes for how long it was asked, and takes that long."""
    asked: list[float | None] = []

    def wait(seconds: float | None) -> bool:
        asked.append(seconds)
        time.sleep(seconds or 0)
        return len(asked) <= len(answers) and answers[len(asked) - 1]

    return asked, wait


def test_no_piece_is_longer_than_ctrl_c_may_take() -> None:
    asked, wait = recorder()
    began = time.monotonic()
    assert not in_pieces(wait, 5 * PIECE)
    assert time.monotonic() - began >= 5 * PIECE
    assert len(asked) > 1
    assert all(each is not None and each <= PIECE for each in asked)


@pytest.mark.parametrize("seconds", [None, 60.0])
def test_the_wait_ends_when_what_it_waits_for_came(seconds: float | None) -> None:
    asked, wait = recorder(False, False, True)
    assert in_pieces(wait, seconds)
    assert asked == [PIECE] * 3


def test_no_time_at_all_is_one_look() -> None:
    asked, wait = recorder(True)
    assert in_pieces(wait, 0.0)
    assert asked == [0.0]


def test_other_threads_wait_in_one_piece() -> None:
    asked, wait = recorder(True)
    thread = threading.Thread(target=in_pieces, args=(wait, None))
    thread.start()
    thread.join()
    assert asked == [None]


def test_changes_and_interrupt_wait_so(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float | None] = []

    def counted(wait: Callable[[float | None], bool], seconds: float | None) -> bool:
        waits.append(seconds)
        return in_pieces(wait, seconds)

    monkeypatch.setattr("stomplistener._util.locks.in_pieces", counted)
    monkeypatch.setattr("stomplistener.transport.interrupt.in_pieces", counted)
    began = time.monotonic()
    assert not Changes(threading.RLock()).wait_for(lambda: False, Deadline(3 * PIECE))
    assert not Interrupt().wait(3 * PIECE)
    assert time.monotonic() - began >= 6 * PIECE
    assert len(waits) == 2
