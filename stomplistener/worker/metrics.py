"""Statistics for Prometheus: what the connections count, and what the handlers take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from stomplistener.connection import Connection
from stomplistener.errors import StompError
from stomplistener.message import Message
from stomplistener.worker.extras import needed_for

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

    from stomplistener.worker.application import Around, Declaration

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
    "pending": "Messages received that no handler has ended yet.",
    "pending_bytes": "The bytes of their bodies.",
    "unconfirmed": "Confirmed sends whose receipt has not come.",
    "unconfirmed_bytes": "The bytes of their bodies.",
}
"""The fields of ``Statistics``, each with its help text."""


class Metrics:
    """What an application tells Prometheus. Thread-safe.

    Args:
        connections: gives the connections by name, at each scrape.

    Raises:
        MissingExtra: the package prometheus-client is not installed.
    """

    def __init__(self, connections: Callable[[], Mapping[str, Connection]]) -> None:
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
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self._registry.register(self)
        labels = ("connection", "destination")
        self._duration = Histogram(
            PREFIX + "handler_seconds", "Time that handlers took.", labels, registry=self._registry
        )
        self._handled = Counter(
            PREFIX + "handled", "Times that handlers ended.", (*labels, "outcome"), registry=self._registry
        )

    def around(self, declaration: Declaration) -> Around:
        """What measures one handler."""
        labels = (declaration.connection, declaration.destination)
        duration = self._duration.labels(*labels)
        outcomes = {outcome: self._handled.labels(*labels, outcome) for outcome in ("ok", "error")}

        @contextmanager
        def measured(_message: Message) -> Iterator[None]:
            began, outcome = time.perf_counter(), "error"
            try:
                yield
                outcome = "ok"
            finally:
                duration.observe(time.perf_counter() - began)
                outcomes[outcome].inc()

        return measured

    def collect(self) -> Iterator[Metric]:
        """What the connections count; for ``prometheus_client``."""
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

    def served(self, host: str, port: int) -> AbstractContextManager[int]:
        """Answer Prometheus: see ``serving``."""
        return serving(self._registry, host, port)


@contextmanager
def serving(registry: CollectorRegistry, host: str, port: int) -> Iterator[int]:
    """Answer Prometheus over HTTP while the block lasts, and yield the port.

    Args:
        registry: what is answered.
        host: the address to listen on.
        port: 0 for one that the system chooses.

    Raises:
        StompError: the port is taken.
    """
    from prometheus_client import start_http_server

    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise StompError(f"metrics: cannot listen on {host}:{port}: {error.strerror or error}") from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
