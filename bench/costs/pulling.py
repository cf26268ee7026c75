"""Rows of programs whose own thread takes messages: from a consumer, or from a queue that a listener fills."""

from __future__ import annotations

import queue
from typing import Any

from bench.costs.clients import CostClient
from bench.costs.row import Row, Side
from bench.costs.sending import Round
from bench.costs.statements import Scope


def prepare(row: Row, side: Side, client: CostClient) -> Round:
    """Prepare a round of the row. The statement takes one message, and the setup may call ``subscribe``."""
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def subscribe() -> None:
        client.subscribe(row, inbox.put, lambda: None)

    loop = Scope(row, side, client, inbox=inbox, subscribe=subscribe).loop()

    def play(first: int, last: int) -> None:
        client.flood(last - first)
        loop(first, last)
        client.finish()

    return play
