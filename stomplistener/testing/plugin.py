"""Fixtures for pytest, there as soon as the package is installed: an embedded broker, a proxy before it, an inbox."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stomplistener.testing import Broker, FaultProxy, Inbox

# The broker is imported where it is used: every run of pytest loads this module, also one that needs no broker.


@pytest.fixture
def stomp_broker() -> Iterator[Broker]:
    """A running embedded broker, closed after the test."""
    from stomplistener.testing import Broker

    with Broker() as broker:
        yield broker


@pytest.fixture
def stomp_proxy(stomp_broker: Broker) -> Iterator[FaultProxy]:
    """A running fault proxy before ``stomp_broker``, closed after the test."""
    from stomplistener.testing import FaultProxy

    with FaultProxy(stomp_broker.uri) as proxy:
        yield proxy


@pytest.fixture
def stomp_inbox() -> Inbox:
    """A listener that records."""
    from stomplistener.testing import Inbox

    return Inbox()
