"""The ready listeners, and what listeners get."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from compat_support import QUEUE, Heard, connect_and_subscribe, hosts

import stomplistener.compat.stomp as stomp
from stomplistener.compat.stomp.listener import TestListener
from stomplistener.testing import Broker


@pytest.fixture
def conn(broker: Broker) -> Any:
    return stomp.Connection(hosts(broker), heartbeats=(0, 500), reconnect_sleep_initial=0.01)


def test_the_waiting_listener(conn: Any, broker: Broker) -> None:
    waiting = stomp.WaitingListener("r1")
    conn.set_listener("waiting", waiting)
    conn.connect("admin", "password", wait=True)
    for _ in range(2):
        conn.send(QUEUE, "a", receipt="r1")
        waiting.wait_on_receipt()
    goodbye = stomp.WaitingListener("bye")
    conn.set_listener("goodbye", goodbye)
    conn.disconnect(receipt="bye")
    goodbye.wait_on_receipt()
    goodbye.wait_on_disconnected()
    assert broker.depth(QUEUE) == 2


def test_the_statistics(conn: Any, broker: Broker) -> None:
    statistics, heard = stomp.StatsListener(), Heard()
    conn.set_listener("statistics", statistics)
    conn.set_listener("z", heard)
    connect_and_subscribe(conn)
    conn.send(QUEUE, "a")
    heard.wait("message")
    broker.drop_connections()
    heard.wait("connected", 2)
    broker.error_next("SEND")
    conn.send(QUEUE, "b")
    heard.wait("error")
    conn.disconnect()
    assert (statistics.connections, statistics.disconnects) in [(2, 2), (3, 3)]
    assert (statistics.messages, statistics.errors) == (1, 1)
    assert statistics.messages_sent == 5
    assert "Messages received: 1" in str(statistics).splitlines()


@pytest.mark.parametrize("to_log", [False, True])
def test_the_printing_listener(
    conn: Any, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, to_log: bool
) -> None:
    caplog.set_level(logging.INFO, "stomp.py")
    heard = Heard()
    conn.set_listener("a", stomp.PrintingListener(print_to_log=to_log))
    conn.set_listener("z", heard)
    connect_and_subscribe(conn)
    conn.send(QUEUE, "a %s body", receipt="r")
    heard.wait("message")
    heard.wait("receipt")
    conn.disconnect()
    text = caplog.text if to_log else capsys.readouterr().out
    for hook in ("connecting", "connected", "send STOMP", "before_message", "message", "receipt", "disconnected"):
        assert f"on_{hook}" in text
    assert "a %s body" in text
    assert "password" not in text


def test_the_test_listener(conn: Any) -> None:
    listener = TestListener("r", print_to_log=True)
    conn.set_listener("test", listener)
    connect_and_subscribe(conn)
    conn.send(QUEUE, "a", receipt="r")
    listener.wait_on_receipt()
    listener.wait_for_message()
    listener.wait_for_heartbeat()
    headers, body = listener.get_latest_message()
    assert (headers["destination"], body) == (QUEUE, "a")
    assert listener.message_list == [(headers, body)]
    conn.disconnect()
    listener.wait_on_disconnected()
    assert (listener.connections, listener.disconnects) == (1, 1)


def test_heart_beats_are_agreed_on_at_each_connection(conn: Any, broker: Broker) -> None:
    conn = stomp.Connection12(hosts(broker), heartbeats=(4000, 20000), reconnect_sleep_initial=0.01)
    heard = Heard()
    conn.set_listener("z", heard)
    assert conn.heartbeats == (4000, 20000)
    conn.connect("admin", "password")
    heard.wait("connected")
    assert conn.heartbeats == (10000, 20000)
    broker.drop_connections()
    heard.wait("connected", 2)
    assert conn.heartbeats == (10000, 20000)
    assert {each.headers["heart-beat"] for each in broker.frames(command="CONNECT")} == {"4000,20000"}
    conn.disconnect()


def test_listeners_have_names_and_are_called_in_their_order(conn: Any) -> None:
    order: list[str] = []

    class Named(stomp.ConnectionListener):
        def __init__(self, name: str) -> None:
            self.name = name

        def on_connected(self, frame: Any) -> None:
            order.append(self.name)

    first, heard = Named("first"), Heard()
    conn.set_listener("b", first)
    conn.set_listener("b", Named("b"))
    conn.set_listener("a", Named("a"))
    conn.set_listener("c", Named("c"))
    conn.set_listener("z", heard)
    assert conn.get_listener("b").name == "b"
    assert conn.get_listener("x") is None
    conn.remove_listener("c")
    with pytest.raises(KeyError):
        conn.remove_listener("c")
    with pytest.raises(AssertionError, match="listener"):
        conn.set_listener("d", None)
    conn.connect("admin", "password")
    heard.wait("connected")
    conn.disconnect()
    assert order == ["a", "b"]


def test_a_message_is_a_frame_with_a_dict_and_a_str(conn: Any) -> None:
    class Prepares(stomp.ConnectionListener):
        def on_before_message(self, frame: Any) -> None:
            frame.headers["seen"] = "yes"
            frame.body = frame.body.upper()

        def on_send(self, frame: Any) -> None:
            if frame.cmd == "SEND":
                frame.headers["added"] = 7

    heard = Heard()
    conn.set_listener("a", Prepares())
    conn.set_listener("b", heard)
    connect_and_subscribe(conn)
    conn.send(QUEUE, "grüße", content_type="text/plain", headers={"one": 1, "none": None}, two=True, three=("x", "y"))
    (frame,) = heard.wait("message")
    conn.disconnect()
    assert frame.body == "GRÜSSE"
    assert type(frame.headers) is dict
    assert frame.cmd == "MESSAGE"
    assert "seen" not in frame.original_headers
    expected = {"one": "1", "two": "True", "three": "x", "added": "7", "seen": "yes", "content-type": "text/plain"}
    assert frame.headers.items() >= expected.items()
    assert "none" not in frame.headers
    assert frame.headers["content-length"] == str(len("grüße".encode()))


def test_without_auto_decode_bodies_are_bytes(broker: Broker) -> None:
    conn = stomp.Connection12(hosts(broker), auto_decode=False, auto_content_length=False)
    heard = Heard()
    conn.set_listener("", heard)
    connect_and_subscribe(conn)
    conn.send(QUEUE, b"\xff\xfe")
    conn.send(QUEUE, "")
    frames = heard.wait("message", 2)
    conn.disconnect()
    assert [frame.body for frame in frames] == [b"\xff\xfe", b""]
    assert all("content-length" not in frame.headers for frame in broker.frames(command="SEND"))
    assert all("content-type" not in frame.headers for frame in broker.frames(command="SEND"))


def test_what_is_no_text_is_replaced_where_text_is_wanted(conn: Any) -> None:
    heard = Heard()
    conn.set_listener("", heard)
    connect_and_subscribe(conn)
    conn.send(QUEUE, b"\xff!")
    heard.wait("message")
    conn.disconnect()
    assert heard.bodies == ["\ufffd!"]


def test_listeners_run_where_the_program_has_them_run(broker: Broker) -> None:
    class Ends(Heard):
        def on_message(self, frame: Any) -> None:
            super().note("thread", threading.current_thread().name)
            super().on_message(frame)
            ended.disconnect()

    with ThreadPoolExecutor(1, thread_name_prefix="mine") as executor:
        ended = conn = stomp.Connection(hosts(broker), reconnect_sleep_initial=0.01)
        conn.transport.override_threading(executor.submit)
        heard = Ends()
        conn.set_listener("", heard)
        for number in (1, 2):
            connect_and_subscribe(conn)
            broker.drop_connections()
            heard.wait("connected", number * 2)
            conn.send(QUEUE, "a", receipt="r")
            heard.wait("disconnected", number * 2)
    assert heard.of("thread") == ["mine_0", "mine_0"]
