"""Write the Grafana dashboard of workers and of the outbox's relay: ``python deploy/dashboard.py``.

A panel is a line below; where it stands and how it looks is computed. A test reads the JSON, and asks a worker and a
relay that run for every metric and every label in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent / "grafana-dashboard.json"
COLUMNS = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}

WORKER = 'connection=~"$connection"'
HANDLER = f'{WORKER},destination=~"$destination"'
RELAY = WORKER


@dataclass(frozen=True)
class Panel:
    """One panel.

    Args:
        title: what it shows.
        queries: PromQL by the legend of its lines.
        unit: as Grafana names it.
        text: what a person on call should know of it.
        alarm: from which value on it is red.
        width: of 24 columns.
    """

    title: str
    queries: dict[str, str]
    unit: str = "short"
    text: str = ""
    alarm: float | None = None
    width: int = 8
    kind: str = "timeseries"


@dataclass(frozen=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: Sequence[Panel] = field(default_factory=tuple)


def stat(title: str, query: str, text: str, *, alarm: float | None = None, unit: str = "short") -> Panel:
    """One number."""
    return Panel(title, {"": query}, unit, text, alarm, 4, "stat")


def rate(metric: str, labels: str, by: str) -> str:
    """How often a second, summed by a label."""
    return f"sum by ({by}) (rate({metric}{{{labels}}}[$__rate_interval]))"


def percentile(share: float) -> str:
    """How long handlers took at most, for that share of them."""
    buckets = rate("stomplistener_handler_seconds_bucket", HANDLER, "le, destination")
    return f"histogram_quantile({share:g}, {buckets})"


ROWS = (
    Row(
        "Now",
        (
            stat(
                "Connections that are not ready",
                f"count(stomplistener_connected{{{WORKER}}} == 0 or stomplistener_outbox_connected{{{RELAY}}} == 0) "
                "or vector(0)",
                "Workers and relays reconnect by themselves: look at the broker first.",
                alarm=1,
            ),
            stat("Handled a second", f"sum(rate(stomplistener_handled_total{{{HANDLER}}}[$__rate_interval]))", ""),
            stat(
                "Given up in an hour",
                f'round(sum(increase(stomplistener_handled_total{{{HANDLER},outcome=~"forwarded|rejected"}}[1h])))',
                "Messages that went to an error destination, or were rejected.",
                alarm=1,
            ),
            stat(
                "Oldest handler",
                f"max(stomplistener_handler_oldest_seconds{{{HANDLER}}})",
                "A handler that hangs holds its thread and its message; see time_limit.",
                alarm=60,
                unit="s",
            ),
            stat(
                "Outbox: pending", f"sum(max by (connection, database) (stomplistener_outbox_pending{{{RELAY}}}))", ""
            ),
            stat(
                "Outbox: oldest",
                f"max(stomplistener_outbox_oldest_seconds{{{RELAY}}})",
                "How late the relay is. It grows while the broker or the relay is away.",
                alarm=60,
                unit="s",
            ),
        ),
    ),
    Row(
        "Handlers",
        (
            Panel(
                "Attempts by outcome",
                {"{{outcome}}": rate("stomplistener_handled_total", HANDLER, "outcome")},
                "ops",
                "stale: the connection was lost while the handler ran, and the broker delivers the message again.",
            ),
            Panel(
                "Attempts by destination",
                {"{{destination}}": rate("stomplistener_handled_total", HANDLER, "destination")},
                "ops",
            ),
            Panel(
                "Time of a handler",
                {f"{share * 100:g} % {{{{destination}}}}": percentile(share) for share in (0.5, 0.95, 0.99)},
                "s",
            ),
            Panel(
                "Running handlers",
                {"{{destination}}": f"sum by (destination) (stomplistener_handlers_running{{{HANDLER}}})"},
                text="At the number of workers of a destination, for long: more messages come than they can handle.",
            ),
            Panel(
                "Oldest handler",
                {"{{destination}}": f"max by (destination) (stomplistener_handler_oldest_seconds{{{HANDLER}}})"},
                "s",
            ),
            Panel(
                "Over the time limit",
                {
                    "{{destination}}": "sum by (destination) "
                    f"(increase(stomplistener_time_limit_exceeded_total{{{HANDLER}}}[$__rate_interval]))"
                },
            ),
        ),
    ),
    Row(
        "Connections",
        (
            Panel(
                "Messages",
                {
                    "received {{connection}}": rate("stomplistener_messages_received_total", WORKER, "connection"),
                    "sent {{connection}}": rate("stomplistener_messages_sent_total", WORKER, "connection"),
                },
                "ops",
            ),
            Panel(
                "Bytes",
                {
                    "received {{connection}}": rate("stomplistener_bytes_received_total", WORKER, "connection"),
                    "sent {{connection}}": rate("stomplistener_bytes_sent_total", WORKER, "connection"),
                },
                "Bps",
            ),
            Panel(
                "Reconnects and exceptions",
                {
                    "reconnects {{connection}}": "sum by (connection) "
                    f"(increase(stomplistener_reconnects_total{{{WORKER}}}[$__rate_interval]))",
                    "exceptions {{connection}}": "sum by (connection) "
                    f"(increase(stomplistener_listener_errors_total{{{WORKER}}}[$__rate_interval]))",
                },
            ),
            Panel(
                "Messages in memory",
                {
                    "pending {{connection}}": f"sum by (connection) (stomplistener_pending{{{WORKER}}})",
                    "unconfirmed {{connection}}": f"sum by (connection) (stomplistener_unconfirmed{{{WORKER}}})",
                },
                text="pending: received, and not handled yet. unconfirmed: sent, and without the broker's receipt.",
            ),
            Panel(
                "Bytes in memory",
                {
                    "pending {{connection}}": f"sum by (connection) (stomplistener_pending_bytes{{{WORKER}}})",
                    "unconfirmed {{connection}}": f"sum by (connection) (stomplistener_unconfirmed_bytes{{{WORKER}}})",
                },
                "bytes",
            ),
            Panel(
                "Memory of the processes",
                {
                    "{{instance}}": "sum by (instance) (process_resident_memory_bytes and on (instance, job) "
                    "group by (instance, job) (stomplistener_connected or stomplistener_outbox_connected))"
                },
                "bytes",
            ),
        ),
    ),
    Row(
        "Outbox of Django",
        (
            Panel(
                "Rows",
                {
                    "pending": f"sum(max by (connection, database) (stomplistener_outbox_pending{{{RELAY}}}))",
                    "failed": f"sum(max by (connection, database) (stomplistener_outbox_failed{{{RELAY}}}))",
                },
                text="Every relay counts the same rows. failed: given up, until they are requeued.",
            ),
            Panel("Age of the oldest row", {"": f"max(stomplistener_outbox_oldest_seconds{{{RELAY}}})"}, "s"),
            Panel(
                "What the relays do",
                {
                    "published": f"sum(rate(stomplistener_outbox_published_total{{{RELAY}}}[$__rate_interval]))",
                    "refused": f"sum(rate(stomplistener_outbox_refused_total{{{RELAY}}}[$__rate_interval]))",
                },
                "ops",
            ),
        ),
    ),
)


def variables() -> list[dict[str, Any]]:
    """What a person chooses at the top."""

    def labels(name: str, query: str) -> dict[str, Any]:
        choice = {"name": name, "type": "query", "datasource": SOURCE, "query": query, "refresh": 2, "sort": 1}
        return choice | {
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        }

    return [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
        labels("connection", "label_values(stomplistener_connected, connection)"),
        labels("destination", "label_values(stomplistener_handled_total, destination)"),
    ]


def placed() -> Iterator[dict[str, Any]]:
    """The panels in rows, each where the one before it ends."""
    number, top = 1, 0
    for row in ROWS:
        place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "panels": [], "gridPos": place}
        number, top, left = number + 1, top + 1, 0
        height = 4 if row.panels[0].kind == "stat" else 8
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                left, top = 0, top + height
            yield drawn(panel, number, {"x": left, "y": top, "w": panel.width, "h": height})
            number, left = number + 1, left + panel.width
        top += height


def drawn(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    """A panel as Grafana reads it."""
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.alarm is not None:
        steps.append({"color": "red", "value": panel.alarm})
    targets = [
        {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": query, "legendFormat": legend or "__auto"}
        for index, (legend, query) in enumerate(panel.queries.items())
    ]
    defaults = {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": SOURCE,
        "gridPos": place,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}} if panel.kind == "timeseries" else {},
    }


def dashboard() -> dict[str, Any]:
    """The dashboard, as it is imported."""
    return {
        "uid": "stomplistener",
        "title": "stomplistener",
        "tags": ["stomp"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": variables()},
        "annotations": {"list": []},
        "panels": list(placed()),
    }


def written() -> str:
    """The text of the file."""
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TARGET.write_text(written())
