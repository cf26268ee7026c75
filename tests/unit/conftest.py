"""The plugin's fixtures under the short names of the unit tests, which run on the embedded broker alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from stomplistener.testing import Broker, Inbox


@pytest.fixture
def broker(stomp_broker: Broker) -> Broker:
    """A running embedded broker, closed after the test."""
    return stomp_broker


@pytest.fixture
def inbox(stomp_inbox: Inbox) -> Inbox:
    """A listener that records."""
    return stomp_inbox


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Programs that run inside a test set up their log: a level of DEBUG would slow down every test behind it."""
    loggers = [logging.getLogger(name) for name in ("", "stomplistener")]
    former = [(logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, (level, handlers) in zip(loggers, former, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers
