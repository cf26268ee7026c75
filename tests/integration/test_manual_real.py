"""What pages of the manual say of one broker, tried on it."""

from __future__ import annotations

import logging
import re
import time
import uuid

import pytest

from stomplistener import Connection
from stomplistener._engine.log import flush
from stomplistener.protocol import SubscriptionState
from stomplistener.testing.containers import BrokerContainer


@pytest.fixture
def name() -> str:
    """Of a queue or a routing key that no other test has."""
    return f"manual-{uuid.uuid4().hex[:8]}"


def open_to(broker: BrokerContainer) -> Connection:
    return Connection(broker.uri, host=broker.virtual_host)


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        ("/queue/{name}", "/queue/{name}"),
        ("/queue/{name}", "/amq/queue/{name}"),
        ("/topic/{name}.pizza", "/topic/{name}.*"),
        ("/topic/{name}.pizza.large", "/exchange/amq.topic/{name}.#"),
        ("/exchange/amq.topic/{name}.pizza", "/topic/{name}.#"),
    ],
)
def test_the_destinations_of_rabbitmq(rabbitmq: BrokerContainer, name: str, sent: str, received: str) -> None:
    """``/amq/queue`` needs a queue that exists: the first SEND declares it."""
    with open_to(rabbitmq) as connection:
        if sent.startswith("/queue"):
            connection.send(sent.format(name=name), "one", confirm=True)
        with connection.consume(received.format(name=name)) as consumer:
            consumer.subscription.wait_active(10)
            if not sent.startswith("/queue"):
                connection.send(sent.format(name=name), "one", confirm=True)
            message = consumer.receive(10)
            assert message is not None
            assert message.text == "one"
            message.ack()


def test_a_queue_that_is_not_there_is_refused_by_rabbitmq_and_confirmed_all_the_same(
    rabbitmq: BrokerContainer, name: str
) -> None:
    """RabbitMQ 3.10 sends a RECEIPT behind the ERROR: only the next connection shows which SUBSCRIBE it was."""
    with open_to(rabbitmq) as connection:
        subscription = connection.subscribe(f"/amq/queue/{name}", print, confirm=True, timeout=10)
        end = time.monotonic() + 20
        while subscription.state is not SubscriptionState.REJECTED:
            assert time.monotonic() < end, subscription.state
            time.sleep(0.02)


def test_a_guessed_virtual_host_of_rabbitmq_is_replaced_by_the_default(
    rabbitmq: BrokerContainer, caplog: pytest.LogCaptureFixture
) -> None:
    host, port = rabbitmq.address()
    with caplog.at_level(logging.WARNING), Connection(f"tcp://{host}:{port}", rabbitmq.login, rabbitmq.passcode):
        flush(5.0)
    assert re.search(r"RabbitMQ at \S+ has no virtual host '\S+', .*; logged in to '/'", caplog.text)


def test_the_depth_of_a_queue_of_rabbitmq(rabbitmq: BrokerContainer, name: str) -> None:
    with open_to(rabbitmq) as connection:
        for number in range(3):
            connection.send(f"/queue/{name}", str(number), confirm=True)
    assert f"{name}\t3\n" in rabbitmq.exec("rabbitmqctl -q list_queues name messages")


def test_the_depth_of_a_queue_of_artemis(artemis: BrokerContainer, name: str) -> None:
    with open_to(artemis) as connection:
        for number in range(3):
            connection.send(f"/queue/{name}", str(number), confirm=True)
    login = f"--user {artemis.login} --password {artemis.passcode}"
    shown = artemis.exec(f"/opt/artemis/bin/artemis queue stat --url tcp://localhost:61616 {login} --queueName {name}")
    row = next(line for line in shown.splitlines() if name in line)
    # NAME, ADDRESS, CONSUMER COUNT, MESSAGE COUNT, ...
    assert row.strip("|").split("|")[3].strip() == "3"
