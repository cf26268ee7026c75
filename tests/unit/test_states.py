"""The tables of states: what is in them happens, everything else raises."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from stomplistener import states
from stomplistener.protocol import SubscriptionEntry, SubscriptionState, TransactionEntry, TransactionState
from stomplistener.states import IllegalMove, Moves, State

TABLES: list[Moves[Any]] = [table for table in vars(states).values() if isinstance(table, Moves)]


def kind(table: Moves[Any]) -> type[State]:
    (old, _), *_ = table
    return type(old)


def test_each_table_has_its_states() -> None:
    assert {kind(table) for table in TABLES} == {
        states.ConnectionState,
        states.SubscriptionState,
        states.TransactionState,
        states.WriteState,
        states.WriterState,
    }


@pytest.mark.parametrize("table", TABLES)
def test_each_state_can_be_reached(table: Moves[Any]) -> None:
    first, *others = kind(table)
    reached = {first}
    for _ in others:
        reached |= {new for old, new in table if old in reached}
    assert reached == set(kind(table))


@pytest.mark.parametrize("table", TABLES)
def test_a_move_that_is_not_in_the_table_raises(table: Moves[Any]) -> None:
    for old in kind(table):
        for new in kind(table):
            if (old, new) in table:
                assert table[old, new] is new
            else:
                with pytest.raises(IllegalMove, match=f"{old.name} to {new.name}"):
                    table[old, new]


def test_entries_move_by_their_table() -> None:
    subscription = SubscriptionEntry(id="a", destination="/q", ack="auto")
    with pytest.raises(IllegalMove):
        subscription.move(SubscriptionState.REPLAYING)
    assert subscription.state is SubscriptionState.PENDING
    transaction = TransactionEntry("t", 1)
    with pytest.raises(IllegalMove):
        transaction.move(TransactionState.COMMITTED)
    transaction.move(TransactionState.COMMITTING)
    assert transaction.state is TransactionState.COMMITTING


def test_an_illegal_move_raises_without_assertions_too() -> None:
    program = (
        "from stomplistener.protocol import TransactionEntry, TransactionState, Session\n"
        "entry = TransactionEntry('t', 1)\n"
        "for call in (lambda: entry.move(TransactionState.IN_DOUBT), Session().restored):\n"
        "    try:\n"
        "        call()\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-O", "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == ["IllegalMove", "ProtocolError"]
