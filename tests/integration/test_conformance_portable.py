"""The program of ``examples/portable``: on each broker the same, with nothing changed but its URI."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from stomplistener.testing.containers import BrokerContainer

PROGRAM = Path(__file__).parents[2] / "examples" / "portable" / "orders.py"


def test_the_uri_is_all_that_changes(real_broker: BrokerContainer) -> None:
    done = subprocess.run(
        [sys.executable, PROGRAM, real_broker.uri], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.splitlines() == [
        "ordered while the shop was closed",
        "invoice: one lamp, 7 left",
        "invoice: one chair, 7 left",
        "dead letter: unicorn, LookupError: no unicorn in stock",
    ], done.stderr
