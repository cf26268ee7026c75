"""The manual says what the code says: names, options, pictures, and the tests that show the guarantees."""

from __future__ import annotations

import importlib
import json
import re
from inspect import signature
from pathlib import Path
from urllib.request import urlopen

import pytest
from docs_support import DOCS, ROOT, load, pages

from stomplistener import Connection, Limits
from stomplistener.failover import BrokerOptions, FailoverOptions
from stomplistener.failover.options import table
from stomplistener.worker.metrics import PREFIX, Metrics

MODULES = (
    "stomplistener",
    "stomplistener.protocol",
    "stomplistener.failover",
    "stomplistener.transport",
    "stomplistener.testing",
    "stomplistener.testing.containers",
    "stomplistener.contrib.asyncio",
    "stomplistener.contrib.django",
    "stomplistener.contrib.django.test",
    "stomplistener.contrib.flask",
    "stomplistener.contrib.kombu",
    "stomplistener.contrib.logging",
    "stomplistener.contrib.opentelemetry",
    "stomplistener.contrib.publisher",
    "stomplistener.contrib.twisted",
    "stomplistener.worker",
)
# Whose names are for the library alone, and those that are stomp.py's, which a page of their own compares.
ELSEWHERE = {
    "stomplistener.brokers",
    "stomplistener.compat.stomp",
    "stomplistener.compat.stomp.adapter",
    "stomplistener.contrib.loops",
}
# What a public method returns, and what nobody makes: described beside it, under the name of its module.
SNAPSHOTS = {
    "stomplistener.testing.messages.StoredMessage",
    "stomplistener.testing.subscriptions.SubscriptionInfo",
    "stomplistener.testing.client.ConnectionInfo",
    "stomplistener.testing.log.Logged",
}
_DESCRIBED = re.compile(
    r"^\.\. (?:py:data|auto(?:class|function|data|exception|module|method|attribute)):: ([\w.]+)"
    r"|^\| `(stomplistener\.\w+)` \|",
    re.MULTILINE,
)


def described() -> list[str]:
    text = "\n".join(page.read_text() for page in sorted((DOCS / "reference").glob("*.md")))
    return [match[1] or match[2] for match in _DESCRIBED.finditer(text)]


def public() -> set[str]:
    return {f"{module}.{name}" for module in MODULES for name in importlib.import_module(module).__all__}


def declaring() -> set[str]:
    """The modules in the tree that say which of their names are public."""
    sources = (ROOT / "stomplistener").rglob("*.py")
    paths = [path.relative_to(ROOT).with_suffix("") for path in sources if "\n__all__ = " in path.read_text()]
    return {".".join(part for part in path.parts if part != "__init__") for path in paths}


def test_the_reference_knows_every_module_with_public_names() -> None:
    assert declaring() - ELSEWHERE == set(MODULES)


def test_the_reference_has_every_public_name() -> None:
    assert public() - set(described()) == set()


def test_and_no_other_and_none_twice() -> None:
    names = described()
    assert set(names) - public() - SNAPSHOTS == set()
    assert len(names) == len(set(names))
    assert not [name for name in names if "._" in name.replace(".__version__", "")]


@pytest.mark.parametrize("options", [FailoverOptions, BrokerOptions])
def test_the_table_of_options_has_each_with_a_text(options: type[FailoverOptions | BrokerOptions]) -> None:
    lines = load("generate").uri_options(options).splitlines()[2:]
    assert len(lines) == len(table(options))
    for line, option in zip(lines, table(options).values(), strict=True):
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        assert cells[0].startswith(f"`{option.name}`")
        assert len(cells) == 4
        assert all(cells)
        # Names of Python are not for those who write a URI.
        assert "_" not in re.sub(r"`[A-Z_]+`", "", line), line


def test_the_table_of_limits_has_each() -> None:
    text = load("generate").limits()
    assert all(f"`{name}`" in text for name in signature(Limits).parameters)


def test_the_table_of_exceptions_knows_the_calls() -> None:
    text = load("generate").raised()
    for call in ("Connection.connect", "Connection.send", "Connection.subscribe", "Transaction.commit"):
        assert f"`{call}()`" in text


