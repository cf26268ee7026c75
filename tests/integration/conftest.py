"""Fixtures that give a running real broker; without a Docker engine their tests are skipped.

With ``STOMPLISTENER_REQUIRE_BROKERS=1`` a missing engine is a failure instead. A broker starts when the first test asks
for it, serves all tests of the run, and is removed at the end unless it ran before; ``STOMPLISTENER_KEEP_BROKERS=1``
leaves it running.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import certificates
import pytest
from conformance import COUNTS, VERSIONS, World

from stomplistener.testing.containers import BrokerContainer, brokers, engine_available

ROOT = Path(__file__).parents[2]
NAMES = ("activemq", "artemis", "apollo", "rabbitmq")
_engine_missing = functools.cache(engine_available)


def start_brokers(*names: str, profiles: tuple[str, ...] = ()) -> Iterator[list[BrokerContainer]]:
    """Those brokers of ``docker-compose.yml``, running; for fixtures of the scope that they like.

    The nodes of a cluster start at the same time, a pair one after the other.
    """
    if (reason := _engine_missing()) is not None:
        if os.environ.get("STOMPLISTENER_REQUIRE_BROKERS") == "1":
            pytest.fail(f"{reason} (STOMPLISTENER_REQUIRE_BROKERS=1)", pytrace=False)
        pytest.skip(f"{', '.join(names)} left out. {reason}")
    certificates.directory()
    known = brokers(ROOT / "docker-compose.yml", profiles=profiles)
    chosen = [known[name] for name in names]
    in_turn = any(broker.is_standby for broker in chosen)
    with contextlib.ExitStack() as stack:
        for broker in chosen:
            stack.callback(broker.remove_if_created)
            broker.start(wait=None if in_turn else False)
        for broker in chosen:
            if not broker.is_standby:
                broker.wait_ready(timeout=120)
        yield chosen


def start_broker(name: str) -> Iterator[BrokerContainer]:
    """One of them."""
    for broker in start_brokers(name):
        yield broker[0]


@pytest.fixture(scope="session")
def certs() -> Path:
    """The directory of the certificates: see ``certificates.py``."""
    return certificates.directory()


@pytest.fixture(scope="session")
def activemq() -> Iterator[BrokerContainer]:
    """ActiveMQ Classic."""
    yield from start_broker("activemq")


@pytest.fixture(scope="session")
def artemis() -> Iterator[BrokerContainer]:
    """ActiveMQ Artemis."""
    yield from start_broker("artemis")


@pytest.fixture(scope="session")
def apollo() -> Iterator[BrokerContainer]:
    """Apollo 1.7.1."""
    yield from start_broker("apollo")


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[BrokerContainer]:
    """RabbitMQ."""
    yield from start_broker("rabbitmq")


@pytest.fixture(scope="session")
def rabbitmq_cluster() -> Iterator[list[BrokerContainer]]:
    """Three nodes of RabbitMQ that are one cluster; only queues with ``x-queue-type:quorum`` outlive a node."""
    for nodes in start_brokers("rabbitmq-1", "rabbitmq-2", "rabbitmq-3", profiles=("cluster",)):
        nodes[0].exec("rabbitmqctl await_online_nodes 3 --timeout 60")
        yield nodes


@pytest.fixture(scope="session")
def artemis_pair() -> Iterator[list[BrokerContainer]]:
    """The primary and the backup of a pair of Artemis over one store; only one of them answers at a time."""
    yield from start_brokers("artemis-primary", "artemis-backup", profiles=("cluster",))


@pytest.fixture(params=NAMES)
def real_broker(request: pytest.FixtureRequest) -> BrokerContainer:
    """Each broker in turn."""
    broker: BrokerContainer = request.getfixturevalue(request.param)
    return broker


@pytest.fixture
def world(real_broker: BrokerContainer, version: str) -> World:
    """One broker in one version, for the tests of conformance."""
    COUNTS[real_broker.name, version] += 1
    return World(real_broker, version)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many tests of conformance ran on each broker in each version."""
    if not COUNTS:
        return
    terminalreporter.section("tests of conformance per broker and version")
    terminalreporter.write_line(f"{'':12}" + "".join(f"{version:>12}" for version in VERSIONS))
    for name in NAMES:
        counts = "".join(f"{COUNTS[name, version]:>12}" for version in VERSIONS)
        terminalreporter.write_line(f"{name:12}{counts}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The time limit of a test is for its own work: the first one would pay for building an image else."""
    for item in items:
        if {*NAMES, "real_broker", "rabbitmq_cluster", "artemis_pair"}.isdisjoint(getattr(item, "fixturenames", ())):
            continue
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(120, func_only=True))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds the end of the brokers' logs to the report of a test that failed."""
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            for broker in value if isinstance(value, list) else [value]:
                if isinstance(broker, BrokerContainer):
                    report.sections.append((f"log of {broker.name}", _log(broker)))
    return report


def _log(broker: BrokerContainer) -> str:
    try:
        return broker.logs(tail=50)
    except Exception as problem:
        return f"not to be had: {problem}"
