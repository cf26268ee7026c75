"""The scenarios of failover that ask for real brokers: theirs are the ids that a stale acknowledgement would hit."""

from __future__ import annotations

import threading
import time
import uuid

import pytest

from stomplistener import Connection, Frame, Listener, Message
from stomplistener.options import AckMode
from stomplistener.testing import AnyBroker, FaultProxy


class Errors(Listener):
    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def on_error(self, frame: Frame) -> None:
        self.frames.append(frame)


@pytest.mark.stomp_brokers("activemq", "rabbitmq")
@pytest.mark.parametrize("version", ["1.1", "1.2"])
@pytest.mark.parametrize("ack", ["client", "client-individual"])
def test_scenario_20_the_old_acknowledgement_is_not_sent_and_the_new_one_is(
    stomp_broker: AnyBroker, version: str, ack: AckMode
) -> None:
    queue = f"/queue/scenario-20-{uuid.uuid4().hex}"
    errors, release, begun, done = Errors(), threading.Event(), threading.Event(), threading.Event()
    settled: list[tuple[str, bool, bool]] = []

    def hold(message: Message) -> None:
        begun.set()
        assert release.wait(60)
        settled.append((message.text, message.redelivered, message.ack()))
        if sum(answer for _text, _redelivered, answer in settled) == 2:
            done.set()

    with FaultProxy(stomp_broker.uri) as proxy:
        uri = f"failover:({proxy.uri})?initialReconnectDelay=10&maxReconnectDelay=200"
        with Connection(uri, versions=(version,)) as connection:
            connection.add_listener(errors)
            connection.subscribe(queue, hold, ack=ack, confirm=True)
            for body in ("m0", "m1"):
                connection.send(queue, body, {"persistent": "true"}, confirm=True)
            assert begun.wait(20)
            proxy.cut()
            end = time.monotonic() + 30
            while not (connection.statistics().reconnects and connection.is_connected):
                assert time.monotonic() < end, "no reconnect"
                time.sleep(0.01)
            release.set()
            assert done.wait(30), settled
            # By then the broker has read every acknowledgement, and has answered a wrong one by ERROR.
            connection.send(queue + "-other", "x", confirm=True)
        assert settled[0] == ("m0", False, False)
        assert sorted(settled[1:]) in (
            [("m0", True, True), ("m1", True, True)],
            [("m0", True, True), ("m1", False, True)],
        )
        assert errors.frames == []
    with Connection(stomp_broker.uri) as connection, connection.consume(queue) as consumer:
        assert consumer.receive(1.0) is None


@pytest.mark.stomp_brokers("activemq", "artemis", "apollo", "rabbitmq")
def test_a_message_that_need_not_be_kept_goes_to_a_queue_that_is(stomp_broker: AnyBroker) -> None:
    """From another connection than the one that made the queue: RabbitMQ declares it once for each."""
    queue = f"/queue/not-kept-{uuid.uuid4().hex}"
    with Connection(stomp_broker.uri, host="/") as receiver, receiver.consume(queue) as consumer:
        with Connection(stomp_broker.uri, host="/") as sender:
            sender.send(queue, "not kept", persistent=False, confirm=True)
        message = consumer.receive(20.0)
        assert message is not None
        assert message.text == "not kept"
        message.ack()
