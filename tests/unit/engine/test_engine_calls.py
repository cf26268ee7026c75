"""How many Python calls, in how many files, the way of a frame takes: no more than today.

``bench.calls`` has the bounds to reach. In a process of its own, since the calls of all threads are counted.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

TODAY = {
    "send": (20, 10),
    "send-headers": (20, 10),
    "send-transaction": (37, 14),
    "send-burst": (16, 11),
    "send-pause": (20, 10),
    "confirmed": (105, 26),
    "message": (36, 14),
    "settle": (72, 24),
}


@pytest.mark.parametrize("what", TODAY)
def test_the_way_gets_no_longer(what: str) -> None:
    script = f"from bench.calls import count; print(*count({what!r}))"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False)
    assert answer.returncode == 0, answer.stderr
    calls, files = map(int, answer.stdout.split())
    assert calls <= TODAY[what][0]
    assert files <= TODAY[what][1]
