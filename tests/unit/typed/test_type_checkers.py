"""Type checkers accept right handlers and refuse wrong ones: mypy in its strict mode, and pyright."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
ACCEPTED, REFUSED = HERE / "accepted.py", HERE / "refused.py"
MARKED = {
    number for number, line in enumerate(REFUSED.read_text().splitlines(), 1) if line.rstrip().endswith("# refused")
}

pytestmark = pytest.mark.timeout(300)

Complaints = dict[tuple[str, int], str]


def run(*arguments: str) -> str:
    """What a checker prints, whatever its exit code."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def mypy() -> Complaints:
    printed = run("mypy", "--strict", "--no-pretty", "--show-absolute-path", str(ACCEPTED), str(REFUSED))
    found: Complaints = {}
    for line in printed.splitlines():
        if match := re.fullmatch(r"(.+):(\d+): error: (.*)", line):
            found[Path(match[1]).name, int(match[2])] = match[3]
    assert "checked 2 source files" in printed, printed
    return found


def pyright() -> Complaints:
    printed = run("pyright", "--outputjson", "--pythonpath", sys.executable, str(ACCEPTED), str(REFUSED))
    report = json.loads(printed[printed.index("{") :])
    assert report["summary"]["filesAnalyzed"] == 2, printed
    return {
        (Path(each["file"]).name, each["range"]["start"]["line"] + 1): each["message"]
        for each in report["generalDiagnostics"]
        if each["severity"] == "error"
    }


@pytest.mark.parametrize("checker", [mypy, pyright], ids=lambda checker: str(checker.__name__))
def test_right_handlers_are_accepted_and_wrong_ones_refused(checker: object) -> None:
    assert callable(checker)
    complaints: Complaints = checker()
    assert {place: why for place, why in complaints.items() if place[0] == ACCEPTED.name} == {}
    refused = {line for name, line in complaints if name == REFUSED.name}
    assert MARKED - refused == set(), "lines that pass"
    assert {line: complaints[REFUSED.name, line] for line in refused - MARKED} == {}
