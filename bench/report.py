"""Write the results as JSON, and as plots that are readable on light and dark pages."""

from __future__ import annotations

import importlib
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.measure import Result

_INK, _BAR = "#010203", "#2a9d8f"
"""Lines and text take the colour of the page's text. Matplotlib cannot express that, so the first of these colours is
replaced later."""
_WIDTH, _TEXT = 3.9, 9.5
"""The width of a picture in inches and the size of its text in points. A phone shows the whole picture with readable
text."""
_ROW = 0.62
"""Inches for a bar and the label above it."""
_LABEL = 46
"""The number of letters in a line of a label."""


def write_json(path: Path, results: Sequence[Result], machine: str, runs: int) -> Path:
    document = {"machine": machine, "runs": runs, "results": [result.as_json() for result in results]}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return path


def plots(directory: Path, results: Sequence[Result]) -> list[Path]:
    """Make one picture for the ratios that should be large, and one for those that should be small."""
    ratios = [result for result in results if result.ratio is not None and result.measure.must is not None]
    pictures = {
        "faster.svg": ("times the other one's rate: more is better", [r for r in ratios if r.measure.more_is_better]),
        "cheaper.svg": (
            "share of the other one's cost: less is better",
            [r for r in ratios if not r.measure.more_is_better],
        ),
    }
    return [_plot(directory / name, title, some) for name, (title, some) in pictures.items() if some]


def _plot(path: Path, title: str, results: Sequence[Result]) -> Path:
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(_WIDTH, _ROW * len(results) + 0.8), layout="constrained")
    for row, result in enumerate(reversed(results)):
        ratio = result.ratio
        assert ratio is not None
        axes.barh(row, ratio.median, color=_BAR, height=0.3)
        axes.plot([ratio.least, ratio.most], [row, row], color=_INK, linewidth=2)
        # Put the label above its bar, so that it does not reduce the width of the bars.
        label = textwrap.fill(f"{result.measure.name.strip()}, against {result.peer_label}", _LABEL)
        axes.annotate(label, (0, row + 0.2), xytext=(2, 0), textcoords="offset points", verticalalignment="bottom")
        axes.plot([1, 1], [row - 0.2, row + 0.2], color=_INK, linewidth=1)
    axes.set_xlim(left=0)
    axes.set_ylim(-0.4, len(results) - 0.15)
    axes.set_yticks([])
    axes.set_title(title, fontsize=11)
    figure.savefig(path, transparent=True, metadata={"Date": None})
    pyplot.close(figure)
    # Without the lines before its first element, the picture can be part of a page.
    drawn = path.read_text().replace(_INK, "currentColor")
    path.write_text(drawn[drawn.index("<svg") :].replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1))
    return path


def _pyplot() -> Any:
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("svg")
    colours = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), _INK)
    matplotlib.rcParams.update({**colours, "font.size": _TEXT, "svg.fonttype": "none", "svg.hashsalt": "bench"})
    return importlib.import_module("matplotlib.pyplot")
