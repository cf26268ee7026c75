"""Pages and tables that are made from the code, so that they cannot say anything else than the code does.

Run by ``conf.py`` at every build; ``python docs/generate.py DIRECTORY`` writes the same files elsewhere, and
``python docs/generate.py --readme`` the table of README.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import compared
import figures
import guarantees
import ways

import stomplistener
from stomplistener.brokers import PROFILES
from stomplistener.cli.root import cli
from stomplistener.failover import BrokerOptions, FailoverOptions
from stomplistener.failover.options import table
from stomplistener.failover.query import _IGNORED, _IGNORED_PREFIXES
from stomplistener.failover.uri import _PLAIN_DEFAULTS
from stomplistener.worker.metrics import COUNTERS, GAUGES, PREFIX

ROOT = Path(__file__).parent.parent
MANUAL = "https://stomplistener.readthedocs.io/en/latest/"
"""Where README's links lead: it is read on package indexes, where no relative link works."""
COLUMNS = "```{code-block} text\n:class: columns\n\n"
"""Begins a block whose columns belong under each other, so that its lines must not be wrapped on a phone."""
FIRST_ROWS = 7
"""Rows of the comparison that the front page of the manual shows."""
_ATTRIBUTE = re.compile(r"    (\w+(?:, \w+)*): (.*)")

CALLERS: tuple[type, ...] = (
    stomplistener.Connection,
    stomplistener.Subscription,
    stomplistener.Consumer,
    stomplistener.Transaction,
    stomplistener.Message,
)


def section(docstring: str | None, title: str) -> Iterator[tuple[str, str]]:
    """The entries of a section of a docstring, such as ``Raises``: names and texts."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    if f"{title}:" not in lines:
        return
    name, text = "", ""
    for line in lines[lines.index(f"{title}:") + 1 :]:
        if line and not line.startswith(" "):
            break
        entry = _ATTRIBUTE.fullmatch(line)
        if entry is not None:
            if name:
                yield name, text
            name, text = entry[1], entry[2]
        elif line.strip():
            text += " " + line.strip()
    if name:
        yield name, text


def markdown(text: str) -> str:
    """A sentence of a docstring or message: its double backquotes are Markdown already, its roles and calls are not."""
    text = re.sub(r":\w+:`~?\.?([\w.]+)`", r"`\1`", text)
    text = re.sub(r"(?<![`\w.])Connection\([^)]*\)(?!`)", r"`\g<0>`", text)
    return text.replace("|", "\\|")


def rows(header: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """A Markdown table. Columns of numbers are aligned at the right."""
    header, lines = list(header), [list(line) for line in lines]
    rules = ["---:" if _are_numbers(column) else "---" for column in zip(*lines, strict=True)]
    out = ["| " + " | ".join(header) + " |", "|" + "|".join(rules or ["---"] * len(header)) + "|"]
    out += ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join(out) + "\n"


def _are_numbers(cells: Iterable[str]) -> bool:
    return all(cell[:1].isdigit() for cell in cells if cell)


def uri_options(options: type[Any]) -> str:
    """The options of a URI that a record declares."""
    described = dict(section(options.__doc__, "Attributes"))
    defaults, plain = options(), _PLAIN_DEFAULTS if options is FailoverOptions else options()
    lines = []
    for key, option in table(options).items():
        value, value_plain = getattr(defaults, key), getattr(plain, key)
        shown = _default(option, value)
        if value != value_plain:
            shown += f"; without `failover:` {_default(option, value_plain)}"
        text = _for_a_uri(described[key].removeprefix(f"``{option.name}``, "))
        names = "<br>".join(f"`{name}`" for name in (option.name, *option.aliases))
        if option.schemes:
            text = f"{text} Only {', '.join(f'`{each}://`' for each in sorted(option.schemes))}."
        lines.append((names, markdown(_expected(option.kind.expected)), shown, markdown(text[:1].upper() + text[1:])))
    return rows(("Option", "Value", "Default", "Meaning"), lines)


_NUMBER = re.compile(r"(milliseconds, )?a whole number from (-?\d+) to \d+")
_NAMES = {key: option.name for options in (FailoverOptions, BrokerOptions) for key, option in table(options).items()}


def _expected(text: str) -> str:
    """What the text of a value must be, without the bounds that nobody meets."""
    number = _NUMBER.fullmatch(text)
    if number is None:
        return re.sub(r", a whole number up to \d+", "", text)
    unit, least = "milliseconds" if number[1] else "whole number", int(number[2])
    return unit if least < -1 else f"{unit}, {least} or more"


def _for_a_uri(text: str) -> str:
    """A sentence on a field, for those who write the URI: its names, and no Python."""
    text = re.sub(r"``(\w+)``", lambda match: f"`{_NAMES.get(match[1], match[1])}`", text)
    return text.replace(", in seconds", "").replace("None forever", "0 forever").replace("if None", "if absent")


def _default(option: Any, value: object) -> str:
    if value is None and option.name == "timeout":
        return "`0`"
    if value is None or value == ():
        return "none"
    return f"`{option.kind.show(value)}`"


def ignored_options() -> str:
    """What is accepted in a pasted URI, warned about once, and has no effect."""
    ignored = {**_IGNORED, **{f"{prefix}*": why for prefix, why in _IGNORED_PREFIXES.items()}}
    return rows(("Option", "Why it has no effect"), ((f"`{name}`", why) for name, why in ignored.items()))


def limits() -> str:
    """The fields of Limits."""
    described = dict(section(stomplistener.Limits.__doc__, "Attributes"))
    lines = []
    for field in inspect.signature(stomplistener.Limits).parameters.values():
        value = f"{field.default:,}" if isinstance(field.default, int) else f"{field.default:g}"
        text = described[field.name]
        lines.append((f"`{field.name}`", value, markdown(text[:1].upper() + text[1:])))
    return rows(("Field", "Default", "What it bounds"), lines)


def raised() -> str:
    """Which call raises which exception, from the docstrings of the calls."""
    lines = []
    for owner in CALLERS:
        for name, function in vars(owner).items():
            documented = owner.__doc__ if name == "__init__" else function.__doc__
            if (name.startswith("_") and name != "__init__") or not callable(function):
                continue
            label = owner.__name__ if name == "__init__" else f"{owner.__name__}.{name}"
            for number, (error, why) in enumerate(section(documented, "Raises")):
                first = f"`{label}()`" if not number else ""
                lines.append((first, f"`{error}`", markdown(why[:1].upper() + why[1:])))
    return rows(("Call", "Exception", "When"), lines)


def test_names() -> dict[str, str]:
    """Every test function in the tree, and the file that it stands in."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found[node.name] = str(path.relative_to(ROOT))
    return found


