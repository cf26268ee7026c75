"""The benchmarks run: what they reach into has not moved away from under them. Their figures are nobody's test."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def output(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, text=True, capture_output=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_profile_tells_what_each_stage_costs() -> None:
    stages = re.findall(r"^ +(\d+\.\d\d)  (\S.*)$", output("bench.profile", "--stages"), re.MULTILINE)
    assert [name for _, name in stages if name == "together"] == ["together"] * 2
    assert {"decode: bytes to frames", "delivery: to the listener", "send(): encode"} <= {name for _, name in stages}
    assert float(next(cost for cost, name in stages if name.startswith("decode"))) > 0


def test_every_row_of_the_table_is_listed() -> None:
    keys = output("bench", "--list").splitlines()
    assert {"decode", "receive", "send-pause", "confirmed", "body", "round-trip", "idle", "failover"} <= set(keys)


@pytest.mark.parametrize(
    ("side", "few", "figure"),
    [
        ("receive:ours", '{"count": 1000, "size": 100}', "rate"),
        ("send:ours", '{"count": 1000}', "rate"),
        ("send:ours_threads", '{"count": 1000, "threads": 4}', "rate"),
        ("send:ours_batch", '{"count": 1000}', "rate"),
        ("send:after_pause", '{"count": 100, "pause": 0.001}', "took"),
        ("confirm:ours", '{"count": 1000, "window": 100}', "rate"),
        ("round_trip:ours", '{"count": 100, "pause": 0}', "p50"),
    ],
)
def test_a_side_of_ours_gives_its_figures(side: str, few: str, figure: str) -> None:
    assert re.search(rf'"{figure}": [\d.]+', output("bench.process", side, few))
