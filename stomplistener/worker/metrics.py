"""Metrics for Prometheus: the statistics of the connections, and the attempts of the handlers."""

from __future__ import annotations

import http.client
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from stomplistener.connection import Connection
from stomplistener.policy import Verdict
from stomplistener.worker.endpoint import Health, serving
from stomplistener.worker.extras import needed_for
from stomplistener.worker.handling import STALE, Task, Tasks

if TYPE_CHECKING:
    from prometheus_client import Metric

PREFIX = "stomplistener_"

COUNTERS = {
    "messages_received": "Messages received.",
    "messages_sent": "Messages sent.",
    "bytes_received": "Bytes received.",
    "bytes_sent": "Bytes sent.",
    "reconnects": "Connections restored.",
    "listener_errors": "Exceptions that handlers raised.",
}
GAUGES = {
    "pending": "Messages that were received and whose handler has not ended.",
    "pending_bytes": "The bytes of their bodies.",
    "unconfirmed": "Confirmed sends without a receipt so far.",
    "unconfirmed_bytes": "The bytes of their bodies.",
}
"""The fields of ``Statistics``, each with its help text."""

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Histogram buckets in seconds, up to ten minutes: handlers may be slow."""

OUTCOMES = (*(str(verdict) for verdict in Verdict), STALE)
LABELS = ("connection", "destination")
SCRAPE_SECONDS = 2.0
"""Seconds that a supervisor waits for the metrics of one child."""


class Metrics:
    """The metrics of an application. Thread-safe.

    Args:
        connections: returns the connections by name; called at each scrape.
        tasks: the attempts that run, and that end.

    Raises:
        MissingExtra: the package prometheus-client is not installed.
    """

    def __init__(self, connections: Callable[[], Mapping[str, Connection]], tasks: Tasks | None = None) -> None:
        with needed_for("a metrics endpoint", "metrics"):
            from prometheus_client import (
                CollectorRegistry,
                Counter,
                GCCollector,
                Histogram,
                PlatformCollector,
                ProcessCollector,
            )
        self._connections = connections
        self._tasks = Tasks() if tasks is None else tasks
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self._registry.register(self)
        self._duration = Histogram(
            PREFIX + "handler_seconds", "Time that handlers ran.", LABELS, registry=self._registry, buckets=BUCKETS
        )
        self._handled = Counter(
            PREFIX + "handled",
            "Attempts by outcome; stale: the connection was lost before the handler ended.",
            (*LABELS, "outcome"),
            registry=self._registry,
        )
        self._overdue = Counter(
            PREFIX + "time_limit_exceeded",
            "Handlers that ran longer than their time limit.",
            LABELS,
            registry=self._registry,
        )
        self._tasks.observe(self)

    def declared(self, connection: str, destination: str) -> None:
        """Show a handler's counters at 0 before its first message, since a rate needs a first value."""
        self._duration.labels(connection, destination)
        self._overdue.labels(connection, destination)
        for outcome in OUTCOMES:
            self._handled.labels(connection, destination, outcome)

    def ended(self, task: Task, outcome: str, seconds: float) -> None:
        """Count an attempt; see ``Observer``."""
        labels = (task.declaration.connection, task.declaration.destination)
        self._duration.labels(*labels).observe(seconds)
        self._handled.labels(*labels, outcome).inc()

    def overdue(self, task: Task) -> None:
        """Count an attempt that runs longer than its time limit."""
        self._overdue.labels(task.declaration.connection, task.declaration.destination).inc()

    def collect(self) -> Iterator[Metric]:
        """Return the metrics of the connections and of running attempts, for ``prometheus_client``."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        connections = dict(self._connections())
        connected = GaugeMetricFamily(PREFIX + "connected", "Whether the connection is ready.", labels=["connection"])
        for name, connection in connections.items():
            connected.add_metric([name], float(connection.is_connected))
        yield connected
        statistics = {name: connection.statistics() for name, connection in connections.items()}
        for family, fields in ((CounterMetricFamily, COUNTERS), (GaugeMetricFamily, GAUGES)):
            for field, text in fields.items():
                metric = family(PREFIX + field, text, labels=["connection"])
                for name, counts in statistics.items():
                    metric.add_metric([name], getattr(counts, field))
                yield metric
        yield from self._running()

    def _running(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        now = time.monotonic()
        ages: dict[tuple[str, str], list[float]] = {
            (labels["connection"], labels["destination"]): []
            for sample in self._duration.collect()
            for labels in (each.labels for each in sample.samples)
        }
        for task in self._tasks:
            ages.setdefault((task.declaration.connection, task.declaration.destination), []).append(now - task.began)
        running = GaugeMetricFamily(PREFIX + "handlers_running", "Handlers that run now.", labels=LABELS)
        oldest = GaugeMetricFamily(
            PREFIX + "handler_oldest_seconds",
            "Seconds that the oldest running handler has run; 0 if none runs.",
            labels=LABELS,
        )
        for destination, found in ages.items():
            running.add_metric(destination, len(found))
            oldest.add_metric(destination, max(found, default=0.0))
        yield running
        yield oldest

    def served(self, host: str, port: int, health: Health | None = None) -> AbstractContextManager[int]:
        """Answer over HTTP: see ``serving``."""
        return serving(self._registry, health or Health(), host, port)


class MetricsOfChildren:
    """The metrics of several processes on one page. Each sample has the label ``process``. Thread-safe.

    Args:
        ports: returns the ports of the children by slot; called at each scrape.

    Raises:
        MissingExtra: the package prometheus-client is not installed.
    """

    def __init__(self, ports: Callable[[], Mapping[int, int]]) -> None:
        with needed_for("a metrics endpoint", "metrics"):
            from prometheus_client.parser import text_string_to_metric_families
        self._parse = text_string_to_metric_families
        self._ports = ports

    def collect(self) -> Iterator[Metric]:
        """Fetch and return the metrics of the children, for ``prometheus_client``.

        A child that answers too late is left out.
        """
        families: dict[str, Metric] = {}
        for slot, port in sorted(self._ports().items()):
            for family in self._parse(_fetch(port)):
                whole = families.setdefault(family.name, family)
                samples = [each._replace(labels={**each.labels, "process": str(slot)}) for each in family.samples]
                whole.samples = samples if whole is family else [*whole.samples, *samples]
        yield from families.values()


def _fetch(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=SCRAPE_SECONDS) as answer:
            return str(answer.read().decode())
    except (OSError, http.client.HTTPException):
        return ""
