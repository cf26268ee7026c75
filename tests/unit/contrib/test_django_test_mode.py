"""Messages in tests of a project: kept in memory, as Django keeps its e-mail."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django_support import PROJECT, override_settings

from stomplistener import InvalidHeader
from stomplistener.contrib.django import publish, publish_on_commit
from stomplistener.contrib.django.test import SentMessage, outbox
from stomplistener.testing import Broker

QUEUE = "/queue/a"
NOWHERE = "tcp://127.0.0.1:1"


@pytest.fixture(autouse=True)
def _in_memory() -> Iterator[None]:
    with override_settings(STOMPLISTENER={"URL": NOWHERE, "BACKEND": "locmem"}):
        outbox.clear()
        yield
        outbox.clear()


def test_a_message_is_kept_as_it_would_have_been_sent() -> None:
    publish(QUEUE, "é", {"x": "y"}, priority=3, timeout=1.0)
    publish_on_commit(QUEUE, json={"a": 1}, persistent=False)
    assert outbox == [
        SentMessage(
            destination=QUEUE,
            body="é".encode(),
            headers={"persistent": "true", "x": "y", "content-type": "text/plain;charset=utf-8"},
            options={"priority": 3},
        ),
        SentMessage(destination=QUEUE, body=b'{"a":1}', headers={"content-type": "application/json"}),
    ]
    assert (outbox[0].text, outbox[1].json()) == ("é", {"a": 1})


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"destination": ""}, ValueError),
        ({"priority": 10}, ValueError),
        ({"prio": 1}, TypeError),
        ({"headers": {"x": 1}}, TypeError),
        ({"headers": {"": "x"}}, InvalidHeader),
        ({"body": 7}, TypeError),
        ({"connection": "billing"}, ImproperlyConfigured),
    ],
)
def test_what_could_not_be_sent_is_refused_in_tests_too(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        publish(**{"destination": QUEUE, **arguments})
    assert not outbox


def test_in_djangos_test_environment_it_is_so_without_a_setting(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "outbox", [], raising=False)
    with override_settings(STOMPLISTENER={"URL": NOWHERE}):
        publish(QUEUE, "first")
        assert [message.text for message in outbox] == ["first"]
        # What Django does at the beginning of each test.
        monkeypatch.setattr(mail, "outbox", [])
        assert len(outbox) == 0
    with override_settings(STOMPLISTENER={"URL": broker.uri, "BACKEND": "broker"}):
        publish(QUEUE, "sent")
    assert [message.text for message in broker.messages(QUEUE)] == ["sent"]
    assert not outbox


def test_the_examples_own_tests_need_no_broker() -> None:
    ran = subprocess.run(
        [sys.executable, "manage.py", "test"],
        cwd=PROJECT,
        env={**os.environ, "STOMP_URL": NOWHERE},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert ran.returncode == 0, ran.stderr
    assert "Ran 3 tests" in ran.stderr
