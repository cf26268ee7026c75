"""The setting STOMPLISTENER: what ``manage.py check`` says of it."""

from __future__ import annotations

from pathlib import Path
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
        ("tcp://a:1", "E001", "is str, not a dict", "'URL'"),
        ({"URLS": "tcp://a:1"}, "E002", "has no key 'URLS'", "'URL'"),
        (
            {"URL": "tcp://a:1", "PASSCODE_FILE": "/nonexistent/x"},
            "E008",
            "/nonexistent/x cannot be read",
            "first line",
        ),
        ({"URL": 7}, "E003", "['URL'] is int, not str", ""),
        ({"URL": "tcp//a"}, "E004", "['URL'] is not a broker URI", "tcp://"),
        ({"URL": "tcp://a:1", "OPTIONS": {"heart": 1}}, "E005", "heart", "arguments of stomplistener.Connection"),
        ({"URL": "tcp://a:1", "OPTIONS": {"versions": ["3.0"]}}, "E005", "3.0", ""),
        ({"URL": "tcp://a:1", "OUTBOX": {"BATCH": 0}}, "E006", "['BATCH'] is 0, less than 1", ""),
        ({"URL": "tcp://a:1", "OUTBOX": {"POLL": None}}, "E006", "None", "default"),
        ({"URL": "tcp://a:1", "OUTBOX": {"PULL": 1}}, "E002", "['OUTBOX'] has no key 'PULL'", "'POLL'"),
        ({"URL": "tcp://a:1", "OUTBOX": {"BATCH": True}}, "E003", "is bool, not int", ""),
        ({"URL": "tcp://a:1", "PUBLISH_TIMEOUT": -1}, "E006", "less than 0", ""),
        ({"URL": "tcp://a:1", "CONNECTIONS": {"b": {"URL": "no"}}}, "E004", "['CONNECTIONS']['b']['URL']", ""),
        ({"URL": "tcp://a:1", "CONNECTIONS": {"b": 1}}, "E003", "['CONNECTIONS']['b'] is int, not a dict", ""),
        ({"URL": "tcp://a:1", "CONNECTIONS": {"b": {}}}, "W001", "['CONNECTIONS']['b'] has no", "STOMP_URL_B"),
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


def test_the_old_name_works_with_a_warning() -> None:
    value = {"URI": "tcp://a:1", "CONNECTIONS": {"b": {"URI": "tcp://b:1"}}}
    told = checked(value)
    assert [number for number, _, _ in told] == ["W002", "W002"]
    assert told[0][1] == "STOMPLISTENER['URI'] is called 'URL' now"
    assert "['CONNECTIONS']['b']['URI'] is called 'URL' now" in told[1][1]
    with override_settings(STOMPLISTENER=value):
        assert {name: each.uri for name, each in stomp_settings().connections.items()} == {
            "default": "tcp://a:1",
            "b": "tcp://b:1",
        }
    with override_settings(STOMPLISTENER={**value, "URL": "tcp://new:1"}):
        assert stomp_settings().connections["default"].uri == "tcp://new:1"


def test_the_passcode_comes_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "setting").write_text("of-setting\nmore")
    (tmp_path / "variable").write_text("of-variable\n")
    monkeypatch.setenv("STOMP_PASSCODE_FILE", str(tmp_path / "variable"))
    monkeypatch.setenv("STOMP_LOGIN", "joe")
    for keys, passcode in (({"PASSCODE_FILE": str(tmp_path / "setting")}, "of-setting"), ({}, "of-variable")):
        with override_settings(STOMPLISTENER={"URL": "tcp://a:1", **keys}):
            found = stomp_settings().connections["default"].options
        assert (found["login"], found["passcode"]) == ("joe", passcode)


def test_no_passcode_shows() -> None:
    secret = {"URL": "tcp://me:s3cret@a:1?bogus=1", "PASSCODE": ["s3cret"]}
    assert "s3cret" not in str(checked(secret))
    assert "s3cret" not in str(checked({**secret, "PASSCODE": "s3cret"}))
    with override_settings(STOMPLISTENER={"URL": "tcp://me:s3cret@a:1", "PASSCODE": "s3cret"}):
        assert "s3cret" not in repr(stomp_settings())


def test_the_values_arrive() -> None:
    value = {"URL": "tcp://a:1", "LOGIN": "me", "PASSCODE": None, "ATOMIC": True, "OUTBOX": {"BATCH": 5, "KEEP": None}}
    with override_settings(STOMPLISTENER=value):
        found = stomp_settings()
    assert found.connections["default"].options["login"] == "me"
    assert found.atomic
    assert found.outbox == OutboxSettings(batch=5, keep=None)


def test_the_delay_of_a_failed_row_doubles_up_to_its_bound() -> None:
    options = OutboxSettings(first_delay=1, most_delay=10)
    assert [options.delay(attempts) for attempts in (1, 2, 3, 4, 5, 10_000)] == [1, 2, 4, 8, 10, 10]
