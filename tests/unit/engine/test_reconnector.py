"""What repeats from one connection to the next, and how failures are told."""

from __future__ import annotations

import logging
import time

import pytest
from engine_support import make_context

from stomplistener import BrokerError, ConnectFailed, Frame, ProtocolError
from stomplistener._engine.reconnector import OFFENCES_IN_A_ROW, REPORT_SECONDS, Offences, describe, refused_by_all


def test_the_same_offence_in_a_row_is_reported_at_a_bounded_rate(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    offences = Offences(make_context())
    with caplog.at_level(logging.ERROR, "stomplistener"):
        # What the frame says differs, such as how often the broker has delivered it.
        noted = [offences.note(ProtocolError("bad frame", data=b"%d" % n)) for n in range(OFFENCES_IN_A_ROW + 2)]
        assert noted == [False] * (OFFENCES_IN_A_ROW - 1) + [True] * 3
        assert len(caplog.records) == 1
        assert "3 connections in a row ended by the same offence: bad frame: b'2'" in caplog.text
        now += REPORT_SECONDS
        assert offences.note(ProtocolError("bad frame"))
        assert len(caplog.records) == 2
        assert "6 connections in a row ended by the same offence: bad frame" in caplog.text


def test_another_end_starts_anew() -> None:
    offences = Offences(make_context())
    for between in (None, OSError("gone"), ProtocolError("another")):
        for _ in range(OFFENCES_IN_A_ROW - 1):
            assert not offences.note(ProtocolError("bad frame"))
        assert not offences.note(between)


def test_failures_on_one_line() -> None:
    assert describe([("tcp://a:1", OSError("x")), ("tcp://b:1", OSError("y"))]) == "tcp://a:1: x; tcp://b:1: y"
    assert describe([]) == "there is no broker to try"


def test_refused_by_all() -> None:
    refused = ("a", BrokerError("no", frame=Frame("ERROR", {}, b"")))
    unreachable = ("b", ConnectFailed("no"))
    assert refused_by_all([refused, unreachable])
    assert not refused_by_all([unreachable])
    assert not refused_by_all([refused, ("c", ValueError("odd"))])
    assert not refused_by_all([])
