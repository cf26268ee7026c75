"""The setting STOMPLISTENER: what ``manage.py check`` says of it."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django_support import override_settings

from stomplistener.contrib.django.conf import OutboxSettings, stomp_settings


def checked(value: Any) -> list[tuple[str, str, str]]:
    with override_settings(STOMPLISTENER=value):
        found = [each for each in run_checks() if (each.id or "").startswith("stomplistener.")]
    return [((each.id or "").partition(".")[2], each.msg, each.hint or "") for each in found]


@pytest.mark.parametrize(
    ("value", "number", "text", "hint"),
    [
        ("tcp://a:1", "E001", "is str, not a dict", "'URI'"),
        ({"URL": "tcp://a:1"}, "E002", "has no key 'URL'", "'URI'"),
        ({"URI": 7}, "E003", "['URI'] is int, not str", ""),
        ({"URI": "tcp//a"}, "E004", "['URI'] is not a broker URI", "tcp://"),
        ({"URI": "tcp://a:1", "OPTIONS": {"heart": 1}}, "E005", "heart", "arguments of stomplistener.Connection"),
        ({"URI": "tcp://a:1", "OPTIONS": {"versions": ["3.0"]}}, "E005", "3.0", ""),
        ({"URI": "tcp://a:1", "OUTBOX": {"BATCH": 0}}, "E006", "['BATCH'] is 0, less than 1", ""),
        ({"URI": "tcp://a:1", "OUTBOX": {"POLL": None}}, "E006", "None", "default"),
        ({"URI": "tcp://a:1", "OUTBOX": {"PULL": 1}}, "E002", "['OUTBOX'] has no key 'PULL'", "'POLL'"),
        ({"URI": "tcp://a:1", "OUTBOX": {"BATCH": True}}, "E003", "is bool, not int", ""),
        ({"URI": "tcp://a:1", "PUBLISH_TIMEOUT": -1}, "E006", "less than 0", ""),
        ({"URI": "tcp://a:1", "CONNECTIONS": {"b": {"URI": "no"}}}, "E004", "['CONNECTIONS']['b']['URI']", ""),
        ({"URI": "tcp://a:1", "CONNECTIONS": {"b": 1}}, "E003", "['CONNECTIONS']['b'] is int, not a dict", ""),
        ({"URI": "tcp://a:1", "CONNECTIONS": {"b": {}}}, "W001", "['CONNECTIONS']['b'] has no", "STOMP_URL_B"),
    ],
)
def test_what_is_wrong_is_named_with_a_hint(value: Any, number: str, text: str, hint: str) -> None:
    [(id_, message, hinted)] = checked(value)
    assert id_ == number
    assert text in message
    assert hint in hinted
    if number != "W001":
        with override_settings(STOMPLISTENER=value), pytest.raises(ImproperlyConfigured):
            stomp_settings()


def test_without_a_uri_there_is_a_warning_unless_the_environment_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STOMP_URL", raising=False)
    [(number, _, hint)] = checked({})
    assert number == "W001"
    assert "STOMP_URL in the environment" in hint
    monkeypatch.setenv("STOMP_URL", "tcp://a:61613")
    assert checked({}) == []
    with override_settings(STOMPLISTENER={}):
        assert stomp_settings().connections["default"].uri == "tcp://a:61613"


def test_no_passcode_shows() -> None:
    secret = {"URI": "tcp://me:s3cret@a:1?bogus=1", "PASSCODE": ["s3cret"]}
    assert "s3cret" not in str(checked(secret))
    assert "s3cret" not in str(checked({**secret, "PASSCODE": "s3cret"}))
    with override_settings(STOMPLISTENER={"URI": "tcp://me:s3cret@a:1", "PASSCODE": "s3cret"}):
        assert "s3cret" not in repr(stomp_settings())


def test_the_values_arrive() -> None:
    value = {"URI": "tcp://a:1", "LOGIN": "me", "PASSCODE": None, "ATOMIC": True, "OUTBOX": {"BATCH": 5, "KEEP": None}}
    with override_settings(STOMPLISTENER=value):
        found = stomp_settings()
    assert found.connections["default"].options["login"] == "me"
    assert found.atomic
    assert found.outbox == OutboxSettings(batch=5, keep=None)


def test_the_delay_of_a_failed_row_doubles_up_to_its_bound() -> None:
    options = OutboxSettings(first_delay=1, most_delay=10)
    assert [options.delay(attempts) for attempts in (1, 2, 3, 4, 5, 10_000)] == [1, 2, 4, 8, 10, 10]
