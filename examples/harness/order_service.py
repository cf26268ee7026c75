"""An order service: it books orders from one queue, and sends a confirmation for each to another.

    STOMP_URL=tcp://localhost:61613 stomplistener worker production:app

An order is JSON: ``{"id": "17", "item": "lamp", "pieces": 2}``. An order that cannot be booked is tried again, and then
goes to a queue for failed orders, with the reason in its headers. A broker may deliver an order twice, for example if
an acknowledgement was lost. So the ledger books each id once.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

from stomplistener import Message
from stomplistener.worker import Application


class Order(NamedTuple):
    """An order of a customer."""

    id: str
    item: str
    pieces: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an order. A ValueError says what is wrong with the text."""
        fields = json.loads(text)
        try:
            order = cls(str(fields["id"]), str(fields["item"]), int(fields["pieces"]))
        except (KeyError, TypeError) as problem:
            raise ValueError(f"an order has id, item and pieces: {problem}") from None
        if order.pieces < 1:
            raise ValueError(f"an order of {order.pieces} pieces")
        return order


class Ledger:
    """The booked orders, in a file. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as database:
            database.execute("CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, item TEXT, pieces INTEGER)")

    def book(self, order: Order) -> None:
        """Book an order, unless one with its id is booked already."""
        with self._open() as database:
            database.execute("INSERT OR IGNORE INTO orders VALUES (?, ?, ?)", order)

    def orders(self) -> list[Order]:
        """Return all booked orders."""
        with self._open() as database:
            return [Order(*row) for row in database.execute("SELECT id, item, pieces FROM orders ORDER BY id")]

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self._path)) as database, database:
            yield database


def order_service(
    ledger: Ledger, uri: str | None = None, queue: str = "/queue/orders", *, retry_delay: float = 1.0
) -> Application:
    """Make the service for a queue. Confirmations go to ``QUEUE-confirmed``, failed orders to ``QUEUE-failed``."""
    app = Application(uri, name="orders")

    @app.listener(queue, retries=2, retry_delay=retry_delay, error_destination=f"{queue}-failed")
    def book(message: Message) -> None:
        order = Order.parse(message.text)
        ledger.book(order)
        app.send(f"{queue}-confirmed", order.id, persistent=True, confirm=True)

    return app
