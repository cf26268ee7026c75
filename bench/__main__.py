"""``python -m bench``: run the benchmarks and the cost map, print the tables, write JSON and plots."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from bench import brokers, costs
from bench.costs import run as costs_run
from bench.costs import table as costs_table
from bench.costs.measure import CONDITIONS, Cost
from bench.costs.rows import rows
from bench.machine import describe
from bench.measure import Result, run
from bench.process import BenchError
from bench.report import plots, write_json
from bench.rows import experiments
from bench.table import table

_RESULTS = Path("results")


def main() -> int:
    arguments = _arguments()
    if arguments.list:
        _list(arguments.only)
        return 0
    machine = describe()
    print(
        f"{machine}\nMedians of {arguments.runs} runs; the sides run alternately. The noise is in brackets.\n",
        flush=True,
    )
    answering = brokers.answering(arguments.broker)
    measured, failures = _costs(arguments, answering)
    results, more_failures = _experiments(arguments, answering)
    _publish(arguments, machine, measured, results)
    for failure in (*failures, *more_failures):
        print(f"FAILED {failure}", file=sys.stderr)
    missed = _missed(measured, results)
    return bool(failures or more_failures or (arguments.strict and missed))


def _list(only: Sequence[str] | None) -> None:
    keys = [*(row.key for row in rows()), *(experiment.key for experiment in experiments({}))]
    print("\n".join(key for key in keys if _is_wanted(key, only)))


def _costs(arguments: argparse.Namespace, answering: dict[str, str]) -> tuple[list[Cost], list[str]]:
    chosen = [row for row in rows(answering) if _is_wanted(row.key, arguments.only)]
    if not chosen:
        return [], []
    measured, failures = costs_run.run(
        chosen,
        arguments.conditions,
        runs=arguments.runs,
        quick=arguments.quick,
        brokers=answering,
        tell=_progress,
        show=_show,
    )
    _progress("")
    print(costs_table.table(measured), flush=True)
    return measured, failures


def _experiments(arguments: argparse.Namespace, answering: dict[str, str]) -> tuple[list[Result], list[str]]:
    results: list[Result] = []
    failures: list[str] = []
    chosen = [each for each in experiments(answering) if _is_wanted(each.key, arguments.only)]
    for experiment in chosen:
        if (problem := experiment.problem()) is not None:
            print(f"{experiment.key} is left out: {problem}")
            continue
        try:
            results += run(experiment, runs=arguments.runs, quick=arguments.quick, tell=_progress)
        except BenchError as error:
            failures.append(f"{experiment.key}: {error}")
    _progress("")
    if results:
        print(table(results))
    for key, note in ((each.key, each.note) for each in chosen if each.note):
        print(f"{key}: {note}")
    return results, failures


def _publish(arguments: argparse.Namespace, machine: str, measured: Sequence[Cost], results: Sequence[Result]) -> None:
    _RESULTS.mkdir(exist_ok=True)
    written: list[Path] = []
    if measured:
        written.append(costs_table.write_json(_RESULTS / "costs.json", measured, machine, arguments.runs))
    if results:
        written.append(write_json(_RESULTS / "bench.json", results, machine, arguments.runs))
        written += plots(_RESULTS, results)
    if arguments.publish:
        arguments.publish.mkdir(parents=True, exist_ok=True)
        for path in written:
            shutil.copy(path, arguments.publish)


def _missed(measured: Sequence[Cost], results: Sequence[Result]) -> list[str]:
    """Print a summary, and return the keys of the rows that missed their must."""
    missed = [f"{cost.key} ({cost.condition})" for cost in measured if cost.verdict == "MISSED"]
    missed += [result.key for result in results if result.verdict == "MISSED"]
    asked = sum(bool(cost.verdict) for cost in measured) + sum(bool(result.verdict) for result in results)
    print(f"\n{asked - len(missed)} of {asked} musts hold.")
    if missed:
        print(f"MISSED: {', '.join(missed)}")
    return missed


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=costs.__doc__)
    parser.add_argument("--runs", type=int, help="the number of runs of each side (5; with --quick 3)")
    parser.add_argument("--quick", action="store_true", help="fewer messages in each run")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="PATTERN",
        help="only the rows whose key begins with this text, or matches this pattern (*, ?)",
    )
    parser.add_argument("--list", action="store_true", help="print the keys")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a must is missed")
    parser.add_argument(
        "--conditions",
        nargs="+",
        choices=CONDITIONS,
        help="the conditions for the cost map (all; with --quick only quiet)",
    )
    parser.add_argument(
        "--broker",
        action="append",
        metavar="NAME=URI",
        default=os.environ.get("BENCH_BROKERS", "").split(),
        help="a real broker, also from BENCH_BROKERS; the default: the brokers of docker-compose.yml that answer",
    )
    parser.add_argument("--publish", type=Path, metavar="DIRECTORY", help="copy the results to this directory")
    arguments = parser.parse_args()
    arguments.runs = arguments.runs or (3 if arguments.quick else 5)
    arguments.conditions = arguments.conditions or (["quiet"] if arguments.quick else list(CONDITIONS))
    return arguments


def _is_wanted(key: str, only: Sequence[str] | None) -> bool:
    return not only or any(key.startswith(each) or fnmatch(key, each) for each in only)


def _show(cost: Cost) -> None:
    """Print a line for a row at once, because the table of all rows comes only at the end."""
    _progress("")
    name, *figures = costs_table.cells(cost)
    print(f"{cost.condition}: {name}: {'  '.join(figures)}", file=sys.stderr, flush=True)


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
