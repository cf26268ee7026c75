"""publish, publish_on_commit: confirmed sends of one process."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django_support import broker_uri, override_settings

from stomplistener import StompError
from stomplistener.contrib.django import publish, publish_on_commit, publishing
from stomplistener.testing import Broker

QUEUE = "/queue/a"


@pytest.fixture(autouse=True)
def _configured(broker: Broker) -> Iterator[None]:
    with broker_uri(broker.uri):
        yield


def texts(broker: Broker) -> list[str]:
    return [message.text for message in broker.messages(QUEUE)]


def test_a_message_goes_out_when_the_transaction_commits_and_never_when_it_is_rolled_back(broker: Broker) -> None:
    with transaction.atomic():
        publish_on_commit(QUEUE, "kept", {"x": "y"})
        with transaction.atomic():
            publish_on_commit(QUEUE, "undone")
            transaction.set_rollback(True)
        publish(QUEUE, "at once")
        assert texts(broker) == ["at once"]
    assert texts(broker) == ["at once", "kept"]
    publish_on_commit(QUEUE, "no transaction")
    assert texts(broker)[2:] == ["no transaction"]
    assert broker.messages(QUEUE)[1].headers["x"] == "y"
    assert len(broker.connections) == 1


def test_a_broker_that_is_away_is_raised_or_logged(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    broker.stop()
    with pytest.raises(StompError), transaction.atomic():
        publish_on_commit(QUEUE, "lost")
    with transaction.atomic():
        publish_on_commit(QUEUE, "lost", robust=True)
    assert "publish_on_commit" in caplog.text


def test_an_unknown_connection_is_named() -> None:
    with pytest.raises(ImproperlyConfigured, match="'billing'"):
        publish(QUEUE, connection="billing")
    with override_settings(STOMPLISTENER={}), pytest.raises(ImproperlyConfigured, match="STOMP_URL"):
        publish(QUEUE)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_sends_by_a_connection_of_its_own(broker: Broker) -> None:
    publish(QUEUE, "parent")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        if (pid := os.fork()) == 0:
            try:
                publish(QUEUE, "child")
                publishing.close()
                theirs.send(b"+")
            finally:
                os._exit(0)
        theirs.close()
        ours.settimeout(20)
        assert ours.recv(1) == b"+"
        os.waitpid(pid, 0)
    publish(QUEUE, "parent again")
    assert texts(broker) == ["parent", "child", "parent again"]
    assert broker.connection_count == 2


@pytest.mark.parametrize(
    "mistake",
    [{"priority": 10}, {"json": object()}, {"connection": "nope"}, {"headers": {"a": 1}}, {"nonsense": 1}, {"body": 5}],
    ids=lambda mistake: next(iter(mistake)),
)
def test_a_mistake_is_raised_before_the_commit(broker: Broker, mistake: dict[str, Any]) -> None:
    with transaction.atomic(), pytest.raises((TypeError, ValueError, ImproperlyConfigured)):
        publish_on_commit(QUEUE, **mistake)


def test_what_changes_before_the_commit_is_not_sent(broker: Broker) -> None:
    headers, value = {"a": "1"}, {"x": 1}
    with transaction.atomic():
        publish_on_commit(QUEUE, headers=headers, json=value)
        headers["a"], value["x"] = "2", 2
    (message,) = broker.messages(QUEUE)
    assert (message.headers["a"], message.text) == ("1", '{"x":1}')
