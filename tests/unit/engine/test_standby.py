"""How soon the client moves again to a preferred broker."""

from __future__ import annotations

from engine_support import make_config

from stomplistener._engine.standby import PROVEN_SECONDS, SETTLED_SECONDS, Standby, _Moves


def test_moves_to_a_broker_that_flaps_thin_out() -> None:
    moves = _Moves(2.0, 7.0)
    assert moves.wait(0.0) == 0.0
    now, waits = 100.0, []
    for _ in range(5):
        moves.note(now)
        waits.append(moves.wait(now))
        now += waits[-1]
        assert moves.wait(now) == 0.0
    assert waits == [0.0, 2.0, 4.0, 7.0, 7.0]
    # It stayed for long enough.
    moves.note(now + SETTLED_SECONDS + 7.0)
    assert moves.wait(now + SETTLED_SECONDS + 7.0) == 0.0


def test_no_wait_is_shorter_than_the_proof() -> None:
    moves = _Moves(0.01, 0.02)
    moves.note(0.0)
    moves.note(1.0)
    assert moves.wait(1.0) == PROVEN_SECONDS


def test_only_where_the_uri_asks_for_it() -> None:
    assert not Standby.is_wanted(make_config("failover:(tcp://a:1,tcp://b:1)"))
    assert Standby.is_wanted(make_config("failover:(tcp://a:1,tcp://b:1)?backup=true"))
    assert Standby.is_wanted(make_config("failover:(tcp://a:1,tcp://b:1)?priorityBackup=true"))
