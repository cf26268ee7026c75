"""``python -m bench.costs.side``: one side of a row, in a process that runs all rounds.

Each line of input is the number of messages of a round. The process prints the figures of the round as a line of JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bench.costs import pausing
from bench.costs.clients import CLIENTS, Address
from bench.costs.row import Row, Which
from bench.process import Clock, Figures

Play = Callable[[int], Figures]
"""Runs a round of this number of messages."""


@contextmanager
def prepared(row: Row, which: Which, address: Address) -> Iterator[Play]:
    """Yield a side that is connected and ready inside the block."""
    side = row.side(which)
    done = 0
    if row.run == "pausing":
        with pausing.preparing(row, side, address) as round_of_both:
            yield lambda count: round_of_both(0, count)
        return
    client = CLIENTS[side.client](row, address)
    round: Any = importlib.import_module(f"bench.costs.{row.run}").prepare(row, side, client)

    def play(count: int) -> Figures:
        # Continue the numbers from round to round, so that no two messages of a side are the same.
        nonlocal done
        clock = Clock()
        round(done, done + count)
        figures = clock.figures(count)
        done += count
        return figures

    try:
        yield play
    finally:
        client.close()


def main() -> None:
    from bench.costs.rows import rows

    key, which, port, ca, brokers, switch_interval = json.loads(sys.argv[1])
    if switch_interval:
        sys.setswitchinterval(switch_interval)
    row = next(row for row in rows(brokers) if row.key == key)
    with prepared(row, which, Address(port, ca)) as play:
        for line in sys.stdin:
            print(json.dumps(play(int(line))), flush=True)
        # Do not wait for threads: those of a peer may never end.
        os._exit(0)


if __name__ == "__main__":
    main()