def test_the_page_on_the_command_line_has_the_help_of_each_command() -> None:
    generate = load("generate")
    text = generate.command_line()
    for command in ("ping", "listen", "send", "browse", "move", "dump", "restore", "shell", "top", "completion"):
        assert f"## stomplistener {command}\n\n{generate.COLUMNS}Usage: stomplistener {command} " in text
    assert "--metrics-port" in text


def test_the_table_of_metrics_has_what_a_scrape_shows() -> None:
    metrics = Metrics(lambda: {"default": Connection("tcp://localhost:1")})
    metrics.declared("default", "/queue/a")
    with metrics.served("127.0.0.1", 0) as port, urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        scraped = set(re.findall(rf"^# HELP ({PREFIX}\w+) ", answer.read().decode(), re.MULTILINE))
    described = set(re.findall(rf"`({PREFIX}\w+)`", load("generate").metrics()))
    assert described == {name for name in scraped if not name.endswith("_created")}


def result(key: str) -> dict[str, object]:
    spread = {"median": 150_000.0, "least": 120_000.0, "most": 210_000.0}
    measure = {"name": f"{key} a message", "figure": "rate", "unit": "/s", "must": 5.0, "aim": 8.0}
    ratio = {"median": 6.5, "least": 2.0, "most": 8.0}
    labels = {"our_label": "ours", "peer_label": "stompest", "verdict": "must"}
    return {"key": key, "measure": measure, "ours": spread, "peer": spread, "ratio": ratio, **labels}


def test_the_page_on_performance_shows_what_was_published(tmp_path: Path) -> None:
    rows, figures = load("generate").rows, load("figures")
    assert "make bench" in figures.bench_table(rows, tmp_path)
    assert "make profile" in figures.profile_table(rows, tmp_path)
    document = {"machine": "a machine", "runs": 5, "results": [result("decode"), result("receive")]}
    (tmp_path / "bench.json").write_text(json.dumps(document))
    (tmp_path / "faster.svg").write_text("<svg/>")
    stages = {"send": [["encode", 1.25]]}
    (tmp_path / "profile.json").write_text(json.dumps({"machine": "a machine", "stages": stages}))
    table = figures.bench_table(rows, tmp_path).replace("\N{NO-BREAK SPACE}", " ")
    assert "| receive a message | 150,000 /s | stompest 150,000 /s | 6.50 (2.00..8.00) |\n" in table
    assert "faster.svg" in table
    assert "cheaper.svg" not in table
    assert "| send | encode | 1.25 |" in figures.profile_table(rows, tmp_path)


def cost(key: str, ratio: float, condition: str = "quiet", against: str = "stomp.py") -> dict[str, object]:
    spread = {"median": ratio, "least": ratio, "most": ratio}
    words = {"key": key, "group": "sending", "name": key, "against": against, "call": "c.send()"}
    figures = {"unit_ours": 5.0, "unit_peer": 5 * ratio, "rate_ours": 200_000.0, "rate_peer": None, "ratio": spread}
    rules = {"figure": "cpu", "at_most": False, "must": 3.0, "verdict": "ok"}
    return {"condition": condition, **words, **figures, **rules}


def test_the_page_on_performance_shows_the_cost_map_with_slow_rows_first(tmp_path: Path) -> None:
    rows, figures = load("generate").rows, load("figures")
    assert "make bench" in figures.cost_map(rows, tmp_path)
    costs = [cost("quick", 8.0), cost("slow", 2.0), cost("disturbed", 4.0, "busy"), cost("bare", 0.5, against="raw")]
    costs += [{**cost("less", 0.2), "at_most": True}, cost("ours", 1.5, against="ours")]
    (tmp_path / "costs.json").write_text(json.dumps({"machine": "a machine.", "runs": 5, "costs": costs}))
    shown = figures.cost_map(rows, tmp_path)
    slow = "| sending: slow | 5.00 | 10.0 | 2.00 (2.00..2.00) |\n"
    less = "| sending: less | 5.00 | 1.00 | 5.00 (5.00..5.00) |\n"
    places = [
        shown.index(text)
        for text in ("With nothing beside it", slow, less, "sending: quick", "two busy", "disturbed", "sending: bare")
    ]
    assert places == sorted(places)
    assert "sending: ours" not in shown


def test_the_page_on_performance_does_not_show_what_a_release_must_reach() -> None:
    assert not re.search(r"\b(must|aim|verdict)\b", (DOCS / "explanation" / "performance.md").read_text())
    rows, figures = load("generate").rows, load("figures")
    assert not re.search(r"\b(must|aim|verdict)\b|MISSED", figures.bench_table(rows) + figures.cost_map(rows))


