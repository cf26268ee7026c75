"""The cost map: each row runs on both sides, and rows are compared in the direction that their must has."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest

from bench.costs.clients import CLIENTS, Address
from bench.costs.measure import CONDITIONS, Condition, Cost, compare, least_count, quick_count
from bench.costs.row import Client, Row, Side, Which
from bench.costs.rows import rows
from bench.costs.side import prepared
from bench.costs.table import by_condition, cells, table
from bench.process import serving
from stomplistener.testing import Broker

ROWS = rows({})
SIDES: list[tuple[Row, Which]] = [
    (row, which) for row in ROWS for which in get_args(Which) if which == "ours" or row.peer is not None
]

AddressOf = Callable[[Row], Address]


@pytest.fixture(scope="module")
def address_of() -> Iterator[AddressOf]:
    """The address of a server as a row wants it; rows that want the same share one."""
    found: dict[str, Address] = {}
    with contextlib.ExitStack() as stack:

        def address(row: Row) -> Address:
            key = json.dumps(dict(row.serve))
            if key not in found:
                server = stack.enter_context(serving("answering", **row.serve))
                found[key] = Address(server.port, server.line() if row.transport == "ssl" else "")
            return found[key]

        yield address


@pytest.mark.parametrize(("row", "which"), SIDES, ids=lambda each: each.key if isinstance(each, Row) else each)
def test_a_side_of_a_row_runs_round_after_round(row: Row, which: Which, address_of: AddressOf) -> None:
    with prepared(row, which, address_of(row)) as play:
        for _ in range(2):
            assert play(least_count(row))[row.figure] > 0


def test_what_the_issue_asks_for_is_there() -> None:
    keys = {row.key for row in ROWS}
    assert len(keys) == len(ROWS)
    assert {f"receive-{headers}-{read}" for headers in (3, 9, 25) for read in ("none", "four", "all")} <= keys
    assert {f"raw-{n}{way}" for n in (0, 1, 5) for way in ("", "-threads", "-batch", "-pause")} <= keys
    assert all(row.peer is not None or row.run == "pausing" for row in ROWS)
    assert {side.client for row in ROWS for side in (row.ours, row.peer) if side is not None} == set(CLIENTS)
    assert set(get_args(Client)) == set(CLIENTS)


@pytest.mark.parametrize("which", get_args(Which))
def test_a_running_broker_gets_rows_of_its_own(which: Which, broker: Broker) -> None:
    known = {row.key for row in ROWS}
    (row,) = (row for row in rows({"artemis": broker.uri, "rabbitmq": broker.uri}) if row.key not in known)
    assert (row.key, row.broker) == ("send-text-real-artemis", broker.uri)
    with prepared(row, which, Address(0)) as play:
        assert play(least_count(row))["cpu"] > 0


def test_rounds_are_made_of_whole_statements_in_each_thread() -> None:
    for row in ROWS:
        for count in (row.count, quick_count(row), least_count(row)):
            assert count % row.step == 0, row.key


def row(**more: object) -> Row:
    side = Side(client="ours", statement="pass")
    given = {"key": "key", "group": "group", "name": "name", "ours": side, "peer": side, **more}
    return Row(**given)  # type: ignore[arg-type]


def cost(ours: float, peer: float, condition: str = "quiet", **more: object) -> Cost:
    figures = [({"cpu": ours, "rate": 1 / ours, "took": ours}, {"cpu": peer, "rate": 1 / peer, "took": peer})] * 3
    return compare(row(**more), CONDITIONS[condition], figures)


@pytest.mark.parametrize(
    ("more", "ours", "peer", "ratio", "verdict"),
    [
        ({"must": 3.0}, 5.0, 20.0, 4.0, "ok"),
        ({"must": 3.0}, 10.0, 20.0, 2.0, "MISSED"),
        ({"must": 2.5, "at_most": True}, 10.0, 5.0, 2.0, "ok"),
        ({"must": 2.5, "at_most": True}, 15.0, 5.0, 3.0, "MISSED"),
        ({"must": 0.9, "figure": "rate"}, 5.0, 5.0, 1.0, "ok"),
        ({"must": 0.9, "figure": "rate"}, 10.0, 5.0, 0.5, "MISSED"),
        ({"must": None}, 10.0, 5.0, 0.5, ""),
    ],
)
def test_a_row_is_compared_in_the_direction_of_its_must(
    more: dict[str, Any], ours: float, peer: float, ratio: float, verdict: str
) -> None:
    measured = cost(ours, peer, **more)
    assert measured.ratio.median == pytest.approx(ratio)
    assert measured.verdict == verdict


def test_with_something_beside_it_half_of_a_must_is_enough() -> None:
    assert CONDITIONS["quiet"] == Condition(name="quiet", text="With nothing beside it")
    for name in ("busy", "switch"):
        assert cost(10.0, 20.0, name, must=3.0).must == 1.5
        assert cost(10.0, 20.0, name, must=3.0).verdict == "ok"
        assert cost(20.0, 5.0, name, must=2.5, at_most=True).must == 5.0
        assert cost(30.0, 5.0, name, must=2.5, at_most=True).verdict == "MISSED"


def test_a_round_that_measures_both_sides_needs_no_rate() -> None:
    figures = [({"took": 30.0}, {"took": 20.0})]
    measured = compare(row(peer=None, figure="took", at_most=True, must=1.8), CONDITIONS["quiet"], figures)
    assert (measured.unit_ours, measured.unit_peer, measured.rate_ours) == (30.0, 20.0, None)
    assert cells(measured)[1:8] == ("30.0", "20.0", "1.50 (1.50..1.50)", "≤ 1.80", "", "", "stomp.py")


def test_the_rows_nearest_to_their_must_come_first_under_each_condition() -> None:
    costs = [
        cost(1.0, 8.0, key="far", must=3.0),
        cost(1.0, 2.0, key="missed", must=3.0),
        cost(1.0, 2.0, "busy", key="busy", must=3.0),
        cost(1.9, 1.0, key="near", must=2.0, at_most=True),
    ]
    order = [(name, [each.key for each in some]) for name, some in by_condition(costs)]
    assert order == [("quiet", ["missed", "near", "far"]), ("busy", ["busy"])]
    assert table(costs).index("With nothing beside it") < table(costs).index("With two busy processes beside it")


def test_what_was_measured_can_be_read_again() -> None:
    measured = cost(1.0, 2.0)
    assert Cost.from_json(json.loads(json.dumps(measured.as_json()))) == measured
