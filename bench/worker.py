"""Handle a full queue with a Django worker: measure from the first message to the last one.

Both workers have the same number of threads and the same handler. With ``writes``, the handler inserts a row.
"""

from __future__ import annotations

import json

from bench.brokers import Target, fill, new_queue
from bench.postgres import postgres
from bench.process import BenchError, Figures
from bench.projects.common import FIGURES
from bench.projects.process import Project

_BODY = json.dumps({"number": 1, "text": "x" * 80}).encode()


def ours(uri: str, count: int, threads: int, writes: bool) -> Figures:
    """Measure ``stomp_worker``."""
    destination = new_queue()
    fill(Target(uri), destination, count, _BODY, {"persistent": "true"})
    return _handled("ours", ("stomp_worker",), uri, destination, count, threads, writes)


def theirs(uri: str, count: int, threads: int, writes: bool) -> Figures:
    """Measure django-stomp's ``pubsub``, with the headers of its publisher, by which RabbitMQ declares queues."""
    destination = new_queue()
    headers = {
        "persistent": "true",
        "correlation-id": "bench",
        "x-dead-letter-routing-key": f"DLQ.{destination.rpartition('/')[2]}",
        "x-dead-letter-exchange": "",
    }
    fill(Target(uri), destination, count, _BODY, headers)
    command = ("pubsub", destination, "bench.projects.theirs.handlers.handle")
    return _handled("theirs", command, uri, destination, count, threads, writes)


def _handled(
    name: str, command: tuple[str, ...], uri: str, destination: str, count: int, threads: int, writes: bool
) -> Figures:
    work = {
        "BENCH_URI": uri,
        "BENCH_DESTINATION": destination,
        "BENCH_COUNT": str(count + 1),
        "BENCH_THREADS": str(threads),
        "BENCH_WRITES": str(int(writes)),
    }
    with postgres() as database:
        project = Project(name, {**database, **work})
        project.migrate()
        with project.running(*command) as worker:
            assert worker.stdout is not None
            for line in worker.stdout:
                if line.startswith(FIGURES):
                    figures: Figures = json.loads(line.removeprefix(FIGURES))
                    return figures
            raise BenchError(f"{command[0]} ended before all messages were handled")
