"""The tables of states: what is in them happens, everything else raises."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from stomplistener import states
from stomplistener.protocol import SubscriptionEntry, SubscriptionState, TransactionEntry, TransactionState
from stomplistener.states import IllegalMove, State, moved

TABLES: list[Mapping[Any, frozenset[Any]]] = [
    table for name, table in vars(states).items() if name.endswith("_MOVES") and isinstance(next(iter(table)), State)
]


@pytest.mark.parametrize("table", TABLES)
def test_each_table_has_every_state_and_each_can_be_reached(table: Mapping[State, frozenset[State]]) -> None:
    kind = type(next(iter(table)))
    assert list(table) == list(kind)
    reached = {next(iter(table))}
    for _ in table:
        reached |= {target for state in reached for target in table[state]}
    assert reached == set(kind)


@pytest.mark.parametrize("table", TABLES)
def test_a_move_that_is_not_in_the_table_raises(table: Mapping[State, frozenset[State]]) -> None:
    for old in table:
        for new in table:
            if new in table[old]:
                moved(table, old, new)
            else:
                with pytest.raises(IllegalMove, match=f"{old.name} to {new.name}"):
                    moved(table, old, new)


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
