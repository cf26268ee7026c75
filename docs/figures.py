"""The published figures as tables for readers: what one does, what it costs, and what it costs with a peer.

``make bench BENCH="--publish docs/_static/bench"`` and ``make profile PROFILE="--stages --publish docs/_static/bench"``
write the files that are read here. What a release must reach is for us, and is not shown: the benchmarks print it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
PUBLISHED = ROOT / "docs" / "_static" / "bench"
NOT_PUBLISHED = "No figures are published with this version: `{command}` measures on your machine.\n"

sys.path.insert(0, str(ROOT))

from bench.costs.measure import CONDITIONS, Cost  # noqa: E402
from bench.measure import Measure, Result, Spread  # noqa: E402
from bench.table import number  # noqa: E402

Rows = Callable[[Sequence[str], Iterable[Sequence[str]]], str]
"""What makes a table of Markdown."""


def cost_map(rows: Rows, directory: Path = PUBLISHED) -> str:
    """What each call costs beside stomp.py, under each condition, and beside a bare socket."""
    path = directory / "costs.json"
    if not path.exists():
        return NOT_PUBLISHED.format(command="make bench")
    published = json.loads(path.read_text())
    costs = [Cost.from_json(each) for each in published["costs"]]
    parts = [f"{published['machine'].rstrip('.')}. Medians of {published['runs']} rounds, the sides in turn.\n"]
    for name, condition in CONDITIONS.items():
        some = [cost for cost in costs if cost.condition == name and cost.against == "stomp.py"]
        if some:
            header = ("What you do", "µs", "µs with stomp.py", "times cheaper (least..most)")
            parts.append(f"### {condition.text}\n\n{rows(header, map(_beside, _slow_first(some)))}")
    bare = [cost for cost in costs if cost.condition == "quiet" and cost.against.startswith("raw")]
    if bare:
        header = ("What you do", "ours", "bare socket", "share of its speed (least..most)")
        parts.append(f"### Beside a bare socket\n\n{rows(header, map(_bare, _slow_first(bare)))}")
    return "\n".join(parts)


TYPICAL = {
    "send-5": "send a message with 5 headers",
    "send-256k": "send a body of 256 KiB",
    "confirm": "send a message and wait for its receipt",
    "async-5": "send 100 messages, then wait for all receipts: each",
    "receive-9-four": "receive a message, and read 4 headers and its text",
    "settle": "receive and acknowledge a message",
    "service": "receive a message, send another one, acknowledge",
    "compat-service": "receive, send, acknowledge by `stomplistener.compat.stomp`",
}
"""What most programs do, by the keys of the cost map, in words for a reader who does not know the library."""


def in_short(rows: Rows, directory: Path = PUBLISHED) -> str:
    """The rows of the cost map that most programs meet."""
    path = directory / "costs.json"
    if not path.exists():
        return NOT_PUBLISHED.format(command="make bench")
    costs = map(Cost.from_json, json.loads(path.read_text())["costs"])
    some = [cost for cost in costs if cost.key in TYPICAL and cost.condition == "quiet"]
    header = ("What your program does", "µs", "µs with stomp.py", "times cheaper")
    return rows(
        header,
        (
            (TYPICAL[cost.key], number(cost.unit_ours), number(cost.unit_peer), number(_times_better(cost)[0]))
            for cost in _slow_first(some)
        ),
    )


def _times_better(cost: Cost) -> tuple[float, float, float]:
    """How many times better ours is: the median, the least and the most."""
    return _better(cost.ratio, cost.at_most)


def _better(ratio: Spread, less_is_better: bool) -> tuple[float, float, float]:
    if less_is_better:
        return 1 / ratio.median, 1 / ratio.most, 1 / ratio.least
    return ratio.median, ratio.least, ratio.most


def _slow_first(costs: Iterable[Cost]) -> list[Cost]:
    return sorted(costs, key=_times_better)


def _spread(values: tuple[float, float, float]) -> str:
    median, least, most = map(number, values)
    return f"{median} ({least}..{most})"


def _beside(cost: Cost) -> tuple[str, ...]:
    return _named(cost), number(cost.unit_ours), number(cost.unit_peer), _spread(_times_better(cost))


def _bare(cost: Cost) -> tuple[str, ...]:
    ours, bare, unit = cost.unit_ours, cost.unit_peer, "µs"
    if cost.rate_ours is not None and cost.rate_peer is not None:
        ours, bare, unit = cost.rate_ours, cost.rate_peer, "/s"
    return _named(cost), _with_unit(ours, unit), _with_unit(bare, unit), _spread(_times_better(cost))


def _named(cost: Cost) -> str:
    return f"{cost.group}: {cost.name}".replace("|", "\\|")


def bench_table(rows: Rows, directory: Path = PUBLISHED) -> str:
    """The published benchmarks, with their plots."""
    path = directory / "bench.json"
    if not path.exists():
        return NOT_PUBLISHED.format(command="make bench")
    published = json.loads(path.read_text())
    plots = [
        f":::{{div}} picture chart\n```{{raw}} html\n:file: ../_static/bench/{name}\n```\n:::\n"
        for name in ("faster.svg", "cheaper.svg")
        if (directory / name).exists()
    ]
    results = [Result.from_json(each) for each in published["results"]]
    table = rows(("What is measured", "ours", "the other one", "times better (least..most)"), map(_compared, results))
    machine = published["machine"].rstrip(".")
    return "\n".join([f"{machine}. Medians of {published['runs']} runs, the sides in turn.\n", *plots, table])


def _compared(result: Result) -> tuple[str, ...]:
    peer = ratio = ""
    if result.peer is not None:
        peer = f"{result.peer_label} {_amount(result.peer, result.measure)}"
    if result.ratio is not None:
        ratio = _spread(_better(result.ratio, not result.measure.more_is_better))
    # Rows that belong to the one before them are set in, which Markdown does not keep.
    return re.sub("^ +", "… ", result.measure.name), _amount(result.ours, result.measure), peer, ratio


def _amount(spread: Spread, measure: Measure) -> str:
    return _with_unit(spread.median, measure.unit)


def _with_unit(value: float, unit: str) -> str:
    return f"{number(value)}\N{NO-BREAK SPACE}{unit}"


def profile_table(rows: Rows, directory: Path = PUBLISHED) -> str:
    """The published microseconds of each stage."""
    path = directory / "profile.json"
    if not path.exists():
        return NOT_PUBLISHED.format(command="make profile")
    published = json.loads(path.read_text())
    lines = []
    for direction, stages in published["stages"].items():
        lines += [(direction, stage, f"{cost:.2f}") for stage, cost in stages]
    return f"{published['machine'].rstrip('.')}.\n\n" + rows(("", "Stage", "µs a message"), lines)
