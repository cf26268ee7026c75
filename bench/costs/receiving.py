"""Rows that receive: the statement in a listener, until the server's last message has come.

The server sends its last message after it has read all frames that the listener sends for a message (``back``), so that
acknowledgements are part of what is measured.
"""

from __future__ import annotations

from bench.costs.clients import CostClient, End
from bench.costs.row import Row, Side
from bench.costs.sending import Round
from bench.costs.statements import Scope


def prepare(row: Row, side: Side, client: CostClient) -> Round:
    """A round of the row."""
    end = End()
    client.subscribe(row, Scope(row, side, client).listener(), end.set)

    def play(first: int, last: int) -> None:
        client.flood(last - first)
        end.wait()

    return play
