"""Records: what a dataclass of theirs would do."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import stomplistener
from stomplistener._util.record import Record


class Place(Record):
    host: str
    port: int = 61613
    passcode: str = ""

    _secret = frozenset({"passcode"})

    def __post_init__(self) -> None:
        if self.port < 0:
            raise ValueError("port")


class Room(Place):
    number: int


PLACE = Place(host="a", passcode="hush")


def test_a_field_that_is_not_given_has_its_default() -> None:
    assert (PLACE.host, PLACE.port, PLACE.passcode) == ("a", 61613, "hush")


def test_what_is_missing_or_unknown_is_named_without_the_values() -> None:
    with pytest.raises(TypeError, match=r"^Place needs host$"):
        Place()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^Place has no field hots, prot$"):
        Place(hots="a", prot="hush")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Place("a")  # type: ignore[call-arg]


def test_values_are_checked_of_copies_too() -> None:
    with pytest.raises(ValueError, match="port"):
        PLACE.replace(port=-1)


def test_nothing_changes() -> None:
    with pytest.raises(AttributeError, match=r"Place\.port never changes"):
        PLACE.port = 1  # type: ignore[misc]
    with pytest.raises(AttributeError, match=r"Place\.port never changes"):
        del PLACE.port
    assert PLACE.replace(port=1).port == 1
    assert PLACE.port == 61613


def test_records_compare_by_class_and_values() -> None:
    same = Place(host="a", port=61613, passcode="hush")
    assert same == PLACE
    assert hash(same) == hash(PLACE)
    assert PLACE.replace(port=1) != PLACE
    assert Room(host="a", passcode="hush", number=1) != PLACE
    assert PLACE != ("a", 61613, "hush")


def test_secrets_are_not_shown() -> None:
    assert repr(PLACE) == "Place(host='a', port=61613)"


def test_a_subclass_has_the_fields_of_its_base() -> None:
    assert repr(Room(host="a", number=7)) == "Room(host='a', port=61613, number=7)"


def test_a_record_can_be_copied_and_pickled() -> None:
    assert copy.deepcopy(PLACE) == PLACE
    assert pickle.loads(pickle.dumps(PLACE)) == PLACE


def test_help_and_the_manual_see_the_fields() -> None:
    assert str(inspect.signature(Place)) == "(*, host: 'str', port: 'int' = 61613, passcode: 'str' = '')"


def test_the_package_is_imported_without_what_records_are_there_to_spare() -> None:
    program = "import sys, stomplistener; print(sorted({'dataclasses', 'inspect', 'ssl', 'uuid'} & set(sys.modules)))"
    command = [sys.executable, "-S", "-c", program]
    root = Path(stomplistener.__file__).parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "[]\n"
