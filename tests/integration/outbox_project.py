"""The outbox of the Django project on PostgreSQL: its rows, and relays in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from postgres import Postgres, postgres
from worker_process import ServerProcess

PROJECT = Path(__file__).parents[2] / "examples" / "django"


@contextmanager
def migrated() -> Iterator[Postgres]:
    """A server with the tables of the project."""
    with postgres() as server:
        migrate = [sys.executable, "manage.py", "migrate", "-v0"]
        subprocess.run(migrate, cwd=PROJECT, env={**os.environ, **server.variables}, check=True, timeout=60)
        yield server


def empty(server: Postgres) -> None:
    server.query("TRUNCATE stomplistener_outboxmessage, stomplistener_inboxmessage, store_order, store_invoice")


def manage(server: Postgres, uri: str, *arguments: str, **variables: str) -> ServerProcess:
    """A command of the project, for a broker."""
    return ServerProcess(PROJECT, "manage.py", *arguments, STOMP_URL=uri, **server.variables, **variables)


def add_rows(server: Postgres, numbers: range, key: str, destination: str = "/queue/out") -> None:
    """Write rows whose bodies are numbers; the key is an SQL expression of the number ``n``."""
    server.query(
        "INSERT INTO stomplistener_outboxmessage (uuid, connection, destination, key, headers, body, options, state, "
        f"created, due, attempts, refusals, error) SELECT gen_random_uuid(), 'default', '{destination}', "
        f"{key}, '{{}}', n::text::bytea, '{{}}', 'pending', now(), now(), 0, 0, '' "
        f"FROM generate_series({numbers.start}, {numbers.stop - 1}) n"
    )


def fill(server: Postgres, count: int, key: str, destination: str = "/queue/out") -> None:
    """Have rows with the bodies 1 to ``count``, and no others."""
    server.query("TRUNCATE stomplistener_outboxmessage")
    add_rows(server, range(1, count + 1), key, destination)
    server.query("ANALYZE stomplistener_outboxmessage")


def pending(server: Postgres) -> int:
    """How many rows are not published."""
    [(count,)] = server.query("SELECT count(*) FROM stomplistener_outboxmessage WHERE state <> 'published'")
    return count


def first_times(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def assert_sorted_within_keys(texts: list[str], keys: int) -> None:
    """The key of a number is its remainder."""
    for key in range(keys):
        numbers = [int(text) for text in texts if int(text) % keys == key]
        assert numbers == sorted(numbers)
