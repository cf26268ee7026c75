"""Rows of programs that take messages in a thread of their own: from a consumer, or from an inbox behind a listener."""

from __future__ import annotations

import queue
from typing import Any

from bench.costs.clients import CostClient
from bench.costs.row import Row, Side
from bench.costs.sending import Round
from bench.costs.statements import Scope


def prepare(row: Row, side: Side, client: CostClient) -> Round:
    """A round of the row. The statement takes one message; ``subscribe`` is for the setup, if it wants a listener."""
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def subscribe() -> None:
        client.subscribe(row, inbox.put, lambda: None)

    loop = Scope(row, side, client, inbox=inbox, subscribe=subscribe).loop()

    def play(first: int, last: int) -> None:
        client.flood(last - first)
        loop(first, last)
        client.finish()

    return play
