"""The benchmarks run: what they call has not moved away from under them. Their figures are nobody's test."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench import __main__ as main
from bench.brokers import amqp
from bench.projects import process as projects
from bench.rows import experiments

ROOT = Path(__file__).parents[3]
DJANGO = ("activemq", "rabbitmq")


def output(*arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, text=True, capture_output=True, timeout=50, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def test_the_profile_tells_what_each_stage_costs() -> None:
    text = output("bench.profile", "--stages", "--quick")
    stages = {name: float(cost) for cost, name in re.findall(r"^ +(\d+\.\d\d)  (\S.*)$", text, re.MULTILINE)}
    parts = {"decode: bytes to frames", "headers: all of them read", "encode: the frame to bytes"}
    assert parts | {"a whole send", "a whole receive to a listener that reads them"} <= set(stages)
    assert stages["decode: bytes to frames"] > 0


def test_every_row_of_both_tables_is_listed() -> None:
    keys = output("bench", "--list").splitlines()
    assert {"decode", "receive", "confirmed", "body", "round-trip", "idle", "failover"} <= set(keys)
    assert {"send-5", "raw-0-pause", "service", "settle-16", "compat-send-1"} <= set(keys)
    assert len(keys) == len(set(keys))


def test_only_takes_beginnings_and_patterns() -> None:
    assert output("bench", "--list", "--only", "raw-?-batch", "idle").splitlines() == [
        "raw-0-batch",
        "raw-1-batch",
        "raw-5-batch",
        "idle",
    ]


def test_rabbitmq_of_the_compose_file_is_compared_with_its_own_amqp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOMPLISTENER_PORTS", "4")
    rabbitmq = "tcp://app:app-secret@127.0.0.1:41913"
    assert amqp(rabbitmq) == "amqp://app:app-secret@127.0.0.1:41972//"
    assert amqp("tcp://app:app-secret@127.0.0.1:41613") is None
    assert [each.key for each in experiments({"rabbitmq": rabbitmq}) if each.key == "kombu"] == ["kombu"]


def test_a_quick_run_prints_and_publishes_the_cost_map(tmp_path: Path) -> None:
    quick = ("bench", "--quick", "--runs", "1", "--only", "send-5-bare", "--broker", "none=tcp://127.0.0.1:1")
    text = output(*quick, "--publish", str(tmp_path))
    assert re.search(r"^sending: 5 headers against none, both ours +\d", text, re.MULTILINE)
    assert re.search(r"[01] of 1 musts hold", text)
    (cost,) = json.loads((tmp_path / "costs.json").read_text())["costs"]
    assert cost["key"] == "send-5-bare"
    assert cost["condition"] == "quiet"
    assert cost["unit_ours"] > 0


@pytest.mark.parametrize(
    ("side", "few", "figure"),
    [
        ("receive:ours", '{"count": 1000, "size": 100}', "rate"),
        ("confirm:ours", '{"count": 1000, "window": 100}', "rate"),
        ("round_trip:ours", '{"count": 100, "pause": 0}', "p50"),
    ],
)
def test_a_side_of_ours_gives_its_figures(side: str, few: str, figure: str) -> None:
    assert re.search(rf'"{figure}": [\d.]+', output("bench.process", side, few))


BROKERS = {"activemq": "tcp://mq1:61613", "rabbitmq": "tcp://mq2:61613", "artemis": "tcp://mq3:61613"}


def test_relay_and_worker_are_measured_on_the_brokers_of_both_packages() -> None:
    musts = {
        each.key: each.measures[0].must for each in experiments(BROKERS) if each.key.startswith(("relay", "worker"))
    }
    assert musts == {
        **dict.fromkeys((f"relay-{name}{kind}" for name in DJANGO for kind in ("", "-persistent")), 3.0),
        **dict.fromkeys((f"worker-{name}" for name in DJANGO), 2.0),
        **dict.fromkeys((f"worker-{name}-insert" for name in DJANGO), None),
    }


def test_rows_that_cannot_run_are_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(projects, "PYTHON", tmp_path / "python")
    projects.problem.cache_clear()
    arguments = argparse.Namespace(only=["relay-activemq"], runs=1, quick=True)
    assert main._experiments(arguments, BROKERS) == ([], [])
    projects.problem.cache_clear()
    assert capsys.readouterr().out.splitlines() == [
        f"{key} is left out: there is no .venv-bench-django: `make bench` makes it"
        for key in ("relay-activemq", "relay-activemq-persistent")
    ]
