"""``python -m bench``: run the benchmarks, print the table, write JSON and plots."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from bench.machine import describe
from bench.measure import Result, run
from bench.process import BenchError
from bench.report import plots, write_json
from bench.rows import experiments
from bench.table import table

_RESULTS = Path("results")


def main() -> int:
    arguments = _arguments()
    chosen = [each for each in experiments(arguments.broker) if _is_wanted(each.key, arguments.only)]
    if arguments.list:
        print("\n".join(each.key for each in chosen))
        return 0
    machine = describe()
    print(f"{machine}\nMedians of {arguments.runs} runs, the sides in turn; the noise is in brackets.\n", flush=True)
    results: list[Result] = []
    failures: list[str] = []
    for experiment in chosen:
        try:
            results += run(experiment, runs=arguments.runs, quick=arguments.quick, tell=_progress)
        except BenchError as error:
            failures.append(f"{experiment.key}: {error}")
    _progress("")
    print(table(results))
    for key, note in ((each.key, each.note) for each in chosen if each.note):
        print(f"{key}: {note}")
    _RESULTS.mkdir(exist_ok=True)
    written = [write_json(_RESULTS / "bench.json", results, machine, arguments.runs), *plots(_RESULTS, results)]
    if arguments.publish:
        arguments.publish.mkdir(parents=True, exist_ok=True)
        for path in written:
            shutil.copy(path, arguments.publish)
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return bool(failures)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Speed against the peers and the wire.")
    parser.add_argument("--runs", type=int, help="how often each side runs (5; with --quick 3)")
    parser.add_argument("--quick", action="store_true", help="less to do in each run")
    parser.add_argument("--only", nargs="+", metavar="KEY", help="only the experiments whose key begins so")
    parser.add_argument("--list", action="store_true", help="print the keys")
    parser.add_argument(
        "--broker",
        action="append",
        metavar="NAME=URI",
        default=os.environ.get("BENCH_BROKERS", "").split(),
        help="a real broker, also in BENCH_BROKERS; without any, those of docker-compose.yml that answer",
    )
    parser.add_argument("--publish", type=Path, metavar="DIRECTORY", help="copy the results there")
    arguments = parser.parse_args()
    arguments.runs = arguments.runs or (3 if arguments.quick else 5)
    return arguments


def _is_wanted(key: str, only: list[str] | None) -> bool:
    return not only or any(key.startswith(each) for each in only)


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
