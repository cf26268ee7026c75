"""The names of the package: each is there, and nothing is loaded before one is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import stomplistener


@pytest.mark.parametrize("name", stomplistener.__all__)
def test_each_name_is_there(name: str) -> None:
    assert getattr(stomplistener, name) is not None
    assert name in dir(stomplistener)


def test_a_name_that_is_not() -> None:
    with pytest.raises(AttributeError, match="module 'stomplistener' has no attribute 'Conn'"):
        _ = stomplistener.Conn  # type: ignore[attr-defined]


def test_all_at_once() -> None:
    names: dict[str, object] = {}
    exec("from stomplistener import *", names)
    assert set(stomplistener.__all__) <= names.keys()


def test_nothing_is_loaded_before_a_name_is_used() -> None:
    program = (
        "import sys, stomplistener; print([name for name in sys.modules if name.startswith('stomplistener')]); "
        "print(stomplistener.Connection.__module__, stomplistener.Connection is stomplistener.Connection)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["['stomplistener']", "stomplistener.connection True"]
