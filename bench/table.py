"""Print the table of results as plain text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.measure import Measure, Result, Spread

HEADER = ("measure", "ours", "peer", "ratio (min..max)", "must", "aim", "verdict")


def table(results: Sequence[Result]) -> str:
    return columns(HEADER, map(cells, results))


def columns(header: Sequence[str], lines_of_cells: Iterable[Sequence[str]]) -> str:
    """Return rows of cells, aligned in columns under their header."""
    rows = [header, *lines_of_cells]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def cells(result: Result) -> tuple[str, ...]:
    """Return one row, in the order of HEADER."""
    measure = result.measure
    peer = f"{result.peer_label} {_value(result.peer, measure)}" if result.peer else ""
    return (
        measure.name,
        _value(result.ours, measure),
        peer,
        _ratio(result.ratio),
        _wanted(measure.must, measure),
        _wanted(measure.aim, measure),
        result.verdict,
    )


def _value(spread: Spread, measure: Measure) -> str:
    return f"{number(spread.median)} {measure.unit}"


def _ratio(spread: Spread | None) -> str:
    if spread is None:
        return ""
    return f"{number(spread.median)} ({number(spread.least)}..{number(spread.most)})"


def _wanted(value: float | None, measure: Measure) -> str:
    if value is None:
        return ""
    sign = "≥" if measure.more_is_better else "≤"
    return f"{sign} {number(value)} {measure.unit}" if measure.absolute else f"{sign} {number(value)}"


def number(value: float) -> str:
    """Return a number with three significant digits, or all digits before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
