"""Metrics of the outbox for Prometheus: the rows that wait in the database, and the work of this relay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from django.db import Error, connections
from django.db.models import Count, Min, Q
from django.utils import timezone

from stomplistener._util.loggers import library_logger
from stomplistener.connection import Connection
from stomplistener.contrib.django.models import OutboxMessage
from stomplistener.contrib.django.outbox import State
from stomplistener.contrib.django.relay import Relay
from stomplistener.worker.endpoint import Health, serving
from stomplistener.worker.extras import needed_for

if TYPE_CHECKING:
    from prometheus_client import Metric

_log = library_logger("stomplistener.django")

PREFIX = "stomplistener_outbox_"

COUNTERS = {
    "published": "Messages that the broker confirmed. The rate of this counter is the rate of the relay.",
    "refused": "Refusals by the broker; a message can be refused several times.",
}


class RelayMetrics:
    """The metrics of one relay. Thread-safe.

    Args:
        relay: the relay, which counts published rows and refusals.
        connection: its connection to the broker.
        using: the database.
        name: of the connection.

    Raises:
        MissingExtra: the package prometheus-client is not installed.
    """

    def __init__(self, relay: Relay, connection: Connection, *, using: str, name: str) -> None:
        with needed_for("a metrics endpoint", "metrics"):
            from prometheus_client import CollectorRegistry, ProcessCollector
        self._relay = relay
        self._connection = connection
        self._using = using
        self._labels = {"connection": name, "database": using}
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Return the metrics to ``prometheus_client``. If the database fails, leave out the metrics that need it."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        def gauge(name: str, text: str, value: float) -> Metric:
            metric = GaugeMetricFamily(PREFIX + name, text, labels=list(self._labels))
            metric.add_metric(list(self._labels.values()), value)
            return metric

        for outcome, number in self._relay.counts.snapshot().items():
            counter = CounterMetricFamily(PREFIX + outcome, COUNTERS[outcome], labels=list(self._labels))
            counter.add_metric(list(self._labels.values()), number)
            yield counter
        yield gauge("connected", "Whether the connection to the broker is ready.", self._connection.is_connected)
        waiting = self._waiting()
        if waiting is not None:
            yield gauge("pending", "Rows that are not published yet.", waiting["pending"])
            yield gauge(
                "oldest_seconds",
                "Age of the oldest row that is not published yet; 0 if there is none.",
                waiting["oldest"],
            )
            yield gauge(
                "failed", "Rows that failed. They are not tried again until you requeue them.", waiting["failed"]
            )

    def _waiting(self) -> Mapping[str, float] | None:
        rows = OutboxMessage.objects.using(self._using).filter(connection=self._labels["connection"])
        is_pending = Q(state=State.PENDING)
        try:
            # Two queries, because an index serves each of them.
            pending = rows.filter(is_pending).aggregate(count=Count("pk"), oldest=Min("created"))
            failed = rows.filter(state=State.FAILED).count()
        except Error as error:
            _log.warning("metrics: counting the rows of the outbox failed: %s", str(error).strip().partition("\n")[0])
            return None
        finally:
            # The thread serves one request.
            connections.close_all()
        oldest = pending["oldest"]
        age = 0.0 if oldest is None else max((timezone.now() - oldest).total_seconds(), 0.0)
        return {"pending": pending["count"], "oldest": age, "failed": failed}

    def served(self, host: str, port: int) -> AbstractContextManager[int]:
        """Serve the metrics to Prometheus: see ``serving``."""
        return serving(self._registry, Health(is_ready=lambda: self._connection.is_connected), host, port)
