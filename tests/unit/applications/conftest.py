"""Nothing outlives a test, whatever the application did."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from client_support import nothing_left_behind


@pytest.fixture(autouse=True)
def _leave_nothing_behind() -> Iterator[None]:
    with nothing_left_behind():
        yield
