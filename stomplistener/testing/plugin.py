"""A pytest plugin, which is active when the package is installed: brokers, a proxy in front of them, an inbox.

``stomp_broker`` is an embedded broker, unless the marker ``stomp_brokers`` names others: then the test runs on each.
The real brokers run in the containers of a compose file.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import uuid
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from stomplistener.testing import AnyBroker, Broker, FaultProxy, Fleet, Inbox, Strict
    from stomplistener.testing.containers import BrokerContainer

# Other modules of the package are imported at their first use: every run of pytest loads this module, even without
# brokers.

EMBEDDED = "embedded"
_MARKER = "stomp_brokers"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options: the brokers to use, out of those that the tests name, and the compose file of the real ones."""
    group = parser.getgroup("stomplistener", "STOMP brokers")
    group.addoption(
        "--stomp-brokers",
        metavar="NAMES",
        help=f"run tests marked {_MARKER} on these brokers only, of those that they name (such as embedded,activemq)",
    )
    group.addoption(
        "--stomp-compose-file",
        metavar="FILE",
        help="the compose file of the real brokers (default: stomp_compose_file, else the nearest docker-compose.yml)",
    )
    parser.addini("stomp_compose_file", "the compose file of the real brokers, relative to the ini-file")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and check the names on the command line."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(*names): run the test, by its fixture stomp_broker, on each of these brokers: 'embedded' or a "
        "service of the compose file; without names on all of them.",
    )
    try:
        unknown = _unknown(config, _chosen(config) or [])
    except ValueError as problem:
        raise pytest.UsageError(str(problem)) from None
    if unknown:
        raise pytest.UsageError(f"--stomp-brokers: {unknown}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize the tests that have the marker."""
    marker = metafunc.definition.get_closest_marker(_MARKER)
    if marker is None:
        return
    try:
        names = _names(metafunc.config, marker)
    except ValueError as problem:
        pytest.fail(f"{metafunc.definition.nodeid}: {problem}", pytrace=False)
    if "stomp_broker" in metafunc.fixturenames:
        metafunc.parametrize(
            "stomp_broker", names or [pytest.param(None, marks=_left_out(metafunc.config), id="none")], indirect=True
        )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Check the markers of unittest's tests, too, which pytest does not parametrize."""
    for item in items:
        marker = item.get_closest_marker(_MARKER)
        if marker is None or getattr(item, "callspec", None) is not None:
            continue
        try:
            names = _names(config, marker)
        except ValueError as problem:
            raise pytest.UsageError(f"{item.nodeid}: {problem}") from None
        if "stomp_broker" not in getattr(item, "fixturenames", ()):
            continue
        if len(names) > 1:
            raise pytest.UsageError(
                f"{item.nodeid}: a unittest.TestCase runs on one broker, not on {', '.join(names)}: name one in its "
                f"{_MARKER}, and make a subclass for each other."
            )
        if not names:
            item.add_marker(_left_out(config))


@pytest.fixture(scope="session")
def stomp_brokers(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """The real brokers: ``stomp_brokers["activemq"]`` starts one at its first use.

    At the end of the run, a broker is removed unless it was running before. Without a Docker engine the test is
    skipped, or fails with STOMPLISTENER_REQUIRE_BROKERS=1.
    """
    from stomplistener.testing.containers import engine_available
    from stomplistener.testing.fleet import Fleet

    if (reason := engine_available()) is not None:
        if os.environ.get("STOMPLISTENER_REQUIRE_BROKERS") == "1":
            pytest.fail(f"{reason} (STOMPLISTENER_REQUIRE_BROKERS=1)", pytrace=False)
        pytest.skip(f"No real brokers: {reason}")
    with Fleet(_compose_file(request.config)) as fleet:
        yield fleet


@pytest.fixture
def stomp_broker(request: pytest.FixtureRequest) -> Iterator[AnyBroker]:
    """A running broker: a new embedded one for each test, or each of those that the marker stomp_brokers names."""
    from stomplistener.testing import Broker

    name = getattr(request, "param", None) or _only(request) or EMBEDDED
    if name != EMBEDDED:
        yield request.getfixturevalue("stomp_brokers")[name]
        return
    with Broker() as broker:
        yield broker


@pytest.fixture(scope="session")
def stomp_session_broker() -> Iterator[Broker]:
    """One embedded broker for the whole run, for fixtures of wider scope; it keeps messages of earlier tests."""
    from stomplistener.testing import Broker

    with Broker() as broker:
        yield broker


@pytest.fixture
def stomp_strict() -> Iterator[Strict]:
    """Fails the test if a listener raises or a thread dies, unless ``stomp_strict.expect(text)`` permits it.

    Name this fixture before other fixtures, so that it also watches their ends. With ``pytestmark =
    pytest.mark.usefixtures("stomp_strict")`` this fixture watches a whole module.
    """
    from stomplistener.testing import Strict

    with Strict() as strict:
        yield strict
    if strict.problems:
        pytest.fail("errors that the test did not see: " + "\n\n".join(strict.problems), pytrace=False)


@pytest.fixture
def stomp_proxy(stomp_broker: AnyBroker) -> Iterator[FaultProxy]:
    """A running fault proxy in front of ``stomp_broker``, closed after the test."""
    from stomplistener.testing import FaultProxy

    with FaultProxy(stomp_broker.uri) as proxy:
        yield proxy


@pytest.fixture
def stomp_inbox() -> Inbox:
    """A listener that records messages and events."""
    from stomplistener.testing import Inbox

    return Inbox()


@pytest.fixture
def stomp_queue(request: pytest.FixtureRequest) -> str:
    """The name of a queue that no other test uses: real brokers keep the messages of earlier tests."""
    test = re.sub(r"\W+", "-", request.node.name).strip("-")
    return f"/queue/{test[:40]}-{uuid.uuid4().hex[:12]}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the end of the real brokers' logs to the report of a failed test."""
    report = yield
    # If this module was never imported, the test has no container.
    containers = sys.modules.get("stomplistener.testing.containers")
    if report.failed and containers is not None:
        for value in getattr(item, "funcargs", {}).values():
            for broker in value if isinstance(value, list) else [value]:
                if isinstance(broker, containers.BrokerContainer):
                    report.sections.append((f"log of {broker.name}", _log(broker)))
    return report


def _log(broker: BrokerContainer) -> str:
    try:
        return broker.logs(tail=50)
    except Exception as problem:
        return f"not available: {problem}"


def _only(request: pytest.FixtureRequest) -> str | None:
    """Return the only broker of a test that has the marker and could not be parametrized."""
    marker = request.node.get_closest_marker(_MARKER)
    names = [] if marker is None else _names(request.config, marker)
    if len(names) > 1:
        pytest.fail(f"{_MARKER} names several brokers: let the test have stomp_broker as an argument.", pytrace=False)
    return names[0] if names else None


def _names(config: pytest.Config, marker: pytest.Mark) -> list[str]:
    """Return the brokers of a marker, without those that the command line excludes.

    Raises:
        ValueError: the marker names an unknown broker, or the compose file is unusable; the text has the reason.
    """
    if marker.kwargs or not all(isinstance(name, str) for name in marker.args):
        raise ValueError(f'{_MARKER} takes names of brokers, as in {_MARKER}("embedded", "activemq"), or nothing.')
    if unknown := _unknown(config, marker.args):
        raise ValueError(f"{_MARKER}: {unknown}")
    chosen = _chosen(config)
    return [name for name in marker.args or _brokers(config).usual if chosen is None or name in chosen]


def _unknown(config: pytest.Config, names: Iterable[str]) -> str | None:
    """Return None if all these brokers exist, otherwise a text about the unknown ones."""
    if not (real := [name for name in names if name != EMBEDDED]):
        return None
    there = _brokers(config)
    if there.every is None or not (unknown := [name for name in real if name not in there.every]):
        return None
    where = f"in {there.file}" if there.file else "without a docker-compose.yml (set stomp_compose_file)"
    return f"no broker {', '.join(unknown)}; there are {', '.join([EMBEDDED, *there.every])} {where}."


def _chosen(config: pytest.Config) -> list[str] | None:
    option: str | None = config.getoption("--stomp-brokers")
    return None if option is None else [name.strip() for name in option.split(",") if name.strip()]


def _left_out(config: pytest.Config) -> pytest.MarkDecorator:
    return pytest.mark.skip(reason=f"marked for none of --stomp-brokers={config.getoption('--stomp-brokers')}")


class _Brokers(NamedTuple):
    """The brokers that a marker can name."""

    file: Path | None
    usual: list[str]
    """The brokers of a marker without names. Services in a profile must be named."""
    every: list[str] | None
    """All real brokers; None if the package that reads the file is not installed."""


_BROKERS = pytest.StashKey[_Brokers]()


def _brokers(config: pytest.Config) -> _Brokers:
    if _BROKERS not in config.stash:
        config.stash[_BROKERS] = _read(_compose_file(config))
    return config.stash[_BROKERS]


def _read(file: Path | None) -> _Brokers:
    if file is None:
        return _Brokers(None, [EMBEDDED], [])
    from stomplistener.testing.containers import ContainerError, brokers

    try:
        return _Brokers(file, [EMBEDDED, *brokers(file)], [*brokers(file, profiles=["*"])])
    except ImportError:
        # The extra is not installed. "containers" stands for all real brokers: a test that needs them is skipped by
        # stomp_brokers.
        return _Brokers(file, [EMBEDDED, "containers"], None)
    except (ContainerError, OSError) as problem:
        raise ValueError(f"{_MARKER}: {problem}") from None


def _compose_file(config: pytest.Config) -> Path | None:
    """Return the file from the command line, otherwise from the ini-file, otherwise the nearest one."""
    from stomplistener.testing.containers import find_compose_file

    if option := config.getoption("--stomp-compose-file"):
        return Path(config.invocation_params.dir, option)
    if value := config.getini("stomp_compose_file"):
        return Path(config.inipath.parent if config.inipath else config.rootpath, value)
    with contextlib.suppress(FileNotFoundError):
        return find_compose_file(config.rootpath)
    return None
