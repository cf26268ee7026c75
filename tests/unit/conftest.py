"""The plugin's fixtures under the short names of the unit tests, which run on the embedded broker alone."""

from __future__ import annotations

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
