"""Selectors as functions of headers."""

from __future__ import annotations

import pytest

from stomplistener.testing.selector import EVERYTHING, parse

HEADERS = {"a": "x", "n": "5", "quote": "it's", "JMSType": "t"}


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("a = 'x'", True),
        ("a='y'", False),
        ("a <> 'y'", True),
        ("quote = 'it''s'", True),
        ("n = 5", True),
        ("n > 4.5 AND n < 6", True),
        ("n >= 6 OR n <= 4", False),
        ("n = -5", False),
        ("a > 3", False),
        ("missing = 'x'", False),
        ("missing <> 'x'", False),
        ("NOT missing = 'x'", False),
        ("missing IS NULL", True),
        ("a IS NOT NULL", True),
        ("missing IS NOT NULL", False),
        ("NOT a = 'y'", True),
        ("a = 'y' OR a = 'x' AND n = 5", True),
        ("(a = 'x' OR a = 'y') AND n = 6", False),
        ("missing = 1 OR a = 'x'", True),
        ("missing = 1 AND a = 'x'", False),
        ("a = 'x' and not (n = 6)", True),
    ],
)
def test_selectors(text: str, passes: bool) -> None:
    assert parse(text)(HEADERS) is passes


@pytest.mark.parametrize("text", [None, "", "  "])
def test_no_selector_lets_everything_pass(text: str | None) -> None:
    assert parse(text) is EVERYTHING


@pytest.mark.parametrize(
    "text",
    ["a", "a =", "= 'x'", "a = b", "a = 'x", "(a = 'x'", "a = 'x')", "a = 'x' 'y'", "a IS 'x'", "a ! 'x'", "AND"],
)
def test_what_is_no_selector(text: str) -> None:
    with pytest.raises(ValueError, match="selector"):
        parse(text)
