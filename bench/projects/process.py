"""Runs the commands of a project in processes of their own."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench import postgres
from bench.process import ROOT, BenchError

PYTHON = ROOT / ".venv-bench-django" / "bin" / "python"
_PATIENCE = 120.0
_GRACE = 10.0
_TICKS = os.sysconf("SC_CLK_TCK")


@functools.cache
def problem() -> str | None:
    """Why no project can run, with what to do about it; None if they can."""
    return postgres.problem() if PYTHON.exists() else "there is no .venv-bench-django: `make bench` makes it"


class Project:
    """One of the two projects, and what it works on.

    Args:
        name: its package in this one.
        variables: of the environment, besides this process's.
    """

    def __init__(self, name: str, variables: Mapping[str, str]) -> None:
        self._package = f"bench.projects.{name}"
        self._environment = {
            **os.environ,
            **variables,
            "DJANGO_SETTINGS_MODULE": f"{self._package}.settings",
            "PYTHONUNBUFFERED": "1",
        }

    def migrate(self) -> None:
        """Make the tables."""
        self._run("-m", "django", "migrate", "-v0")

    def fill(self) -> None:
        """Write ``BENCH_COUNT`` rows to the outbox."""
        self._run("-m", f"{self._package}.fill")

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(
            [PYTHON, *arguments],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        if done.returncode:
            *_, why = done.stderr.strip().splitlines() or ["it says nothing"]
            raise BenchError(f"{' '.join(arguments)} failed: {why}")

    @contextmanager
    def running(self, *command: str) -> Iterator[subprocess.Popen[str]]:
        """Run a command of Django as long as the block; its standard output can be read."""
        arguments = [str(PYTHON), "-m", "django", *command]
        with subprocess.Popen(
            arguments,
            cwd=ROOT,
            env=self._environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                yield process
            finally:
                # Asked first: a broker that is left without a word may keep the connection for a while.
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(_GRACE)
                except subprocess.TimeoutExpired:
                    process.kill()


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has taken, with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class Stopwatch:
    """Wall time, and processor time of another process, since it was made."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._wall, self._cpu = time.perf_counter(), cpu_seconds(pid)

    def figures(self, count: int) -> dict[str, float]:
        """Things a second, and processor time a thing in microseconds."""
        wall, cpu = time.perf_counter() - self._wall, cpu_seconds(self._pid) - self._cpu
        return {"rate": count / wall, "cpu": cpu / count * 1e6}
