"""The real brokers of the plugin under names of their own, our clusters, and the tests of conformance.

With ``-n 2`` two processes run the tests, each on a set of brokers of its own.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import certificates
import pytest
from conformance import VERSIONS, World
from xdist.scheduler import LoadScopeScheduling

from stomplistener.testing import Fleet
from stomplistener.testing.containers import BrokerContainer

NAMES = ("activemq", "artemis", "apollo", "rabbitmq")
_TRIED = "tried in conformance"
_FIRST_DIGITS = "6231"
"""The first digits of the ports of four sets of brokers, as ``docker-compose.yml`` takes them."""

if _number := int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")):
    # Beside the set that the environment names, which the first process has.
    _taken, _name = os.environ.get("STOMPLISTENER_PORTS", "6"), os.environ.get("STOMPLISTENER_BROKERS", "stomplistener")
    os.environ["STOMPLISTENER_PORTS"] = _FIRST_DIGITS.replace(_taken, "")[_number - 1]
    os.environ["STOMPLISTENER_BROKERS"] = f"{_name}-gw{_number}"


@pytest.fixture(scope="session")
def certs() -> Path:
    """The directory of the certificates: see ``certificates.py``."""
    return certificates.directory()


@pytest.fixture(scope="session")
def stomp_brokers(certs: Path, stomp_brokers: Fleet) -> Fleet:
    """The plugin's, with certificates for them to find when they start."""
    return stomp_brokers


@pytest.fixture(scope="session")
def activemq(stomp_brokers: Fleet) -> BrokerContainer:
    """ActiveMQ Classic."""
    return stomp_brokers["activemq"]


@pytest.fixture(scope="session")
def artemis(stomp_brokers: Fleet) -> BrokerContainer:
    """ActiveMQ Artemis."""
    return stomp_brokers["artemis"]


@pytest.fixture(scope="session")
def apollo(stomp_brokers: Fleet) -> BrokerContainer:
    """Apollo 1.7.1."""
    return stomp_brokers["apollo"]


@pytest.fixture(scope="session")
def rabbitmq(stomp_brokers: Fleet) -> BrokerContainer:
    """RabbitMQ."""
    return stomp_brokers["rabbitmq"]


@pytest.fixture
def rabbitmq_cluster(stomp_brokers: Fleet) -> Iterator[list[BrokerContainer]]:
    """Three nodes of RabbitMQ that are one cluster; only queues with ``x-queue-type:quorum`` outlive a node."""
    with _removed_later(stomp_brokers.start("rabbitmq-1", "rabbitmq-2", "rabbitmq-3")) as nodes:
        nodes[0].exec("rabbitmqctl await_online_nodes 3 --timeout 60")
        yield nodes


@pytest.fixture
def artemis_pair(stomp_brokers: Fleet) -> Iterator[list[BrokerContainer]]:
    """The primary and the backup of a pair of Artemis over one store; only one of them answers at a time."""
    with _removed_later(stomp_brokers.start("artemis-primary", "artemis-backup")) as pair:
        yield pair


@contextmanager
def _removed_later(nodes: list[BrokerContainer]) -> Iterator[list[BrokerContainer]]:
    # Few tests need them, and even an idle node takes a twentieth of a core from all the others.
    try:
        yield nodes
    finally:
        for node in reversed(nodes):
            node.remove_if_created()


@pytest.fixture(params=NAMES)
def real_broker(request: pytest.FixtureRequest, stomp_brokers: Fleet) -> BrokerContainer:
    """Each broker in turn."""
    return stomp_brokers[request.param]


@pytest.fixture
def world(real_broker: BrokerContainer, version: str, record_property: Callable[[str, object], None]) -> World:
    """One broker in one version, for the tests of conformance."""
    record_property(_TRIED, (real_broker.name, version))
    return World(real_broker, version)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many tests of conformance passed on each broker in each version."""
    counts: Counter[tuple[str, str]] = Counter(
        tuple(value)
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == _TRIED
    )
    if not counts:
        return
    terminalreporter.section("tests of conformance that passed, per broker and version")
    terminalreporter.write_line(f"{'':12}" + "".join(f"{version:>12}" for version in VERSIONS))
    for name in NAMES:
        row = "".join(f"{counts[name, version]:>12}" for version in VERSIONS)
        terminalreporter.write_line(f"{name:12}{row}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The time limit of a test is for its own work. The first one would otherwise pay for building an image."""
    for item in items:
        real = {"stomp_broker", "stomp_brokers"}.intersection(getattr(item, "fixturenames", ()))
        if real and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(120, func_only=True))


class _Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Gives each test to the process that is free, but all tests of conformance to one process.

    Their page is compared with all that was seen in the process.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "conformance" if "/test_conformance_" in nodeid else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Scheduling:
    """Take this order, whatever ``--dist`` says."""
    return _Scheduling(config, log)
