"""The Grafana dashboard asks for nothing that a worker or a relay does not export."""

from __future__ import annotations

import json
import os
import re
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import promql_parser
import pytest
from docs_support import ROOT, Program, load, run_python, running
from prometheus_client.parser import text_string_to_metric_families

from stomplistener.testing import Broker

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers of several processes, and their signals")

DEPLOY = ROOT / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
HANDLERS = """
from stomplistener.worker import Application

app = Application()


@app.listener("/queue/orders")
def book(order):
    pass
"""
OF_PROMETHEUS = {"instance", "job"}
"""The labels that Prometheus gives to whatever it scrapes."""

Exported = dict[str, set[str]]


def scraped(program: Program) -> Exported:
    """The labels of each sample that a process exports, by the sample's name."""

    def line() -> str:
        return next((line for line in program.lines if "metrics on http://" in line), "")

    program.wait_for(lambda _: bool(line()), 60, "the port of its metrics")
    url = line().partition("metrics on ")[2]
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    found: Exported = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """What a worker of two processes and a relay export."""
    room = tmp_path_factory.mktemp("exported")
    (room / "handlers.py").write_text(HANDLERS)
    manage = str(ROOT / "examples" / "django" / "manage.py")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        broker = stack.enter_context(Broker())
        patch.setenv("SQLITE", str(room / "db.sqlite3"))
        patch.setenv("STOMP_URL", broker.uri)
        migrated = run_python(room, manage, "migrate", "--verbosity", "0")
        assert migrated.returncode == 0, migrated.stderr
        options = ["--metrics-port", "0"]
        worker = stack.enter_context(
            running(["-m", "stomplistener", "worker", "handlers:app", "--processes", "2", *options], room)
        )
        relay = stack.enter_context(running([manage, "stomp_outbox", *options], room))
        worker.wait_for(lambda lines: sum(": listening to" in line for line in lines) == 2, 60, "two processes")
        found = scraped(relay)
        for name, labels in scraped(worker).items():
            found.setdefault(name, set()).update(labels)
        return found


def queries() -> Iterator[tuple[str, str]]:
    """Each query with the title of its panel."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def parsed(query: str) -> Any:
    return promql_parser.parse(query.replace("$__rate_interval", "5m"))


def nodes(node: Any) -> Iterator[Any]:
    """An expression of PromQL, and all that are in it."""
    yield node
    for name in ("expr", "lhs", "rhs", "param", "vector_selector"):
        inner = getattr(node, name, None)
        if inner is not None:
            yield from nodes(inner)
    for argument in getattr(node, "args", None) or ():
        yield from nodes(argument)


def test_there_are_panels_for_workers_and_for_the_relay() -> None:
    asked = " ".join(query for _, query in queries())
    assert "stomplistener_handled_total" in asked
    assert "stomplistener_outbox_pending" in asked


@pytest.mark.parametrize(("title", "query"), list(queries()))
def test_a_query_names_only_what_is_exported(title: str, query: str, exported: Exported) -> None:
    selectors = [node for node in nodes(parsed(query)) if isinstance(node, promql_parser.VectorSelector)]
    assert selectors
    known = set(OF_PROMETHEUS)
    for selector in selectors:
        labels = exported.get(selector.name or "")
        assert labels is not None, f"{title}: nothing exports {selector.name}"
        matched = {matcher.name for matcher in selector.matchers.matchers}
        assert matched <= labels | OF_PROMETHEUS, f"{title}: {selector.name} has {labels}"
        known |= labels
    for node in nodes(parsed(query)):
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            assert set(node.modifier.labels) <= known, title


@pytest.mark.parametrize("query", ["nonsense_total", 'stomplistener_connected{destination="x"}'])
def test_the_check_finds_what_is_not_exported(query: str, exported: Exported) -> None:
    with pytest.raises(AssertionError):
        test_a_query_names_only_what_is_exported("a wrong one", query, exported)


def test_a_legend_shows_labels_that_its_query_has() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert re.search(rf"by \([^)]*\b{label}\b", target["expr"]), (panel["title"], label)


def test_the_variables_are_of_labels_that_are_exported(exported: Exported) -> None:
    asked = [each["query"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]
    assert len(asked) == 2
    for query in asked:
        name, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", query).groups()  # type: ignore[union-attr]
        assert label in exported[name]
    used = set(re.findall(r"\$(\w+)", " ".join(query for _, query in queries())))
    assert used == {each["name"] for each in DASHBOARD["templating"]["list"]} - {"datasource"} | {"__rate_interval"}


def test_the_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_file_is_what_its_script_writes() -> None:
    written = load("dashboard", DEPLOY).written()
    assert written == (DEPLOY / "grafana-dashboard.json").read_text(), "run: python deploy/dashboard.py"
