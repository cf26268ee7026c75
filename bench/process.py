"""Servers and sides in processes of their own, so that no two of them share an interpreter's lock or its memory."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Figures = dict[str, float]

ROOT = Path(__file__).parents[1]
PATIENCE = 300.0
"""Seconds after which a side that hangs counts as failed."""


class BenchError(Exception):
    """A benchmark itself failed; a slow result is none."""


class Server:
    """A running server of ``servers.py``."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process = process
        self.port = port

    def line(self) -> str:
        """The next line that it prints."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def serving(name: str, **arguments: object) -> Iterator[Server]:
    """Run a server as long as the block."""
    command = [sys.executable, "-m", "bench.servers", name, json.dumps(arguments)]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield Server(process, int(process.stdout.readline()))
        finally:
            process.kill()


def run_side(function: str, arguments: Mapping[str, object]) -> Figures:
    """Call ``module:function`` of this package in a fresh process, and return its figures.

    Raises:
        BenchError: it raised, hung or printed no figures; the text has its last line.
    """
    command = [sys.executable, "-m", "bench.process", function, json.dumps(arguments)]
    try:
        done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{function} hung for {PATIENCE:.0f} s") from None
    if done.returncode:
        *_, why = done.stderr.strip().splitlines() or ["it says nothing"]
        raise BenchError(f"{function} failed: {why}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def memory(field: str = "VmRSS") -> float:
    """The resident memory of this process in MB, now (``VmRSS``) or at its highest so far (``VmHWM``)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise BenchError(f"this system tells no {field}")


class Clock:
    """Wall and processor time since it was made."""

    def __init__(self) -> None:
        self._wall = time.perf_counter()
        self._cpu = time.process_time()

    def figures(self, count: int) -> Figures:
        """Things a second, and processor time a thing in microseconds."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return {"rate": count / wall, "cpu": cpu / count * 1e6}


def main() -> None:
    module, _, function = sys.argv[1].partition(":")
    side: Any = getattr(importlib.import_module(f"bench.{module}"), function)
    figures: Figures = side(**json.loads(sys.argv[2]))
    print(json.dumps(figures), flush=True)
    # No goodbye: a client's threads have nothing to say any more, and a peer's may never end.
    os._exit(0)


if __name__ == "__main__":
    main()
