"""Our Django project of the benchmarks runs; the peers' needs an environment that only ``make bench`` makes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bench import postgres, relay, worker
from bench.projects import process as projects
from stomplistener.testing import Broker

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processor time of others as Linux tells it"),
    pytest.mark.timeout(120, func_only=True),
]


@pytest.fixture(autouse=True)
def _python(monkeypatch: pytest.MonkeyPatch) -> None:
    """This environment has what ours needs."""
    if (problem := postgres.problem()) is not None:
        if os.environ.get("STOMPLISTENER_REQUIRE_BROKERS") == "1":
            pytest.fail(f"{problem} (STOMPLISTENER_REQUIRE_BROKERS=1)", pytrace=False)
        pytest.skip(problem)
    monkeypatch.setattr(projects, "PYTHON", Path(sys.executable))


def test_the_outbox_leaves() -> None:
    with Broker() as broker:
        figures = relay.ours(broker.uri, 300)
        sent = broker.frames(command="SEND")
    assert len(sent) == 300
    assert all(frame.headers["persistent"] == "true" for frame in sent)
    assert figures["rate"] > 0
    assert figures["cpu"] > 0


@pytest.mark.parametrize("writes", [False, True])
def test_the_queue_is_handled(writes: bool) -> None:
    with Broker() as broker:
        figures = worker.ours(broker.uri, 1000, threads=2, writes=writes)
        broker.wait_for(lambda: len(broker.frames(command="ACK")) >= 1000)
    assert figures["rate"] > 0
