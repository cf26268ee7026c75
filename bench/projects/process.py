"""Run the commands of a project in separate processes."""

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
    """Return why no project can run and the remedy; None if they can run."""
    return postgres.problem() if PYTHON.exists() else "there is no .venv-bench-django: `make bench` makes it"


class Project:
    """One of the two projects, with its settings.

    Args:
        name: the name of its package inside this package.
        variables: environment variables, besides those of this process.
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
            *_, why = done.stderr.strip().splitlines() or ["it printed nothing"]
            raise BenchError(f"{' '.join(arguments)} failed: {why}")

    @contextmanager
    def running(self, *command: str) -> Iterator[subprocess.Popen[str]]:
        """Run a Django command inside the block, with a stdout that can be read."""
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
                # Terminate the process first: after a kill, the broker may keep the connection for a while.
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(_GRACE)
                except subprocess.TimeoutExpired:
                    process.kill()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class Stopwatch:
    """Measures wall time, and CPU time of another process, since its creation."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._wall, self._cpu = time.perf_counter(), cpu_seconds(pid)

    def figures(self, count: int) -> dict[str, float]:
        """Return the rate per second, and the CPU time per item in microseconds."""
        wall, cpu = time.perf_counter() - self._wall, cpu_seconds(self._pid) - self._cpu
        return {"rate": count / wall, "cpu": cpu / count * 1e6}
