"""``stomplistener top``: show the metrics of workers in a live table."""

from __future__ import annotations

import http.client
import re
import time
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from stomplistener.cli import terminal
from stomplistener.errors import ConnectFailed
from stomplistener.worker.metrics import PREFIX

if TYPE_CHECKING:
    from rich.table import Table

_SAMPLE = re.compile(rf"{PREFIX}(\w+)\{{([^}}]*)\}} (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

COLUMNS = ("received/s", "sent/s", "pending", "unconfirmed", "handled/s", "errors", "reconnects", "mean time")
WIDE = 120
"""The width, in characters, that a terminal needs to show all columns side by side."""

Key = tuple[str, str]
"""The address of a worker, and the name of one of its connections."""


@dataclass
class Row:
    """The values of one connection at one time, by name. The values of its handlers are summed."""

    at: float
    connected: bool = False
    values: dict[str, float] = field(default_factory=dict)

    def rate(self, name: str, before: Row | None) -> float:
        """Return the growth of a counter per second; 0 if there is no earlier row."""
        if before is None or self.at <= before.at:
            return 0.0
        return max(0.0, self.values.get(name, 0.0) - before.values.get(name, 0.0)) / (self.at - before.at)


def read(text: str, address: str, at: float) -> dict[Key, Row]:
    """Return the rows in the metrics of a worker.

    Args:
        text: the metrics, in the exposition format of Prometheus.
        address: the address of the worker.
        at: the time of the fetch, in seconds.
    """
    rows: dict[Key, Row] = {}
    for name, labels, value in _SAMPLE.findall(text):
        connection = dict(_LABEL.findall(labels)).get("connection", "")
        row = rows.setdefault((address, connection), Row(at))
        if name == "connected":
            row.connected = float(value) > 0
        elif not name.endswith("_bucket"):
            row.values[name] = row.values.get(name, 0.0) + float(value)
    return rows


def fetch(addresses: Iterable[str], timeout: float) -> dict[Key, Row | None]:
    """Return the rows of several workers; None for a worker that does not answer."""
    rows: dict[Key, Row | None] = {}
    for address in addresses:
        try:
            with urllib.request.urlopen(_url(address), timeout=timeout) as answer:
                rows |= read(answer.read().decode(), address, time.monotonic())
        except (OSError, ValueError, http.client.HTTPException):
            rows[address, ""] = None
    return rows


def _url(address: str) -> str:
    if not address.startswith(("http://", "https://")):
        address = f"http://{address}" if ":" in address else f"http://127.0.0.1:{address}"
    return address if address.rstrip("/").endswith("/metrics") else f"{address.rstrip('/')}/metrics"


def cells(row: Row, before: Row | None) -> list[str]:
    """Return a row as text, in the order of COLUMNS."""
    values = row.values
    took, times = values.get("handler_seconds_sum", 0.0), values.get("handler_seconds_count", 0.0)
    return [
        f"{row.rate('messages_received_total', before):,.1f}",
        f"{row.rate('messages_sent_total', before):,.1f}",
        f"{values.get('pending', 0):,.0f}",
        f"{values.get('unconfirmed', 0):,.0f}",
        f"{row.rate('handled_total', before):,.1f}",
        f"{values.get('listener_errors_total', 0):,.0f}",
        f"{values.get('reconnects_total', 0):,.0f}",
        f"{took / times * 1000:,.2f} ms" if times else "",
    ]


def table(rows: dict[Key, Row | None], before: dict[Key, Row | None], width: int) -> Table:
    """Return the table at one time.

    Args:
        width: the width of the terminal. A narrow table has two lines for each connection, to show every number in
            full.
    """
    shown = _empty(wide=width >= WIDE)
    for key, row in sorted(rows.items()):
        if row is None:
            shown.add_row(key[0], *[""] * (width >= WIDE), "[red]no answer")
            continue
        state = "[green]connected" if row.connected else "[red]cut off"
        values = cells(row, before.get(key))
        if width >= WIDE:
            shown.add_row(*key, state, *values)
        else:
            first, second = (f"{key[0]}\n{key[1]}", state), zip(values[::2], values[1::2], strict=True)
            shown.add_row(*first, *("\n".join(pair) for pair in second))
    return shown


def _empty(*, wide: bool) -> Table:
    from rich.table import Table

    names: Sequence[str] = COLUMNS
    if wide:
        shown = Table("worker", "connection", "state")
    else:
        # Separate the rows with lines, because each is two lines high. Side borders would take two columns.
        shown = Table("worker\nconnection", "state", show_lines=True, show_edge=False, pad_edge=False)
        names = ["\n".join(pair) for pair in zip(COLUMNS[::2], COLUMNS[1::2], strict=True)]
    for name in names:
        shown.add_column(name, justify="right", no_wrap=True)
    return shown


@click.command()
@click.argument("workers", nargs=-1, metavar="[WORKER]…")
@click.option("--interval", metavar="SECONDS", type=click.FloatRange(min=0.05), default=1.0, show_default=True)
@click.option("-n", "--count", type=click.IntRange(min=1), help="End after this number of tables.")
def top(workers: tuple[str, ...], interval: float, count: int | None) -> None:
    """Show a live table of workers: rates, waiting messages, errors and reconnects.

    A WORKER is the port, the host:port or the URL of a worker that was started with --metrics-port; the default is
    9100. In a pipe, the command writes one table after the other.

    \b
    Examples:
      stomplistener worker shop:app --processes 2 --metrics-port 9100
      stomplistener top 9100
      stomplistener top mq-worker-1:9100 https://example.org/worker/metrics

    Exit codes: 0 all tables are shown; 2 wrong use; 3 no worker answers at the start; 130 Ctrl-C.
    """
    from rich.live import Live

    addresses: Sequence[str] = workers or ("9100",)
    before: dict[Key, Row | None] = {}
    rows = fetch(addresses, timeout=2.0)
    if not any(rows.values()):
        raise ConnectFailed(f"no worker answers at {', '.join(map(_url, addresses))}: start one with --metrics-port")
    console = terminal.console()
    with Live(console=console, auto_refresh=False, screen=False) as live:
        shown = 0
        while True:
            if console.is_terminal:
                live.update(table(rows, before, console.width), refresh=True)
            else:
                console.print(table(rows, before, console.width))
            shown += 1
            if shown == count:
                return
            time.sleep(interval)
            before, rows = rows, fetch(addresses, timeout=2.0)
