"""Show distributions in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

BLOCKS = " ▏▎▍▌▋▊▉█"
"""Characters for bars with a resolution of an eighth, for a terminal with Unicode."""
PLAIN = " #"
"""Characters for bars without Unicode."""


def histogram(
    values: Sequence[float], *, rows: int = 10, width: int = 40, bars: str = BLOCKS
) -> list[tuple[float, float, int, str]]:
    """Sort values into classes of equal width. Values above the 99th percentile go into the last class.

    Args:
        values: the values, at least one.
        rows: the number of classes.
        width: the width of the longest bar, in characters.
        bars: the characters for the fractions of a character, from empty to full.

    Returns:
        for each class its lower and upper end, its count and its bar.
    """
    ordered = sorted(values)
    least, most = ordered[0], ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    step = (most - least) / rows
    if step == 0:
        return [(least, ordered[-1], len(ordered), _bar(1.0, width, bars))]
    counts = [0] * rows
    for value in ordered:
        counts[min(rows - 1, int((value - least) / step))] += 1
    ends = [least + step * (row + 1) for row in range(rows - 1)] + [ordered[-1]]
    return [
        (least + step * row, ends[row], count, _bar(count / max(counts), width, bars))
        for row, count in enumerate(counts)
    ]


def _bar(share: float, width: int, bars: str) -> str:
    parts = len(bars) - 1
    whole, rest = divmod(round(share * width * parts), parts)
    return bars[-1] * whole + (bars[rest] if rest else "")
