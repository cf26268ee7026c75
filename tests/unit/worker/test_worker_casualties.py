"""Messages in the hands of processes that died: each death counts before the message is handled again."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from worker_process import eventually

from stomplistener.message import Message
from stomplistener.testing import message
from stomplistener.worker.casualties import Casualties, Deaths, TooManyDeaths

POISON = message("poison", headers={"outbox-id": "7"})


DEAD: list[object] = []
"""What is never left; were it collected, it would be."""


def dies_of(killer: Message, directory: Path, slot: int) -> None:
    hands = Casualties(directory, slot).in_hands(killer, 3)
    hands.__enter__()
    DEAD.append(hands)


def test_a_child_knows_of_deaths_after_its_own_start(tmp_path: Path) -> None:
    child = Casualties(tmp_path, 2)
    for _ in range(3):
        dies_of(POISON, tmp_path, 1)
        Deaths(tmp_path).count(1)
    with pytest.raises(TooManyDeaths, match="3 processes died"), child.in_hands(POISON, 3):
        pass
    with child.in_hands(message("another", headers={"outbox-id": "8"}), 3):
        pass


def test_a_message_that_is_delivered_again_before_the_death_is_counted_waits_for_it(tmp_path: Path) -> None:
    dies_of(POISON, tmp_path, 1)
    outcome: list[str] = []

    def handles() -> None:
        try:
            with Casualties(tmp_path, 2).in_hands(POISON, 1):
                outcome.append("handled")
        except TooManyDeaths:
            outcome.append("given up")

    thread = threading.Thread(target=handles)
    thread.start()
    Deaths(tmp_path).count(1)
    eventually(lambda: bool(outcome), "an outcome", 10)
    thread.join()
    assert outcome == ["given up"]


def test_an_equal_message_that_a_living_process_handles_holds_nobody_up_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stomplistener.worker.casualties.COUNTED_SECONDS", 0.05)
    with Casualties(tmp_path, 1).in_hands(POISON, 1), Casualties(tmp_path, 2).in_hands(POISON, 1):
        pass


def test_what_a_child_had_in_its_hands_when_it_was_told_to_end_is_not_to_blame(tmp_path: Path) -> None:
    dies_of(POISON, tmp_path, 1)
    Deaths(tmp_path).forget(1)
    with Casualties(tmp_path, 1).in_hands(POISON, 1):
        pass
