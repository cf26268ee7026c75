"""Rows that send: a loop runs the statement until the server has read everything."""

from __future__ import annotations

import threading
from collections.abc import Callable

from bench.costs.clients import CostClient, End
from bench.costs.row import Row, Side
from bench.costs.statements import Scope

Round = Callable[[int, int], object]
"""Sends the messages with the numbers of a range, and returns when the server has read them."""


def prepare(row: Row, side: Side, client: CostClient) -> Round:
    """Prepare a round of the row."""
    loop = Scope(row, side, client).loop()
    work = _inside(row, client, loop) if row.inside else _together(row.threads, loop)

    def play(first: int, last: int) -> None:
        work(first, first + (last - first) // row.per)
        client.finish()

    return play


def _together(threads: int, loop: Round) -> Round:
    if threads == 1:
        return loop

    def work(first: int, last: int) -> None:
        each = (last - first) // threads
        workers = [
            threading.Thread(target=loop, args=(first + number * each, first + (number + 1) * each))
            for number in range(threads)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    return work


def _inside(row: Row, client: CostClient, loop: Round) -> Round:
    """Return a function that runs the loop in a listener, which one message starts."""
    end = End()
    bounds = (0, 0)
    client.subscribe(row, lambda _message: loop(*bounds), end.set)

    def work(first: int, last: int) -> None:
        nonlocal bounds
        bounds = first, last
        client.flood(1)
        end.wait()

    return work
