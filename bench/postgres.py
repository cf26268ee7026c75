"""A PostgreSQL server for one side. The script of the tests makes it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.process import ROOT, BenchError

_SCRIPT = ROOT / "tests" / "integration" / "postgres.sh"


def problem() -> str | None:
    """Return why there is no PostgreSQL and the remedy; None if there is one. The call may install PostgreSQL."""
    done = subprocess.run([_SCRIPT, "install"], capture_output=True, text=True, timeout=600, check=False)
    return done.stderr.strip() if done.returncode else None


@contextmanager
def postgres() -> Iterator[dict[str, str]]:
    """Run a server inside the block, and yield the libpq variables for it.

    Unlike the servers of the tests, it writes to the disk at each commit, as real servers do.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    directory = Path(tempfile.mkdtemp(prefix="bench-postgres-"))
    try:
        started = subprocess.run(
            [_SCRIPT, "start", directory, port],
            env={**os.environ, "POSTGRES_FSYNC": "on"},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if started.returncode:
            raise BenchError(started.stderr.strip())
        yield {"PGHOST": "127.0.0.1", "PGPORT": port, "PGUSER": "postgres", "PGDATABASE": "postgres"}
    finally:
        subprocess.run([_SCRIPT, "stop", directory], capture_output=True, timeout=120, check=False)
        shutil.rmtree(directory, ignore_errors=True)
