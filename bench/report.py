"""The results as JSON, and as plots that can be read on a light and on a dark page."""

from __future__ import annotations

import importlib
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.measure import Result

_GREY, _BAR = "#808890", "#2a9d8f"
_WIDTH, _TEXT = 7.6, 9.5
"""The width of a picture in inches and its text in points: the manual shows it in this size, where it can be read."""
_LABEL = 34
"""Letters in a line of a label."""


def write_json(path: Path, results: Sequence[Result], machine: str, runs: int) -> Path:
    document = {"machine": machine, "runs": runs, "results": [result.as_json() for result in results]}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return path


def plots(directory: Path, results: Sequence[Result]) -> list[Path]:
    """One picture for the ratios that should be large, one for those that should be small."""
    ratios = [result for result in results if result.ratio is not None and result.measure.must is not None]
    pictures = {
        "faster.svg": ("times the peer's rate: more is better", [r for r in ratios if r.measure.more_is_better]),
        "cheaper.svg": (
            "share of the peer's cost: less is better",
            [r for r in ratios if not r.measure.more_is_better],
        ),
    }
    return [_plot(directory / name, title, some) for name, (title, some) in pictures.items() if some]


def _plot(path: Path, title: str, results: Sequence[Result]) -> Path:
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(_WIDTH, 0.62 * len(results) + 0.9), layout="constrained")
    for row, result in enumerate(reversed(results)):
        ratio = result.ratio
        assert ratio is not None
        axes.barh(row, ratio.median, color=_BAR, height=0.6)
        axes.plot([ratio.least, ratio.most], [row, row], color=_GREY, linewidth=2)
    axes.axvline(1.0, color=_GREY, linewidth=1)
    axes.margins(y=0.01)
    labels = [f"{textwrap.fill(r.measure.name, _LABEL)}\nagainst {r.peer_label}" for r in reversed(results)]
    axes.set_yticks(range(len(results)), labels)
    axes.set_title(title, fontsize=11)
    figure.savefig(path, transparent=True, metadata={"Date": None})
    pyplot.close(figure)
    return path


def _pyplot() -> Any:
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("svg")
    colours = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), _GREY)
    matplotlib.rcParams.update({**colours, "font.size": _TEXT, "svg.fonttype": "none", "svg.hashsalt": "bench"})
    return importlib.import_module("matplotlib.pyplot")
