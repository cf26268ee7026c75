"""Print the cost map: one table for each condition, with the rows nearest to their must first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.costs.measure import CONDITIONS, Cost
from bench.table import columns, number

HEADER = ("call", "ours µs", "peer µs", "ratio (min..max)", "must", "ours /s", "peer /s", "against", "verdict")


def table(costs: Sequence[Cost]) -> str:
    """Return all rows, in one table for each condition."""
    parts = [f"{CONDITIONS[name].text}:\n\n{columns(HEADER, map(cells, some))}\n" for name, some in by_condition(costs)]
    return "\n".join(parts)


def by_condition(costs: Iterable[Cost]) -> list[tuple[str, list[Cost]]]:
    """Return the rows of each condition, slow ones first."""
    costs = sorted(costs, key=lambda cost: cost.margin)
    parts = [(name, [cost for cost in costs if cost.condition == name]) for name in CONDITIONS]
    return [(name, some) for name, some in parts if some]


def cells(cost: Cost) -> tuple[str, ...]:
    """Return one row, in the order of HEADER."""
    ratio = cost.ratio
    return (
        f"{cost.group}: {cost.name}",
        number(cost.unit_ours),
        number(cost.unit_peer),
        f"{number(ratio.median)} ({number(ratio.least)}..{number(ratio.most)})",
        "" if cost.must is None else f"{'≤' if cost.at_most else '≥'} {number(cost.must)}",
        "" if cost.rate_ours is None else number(cost.rate_ours),
        "" if cost.rate_peer is None else number(cost.rate_peer),
        cost.against,
        cost.verdict,
    )


def write_json(path: Path, costs: Sequence[Cost], machine: str, runs: int) -> Path:
    document = {"machine": machine, "runs": runs, "costs": [cost.as_json() for cost in costs]}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return path
