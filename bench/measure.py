"""The definitions of a benchmark: measures, sides, and the ratios that must hold."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.process import Figures, run_side


@dataclass(frozen=True)
class Side:
    """One of the two compared sides: a function that a new process calls, with its arguments.

    Attributes:
        label: the name in the table.
        function: ``module:function`` in this package.
        arguments: the arguments for a full run.
        quick: the arguments that differ in a quick run.
    """

    label: str
    function: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    quick: Mapping[str, object] = field(default_factory=dict)

    def run(self, *, quick: bool) -> Figures:
        return run_side(self.function, {**self.arguments, **(self.quick if quick else {})})


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One row of the table.

    Attributes:
        name: the name of the row.
        figure: the name of the figure in the results of a side.
        unit: the unit of that figure.
        more_is_better: whether the ratio must be at least ``must``; otherwise at most.
        must: the ratio that must hold; None for a row that only informs.
        aim: the desired ratio.
        absolute: whether to compare our figure itself with ``must`` and ``aim``, and not the ratio.
    """

    name: str
    figure: str
    unit: str
    more_is_better: bool = True
    must: float | None = None
    aim: float | None = None
    absolute: bool = False


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Two sides that run alternately, and the rows that result.

    Attributes:
        key: for ``--only``.
        peer: the other side; None if there is nothing to compare with.
        note: information for readers about the method.
        problem: returns why the experiment cannot run here and the remedy; None if it can run.
    """

    key: str
    ours: Side
    peer: Side | None
    measures: Sequence[Measure]
    note: str = ""
    problem: Callable[[], str | None] = lambda: None


@dataclass(frozen=True)
class Spread:
    """The median of values, and their spread by the noise of the machine."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, kw_only=True)
class Result:
    """A measured row."""

    key: str
    measure: Measure
    our_label: str
    peer_label: str
    ours: Spread
    peer: Spread | None
    ratio: Spread | None

    @property
    def value(self) -> float:
        """The value that is compared with ``must`` and ``aim``."""
        return self.ours.median if self.ratio is None else self.ratio.median

    @property
    def verdict(self) -> str:
        measure = self.measure
        if measure.must is None:
            return ""
        if measure.aim is not None and self._reaches(measure.aim):
            return "aim"
        return "must" if self._reaches(measure.must) else "MISSED"

    def _reaches(self, wanted: float) -> bool:
        return self.value >= wanted if self.measure.more_is_better else self.value <= wanted

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict}

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Result:
        """Read the result of ``as_json``."""
        given: dict[str, Any] = {name: written[name] for name in ("key", "our_label", "peer_label")}
        for side in ("ours", "peer", "ratio"):
            given[side] = written[side] and Spread(**written[side])
        return cls(measure=Measure(**written["measure"]), **given)


def run(experiment: Experiment, *, runs: int, quick: bool, tell: Callable[[str], object]) -> list[Result]:
    """Run both sides alternately, so that noise of the machine affects both.

    Raises:
        BenchError: a side failed.
    """
    ours: list[Figures] = []
    peers: list[Figures] = []
    for number in range(1, runs + 1):
        tell(f"{experiment.key}: run {number} of {runs}")
        ours.append(experiment.ours.run(quick=quick))
        if experiment.peer is not None:
            peers.append(experiment.peer.run(quick=quick))
    return [_result(experiment, measure, ours, peers) for measure in experiment.measures]


def _result(experiment: Experiment, measure: Measure, ours: list[Figures], peers: list[Figures]) -> Result:
    mine = [figures[measure.figure] for figures in ours]
    theirs = [figures[measure.figure] for figures in peers if measure.figure in figures]
    # Compare runs that ran one after the other, so that slow changes of the machine cancel out.
    ratios = [one / other for one, other in zip(mine, theirs, strict=False)]
    return Result(
        key=experiment.key,
        measure=measure,
        our_label=experiment.ours.label,
        peer_label=experiment.peer.label if experiment.peer else "",
        ours=Spread.of(mine),
        peer=Spread.of(theirs) if theirs else None,
        ratio=Spread.of(ratios) if ratios and not measure.absolute else None,
    )