def test_what_is_compared_is_shown_by_tests_and_readme_says_the_same() -> None:
    generate, compared = load("generate"), load("compared")
    known = generate.test_names()
    assert [name for row in compared.ROWS for name in row.tests if name not in known] == []
    assert [row.what for row in compared.ROWS if not row.tests and row.what not in compared.OURS] == []
    assert generate.compared_in_short() in (ROOT / "README.md").read_text(), "README: python docs/generate.py --readme"


def test_the_picture_of_the_demo_shows_what_the_demo_prints() -> None:
    picture = (DOCS / "_static" / "demo.svg").read_text()
    rows = re.findall(r'^        \("([a-z ]+)", ', (ROOT / "examples" / "demo.py").read_text(), re.MULTILINE)
    assert "missing" in rows
    assert [row for row in rows if row.replace(" ", "&#160;") not in picture] == []


def test_no_picture_is_stale() -> None:
    diagrams = load("diagrams")
    stale = [name for name in diagrams.ALL if diagrams.is_stale(name)]
    assert not stale, "run: python docs/diagrams.py (needs Graphviz)"


def test_a_changed_table_makes_its_picture_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    diagrams = load("diagrams")
    monkeypatch.setattr(diagrams, "SESSION", dict(list(diagrams.SESSION.items())[1:]))
    assert diagrams.is_stale("session-states")


def test_each_guarantee_names_tests_that_exist() -> None:
    generate, guarantees = load("generate"), load("guarantees")
    known = generate.test_names()
    for operation in guarantees.OPERATIONS:
        assert [row.when for row in operation.rows] == [guarantees.BEFORE, guarantees.DURING, guarantees.AFTER]
    for title, row in [
        *((operation.title, row) for operation in guarantees.OPERATIONS for row in operation.rows),
        *(("trouble", row) for row in guarantees.TROUBLE),
    ]:
        assert row.tests or row.scenarios, f"{title}, {row.when}: no test"
        missing = [name for name in row.tests if name not in known]
        assert not missing, f"{title}, {row.when}"


def test_each_scenario_that_a_guarantee_names_exists() -> None:
    generate, guarantees = load("generate"), load("guarantees")
    known = generate.test_names()
    if not any(name.startswith("test_scenario_") for name in known):
        pytest.skip("the scenarios are not there yet")
    numbers = {number for each in guarantees.OPERATIONS for row in each.rows for number in row.scenarios}
    there = {int(name.split("_")[2]) for name in known if re.match(r"test_scenario_\d\d_", name)}
    assert numbers - there == set()


def test_columns_of_numbers_are_aligned_at_the_right() -> None:
    table = load("generate").rows(("what", "µs", "note"), [("send", "1,024", "2 of 3"), ("ack", "", "none")])
    assert table.splitlines()[1] == "|---|---:|---|"


def test_the_front_page_has_the_figures_that_were_measured() -> None:
    measured = (DOCS / "measured" / "torture.md").read_text()
    faults = re.match(r"([\d,]+) faults on 4 broker", measured)
    confirmed = re.search(r"\| confirmed messages \|(.*)\|", measured)
    assert faults
    assert confirmed
    total = sum(int(cell.replace(",", "")) for cell in confirmed[1].split("|"))
    assert re.search(r"\*\*missing\*\* \|( \*\*0\*\* \|){4}", measured)
    assert f"caused {faults[1]} faults on four brokers, and none of {total:,} confirmed messages was lost" in (
        DOCS / "index.md"
    ).read_text().replace("\n", " ")


def test_links_of_the_readme_work_where_it_is_read_and_lead_somewhere() -> None:
    manual = load("generate").MANUAL
    for target in re.findall(r"\]\(([^)#\s]+)\)", (ROOT / "README.md").read_text()):
        assert target.startswith("https://"), "an index of packages has no relative links"
        if target.startswith(manual):
            path = DOCS / target.removeprefix(manual).replace(".html", ".md")
        else:
            path = ROOT / target.partition("/main/")[2]
        assert path.exists(), target


def test_links_between_files_lead_somewhere() -> None:
    for page in [*pages(), *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md"))]:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text()):
            assert Path(page.parent, target).exists(), f"{page}: {target}"
