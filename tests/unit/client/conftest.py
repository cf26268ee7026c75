"""What each test of the running client has: a connection if it asks for one, and nothing that outlives it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from client_support import failover, nothing_left_behind

from stomplistener import Connection
from stomplistener.testing import Broker


@pytest.fixture(autouse=True)
def _leave_nothing_behind() -> Iterator[None]:
    with nothing_left_behind():
        yield


@pytest.fixture
def connection(broker: Broker) -> Iterator[Connection]:
    with Connection(failover(broker.uri), timeout=10) as connection:
        yield connection
