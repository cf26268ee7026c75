"""The log that the manual shows is what a worker logs."""

from __future__ import annotations

import os

import pytest
from docs_support import load


@pytest.mark.skipif(os.name != "posix", reason="it ends its worker by SIGTERM")
def test_a_restart_of_the_broker_reads_as_the_manual_shows_it() -> None:
    recorder = load("record_log")
    assert recorder.masked(recorder.record()) == recorder.masked(recorder.shown()), "run: python docs/record_log.py"
