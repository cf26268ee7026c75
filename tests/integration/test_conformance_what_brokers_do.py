"""The page in the docs says what the tests of conformance have seen; its module is the last of them to run."""

from __future__ import annotations

import pytest
from conformance import SEEN, VERSIONS
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


@pytest.fixture
def seen() -> dict[tuple[str, str, str], str]:
    if not SEEN:
        pytest.skip("no test of conformance has run here: make conformance runs all of them")
    return SEEN


def test_every_cell_was_seen_on_a_broker(seen: dict[tuple[str, str, str], str]) -> None:
    cells = {(feature, broker, version) for feature in FEATURES for broker in BROKERS for version in VERSIONS}
    assert cells - seen.keys() == set()


def test_the_page_says_what_was_seen(seen: dict[tuple[str, str, str], str]) -> None:
    assert PAGE.read_text(encoding="utf-8") == page(seen)