def tests_of(row: guarantees.Row, known: dict[str, str]) -> list[str]:
    """The tests that show what a row says: those it names, and those of its scenarios."""
    numbers = tuple(f"test_scenario_{number:02}_" for number in row.scenarios)
    return [*row.tests, *(name for name in known if numbers and name.startswith(numbers))]


def guarantee_tables() -> str:
    """One table an operation, and one of what may go wrong besides."""
    parts = []
    for operation in guarantees.OPERATIONS:
        table = guarantee_table("The connection is lost", operation.rows)
        parts.append(f"## {operation.title}\n\n{operation.text}\n\n{table}")
    table = guarantee_table("What happens", guarantees.TROUBLE)
    parts.append(f"## When a broker or a message misbehaves\n\n{table}")
    return "\n".join(parts)


def guarantee_table(head: str, guaranteed: Iterable[guarantees.Row]) -> str:
    """What holds in each situation, and which tests show it."""
    known = test_names()
    lines = []
    for row in guaranteed:
        shown = "<br>".join(f"`{name}`" for name in tests_of(row, known)) or "no test of its own yet"
        lines.append((row.when, row.holds, shown))
    return f":::{{div}} stacked guarantees\n{rows((head, 'What holds', 'Shown by'), lines)}:::\n"


def steps(lanes: Iterable[ways.Lane]) -> str:
    """The steps of a way through the code."""
    lines = []
    for lane in lanes:
        for number, step in enumerate(lane.steps):
            name = f"`{step.function}`<br>`{step.file}`"
            what = step.what[:1].upper() + step.what[1:] + (f"; the state is `{step.state}` now" if step.state else "")
            lines.append(("" if number else lane.thread, name, what, "held" if step.locked else ""))
    return rows(("Thread", "Function", "What it does", "Lock"), lines)


def brokers() -> str:
    """The headers by which each broker says an option."""
    profiles = PROFILES.values()
    options = dict.fromkeys(option for profile in profiles for option in profile.options)
    lines = []
    for option in options:
        cells = []
        for profile in profiles:
            spelling = profile.options[option]
            headers = (f"`{name}:{value}`" for name, value in (spelling.headers or {}).items())
            cells.append("<br>".join(headers) or f"not possible: {markdown(spelling.note)}")
        lines.append((f"`{option}`", *cells))
    return rows(("", *(profile.title for profile in profiles)), lines)


def broker_notes() -> str:
    """Where each spelling was read, and what is different there."""
    lines = []
    for profile in PROFILES.values():
        for option, spelling in profile.options.items():
            where, _, chapter = spelling.source.partition(", ")
            source = f"[{chapter or profile.title}]({where})" if where.startswith("http") else spelling.source
            lines.append((profile.title, f"`{option}`", markdown(spelling.note.replace("{", "\\{")), source))
    return rows(("Broker", "Option", "Note", "Source"), lines)


ABILITIES = {
    "durable": "durable subscriptions (`durable=`)",
    "prefetch": "a bound on messages ahead (`prefetch=`)",
    "selector": "selectors (`selector=`)",
    "browse": "looking into a queue (`browse`)",
    "persistent": "messages that survive its restart (`persistent=`)",
    "expires": "messages that expire (`expires=`)",
    "priority": "priorities (`priority=`)",
    "delay": "delayed messages (`delay=`)",
    "duplicate_id": "detection of duplicates (`duplicate_id=`)",
}
"""What each option of a profile means to a person who chooses a broker."""


