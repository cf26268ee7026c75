"""Programs for stomp.py, unchanged but for their import, against real brokers."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest

import stomplistener.compat.stomp as stomp
from stomplistener.testing import FaultProxy
from stomplistener.testing.containers import BrokerContainer


class MyListener(stomp.ConnectionListener):
    """As in the manual, with the recipe against lost connections; and what a test needs to wait."""

    def __init__(self, conn: Any, broker: BrokerContainer, queue: str, ack: str = "auto") -> None:
        self.conn = conn
        self.broker = broker
        self.queue = queue
        self.ack = ack
        self.bodies: list[str] = []
        self.errors: list[str] = []
        self.recovered = 0
        self._changed = threading.Condition()

    def connect_and_subscribe(self) -> None:
        self.conn.connect(self.broker.login, self.broker.passcode, wait=True)
        self.conn.subscribe(destination=self.queue, id=1, ack=self.ack)

    def on_error(self, frame: Any) -> None:
        self.errors.append(frame.body)

    def on_message(self, frame: Any) -> None:
        if self.ack != "auto":
            self.conn.ack(frame.headers["ack"])
        with self._changed:
            self.bodies.append(frame.body)
            self._changed.notify_all()

    def on_disconnected(self) -> None:
        self.connect_and_subscribe()
        with self._changed:
            self.recovered += 1
            self._changed.notify_all()

    def wait(self, messages: int, recovered: int = 0) -> None:
        with self._changed:
            came = self._changed.wait_for(
                lambda: len(set(self.bodies)) >= messages and self.recovered >= recovered, timeout=40
            )
        assert came, (self.bodies, self.recovered, self.errors)


@pytest.fixture(params=["activemq", "artemis", "rabbitmq", "apollo"])
def real(request: pytest.FixtureRequest) -> BrokerContainer:
    """Each of the brokers, as its fixture gives it."""
    broker: BrokerContainer = request.getfixturevalue(request.param)
    return broker


@pytest.mark.parametrize("kind", ["Connection10", "Connection11", "Connection12"])
def test_the_first_program_of_the_manual_prints_its_message(real: BrokerContainer, kind: str) -> None:
    """Six of six times, also where the broker refuses a ``host`` that is none of its virtual hosts."""
    for _ in range(6):
        queue = f"/queue/compat-{uuid.uuid4().hex}"
        # RabbitMQ takes the name of a broker for a virtual host, in stomp.py as here; programs for it give theirs.
        arguments: dict[str, Any] = {"vhost": "/"} if kind == "Connection12" and "rabbitmq" in real.name else {}
        conn = getattr(stomp, kind)([real.address("tcp")], **arguments)
        listener = MyListener(conn, real, queue)
        conn.set_listener("", listener)
        listener.connect_and_subscribe()
        conn.send(body="hello world", destination=queue)
        listener.wait(1)
        conn.disconnect()
        assert listener.bodies == ["hello world"]
        assert not listener.errors


def test_over_websocket(activemq: BrokerContainer) -> None:
    conn = stomp.WSConnection([activemq.address("ws")])
    listener = MyListener(conn, activemq, f"/queue/compat-{uuid.uuid4().hex}")
    conn.set_listener("", listener)
    listener.connect_and_subscribe()
    conn.send(body="hello world", destination=listener.queue)
    listener.wait(1)
    conn.disconnect()
    assert not listener.errors


@pytest.mark.parametrize("restore", [False, True])
def test_the_reconnect_recipe(real: BrokerContainer, restore: bool) -> None:
    queue = f"/queue/compat-{uuid.uuid4().hex}"
    with FaultProxy(real.uri) as proxy:
        arguments: dict[str, Any] = {"vhost": "/"} if "rabbitmq" in real.name else {}
        conn = stomp.Connection12([("127.0.0.1", proxy.port)], heartbeats=(4000, 4000), restore=restore, **arguments)  # type: ignore[call-arg]
        listener = MyListener(conn, real, queue, ack="client-individual")
        conn.set_listener("", listener)
        listener.connect_and_subscribe()
        for number in range(1, 4):
            proxy.cut()
            listener.wait(number - 1, number)
            conn.send(queue, f"after loss {number}", receipt="sent")
            listener.wait(number)
        conn.remove_listener("")
        conn.disconnect()
    assert sorted(set(listener.bodies)) == ["after loss 1", "after loss 2", "after loss 3"]
    assert not listener.errors
    assert not conn.is_connected()
