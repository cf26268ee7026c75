"""Fixtures that give a running real broker; without a Docker engine their tests are skipped.

With ``STOMPLISTENER_REQUIRE_BROKERS=1`` a missing engine is a failure instead. A broker starts when the first test asks
for it, serves all tests of the run, and is removed at the end unless it ran before; ``STOMPLISTENER_KEEP_BROKERS=1``
leaves it running.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import certificates
import pytest

from stomplistener.testing.containers import BrokerContainer, brokers, engine_available

ROOT = Path(__file__).parents[2]
NAMES = ("activemq", "artemis", "apollo", "rabbitmq")
_engine_missing = functools.cache(engine_available)


def start_broker(name: str, profiles: tuple[str, ...] = ()) -> Iterator[BrokerContainer]:
    """The broker of that name in ``docker-compose.yml``, running; for fixtures of the scope that they like."""
    if (reason := _engine_missing()) is not None:
        if os.environ.get("STOMPLISTENER_REQUIRE_BROKERS") == "1":
            pytest.fail(f"{reason} (STOMPLISTENER_REQUIRE_BROKERS=1)", pytrace=False)
        pytest.skip(f"{name} is left out. {reason}")
    certificates.directory()
    with brokers(ROOT / "docker-compose.yml", profiles=profiles)[name] as broker:
        yield broker


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


@pytest.fixture(params=NAMES)
def real_broker(request: pytest.FixtureRequest) -> BrokerContainer:
    """Each broker in turn."""
    broker: BrokerContainer = request.getfixturevalue(request.param)
    return broker


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The time limit of a test is for its own work: the first one would pay for building an image else."""
    for item in items:
        if {*NAMES, "real_broker"}.isdisjoint(getattr(item, "fixturenames", ())):
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
            if isinstance(value, BrokerContainer):
                try:
                    report.sections.append((f"log of {value.name}", value.logs(tail=50)))
                except Exception as problem:  # noqa: BLE001 - the report of the test matters more
                    report.sections.append((f"log of {value.name}", f"not to be had: {problem}"))
    return report
