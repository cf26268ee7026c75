"""The tool that counts the calls on the way of a frame."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bench.calls import WAYS, count, trace

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("what", WAYS)
def test_each_way_is_counted(what: str) -> None:
    calls, files = count(what)
    assert calls > 0
    assert files > 0


def test_a_frame_begins_where_the_application_calls_and_nothing_else_is_counted() -> None:
    former = sys.getprofile(), threading.getprofile()
    calls = trace("send")
    assert (sys.getprofile(), threading.getprofile()) == former
    assert calls[0].file == "connection.py"
    assert calls[0].code.co_name == "send"
    assert all((ROOT / "stomplistener" / call.file).exists() for call in calls)


def test_the_tool_shows_each_call() -> None:
    command = [sys.executable, "-m", "bench.calls", "--show", "send"]
    shown = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=50, check=True).stdout
    assert "a SEND" in shown
    assert "Connection.send" in shown
