"""What pytest loads for the tests of the compatible names."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from stomplistener.testing import Broker


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A broker with a login; fails the test if it leaves a thread behind."""
    before = set(threading.enumerate())
    with Broker(login="admin", passcode="password", heartbeat=(0.5, 10.0)) as broker:
        yield broker
        for thread in set(threading.enumerate()) - before:
            if thread.name.startswith("stomp-"):
                thread.join(10)
                assert not thread.is_alive(), thread
