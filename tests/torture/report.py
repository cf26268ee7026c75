"""The table of a run, as the manual shows it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from faults import AT_THE_BROKER, ON_THE_WIRE
from misdeeds import MISDEEDS

KINDS = [kind.name for kind in (*ON_THE_WIRE, *AT_THE_BROKER, *MISDEEDS)]


@dataclass
class Result:
    """What a run on one broker came to; durations in seconds.

    Attributes:
        unwritten: what a broker confirmed before it was on the disk, and lost when it was killed.
        late: what came only after the broker was restarted at the end.
        latest_call: the most that a blocking call returned after its own deadline; negative where none did.
        books: what each book has in its cell of the table, by its name.
        live: connections that still sent and received at the end, of all.
    """

    broker: str
    seconds: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)
    confirmed: int = 0
    missing: int = 0
    unwritten: int = 0
    late: int = 0
    dead_letters: int = 0
    duplicates: int = 0
    outages: list[float] = field(default_factory=list)
    calls: int = 0
    latest_call: float = 0.0
    stuck: int = 0
    live: tuple[int, int] = (0, 0)
    books: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def outage(self) -> tuple[float, float, float]:
        """Median, 99th percentile and maximum."""
        if len(self.outages) < 2:
            only = self.outages[0] if self.outages else 0.0
            return only, only, only
        return statistics.median(self.outages), statistics.quantiles(self.outages, n=100)[98], max(self.outages)


ROWS: tuple[tuple[str, Callable[[Result], object]], ...] = (
    ("confirmed messages", lambda result: f"{result.confirmed:,}"),
    ("**missing**", lambda result: f"**{result.missing}**"),
    ("lost by the broker at a SIGKILL", lambda result: result.unwritten),
    ("duplicates", lambda result: result.duplicates),
    ("taken from a dead-letter queue", lambda result: result.dead_letters),
    ("came only after a restart at the end", lambda result: result.late),
    ("outages of a connection", lambda result: len(result.outages)),
    ("outage, median", lambda result: f"{result.outage[0] * 1000:.0f} ms"),
    ("outage, 99 of 100 below", lambda result: f"{result.outage[1]:.1f} s"),
    ("outage, longest", lambda result: f"{result.outage[2]:.1f} s"),
    ("blocking calls", lambda result: f"{result.calls:,}"),
    ("latest return after a deadline", lambda result: f"{max(0.0, result.latest_call):.2f} s"),
    ("**stuck calls, threads left**", lambda result: f"**{result.stuck}**"),
    ("connections live at the end", lambda result: "{} of {}".format(*result.live)),
    ("took", lambda result: f"{result.seconds:.0f} s"),
)


def table(results: Sequence[Result], command: str) -> str:
    """The faults and misdeeds of each kind on each broker and what came of them, in Markdown."""
    names = [result.broker for result in results]
    faults = sum(sum(result.faults.values()) for result in results)
    kinds = [kind for kind in KINDS if any(kind in result.faults for result in results)]
    books = dict.fromkeys(name for result in results for name in result.books)
    return "\n".join(
        (
            f"{faults:,} faults and misdeeds on {len(names)} broker(s), by `{command}`:",
            "",
            *_rows("fault", names, ((kind, [result.faults.get(kind, 0) for result in results]) for kind in kinds)),
            _row("**all**", [f"**{sum(result.faults.values())}**" for result in results]),
            "",
            *_rows("", names, ((title, [cell(result) for result in results]) for title, cell in ROWS)),
            *(_row(book, [result.books.get(book, "-") for result in results]) for book in books),
        )
    )


def _rows(corner: str, names: Sequence[str], rows: Iterable[tuple[str, Sequence[object]]]) -> list[str]:
    return [_row(corner, names), "|---" + "|---:" * len(names) + "|", *(_row(title, cells) for title, cells in rows)]


def _row(title: str, cells: Sequence[object]) -> str:
    return f"| {title} | " + " | ".join(map(str, cells)) + " |"
