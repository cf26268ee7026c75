"""Programs of stomp.py's manual, unchanged, and how they recover."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from compat_support import QUEUE, Heard, Reconnecting, connect_and_subscribe, hosts

import stomplistener.compat.stomp as stomp
from stomplistener.testing import Broker


def test_the_quick_start(broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    class MyListener(stomp.ConnectionListener):
        def on_error(self, frame: Any) -> None:
            print(f'received an error "{frame.body}"')

        def on_message(self, frame: Any) -> None:
            print(f'received a message "{frame.body}"')
            heard.on_message(frame)

    heard = Heard()
    conn = stomp.Connection(hosts(broker))
    conn.set_listener("", MyListener())
    conn.connect("admin", "password", wait=True)
    conn.subscribe(destination="/queue/test", id=1, ack="auto")
    conn.send(body=" ".join(["hello", "world"]), destination="/queue/test")
    heard.wait("message")
    conn.disconnect()
    assert capsys.readouterr().out == 'received a message "hello world"\n'
    assert not conn.is_connected()
    broker.wait_for(lambda: not broker.connections)


def test_the_reconnect_recipe_does_no_harm(broker: Broker) -> None:
    conn = stomp.Connection(hosts(broker), heartbeats=(4000, 4000), reconnect_sleep_initial=0.01)
    listener = Reconnecting(conn, connect_and_subscribe)
    conn.set_listener("", listener)
    connect_and_subscribe(conn)
    broker.wait_for(lambda: broker.subscriptions)
    for number in range(1, 4):
        broker.drop_connections()
        listener.wait("recovered", number)
        assert [each.destination for each in broker.subscriptions] == [QUEUE]
        broker.publish(QUEUE, f"after loss {number}")
        listener.wait("message", number)
    assert listener.bodies == ["after loss 1", "after loss 2", "after loss 3"]
    assert len(broker.frames(command="SUBSCRIBE")) == 4
    conn.disconnect()
    # The end of the program is not undone by its recipe.
    assert len(listener.of("disconnected")) == len(listener.of("recovered")) == 4
    assert not conn.is_connected()
    broker.wait_for(lambda: not broker.connections)
    assert not broker.frames(command="UNSUBSCRIBE", connection=5)


def test_a_recipe_that_waits_for_an_absent_broker_is_woken_by_the_end_of_the_program(broker: Broker) -> None:
    conn = stomp.Connection(hosts(broker), reconnect_sleep_initial=0.01)
    listener = Reconnecting(conn, connect_and_subscribe)
    conn.set_listener("", listener)
    connect_and_subscribe(conn)
    broker.stop()
    listener.wait("disconnected")
    assert not conn.is_connected()
    conn.disconnect()
    listener.wait("recovered")
    assert len(listener.of("disconnected")) == 1


def test_a_recipe_may_make_up_new_ids(broker: Broker) -> None:
    ids = itertools.count(1)

    def connect_anew(conn: Any) -> None:
        conn.connect("admin", "password", wait=True)
        conn.subscribe("/topic/test", id=next(ids), headers={"some": "header"})
        conn.subscribe("/topic/test", id=next(ids), headers={"other": "header"})

    conn = stomp.Connection12(hosts(broker), reconnect_sleep_initial=0.01)
    listener = Reconnecting(conn, connect_anew)
    conn.set_listener("", listener)
    connect_anew(conn)
    broker.wait_for(lambda: len(broker.subscriptions) == 2)
    broker.drop_connections()
    listener.wait("recovered")
    broker.wait_for(lambda: {each.id for each in broker.subscriptions} == {"3", "4"})
    conn.disconnect()


def test_a_listener_may_subscribe_in_on_connected(broker: Broker) -> None:
    class Subscribes(Heard):
        def on_connected(self, frame: Any) -> None:
            conn.subscribe(QUEUE, id=stomp.utils.get_uuid(), ack="client")
            super().on_connected(frame)

    conn = stomp.Connection12(hosts(broker), reconnect_sleep_initial=0.01)
    listener = Subscribes()
    conn.set_listener("", listener)
    conn.connect("admin", "password")
    listener.wait("connected")
    broker.wait_for(lambda: broker.subscriptions)
    broker.drop_connections()
    listener.wait("connected", 2)
    broker.wait_for(lambda: len(broker.subscriptions) == 1)
    broker.publish(QUEUE, "once")
    (frame,) = listener.wait("message")
    conn.ack(frame.headers["ack"])
    broker.wait_for(lambda: not broker.unacknowledged(QUEUE))
    conn.disconnect()
    assert len(listener.of("message")) == 1


def test_a_program_may_look_after_its_connection_by_itself(broker: Broker) -> None:
    conn = stomp.Connection(hosts(broker), reconnect_sleep_initial=0.01)
    heard = Heard()
    conn.set_listener("", heard)
    for number in range(1, 4):
        if not conn.is_connected():
            connect_and_subscribe(conn)
        conn.send(QUEUE, str(number), receipt="sent")
        heard.wait("message", number)
        broker.drop_connections()
        heard.wait("disconnected", number)
    conn.disconnect()
    assert heard.bodies == ["1", "2", "3"]


def test_disconnect_in_a_listener_and_connect_in_the_next_starts_anew(broker: Broker) -> None:
    class Restarts(Reconnecting):
        def on_message(self, frame: Any) -> None:
            super().on_message(frame)
            if frame.body == "restart":
                conn.disconnect()

    conn = stomp.Connection(hosts(broker))
    listener = Restarts(conn, connect_and_subscribe)
    conn.set_listener("", listener)
    connect_and_subscribe(conn)
    conn.send(QUEUE, "restart")
    listener.wait("recovered")
    conn.send(QUEUE, "again")
    listener.wait("message", 2)
    assert listener.bodies == ["restart", "again"]
    conn.disconnect()


def test_connect_after_disconnect(broker: Broker) -> None:
    conn = stomp.Connection(hosts(broker))
    heard = Heard()
    conn.set_listener("", heard)
    for number in (1, 2):
        connect_and_subscribe(conn)
        conn.send(QUEUE, str(number))
        heard.wait("message", number)
        conn.disconnect()
        conn.disconnect()
        assert len(heard.of("disconnected")) == number
    assert [name for name, _ in heard.calls if name != "before_message"] == [
        *("connecting", "connected", "message", "disconnecting", "receiver_loop_completed", "disconnected"),
    ] * 2


def test_the_block_disconnects_at_its_end(broker: Broker) -> None:
    with stomp.Connection12(hosts(broker)) as conn:
        conn.connect("admin", "password", wait=True)
        assert conn.is_connected()
    assert not conn.is_connected()
    assert broker.frames(command="DISCONNECT")


def test_a_listener_that_raises_stops_nothing(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    class Raises(stomp.ConnectionListener):
        def on_connected(self, frame: Any) -> None:
            raise KeyError("connected")

        def on_message(self, frame: Any) -> None:
            raise SystemExit("message")

    conn = stomp.Connection(hosts(broker))
    heard = Heard()
    conn.set_listener("a", Raises())
    conn.set_listener("b", heard)
    connect_and_subscribe(conn)
    for number in range(3):
        conn.send(QUEUE, str(number))
    heard.wait("message", 3)
    assert conn.is_connected()
    conn.disconnect()
    assert heard.bodies == ["0", "1", "2"]
    assert caplog.text.count("on_message raised") == 3
