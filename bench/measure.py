"""What is measured, how two sides are compared, and what a ratio must be."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.process import Figures, run_side


@dataclass(frozen=True)
class Side:
    """One of the two that are compared: a function that a fresh process calls, and what it is called with.

    Attributes:
        label: as the table names it.
        function: ``module:function`` in this package.
        arguments: for a whole run.
        quick: arguments that differ in a small one.
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
        name: what the table says of it.
        figure: which of the figures of a side.
        unit: of that figure.
        more_is_better: whether the ratio must be at least, or at most, what is asked.
        must: the ratio that must hold; None where the row only informs.
        aim: the one to hope for.
        absolute: compare our figure itself with ``must`` and ``aim``, not its ratio to the peer's.
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
    """Two sides that run alternately, and the rows that come of it.

    Attributes:
        key: for ``--only``.
        peer: None if there is nothing to compare with.
        note: what a reader has to know of the method.
        problem: says why it cannot run here, and what to do about it; None if it can.
    """

    key: str
    ours: Side
    peer: Side | None
    measures: Sequence[Measure]
    note: str = ""
    problem: Callable[[], str | None] = lambda: None


@dataclass(frozen=True)
class Spread:
    """The middle of some values, and how far the machine's noise drives them apart."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, kw_only=True)
class Result:
    """A row that was measured."""

    key: str
    measure: Measure
    our_label: str
    peer_label: str
    ours: Spread
    peer: Spread | None
    ratio: Spread | None

    @property
    def value(self) -> float:
        """What is compared with ``must`` and ``aim``."""
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
        """What ``as_json`` gave."""
        given: dict[str, Any] = {name: written[name] for name in ("key", "our_label", "peer_label")}
        for side in ("ours", "peer", "ratio"):
            given[side] = written[side] and Spread(**written[side])
        return cls(measure=Measure(**written["measure"]), **given)


def run(experiment: Experiment, *, runs: int, quick: bool, tell: Callable[[str], object]) -> list[Result]:
    """Run both sides in turn, so that what disturbs the machine disturbs both.

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
    # Of the two that ran one after the other: what changes slowly on the machine then falls out.
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
