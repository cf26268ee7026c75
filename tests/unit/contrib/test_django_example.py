"""The example project, run by its one command."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from django_support import PROJECT


@pytest.mark.skipif(os.name != "posix", reason="ends its processes by SIGTERM")
@pytest.mark.timeout(120)
def test_the_example_runs_on_sqlite_and_an_embedded_broker() -> None:
    hidden = ("PGHOST", "STOMP_URL", "SQLITE")
    ran = subprocess.run(
        [sys.executable, PROJECT / "show.py", "--orders", "20"],
        env={name: value for name, value in os.environ.items() if name not in hidden},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "20 orders placed, 4 rolled back, 16 billed; worker and relay ended gracefully" in ran.stdout
    assert "Traceback" not in ran.stderr
