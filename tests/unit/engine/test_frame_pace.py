"""How long a frame may take to come."""

from __future__ import annotations

import math

import pytest

from stomplistener import ProtocolError
from stomplistener._engine.frame_pace import FramePace


def test_a_frame_that_takes_too_long() -> None:
    pace = FramePace(5.0)
    assert pace.overdue_at() == math.inf
    pace.note(10.0, complete=False, partial=True)
    assert pace.overdue_at() == 15.0
    pace.note(15.0, complete=False, partial=True)
    with pytest.raises(ProtocolError, match=r"5\.0 s after its first byte"):
        pace.note(15.1, complete=False, partial=True)


def test_a_frame_that_ends_is_followed_by_a_new_one() -> None:
    pace = FramePace(5.0)
    pace.note(10.0, complete=False, partial=True)
    pace.note(14.0, complete=True, partial=True)
    assert pace.overdue_at() == 19.0
    pace.note(18.0, complete=True, partial=False)
    assert pace.overdue_at() == math.inf


def test_our_own_delay_does_not_count() -> None:
    pace = FramePace(5.0)
    pace.restart(1.0)
    assert pace.overdue_at() == math.inf
    pace.note(10.0, complete=False, partial=True)
    pace.restart(100.0)
    assert pace.overdue_at() == 105.0
