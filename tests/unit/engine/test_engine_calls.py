"""How many Python calls, in how many files, the way of a frame takes: no more than today.

``bench.calls`` has the bounds to reach. In a process of its own, since the calls of all threads are counted.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

TODAY = {
    "send": (16, 7),
    "send-headers": (16, 7),
    "send-transaction": (20, 28),
    "send-burst": (13, 9),
    "send-pause": (16, 7),
    "confirmed": (78, 22),
    "message": (33, 12),
    "settle": (61, 21),
}


@pytest.mark.parametrize("what", TODAY)
def test_the_way_gets_no_longer(what: str) -> None:
    script = f"from bench.calls import count; print(*count({what!r}))"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False)
    assert answer.returncode == 0, answer.stderr
    calls, files = map(int, answer.stdout.split())
    assert calls <= TODAY[what][0]
    assert files <= TODAY[what][1]
