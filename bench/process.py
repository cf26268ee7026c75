"""Run servers and sides in separate processes, so that no two share an interpreter lock or memory."""

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
"""Seconds after which a hanging side counts as failed."""


class BenchError(Exception):
    """A benchmark failed to run. A slow result is not a failure."""


class Server:
    """A running server of ``servers.py``."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process = process
        self.port = port

    def line(self) -> str:
        """Return the next line that it prints."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def serving(name: str, **arguments: object) -> Iterator[Server]:
    """Run a server inside the block."""
    command = [sys.executable, "-m", "bench.servers", name, json.dumps(arguments)]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield Server(process, int(process.stdout.readline()))
        finally:
            process.kill()


def run_side(function: str, arguments: Mapping[str, object]) -> Figures:
    """Call ``module:function`` of this package in a new process, and return its figures.

    Raises:
        BenchError: the process failed, hung or printed no figures. The text has its last line of output.
    """
    command = [sys.executable, "-m", "bench.process", function, json.dumps(arguments)]
    try:
        done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{function} gave no result within {PATIENCE:.0f} s") from None
    if done.returncode:
        *_, why = done.stderr.strip().splitlines() or ["it printed nothing"]
        raise BenchError(f"{function} failed: {why}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def memory(field: str = "VmRSS") -> float:
    """Return the resident memory of this process in MB: now (``VmRSS``) or the peak (``VmHWM``)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise BenchError(f"this system does not provide {field}")


class Clock:
    """Measures wall and CPU time since its creation."""

    def __init__(self) -> None:
        self._wall = time.perf_counter()
        self._cpu = time.process_time()

    def figures(self, count: int) -> Figures:
        """Return the rate per second, and the CPU time per item in microseconds."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return {"rate": count / wall, "cpu": cpu / count * 1e6}


def main() -> None:
    module, _, function = sys.argv[1].partition(":")
    side: Any = getattr(importlib.import_module(f"bench.{module}"), function)
    figures: Figures = side(**json.loads(sys.argv[2]))
    print(json.dumps(figures), flush=True)
    # End at once: the threads of a peer may never end.
    os._exit(0)


if __name__ == "__main__":
    main()
