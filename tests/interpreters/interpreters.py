"""Run the unit tests on every interpreter that is supported, and print how many passed on each.

    python tests/interpreters/interpreters.py                     all of them, as many tests as each is meant to run
    python tests/interpreters/interpreters.py --core --only 3.14 pypy3.11
    python tests/interpreters/interpreters.py --write             keep the table in CONTRIBUTING.md
    python tests/interpreters/interpreters.py --only 3.12 --with-unit     add the row of `make unit`, run before

An interpreter is taken from PATH or from pyenv's versions, else from a Debian root (``debian_root``). The run fails if
one cannot be had, and names it. A deprecation is an error in every test: see ``filterwarnings`` in setup.cfg.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import debian_root
import free_threaded
from debian_root import TREE, Unavailable

HOME = TREE / ".interpreters"
TABLE = TREE / "CONTRIBUTING.md"
UNIT_PYTHON, UNIT_REPORT = TREE / ".venv" / "bin" / "python", HOME / "report-unit.xml"
BEGIN, END = "<!-- interpreters: begin -->", "<!-- interpreters: end -->"

UNIT = "tests/unit"
CLIENT = tuple(f"{UNIT}/{name}" for name in ("protocol", "engine", "client"))
CORE = (*CLIENT, *(f"{UNIT}/{name}" for name in ("failover", "transport", "brokers", "util", "platforms")))
"""What depends on the interpreter: no framework, no other package."""
WITHOUT_CERTIFICATES = ("--ignore", f"{UNIT}/client/test_client_transports.py")
"""Certificates are made by a package that has no binary for PyPy and free-threaded Pythons."""
BUT_DOCS = (UNIT, *(argument for name in ("docs", "bench", "typed") for argument in ("--ignore", f"{UNIT}/{name}")))
"""Neither the manual, nor benchmarks, nor what type checkers say depends on the interpreter."""


@dataclasses.dataclass(frozen=True)
class Interpreter:
    """One that is supported.

    Args:
        name: of its program, after ``python`` for CPython.
        tests: what is run on it, as arguments of pytest.
        extra: what has to be installed for that.
        packages: Debian's, where the machine has none.
        measures: whether to measure the branch coverage, too. It costs little from Python 3.14 on.
    """

    name: str
    tests: tuple[str, ...] = BUT_DOCS
    extra: str = "test"
    packages: tuple[str, ...] = ()
    measures: bool = False

    @property
    def program(self) -> str:
        return self.name if self.name.startswith("pypy") else f"python{self.name}"


INTERPRETERS = (
    Interpreter("3.11", (UNIT,)),
    Interpreter("3.12"),
    Interpreter("3.13", packages=("python3.13", "python3.13-venv")),
    Interpreter("3.14", packages=("python3.14", "python3.14-venv"), measures=True),
    Interpreter("pypy3.11", (*CLIENT, *WITHOUT_CERTIFICATES), "unit", ("pypy3", "pypy3-venv")),
    Interpreter("3.13t", (*CLIENT, *WITHOUT_CERTIFICATES), "core"),
)

COVERAGE = ("-m", "coverage", "report")
"""It fails below the bound in setup.cfg."""

OPTIONAL = {"3.13t"}
"""Run where they are named: the build takes eight minutes of CPU."""


@dataclasses.dataclass
class Outcome:
    """What came of the tests on one interpreter."""

    interpreter: Interpreter
    version: str = ""
    source: str = ""
    run: int = 0
    passed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    trouble: str = ""

    def row(self) -> str:
        name = self.version or self.interpreter.name
        if self.trouble:
            return f"| {name} | {self.source or '—'} | {self.trouble} | | | |"
        return f"| {name} | {self.source} | {self.run} | {self.passed} | {self.skipped} | {self.seconds:.0f} s |"

    @property
    def is_good(self) -> bool:
        return not self.trouble and self.passed + self.skipped == self.run and self.passed > 0


class Place:
    """A virtual environment of one interpreter, here or in the Debian root."""

    def __init__(self, interpreter: Interpreter) -> None:
        self.interpreter = interpreter
        self.source, self._python, self._in_root = self._find()
        self._directory = HOME / f"venv-{interpreter.name}"

    def _find(self) -> tuple[str, str, bool]:
        if self.interpreter.name == "3.13t":
            return "built from Debian's source", str(free_threaded.build()), False
        for source, program in _installed(self.interpreter.program):
            if _is_right(program, self.interpreter.name):
                return source, program, False
        if not self.interpreter.packages:
            raise Unavailable("not installed here, and Debian has none")
        debian_root.install(*self.interpreter.packages)
        return f"Debian {debian_root.SUITE}", f"/usr/bin/{self.interpreter.packages[0]}", True

    def command(self, *arguments: str) -> tuple[str, ...]:
        """The command that runs the environment's Python."""
        whole = (str(self._directory / "bin" / "python"), *arguments)
        return debian_root.command(*whole) if self._in_root else whole

    def set_up(self, extra: str) -> None:
        """Make the environment anew where the requirements have changed, and install what the tests need."""
        stamp = self._directory / f".{extra}-ready"
        if stamp.exists() and stamp.stat().st_mtime > (TREE / "setup.cfg").stat().st_mtime:
            return
        make = (self._python, "-m", "venv", "--clear", str(self._directory))
        debian_root.retry(*(debian_root.command(*make) if self._in_root else make), what=" ".join(make))
        # No C compiler: pip goes back to the newest release that has a package for this interpreter. No byte code:
        # most of what comes along is never imported.
        options = ("--quiet", "--retries", "5", "--only-binary", ":all:", "--no-compile")
        install = ("-m", "pip", "install", *options, "--editable", f".[{extra}]")
        debian_root.retry(*self.command(*install), what=f"installing .[{extra}] for {self.interpreter.name}")
        stamp.touch()


