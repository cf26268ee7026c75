"""Options of outbox messages: what enqueue takes, and what the broker is told of them."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone
from django_support import call_command, outbox_of, override_settings

from stomplistener import BrokerError, Connection, Frame
from stomplistener.contrib.django.conf import OutboxSettings
from stomplistener.contrib.django.models import OutboxMessage
from stomplistener.contrib.django.outbox import State, enqueue
from stomplistener.contrib.django.relay import Relay
from stomplistener.contrib.django.sending import LEAST, arguments, reason
from stomplistener.testing import Broker

QUEUE = "/queue/a"


@pytest.fixture(autouse=True)
def _outbox(broker: Broker) -> Iterator[None]:
    with outbox_of(broker):
        yield


def sent(server: Broker, *, detects_duplicates: bool | None = None, broker: str | None = None) -> list[Frame]:
    """Publish what is due, in the words of a broker; the frames."""
    with Connection(server.uri, broker=broker) as connection:
        Relay(connection, OutboxSettings(), detects_duplicates=detects_duplicates).publish_due()
    return list(server.frames(command="SEND"))


def test_messages_are_persistent_unless_they_are_told_not_to_be(broker: Broker) -> None:
    enqueue(QUEUE, "kept")
    enqueue(QUEUE, "not", persistent=False)
    enqueue(QUEUE, "by header", {"persistent": "false"})
    assert [frame.headers.get("persistent") for frame in sent(broker)] == ["true", None, "false"]


def test_rows_that_an_older_version_wrote_are_persistent(broker: Broker) -> None:
    OutboxMessage.objects.create(destination=QUEUE, body=b"old", headers={"x": "y"})
    [frame] = sent(broker)
    assert (frame.headers["persistent"], frame.headers["x"]) == ("true", "y")


def test_the_row_is_its_own_duplicate_id_where_the_broker_detects_duplicates(broker: Broker) -> None:
    row = enqueue(QUEUE, "x")
    given = enqueue(QUEUE, "y", duplicate_id="mine")
    frames = sent(broker)
    assert [frame.headers["duplicate-id"] for frame in frames] == [str(row.uuid), "mine"]
    assert [frame.headers["outbox-id"] for frame in frames] == [str(row.uuid), str(given.uuid)]


def test_artemis_that_does_not_give_its_name_gets_the_row_as_duplicate_id(broker: Broker) -> None:
    row = enqueue(QUEUE, "x")
    with override_settings(STOMPLISTENER={"URL": broker.uri, "OPTIONS": {"broker": "artemis"}}):
        call_command("stomp_outbox", once=True)
    [frame] = broker.frames(command="SEND")
    assert frame.headers["_AMQ_DUPL_ID"] == str(row.uuid)


def test_options_are_spelled_as_the_broker_wants_them(broker: Broker) -> None:
    enqueue(QUEUE, "x", priority=7, expires=60, delay=30, content_type="text/csv")
    [frame] = sent(broker, broker="artemis")
    assert frame.headers["priority"] == "7"
    assert frame.headers["content-type"] == "text/csv"
    assert 25_000 < int(frame.headers["AMQ_SCHEDULED_DELAY"]) <= 30_000
    assert 55_000 < int(frame.headers["expires"]) - time.time() * 1000 <= 60_000


def test_a_text_stays_a_text_for_brokers_that_make_a_difference(broker: Broker) -> None:
    enqueue(QUEUE, "text")
    enqueue(QUEUE, b"bytes")
    enqueue(QUEUE, "text", auto_content_length=True)
    frames = sent(broker, broker="activemq", detects_duplicates=False)
    assert ["content-length" in frame.headers for frame in frames] == [False, True, True]


def test_json(broker: Broker) -> None:
    enqueue(QUEUE, json={"é": [1, None]})
    [frame] = sent(broker)
    assert json.loads(frame.body) == {"é": [1, None]}
    assert frame.headers["content-type"] == "application/json"
    with pytest.raises(ValueError, match="not both"):
        enqueue(QUEUE, "x", json=None)


@pytest.mark.parametrize("options", [{"priority": 10}, {"expires": 0}, {"delay": -1}, {"duplicate_id": ""}])
def test_options_out_of_range_are_refused_when_they_are_given(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        enqueue(QUEUE, "x", **options)
    assert not OutboxMessage.objects.exists()


def test_time_in_the_outbox_counts() -> None:
    row = OutboxMessage(destination=QUEUE, options={"expires": 60.0, "delay": 20.0})
    for waited, expires, delay in ((10, 50.0, 10.0), (30, 30.0, None), (90, LEAST, None)):
        row.created = timezone.now()
        _, _, options = arguments(row, row.created + timedelta(seconds=waited), with_id=False)
        assert options == {"expires": expires} | ({} if delay is None else {"delay": delay})


def test_an_option_that_the_broker_cannot_do_is_a_refusal(broker: Broker) -> None:
    row = enqueue(QUEUE, "x", delay=5)
    enqueue(QUEUE, "y")
    [frame] = sent(broker, broker="rabbitmq", detects_duplicates=False)
    assert frame.body == b"y"
    row.refresh_from_db()
    assert (row.state, row.refusals) == (State.PENDING, 1)
    assert "RabbitMQ cannot do delay" in row.error


def test_the_body_of_an_error_frame_stays_out_of_the_log() -> None:
    frame = Frame("ERROR", {"message": "not allowed"}, b"the message: s3cret")
    assert (
        reason(BrokerError("the broker refused SEND: not allowed: s3cret", frame=frame)) == "BrokerError: not allowed"
    )


# Connections


def test_each_relay_publishes_the_rows_of_its_connection(broker: Broker) -> None:
    with Broker() as other, override_settings(STOMPLISTENER=two(broker, other)):
        enqueue(QUEUE, "here")
        enqueue(QUEUE, "named", connection="default")
        enqueue(QUEUE, "there", connection="billing")
        for arguments_ in ((), ("--connection", "billing")):
            call_command("stomp_outbox", "--once", *arguments_)
        assert [message.text for message in broker.messages(QUEUE)] == ["here", "named"]
        assert [message.text for message in other.messages(QUEUE)] == ["there"]


def two(broker: Broker, other: Broker) -> dict[str, Any]:
    return {"URL": broker.uri, "CONNECTIONS": {"billing": {"URL": other.uri}}}


def test_an_unknown_connection_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImproperlyConfigured, match="no connection 'biling'; there are default"):
        enqueue(QUEUE, connection="biling")
    assert not OutboxMessage.objects.exists()
    with pytest.raises(SystemExit) as ended:
        call_command("stomp_outbox", "--once", "--connection", "biling")
    assert ended.value.code == 2
    assert "no connection 'biling'" in capsys.readouterr().err


def test_nothing_of_a_body_is_in_lines_of_the_log(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "stomplistener.django")
    enqueue(QUEUE, "s3cret")
    broker.error_next("SEND", "not allowed", close=False)
    with Connection(broker.uri) as connection:
        Relay(connection, OutboxSettings(attempts=1)).publish_due()
    assert "given up" in caplog.text
    assert "s3cret" not in caplog.text
