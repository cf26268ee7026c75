"""Run the sides of a row alternately, and compare them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.costs.row import Row
from bench.measure import Spread
from bench.process import PATIENCE, ROOT, BenchError, Figures, serving

_WARM_UP = 4
"""The divisor of the number of messages for a round that is not measured."""
_QUICK = 10
"""The divisor of the number of messages for a quick round."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A condition under which a row is measured.

    Attributes:
        name: the name in the table.
        text: the description for readers.
        busy: the number of processes that keep the CPUs busy.
        switch_interval: for ``sys.setswitchinterval`` on both sides, in seconds; None keeps Python's default.
        allowance: the factor by which a must is weakened.
    """

    name: str
    text: str
    busy: int = 0
    switch_interval: float | None = None
    allowance: float = 1.0


CONDITIONS = {
    each.name: each
    for each in (
        Condition(name="quiet", text="With nothing beside it"),
        Condition(name="busy", text="With two busy processes beside it", busy=2, allowance=2.0),
        Condition(name="switch", text="With a switch interval of 10 µs", switch_interval=1e-5, allowance=2.0),
    )
}


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A measured row.

    Attributes:
        unit_ours: CPU time of our client for each message in µs, or the time of a send if ``figure`` is ``took``.
        unit_peer: the same for the peer.
        rate_ours: messages per second; None if the row has no rate.
        rate_peer: the same for the peer.
        ratio: the value that is compared with ``must``.
        must: the required ratio, with the allowance of the condition.
    """

    key: str
    group: str
    name: str
    against: str
    condition: str
    call: str
    figure: str
    at_most: bool
    unit_ours: float
    unit_peer: float
    rate_ours: float | None
    rate_peer: float | None
    ratio: Spread
    must: float | None

    @property
    def verdict(self) -> str:
        if self.must is None:
            return ""
        return "ok" if self.margin >= 1 else "MISSED"

    @property
    def margin(self) -> float:
        """The factor by which the row is better than its must. Less than 1 is a miss."""
        if self.must is None:
            return self.ratio.median
        return self.must / self.ratio.median if self.at_most else self.ratio.median / self.must

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict}

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Cost:
        """Read the result of ``as_json``."""
        given = {name: value for name, value in written.items() if name != "verdict"}
        return cls(**{**given, "ratio": Spread(**written["ratio"])})


def measure(row: Row, condition: Condition, *, runs: int, quick: bool, brokers: Mapping[str, str]) -> Cost:
    """Run both sides alternately, so that noise of the machine affects both.

    Raises:
        BenchError: a side failed.
    """
    count = quick_count(row) if quick else row.count
    warm_up = _part(row, count, _WARM_UP)
    with contextlib.ExitStack() as stack:
        port, ca = 0, ""
        if not row.broker:
            server = stack.enter_context(serving("answering", **row.serve))
            port, ca = server.port, server.line() if row.transport == "ssl" else ""
        sides: list[_RunningSide] = []
        for which in ("ours", "peer") if row.peer is not None else ("ours",):
            arguments = [row.key, which, port, ca, dict(brokers), condition.switch_interval]
            sides.append(stack.enter_context(_running(arguments)))
        for side in sides:
            side.play(warm_up)
        rounds = [_pair([side.play(count) for side in sides]) for _ in range(runs)]
    return compare(row, condition, rounds)


def quick_count(row: Row) -> int:
    """Return the number of messages in a quick round."""
    return _part(row, row.count, _QUICK)


def least_count(row: Row) -> int:
    """Return the smallest number of messages for a row: two statements in each thread."""
    return 2 * row.step


def _part(row: Row, count: int, divisor: int) -> int:
    return max(least_count(row), count // divisor // row.step * row.step)


def _pair(figures: Sequence[Figures]) -> tuple[Figures, Figures]:
    """Return the figures of both sides. The first side may have measured the second one, too."""
    if len(figures) == 2:
        return figures[0], figures[1]
    both = figures[0]
    return both, {name.removeprefix("peer_"): both[name] for name in both if name.startswith("peer_")}


def compare(row: Row, condition: Condition, rounds: Sequence[tuple[Figures, Figures]]) -> Cost:
    """Compare the rounds."""

    def median(number: int, figure: str) -> float:
        return Spread.of([both[number][figure] for both in rounds]).median

    has_rate = "rate" in rounds[0][0]
    unit = "cpu" if has_rate else row.figure
    return Cost(
        key=row.key,
        group=row.group,
        name=row.name,
        against=row.against,
        condition=condition.name,
        call=row.ours.statement,
        figure=row.figure,
        at_most=row.at_most,
        unit_ours=median(0, unit),
        unit_peer=median(1, unit),
        rate_ours=median(0, "rate") if has_rate else None,
        rate_peer=median(1, "rate") if has_rate else None,
        # Compare rounds that ran one after the other, so that slow changes of the machine cancel out.
        ratio=Spread.of([row.ratio(ours[row.figure], peer[row.figure]) for ours, peer in rounds]),
        must=row.must_hold(condition.allowance),
    )


class _RunningSide:
    """A side in its own process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def play(self, count: int) -> Figures:
        """Run a round."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        hung = threading.Timer(PATIENCE, self._process.kill)
        hung.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(f"{count}\n")
                self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            hung.cancel()
        if not line:
            *_, why = self._process.stderr.read().strip().splitlines() or [f"no result after {PATIENCE:.0f} s"]
            raise BenchError(why)
        figures: Figures = json.loads(line)
        return figures


@contextlib.contextmanager
def _running(arguments: Sequence[object]) -> Iterator[_RunningSide]:
    command = [sys.executable, "-m", "bench.costs.side", json.dumps(arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            yield _RunningSide(process)
        finally:
            process.kill()


@contextlib.contextmanager
def under(condition: Condition) -> Iterator[None]:
    """Run the busy processes of a condition inside the block."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(condition.busy)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
