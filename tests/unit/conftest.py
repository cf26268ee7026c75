"""The plugin's fixtures under the short names of the unit tests, which run on the embedded broker alone."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import log_guard
import pytest
import pytest_timeout

from stomplistener._engine.log import flush
from stomplistener.connection import _connections
from stomplistener.states import ConnectionState
from stomplistener.testing import Broker, Inbox

_LOG_SECONDS = 20.0
"""How long the thread of the log may take on a busy machine."""

_TERMINAL = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
_BROKER = (
    *("STOMP_URL", "STOMP_URI", "STOMP_PROFILE", "STOMP_CONFIG"),
    *("STOMP_LOGIN", "STOMP_PASSCODE", "STOMP_PASSCODE_FILE"),
)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give each rerun its own time: pytest-timeout starts its timer once for all, so a rerun could hang forever."""
    if getattr(item, "execution_count", 1) > 1:
        item.ihook.pytest_timeout_set_timer(item=item, settings=pytest_timeout._get_item_settings(item))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> None:
    """Close what a failed test leaves: a client that tries to connect for ever would fill the logs of later tests."""
    if call.excinfo is None or call.excinfo.errisinstance(pytest.skip.Exception):
        return
    for connection in list(_connections):
        if connection.state not in (ConnectionState.NEW, ConnectionState.CLOSED):
            with suppress(Exception):
                connection.close()


@pytest.fixture
def broker(stomp_broker: Broker) -> Broker:
    """A running embedded broker, closed after the test."""
    return stomp_broker


@pytest.fixture
def inbox(stomp_inbox: Inbox) -> Inbox:
    """A listener that records."""
    return stomp_inbox


@pytest.fixture
def chromium() -> str:
    """The browser; without one the test is skipped, or fails where nothing may be left out."""
    found = shutil.which("chromium")
    if found is None:
        reason = "needs Chromium: make browser, as root on Debian"
        if os.environ.get("STOMPLISTENER_REQUIRE_BROKERS") == "1":
            pytest.fail(f"{reason} (STOMPLISTENER_REQUIRE_BROKERS=1)", pytrace=False)
        pytest.skip(reason)
    return found


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a person's broker nor their terminal: what these variables say goes before the tests' own."""
    for name in _TERMINAL + _BROKER:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nonexistent")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Programs that run inside a test set up their log: a level of DEBUG would slow down every test behind it."""
    loggers = [logging.getLogger(name) for name in ("", "stomplistener")]
    former = [(logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, (level, handlers) in zip(loggers, former, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.fixture(scope="session", autouse=True)
def _a_log_handler_that_uses_every_connection() -> Iterator[None]:
    """See ``log_guard``: a record that is written while a lock of the library is held fails the test that runs."""
    with log_guard.installed():
        yield


@pytest.fixture(autouse=True)
def _no_record_under_a_lock(_a_log_handler_that_uses_every_connection: None) -> Iterator[None]:
    log_guard.stuck.clear()
    yield
    found, log_guard.stuck[:] = list(log_guard.stuck), []
    assert not found, "\n".join(found)


@pytest.fixture(autouse=True)
def _what_was_logged_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records are written by a thread of their own: a test that looks at them sees those that were made before.

    It does not see those of the test before, which are written before this one begins.
    """
    flush(_LOG_SECONDS)
    for name in ("text", "records", "messages", "record_tuples"):
        read = getattr(pytest.LogCaptureFixture, name).fget

        def flushed(caplog: pytest.LogCaptureFixture, read: Any = read) -> Any:
            flush(_LOG_SECONDS)
            return read(caplog)

        monkeypatch.setattr(pytest.LogCaptureFixture, name, property(flushed))