def abilities() -> str:
    """What each real broker can do, for a person who chooses one."""
    profiles = [profile for profile in PROFILES.values() if profile.name != "testing"]
    lines = []
    for option, label in ABILITIES.items():
        spellings = [profile.options[option] for profile in profiles]
        lines.append((label, *(_ability(each.headers is not None, each.note) for each in spellings)))
    lines.append(("COMMIT is answered when all is stored", *(_yes(profile.commit_confirms) for profile in profiles)))
    return rows(("The broker has", *(profile.title for profile in profiles)), lines)


def _ability(has: bool, note: str) -> str:
    return _yes(has) + (f"; {markdown(note)}" if note else "")


def _yes(has: bool) -> str:
    return "yes" if has else "no"


def command_line() -> str:
    """The help of each command, as it prints it."""
    parts = [f"{COLUMNS}{_help(cli, 'stomplistener', None)}\n```\n"]
    with click.Context(cli, info_name="stomplistener") as root:
        for name in cli.list_commands(root):
            command = cli.get_command(root, name)
            assert command is not None
            parts.append(f"## stomplistener {name}\n\n{COLUMNS}{_help(command, name, root)}\n```\n")
    return "\n".join(parts)


def _help(command: click.Command, name: str, parent: click.Context | None) -> str:
    context = click.Context(command, info_name=name, parent=parent, terminal_width=88, **command.context_settings)
    return "\n".join(line.rstrip() for line in command.get_help(context).splitlines())


def metrics() -> str:
    """What a worker tells Prometheus."""
    counted = [(f"`{PREFIX}{name}_total`", "counter", "connection", text) for name, text in COUNTERS.items()]
    gauges = [(f"`{PREFIX}{name}`", "gauge", "connection", text) for name, text in GAUGES.items()]
    handlers = [
        (f"`{PREFIX}connected`", "gauge", "connection", "Whether the connection is ready."),
        (f"`{PREFIX}handler_seconds`", "histogram", "connection, destination", "Time that handlers took."),
        (f"`{PREFIX}handled_total`", "counter", "connection, destination, outcome", "Attempts by their outcome."),
        (f"`{PREFIX}time_limit_exceeded_total`", "counter", "connection, destination", "Handlers over their limit."),
        (f"`{PREFIX}handlers_running`", "gauge", "connection, destination", "Handlers that run now."),
        (f"`{PREFIX}handler_oldest_seconds`", "gauge", "connection, destination", "How long the oldest has run."),
    ]
    return rows(("Name", "Kind", "Labels", "What"), [*handlers, *counted, *gauges])


def compared_in_short() -> str:
    """The table of README: each row leads to the page that tells more."""
    return _compared(compared.ROWS, lambda page: f"{MANUAL}{page.removesuffix('.md')}.html")


def compared_at_first() -> str:
    """The first rows of the same table, for the front page of the manual."""
    return _compared(compared.ROWS[:FIRST_ROWS], lambda page: page)


def _compared(some: Iterable[compared.Row], address: Callable[[str], str]) -> str:
    lines = []
    for row in some:
        ours = compared.OURS.get(row.what, "yes")
        linked = f"[{ours}]({address(row.page)})" if row.page else ours
        lines.append((row.what, linked, *(cell for cell, _ in row.peers)))
    return rows(("", "stomplistener", *compared.PEERS), lines)


def compared_in_full() -> str:
    """The same with what shows each cell."""
    lines = []
    for row in compared.ROWS:
        ours = [compared.OURS.get(row.what, "yes"), *(f"`{name}`" for name in row.tests)]
        lines.append((row.what, "<br>".join(ours), *(f"{cell}<br>{where}" for cell, where in row.peers)))
    return rows(("", "Ours", *compared.PEERS), lines)


def files() -> dict[str, str]:
    return {
        "failover_options.md": uri_options(FailoverOptions),
        "broker_options.md": uri_options(BrokerOptions),
        "ignored_options.md": ignored_options(),
        "limits.md": limits(),
        "raised.md": raised(),
        "brokers.md": brokers(),
        "broker_notes.md": broker_notes(),
        "abilities.md": abilities(),
        "command_line.md": command_line(),
        "compared.md": compared_in_full(),
        "compared_at_first.md": compared_at_first(),
        "metrics.md": metrics(),
        "bench.md": figures.bench_table(rows),
        "costs.md": figures.cost_map(rows),
        "costs-in-short.md": figures.in_short(rows),
        "profile.md": figures.profile_table(rows),
        "guarantees.md": guarantee_tables(),
        **{f"way_{name}.md": steps(lanes) for name, lanes in ways.ALL.items()},
    }


def write_all(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        path = directory / name
        # Only what changed, or every build would be a whole one.
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def update_readme() -> None:
    """Put the table of what is compared into README again."""
    path = ROOT / "README.md"
    table = re.compile(r"(?m)^\|  \| stomplistener \|.*\n(?:\|.*\n)+")
    path.write_text(table.sub(lambda _: compared_in_short(), path.read_text()))


if __name__ == "__main__":
    if sys.argv[1] == "--readme":
        update_readme()
    else:
        write_all(Path(sys.argv[1]))
