"""What a JMS consumer in the broker's container makes of our bodies: a text a TextMessage, bytes a BytesMessage."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from conformance import World, matrix, received

from stomplistener.testing.containers import BrokerContainer

pytestmark = pytest.mark.parametrize("real_broker", ["activemq", "artemis"], indirect=True)

PROGRAM = Path(__file__).with_name("Show.java")
FACTORIES = {
    "activemq": "org.apache.activemq.ActiveMQConnectionFactory",
    "artemis": "org.apache.activemq.artemis.jms.client.ActiveMQConnectionFactory",
}


def consumed(broker: BrokerContainer, queue: str, count: int) -> list[tuple[str, bytes]]:
    """The kinds and bodies of the next messages of a queue, for a JMS consumer."""
    program = base64.b64encode(PROGRAM.read_bytes()).decode()
    printed = broker.exec(
        f"cd /opt/{broker.name} && d=$(mktemp -d) && echo {program} | base64 -d >$d/Show.java && "
        f"java -XX:TieredStopAtLevel=1 -cp 'lib/*' $d/Show.java {FACTORIES[broker.name]} {broker.login} "
        f"{broker.passcode} {queue} {count} 2>&1"
    )
    lines = [line.split(" ") for line in printed.splitlines() if line.startswith("JMS ")]
    return [(kind, bytes.fromhex(body)) for _, kind, body in lines]


@matrix()
def test_bodies_for_jms(world: World) -> None:
    queue = world.queue()
    with world.connection() as connection:
        connection.send(queue, "Привет")
        connection.send(queue, '{"a": 1}', content_type="application/json", confirm=True)
        with connection.transaction() as transaction:
            transaction.send(queue, "in a transaction")
        connection.send(queue, b"\0\xff")
        connection.send(queue, "a NUL\0", confirm=True)
    assert consumed(world.broker, queue.removeprefix("/queue/"), 5) == [
        ("TextMessage", "Привет".encode()),
        ("TextMessage", b'{"a": 1}'),
        ("TextMessage", b"in a transaction"),
        ("BytesMessage", b"\0\xff"),
        ("BytesMessage", b"a NUL\0"),
    ]


@pytest.mark.parametrize("version", ["negotiated"])
def test_what_is_forwarded_stays_what_it_was(world: World) -> None:
    queue, errors = world.queue(), world.queue()

    def fail(message: object) -> None:
        raise LookupError

    with world.connection() as connection:
        connection.subscribe(queue, fail, ack="client-individual", settle=True, error_destination=errors, confirm=True)
        for body in ("text", b"bytes"):
            connection.send(queue, body, confirm=True)
        copies = connection.consume(errors)
        assert [message.body for message in received(copies, 2, 20.0)] == [b"text", b"bytes"]
    # Artemis delivers a text with a content-length, too: there nothing tells the two apart.
    text = "BytesMessage" if world.name == "artemis" else "TextMessage"
    found = consumed(world.broker, errors.removeprefix("/queue/"), 2)
    assert found == [(text, b"text"), ("BytesMessage", b"bytes")]
