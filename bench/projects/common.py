"""What both projects have in common: the database, and what their handlers do with a message."""

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
"""Begins the line of a worker that has the figures."""

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ.get("PGHOST", ""),
        "PORT": os.environ.get("PGPORT", ""),
        "NAME": os.environ.get("PGDATABASE", ""),
        "USER": os.environ.get("PGUSER", ""),
        # Connections stay open between messages. By default, each message would open one.
        "CONN_MAX_AGE": None,
    }
}


class Work:
    """What a handler does: it counts the message, and writes a row if it is told to. Thread-safe.

    The clock runs from the first call to the last one, so that neither the start of Django nor the login is in it.
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
                # The first message is not in the time between.
                print(FIGURES + json.dumps(self._clock.figures(COUNT - 1)), flush=True)

    def _prepare(self) -> None:
        if self._writes:
            _execute("CREATE TABLE handled (id bigserial PRIMARY KEY, number integer NOT NULL)")


def _execute(statement: str, *values: object) -> None:
    # Django is there only in the processes of the projects.
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statement, values)
