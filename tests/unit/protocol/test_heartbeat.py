"""Heart-beat arithmetic, with numbers and no clock."""

from __future__ import annotations

import math

import pytest

from stomplistener.errors import ProtocolError
from stomplistener.protocol import HeartBeat, commands, heartbeat


@pytest.mark.parametrize(
    ("wanted", "answered", "expected"),
    [
        # STOMP 1.2, Heart-beating: MAX of what one can do and the other wants, nothing where either says 0.
        ((0, 0), (0, 0), (0, 0)),
        ((10, 10), (0, 0), (0, 0)),
        ((0, 0), (10, 10), (0, 0)),
        ((10, 0), (0, 5), (10, 0)),
        ((5, 0), (0, 10), (10, 0)),
        ((0, 5), (10, 0), (0, 10)),
        ((0, 10), (5, 0), (0, 10)),
        ((10, 20), (30, 40), (40, 30)),
        ((40, 30), (20, 10), (40, 30)),
        ((10, 0), (10, 0), (0, 0)),
        ((0, 10), (0, 10), (0, 0)),
        ((1, 2), (0, 3), (3, 0)),
        ((1, 2), (3, 0), (0, 3)),
    ],
)
def test_negotiation(wanted: tuple[float, float], answered: tuple[float, float], expected: tuple[float, float]) -> None:
    assert heartbeat.negotiate(HeartBeat(*wanted), HeartBeat(*answered)) == expected


def test_both_sides_come_to_the_same_intervals() -> None:
    for wanted in ((0, 0), (1, 2), (0, 7), (7, 0), (9, 3)):
        for answered in ((0, 0), (2, 1), (0, 4), (4, 0), (3, 9)):
            ours = heartbeat.negotiate(HeartBeat(*wanted), HeartBeat(*answered))
            theirs = heartbeat.negotiate(HeartBeat(*answered), HeartBeat(*wanted))
            assert ours == (theirs.receive, theirs.send)


@pytest.mark.parametrize(
    ("seconds", "header"),
    [
        ((0.0, 0.0), "0,0"),
        ((10.0, 10.0), "10000,10000"),
        ((0.25, 1.5), "250,1500"),
        ((0.0004, 0.0006), "1,1"),
        ((1.0006, 0), "1001,0"),
        ((86400, 1e-9), "86400000,1"),
    ],
)
def test_the_wire_speaks_milliseconds_and_never_rounds_to_none(seconds: tuple[float, float], header: str) -> None:
    assert HeartBeat(*seconds).header == header
    assert commands.connect(host="h", heartbeat=seconds).headers.get("heart-beat", "0,0") == header


@pytest.mark.parametrize("bad", [-1.0, -0.001, math.inf, -math.inf, math.nan])
def test_an_interval_that_is_none_is_refused(bad: float) -> None:
    for pair in ((bad, 0.0), (0.0, bad), (10.0, bad)):
        with pytest.raises(ValueError, match="heartbeat"):
            _ = HeartBeat(*pair).header


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0,0", (0, 0)), ("1000,2500", (1, 2.5)), (" 5,0 ", (0.005, 0)), ("00100,1", (0.1, 0.001))],
)
def test_parse(text: str, expected: tuple[float, float]) -> None:
    assert heartbeat.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "1",
        "1,",
        ",1",
        "1,2,3",
        "-1,0",
        "+1,0",
        "1.5,0",
        "1e3,0",
        "0x1,0",
        "a,b",
        "1_0,0",
        "\u0663,0",
        "\u00b2,0",
        "9" * 400 + ",0",
        "0," + "9" * 5000,
    ],
)
def test_what_is_not_two_numbers_is_a_protocol_error(text: str) -> None:
    with pytest.raises(ProtocolError, match="heart-beat"):
        heartbeat.parse(text)


def test_a_beat_is_due_before_the_promise_is_broken() -> None:
    beat = HeartBeat(send=10.0, receive=0.0)
    assert beat.send_due(100.0) == pytest.approx(107.5)
    assert 100.0 < beat.send_due(100.0) < 110.0
    assert beat.dead_at(100.0) == math.inf


def test_silence_is_death_after_a_margin() -> None:
    beat = HeartBeat(send=0.0, receive=10.0)
    assert beat.dead_at(100.0) == 125.0
    assert beat.dead_at(100.0, tolerance=1.5) == 115.0
    assert beat.send_due(100.0) == math.inf
