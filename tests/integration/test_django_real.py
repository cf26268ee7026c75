"""Django's and Flask's messages on real brokers: they outlive a restart, and Artemis stores a row once."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator

import pytest
from django_support import broker_uri, empty_outbox
from flask import Flask

from stomplistener import Connection, StompError
from stomplistener.contrib.django import publish, publishing
from stomplistener.contrib.django.conf import OutboxSettings
from stomplistener.contrib.django.models import OutboxMessage
from stomplistener.contrib.django.outbox import State, enqueue
from stomplistener.contrib.django.relay import Relay
from stomplistener.contrib.flask import Stomp
from stomplistener.testing.containers import BrokerContainer

COUNT = 20

pytestmark = pytest.mark.timeout(240, func_only=True)


@pytest.fixture(autouse=True)
def _outbox() -> Iterator[None]:
    empty_outbox()
    yield
    empty_outbox()


def publish_all(broker: BrokerContainer) -> None:
    with Connection(broker.uri, host=broker.virtual_host) as connection:
        relay = Relay(connection, OutboxSettings())
        while relay.publish_due():
            pass
    assert set(OutboxMessage.objects.values_list("state", flat=True)) == {State.PUBLISHED}


def emptied(broker: BrokerContainer, queue: str, count: int) -> list[str]:
    """What is in a queue of so many, and what follows soon."""
    texts: list[str] = []
    with Connection(broker.uri, host=broker.virtual_host) as connection:
        with connection.consume(queue, ack="auto") as consumer:
            while (message := consumer.receive(1.0 if len(texts) >= count else 20.0)) is not None:
                texts.append(message.text)
    return sorted(texts)


def test_messages_outlive_a_restart_of_the_broker(real_broker: BrokerContainer) -> None:
    queue = f"/queue/kept-{uuid.uuid4().hex}"
    app, stomp = Flask("shop"), Stomp()
    app.config.update(STOMP_URL=real_broker.uri, STOMP_HOST=real_broker.virtual_host)
    stomp.init_app(app)
    with broker_uri(real_broker.uri, HOST=real_broker.virtual_host), app.app_context():
        for number in range(COUNT):
            enqueue(queue, f"outbox {number}", key=str(number % 2))
            publish(queue, f"django {number}", timeout=20)
            stomp.send(queue, f"flask {number}", confirm=True, timeout=20)
        publish_all(real_broker)
        stomp.close()
        publishing.close()
    real_broker.restart()
    expected = sorted(f"{way} {number}" for way in ("outbox", "django", "flask") for number in range(COUNT))
    assert emptied(real_broker, queue, len(expected)) == expected


def test_artemis_stores_a_row_once_that_a_relay_publishes_twice(artemis: BrokerContainer) -> None:
    queue = f"/queue/once-{uuid.uuid4().hex}"
    with broker_uri(artemis.uri, HOST=artemis.virtual_host):
        for number in range(COUNT):
            enqueue(queue, str(number))
        publish_all(artemis)
        # As it is for a relay that died before it could mark them.
        OutboxMessage.objects.update(state=State.PENDING)
        publish_all(artemis)
    assert emptied(artemis, queue, COUNT) == sorted(map(str, range(COUNT)))


def test_a_row_that_activemq_refuses_holds_up_no_other(activemq: BrokerContainer) -> None:
    """It ends the connection for a queue without a name, and with that the transaction of all the rows."""
    queue = f"/queue/good-{uuid.uuid4().hex}"
    with broker_uri(activemq.uri, HOST=activemq.virtual_host), Connection(activemq.uri) as connection:
        for number in range(COUNT):
            enqueue("/queue/" if number == COUNT // 2 else queue, str(number))
        relay, end = Relay(connection, OutboxSettings()), time.monotonic() + 30
        published = OutboxMessage.objects.filter(state=State.PUBLISHED)
        while published.count() < COUNT - 1:
            assert time.monotonic() < end, "not all the others were published"
            with contextlib.suppress(StompError):
                relay.publish_due()
    expected = sorted(str(number) for number in range(COUNT) if number != COUNT // 2)
    assert emptied(activemq, queue, len(expected)) == expected
    left = OutboxMessage.objects.get(destination="/queue/")
    assert left.state == State.PENDING
    assert left.attempts > 0
