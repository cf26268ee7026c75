"""Makes the page *What each broker does*, when it is run as a program.

It is made of the table of expectations, each of which the tests of conformance assert on the brokers themselves. After
a run of them the page is made of what they have seen, too, and has to be the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from expectations import BROKERS, FEATURES, SPOKEN, Expectation, expected

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "what-brokers-do.md"

_INTRODUCTION = """\
# What each broker does

Every cell is asserted by tests on the broker itself, in STOMP 1.0, 1.1, 1.2 and in what is negotiated where all are
offered. *yes* means that the broker does what the first column says. Where versions differ, the cell says which. The
brokers are set up as the project's `docker-compose.yml` has them.

<!-- Made by tests/integration/what_brokers_do.py: do not edit. -->
"""


def page(seen: Mapping[tuple[str, str, str], str] | None = None) -> str:
    """The page as Markdown: from what was seen, by feature, broker and version, or from the table."""

    def cell(feature: str, broker: str, version: str) -> Expectation:
        found = expected(feature, broker, version)
        return found if seen is None else found._replace(outcome=seen.get((feature, broker, version), "not seen"))

    notes: list[str] = []
    lines = [f"| | {' | '.join(BROKERS.values())} |", "|" + "---|" * (len(BROKERS) + 1)]
    for feature, meaning in FEATURES.items():
        cells = [_cell([cell(feature, broker, version) for version in SPOKEN], notes) for broker in BROKERS]
        lines.append(f"| {meaning[0].upper()}{meaning[1:]} | {' | '.join(cells)} |")
    numbered = [f"{number}. {note}" for number, note in enumerate(notes, 1)]
    table = [":::{div} stacked", "", *lines, "", ":::"]
    return "\n".join([_INTRODUCTION, *table, "", "## Why", "", *numbered, ""])


def _cell(found: list[Expectation], notes: list[str]) -> str:
    groups: dict[Expectation, list[str]] = {}
    for version, expectation in zip(SPOKEN, found, strict=True):
        groups.setdefault(expectation, []).append(version)
    parts = []
    for expectation, versions in groups.items():
        where = "" if len(groups) == 1 else f"{', '.join(versions)}: "
        parts.append(where + expectation.outcome + _note(expectation.reason, notes))
    return "; ".join(parts)


def _note(reason: str, notes: list[str]) -> str:
    if not reason:
        return ""
    text = f"{reason[0].upper()}{reason[1:]}."
    if text not in notes:
        notes.append(text)
    return f" ({notes.index(text) + 1})"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
