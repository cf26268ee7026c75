"""A PostgreSQL for tests, made by ``postgres.sh``."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

_SCRIPT = Path(__file__).with_name("postgres.sh")


class Postgres:
    """A running server.

    Attributes:
        variables: how libpq's programs, and the example project, find it.
    """

    def __init__(self, directory: Path, port: int) -> None:
        self._directory = directory
        self.variables = {
            "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "postgres", "PGDATABASE": "postgres"
        }  # fmt: skip

    def _connected(self) -> psycopg.Connection[tuple[int, ...]]:
        values = {name.removeprefix("PG").lower(): value for name, value in self.variables.items()}
        values["dbname"] = values.pop("database")
        return psycopg.connect(**values, application_name="test", autocommit=True)  # type: ignore[arg-type]

    def query(self, text: str) -> list[tuple[int, ...]]:
        """The rows of a query, by a connection of its own that is named ``test``."""
        with self._connected() as connection:
            cursor = connection.execute(text)
            return list(cursor) if cursor.description else []

    @contextmanager
    def holding(self, text: str) -> Iterator[None]:
        """Keep the locks of a query while the block lasts."""
        with self._connected() as connection, connection.transaction():
            connection.execute(text)
            yield

    @property
    def clients(self) -> int:
        """How many others are connected."""
        [(count,)] = self.query(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name <> 'test'"
        )
        return count

    def restart(self) -> None:
        """Cut every connection, and be there again."""
        self._run("restart")

    def _run(self, *arguments: str) -> None:
        subprocess.run([_SCRIPT, arguments[0], self._directory, *arguments[1:]], check=True, timeout=300)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A server that ends with the block; where there is none the test is skipped, or fails if it must not be."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    directory = Path(tempfile.mkdtemp(prefix="stomplistener-postgres-"))
    started = subprocess.run(
        [_SCRIPT, "start", directory, str(port)], capture_output=True, text=True, timeout=600, check=False
    )
    try:
        if started.returncode:
            if os.environ.get("STOMPLISTENER_REQUIRE_BROKERS") == "1":
                pytest.fail(f"{started.stderr} (STOMPLISTENER_REQUIRE_BROKERS=1)", pytrace=False)
            pytest.skip(started.stderr.strip())
        yield Postgres(directory, port)
    finally:
        subprocess.run([_SCRIPT, "stop", directory], capture_output=True, timeout=120, check=False)
        shutil.rmtree(directory, ignore_errors=True)
