"""Run both targets side by side, and say what they did: ``run.py seconds 120`` or ``run.py runs 10000000``.

Exit code 1 if an input crashed, hung or took more memory than allowed; it is then in ``fuzz/crashes``, and
``python fuzz/fuzz_decoder.py fuzz/crashes/FILE`` shows it again.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import engine

HERE = Path(__file__).parent
TARGETS = {"decoder": 0.95, "receive": 0.05}
"""With each its share of the inputs: about what each can do in the same time."""

HANG = 10
"""Seconds that one input of this size may take: ten thousand times what it takes."""


class Result(NamedTuple):
    """What one target did."""

    executions: int
    memory: int
    code: int


def main(kind: str, amount: int) -> int:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as room:
        dictionary = Path(room, "stomp.dict")
        dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in engine.WORDS))
        running = {name: start(name, kind, amount, Path(room), dictionary) for name in TARGETS}
        results = {name: finish(name, process, Path(room)) for name, process in running.items()}
    seconds = time.monotonic() - began
    for name, result in results.items():
        verdict = "no crash, no hang" if result.code == 0 else f"FAILED (exit code {result.code}): see fuzz/crashes"
        print(f"{name}: {result.executions:,} executions, {verdict}, peak memory {result.memory} MiB")
    print(f"in all: {sum(each.executions for each in results.values()):,} executions in {seconds:.0f} s")
    return max(each.code != 0 for each in results.values())


def start(name: str, kind: str, amount: int, room: Path, dictionary: Path) -> subprocess.Popen[bytes]:
    found = room / name
    found.mkdir()
    (HERE / "crashes").mkdir(exist_ok=True)
    how_long = f"-max_total_time={amount}" if kind == "seconds" else f"-runs={round(amount * TARGETS[name])}"
    with (room / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [
                sys.executable,
                HERE / f"fuzz_{name}.py",
                how_long,
                f"-timeout={HANG}",
                f"-rss_limit_mb={engine.MEMORY_LIMIT}",
                f"-max_len={engine.LONGEST}",
                f"-dict={dictionary}",
                f"-artifact_prefix={HERE / 'crashes'}/{name}-",
                "-print_final_stats=1",
                # What is new is written to the first folder, which is not the one in the tree.
                found,
                HERE / "corpus" / name,
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def finish(name: str, process: subprocess.Popen[bytes], room: Path) -> Result:
    code = process.wait()
    log = (room / f"{name}.log").read_text(errors="replace")
    if "NO ATHERIS" in log:
        print("NO ATHERIS: hypothesis made the inputs, without looking at coverage; install the extra 'fuzz'")
    if code:
        print(log[-6000:])
    return Result(_stat(log, "number_of_executed_units"), _stat(log, "peak_rss_mb"), code)


def _stat(log: str, name: str) -> int:
    found = re.search(rf"stat::{name}:\s*(\d+)", log)
    return int(found[1]) if found else 0


def _escaped(word: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
