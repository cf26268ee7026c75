"""Measure the selected rows under each condition, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bench.costs.measure import CONDITIONS, Cost, measure, under
from bench.costs.row import Row
from bench.process import BenchError


def run(
    rows: Sequence[Row],
    conditions: Sequence[str],
    *,
    runs: int,
    quick: bool,
    brokers: Mapping[str, str],
    tell: Callable[[str], object],
    show: Callable[[Cost], object],
) -> tuple[list[Cost], list[str]]:
    """Measure rows.

    Args:
        conditions: names of ``CONDITIONS``.
        runs: the number of rounds of each side.
        quick: whether a round has only few messages.
        brokers: URIs of real brokers by name.
        tell: called with the name of each row before it is measured.
        show: called with each measured row.

    Returns:
        the measured rows, and a line for each row that failed.
    """
    costs: list[Cost] = []
    failures: list[str] = []
    for name in conditions:
        condition = CONDITIONS[name]
        with under(condition):
            for row in rows:
                tell(f"{row.key}, {name}")
                try:
                    cost = measure(row, condition, runs=runs, quick=quick, brokers=brokers)
                except BenchError as error:
                    failures.append(f"{row.key}, {name}: {error}")
                    continue
                costs.append(cost)
                show(cost)
    return costs, failures