def _installed(program: str) -> Iterator[tuple[str, str]]:
    """Every program of that name: those on PATH, then pyenv's."""
    for directory in os.get_exec_path():
        if (path := Path(directory) / program).is_file():
            yield "installed", str(path)
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for path in sorted(versions.glob(f"*/bin/{program}"), reverse=True):
        yield "pyenv", str(path)


def _is_right(program: str, name: str) -> bool:
    # A shim of pyenv's is there for versions that are not chosen, too, and Debian leaves out venv.
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run((program, "-c", code), capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.strip() == name.removeprefix("pypy")


def set_up(interpreter: Interpreter, *, core: bool) -> tuple[Interpreter, Place] | Outcome:
    """Find it and install what the tests need."""
    if core and interpreter.extra == "test":
        interpreter = dataclasses.replace(interpreter, tests=CORE, extra="unit", measures=False)
    try:
        place = Place(interpreter)
        place.set_up(interpreter.extra)
    except Unavailable as problem:
        return Outcome(interpreter, trouble=str(problem))
    return interpreter, place


def run(interpreter: Interpreter, place: Place, processes: int, arguments: Sequence[str]) -> Outcome:
    """Run the tests."""
    outcome = Outcome(interpreter, _version(place.command, interpreter.name), place.source)
    report = HOME / f"report-{interpreter.name}.xml"
    report.unlink(missing_ok=True)
    began = time.monotonic()
    options = ["-q", "-rfE", "--no-header", "-p", "no:cacheprovider", f"--junitxml={report}"]
    options += ["-n", str(processes), "--dist", "worksteal", "--reruns", "1"]
    if interpreter.measures:
        options += ["--cov", "--cov-report="]
    command = place.command("-m", "pytest", *options, *interpreter.tests, *arguments)
    print(f"== {outcome.version}: {' '.join(interpreter.tests)}", flush=True)
    subprocess.run(command, cwd=TREE, check=False, env=_environment())
    outcome.seconds = time.monotonic() - began
    if not report.exists():
        outcome.trouble = "pytest did not come to its end"
    else:
        _count(outcome, report)
        if interpreter.measures and subprocess.run(place.command(*COVERAGE), cwd=TREE, check=False).returncode:
            outcome.trouble = "too many branches are not covered"
    print(outcome.row(), flush=True)
    return outcome


def _environment() -> dict[str, str]:
    # The Debian root has no browser. A page does not depend on the interpreter: 3.11 is where these tests may not be
    # left out.
    left = {name: value for name, value in os.environ.items() if name != "STOMPLISTENER_REQUIRE_BROKERS"}
    return {**left, "PYTHONPATH": str(TREE)}


def of_unit(interpreter: Interpreter) -> Outcome:
    """What came of the tests of `make unit`, by its report."""
    outcome = Outcome(interpreter, _version(lambda *arguments: (str(UNIT_PYTHON), *arguments), "?"), "`make unit`")
    if not UNIT_REPORT.exists():
        outcome.trouble = "`make unit` has left no report"
    else:
        _count(outcome, UNIT_REPORT)
        outcome.seconds = sum(float(suite.get("time", "0")) for suite in _suites(UNIT_REPORT))
    return outcome


def _version(command: Callable[..., Sequence[str]], otherwise: str) -> str:
    code = (
        "import platform, sys; print(platform.python_implementation(), "
        "'%d.%d.%d' % (getattr(sys, 'pypy_version_info', sys.version_info))[:3], "
        "'free-threaded' if not getattr(sys, '_is_gil_enabled', lambda: True)() else '')"
    )
    done = subprocess.run(command("-c", code), capture_output=True, text=True, check=False)
    return done.stdout.strip() or otherwise


def _suites(report: Path) -> Iterator[ElementTree.Element]:
    return ElementTree.parse(report).getroot().iter("testsuite")


def _count(outcome: Outcome, report: Path) -> None:
    for suite in _suites(report):
        number = {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}
        outcome.run += number["tests"]
        outcome.skipped += number["skipped"]
        outcome.passed += number["tests"] - number["failures"] - number["errors"] - number["skipped"]


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as Markdown."""
    head = "| Interpreter | From | Tests run | Passed | Skipped | Took |\n|---|---|---|---|---|---|"
    return "\n".join((head, *(outcome.row() for outcome in outcomes)))


def write(text: str) -> None:
    """Keep the table between its marks in CONTRIBUTING.md."""
    page = TABLE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    TABLE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    names = [each.name for each in INTERPRETERS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--core", action="store_true", help="only the tests that depend on the interpreter")
    parser.add_argument("--set-up", action="store_true", help="get the interpreters and install; run nothing")
    parser.add_argument("--processes", type=int, default=6, help="of pytest, at once: most of a test is waiting")
    parser.add_argument(
        "--with-unit", action="store_true", help="add the row of `make unit`, by the report it has left"
    )
    parser.add_argument("--write", action="store_true", help="keep the table in CONTRIBUTING.md")
    parser.add_argument("pytest", nargs="*", help="more arguments for pytest, behind --")
    return parser.parse_args()


def main() -> int:
    """Run what the command line asks for; 1 where an interpreter was missing or a test failed."""
    asked = _arguments()
    chosen = [each for each in INTERPRETERS if each.name in (asked.only or {i.name for i in INTERPRETERS} - OPTIONAL)]
    HOME.mkdir(exist_ok=True)
    # One after the other: two installations at once into one Debian root would wait for its lock, and fail.
    ready = [set_up(each, core=asked.core) for each in chosen]
    if asked.set_up:
        missing = [each for each in ready if isinstance(each, Outcome)]
        print("\n".join(f"{each.interpreter.name}: {each.trouble}" for each in missing))
        return bool(missing)
    outcomes = [of_unit(INTERPRETERS[0])] if asked.with_unit else []
    outcomes += [each if isinstance(each, Outcome) else run(*each, asked.processes, asked.pytest) for each in ready]
    text = table(outcomes)
    print(f"\n{text}")
    if asked.write:
        write(text)
    return int(not all(outcome.is_good for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
