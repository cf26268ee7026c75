"""The common part of both projects: the database, and the work of their handlers."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

from bench.process import Clock

COUNT = int(os.environ.get("BENCH_COUNT", "0"))
DESTINATION = os.environ.get("BENCH_DESTINATION", "")
THREADS = int(os.environ.get("BENCH_THREADS", "1"))
FIGURES = "figures: "
"""The prefix of the line with the figures of a worker."""

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ.get("PGHOST", ""),
        "PORT": os.environ.get("PGPORT", ""),
        "NAME": os.environ.get("PGDATABASE", ""),
        "USER": os.environ.get("PGUSER", ""),
        # Keep connections open between messages. By default, each message would open a connection.
        "CONN_MAX_AGE": None,
    }
}


class Work:
    """The work of a handler: it counts the message, and writes a row if ``BENCH_WRITES`` is set. Thread-safe.

    The time runs from the first call to the last one, so it includes neither the start of Django nor the login.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done = 0
        self._clock: Clock | None = None
        self._writes = os.environ.get("BENCH_WRITES") == "1"

    def __call__(self, body: dict[str, Any]) -> None:
        with self._lock:
            if self._clock is None:
                self._prepare()
                self._clock = Clock()
        if self._writes:
            _execute("INSERT INTO handled (number) VALUES (%s)", body["number"])
        with self._lock:
            self._done += 1
            if self._done == COUNT:
                # The first message starts the clock, so do not count it.
                print(FIGURES + json.dumps(self._clock.figures(COUNT - 1)), flush=True)

    def _prepare(self) -> None:
        if self._writes:
            _execute("CREATE TABLE handled (id bigserial PRIMARY KEY, number integer NOT NULL)")


def _execute(statement: str, *values: object) -> None:
    # Django is installed only for the processes of the projects.
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statement, values)
