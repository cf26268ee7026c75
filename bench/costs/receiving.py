"""Rows that receive: a listener runs the statement until the last message of the server has arrived.

The listener may send frames for each message (``back``). The server reads all of them before it sends its last message,
so that acknowledgements are part of the measurement.
"""

from __future__ import annotations

from bench.costs.clients import CostClient, End
from bench.costs.row import Row, Side
from bench.costs.sending import Round
from bench.costs.statements import Scope


def prepare(row: Row, side: Side, client: CostClient) -> Round:
    """Prepare a round of the row."""
    end = End()
    client.subscribe(row, Scope(row, side, client).listener(), end.set)

    def play(first: int, last: int) -> None:
        client.flood(last - first)
        end.wait()

    return play
