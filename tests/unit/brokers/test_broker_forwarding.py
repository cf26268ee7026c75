"""What goes along with a message to its error destination."""

from __future__ import annotations

import pytest

from stomplistener import Connection, Message
from stomplistener.testing import Broker


@pytest.mark.parametrize(
    "name", ["destination-type", "ack", "subscription", "message-id", "redelivered", "x-delivery-count"]
)
def test_what_a_broker_said_of_the_delivery_does_not_go_along(name: str) -> None:
    """Artemis obeys destination-type: a message of a topic, forwarded to a queue with it, would vanish."""

    def fail(_message: Message) -> None:
        raise LookupError("no")

    with Broker() as broker, Connection(broker.uri) as connection:
        settings = {"ack": "client-individual", "settle": True, "error_destination": "/queue/errors"}
        connection.subscribe("/queue/in", fail, **settings)  # type: ignore[arg-type]
        connection.send(
            "/queue/in", "x", {"destination-type": "MULTICAST", "x-delivery-count": "7", "own": "kept"}, confirm=True
        )
        with connection.consume("/queue/errors") as errors:
            message = errors.receive(5.0)
            assert message is not None
        (frame,) = [each for each in broker.frames(command="SEND") if each.headers["destination"] == "/queue/errors"]
        assert frame.headers["own"] == "kept"
        assert name not in frame.headers
