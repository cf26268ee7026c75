"""The page in the docs says what the table of expectations says, and the tests assert all of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from expectations import BROKERS, EVERY, EXPECTATIONS, FEATURES, SPOKEN
from what_brokers_do import PAGE, page


def test_the_page_is_not_stale() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python tests/integration/what_brokers_do.py"


@pytest.mark.parametrize("key", EXPECTATIONS, ids=" ".join)
def test_an_expectation_is_of_something_and_has_a_reason(key: tuple[str, str, str]) -> None:
    feature, broker, version = key
    assert feature in FEATURES
    assert broker in BROKERS or broker == EVERY
    assert version in SPOKEN or version == EVERY
    assert EXPECTATIONS[key].reason


BODIES = {"text", "json", "binary", "empty", "large"}
"""Features that one test checks by the name of its parameter."""


@pytest.mark.parametrize("feature", FEATURES)
def test_each_feature_is_asserted_by_a_test(feature: str) -> None:
    sources = "".join(path.read_text() for path in Path(__file__).parent.glob("test_conformance_*.py"))
    assert f'world.check("{feature}", ' in sources or feature in BODIES
