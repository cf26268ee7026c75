"""Listeners: every hook with its arguments, in order of registration, whatever they do meanwhile."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from client_support import QUEUE, Collector, Recorder, eventually, failover, reconnected

from stomplistener import Connection, Frame, Listener, Message
from stomplistener.testing import Broker


class Everything:
    """Not a Listener, but has all of its methods."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda *args: self.calls.append((name, args))

    def args(self, name: str) -> list[tuple[Any, ...]]:
        return [args for called, args in list(self.calls) if called == name]


def test_all_hooks_are_called_with_their_arguments() -> None:
    with Broker(heartbeat=(0.1, 0.1)) as broker:
        heard = Everything()
        connection = Connection(failover(broker.uri + "?connectionTimeout=300"), heartbeat=(0.1, 0.1))
        connection.add_listener(heard)

        def fails(message: Message) -> None:
            raise ValueError(message.text)

        with connection:
            connection.subscribe(QUEUE, fails, confirm=True)
            connection.send(QUEUE, "x", {"receipt": "mine"}, confirm=True)
            eventually(lambda: len(heard.args("on_heartbeat")) >= 2, "heart-beats")
            broker.error_next("SEND", "refused")
            with pytest.raises(Exception, match="refused"):
                connection.send(QUEUE, "y", confirm=True)
            reconnected(connection)
            broker.go_silent()
            eventually(lambda: heard.args("on_heartbeat_timeout") == [()], "the lapse")
            broker.speak()
            reconnected(connection, 2)
    port = broker.port
    assert set(heard.args("on_connecting")) == {(("127.0.0.1", port),)}
    for (frame,) in heard.args("on_connected"):
        assert frame.command == "CONNECTED"
    assert len(heard.args("on_connected")) == 3
    assert len(heard.args("on_disconnected")) == 3
    assert heard.args("on_disconnecting") == [()]
    attempt, delay = heard.args("on_reconnecting")[0]
    assert (attempt, delay) == (1, 0.001)
    assert [frame.header("message") for (frame,) in heard.args("on_error")] == ["refused"]
    assert [frame.header("receipt-id") for (frame,) in heard.args("on_receipt")] == ["mine"]
    assert [message.text for (message,) in heard.args("on_message")] == ["x"]
    ((message, error),) = heard.args("on_listener_error")
    assert (message.text, str(error)) == ("x", "x")
    sent = {frame.command for (frame,) in heard.args("on_send")}
    assert {"CONNECT", "SUBSCRIBE", "SEND", "DISCONNECT"} <= sent
    names = [name for name, _args in heard.calls]
    assert names.index("on_connecting") < names.index("on_connected") < names.index("on_message")
    assert names.index("on_disconnected") < names.index("on_reconnecting")
    assert names.index("on_disconnecting") < len(names) - 1 - names[::-1].index("on_disconnected")


def test_on_send_runs_in_the_thread_that_sends(broker: Broker, connection: Connection) -> None:
    sent: list[tuple[str, bytes, str]] = []

    class Watcher(Listener):
        def on_send(self, frame: Frame) -> None:
            sent.append((frame.command, frame.body, threading.current_thread().name))
            raise RuntimeError("of no consequence")

    connection.add_listener(Watcher(), "watcher")
    connection.send(QUEUE, "a")
    connection.send(QUEUE, "b", confirm=True)
    with connection.transaction() as transaction:
        transaction.send(QUEUE, "c")
    me = threading.current_thread().name
    assert sent == [
        ("SEND", b"a", me),
        ("SEND", b"b", me),
        ("BEGIN", b"", me),
        ("SEND", b"c", me),
        ("COMMIT", b"", me),
    ]
    connection.remove_listener("watcher")
    connection.send(QUEUE, "d", confirm=True)
    assert len(sent) == 5
    assert len(broker.messages(QUEUE)) == 4


def test_order_of_registration_and_the_subscriptions_own_last(broker: Broker, connection: Connection) -> None:
    order: list[str] = []
    for name in ("first", "second", "third"):
        connection.add_listener(lambda _m, n=name: order.append(n), name)
    connection.subscribe(QUEUE, lambda _m: order.append("own"), confirm=True)
    connection.set_listener("second", lambda _m: order.append("second anew"))
    connection.send(QUEUE, "x")
    eventually(lambda: len(order) == 4, "all listeners")
    assert order == ["first", "second anew", "third", "own"]


def test_a_call_goes_on_with_the_listeners_of_its_start(broker: Broker, connection: Connection) -> None:
    order: list[str] = []

    def first(message: Message) -> None:
        order.append(f"first {message.text}")
        connection.remove_listener("second")
        connection.add_listener(lambda m: order.append(f"late {m.text}"), "late")

    connection.add_listener(first, "first")
    connection.add_listener(lambda m: order.append(f"second {m.text}"), "second")
    done = Collector()
    connection.subscribe(QUEUE, done, confirm=True)
    for body in "ab":
        connection.send(QUEUE, body)
    eventually(lambda: len(done.texts) == 2, "both messages")
    assert order == ["first a", "second a", "first b", "late b"]


def test_names_and_removal() -> None:
    connection = Connection("tcp://localhost:1")
    one, two = Recorder(), Recorder()
    name = connection.add_listener(one)
    assert connection.get_listener(name) is one
    connection.set_listener(name, two)
    assert connection.get_listener(name) is two
    connection.remove_listener(two)
    assert connection.get_listener(name) is None
    connection.remove_listener("never there")
    connection.remove_listener(one)
    with pytest.raises(TypeError, match="not a listener"):
        connection.add_listener(3)
    with pytest.raises(TypeError, match="not a listener"):
        connection.subscribe(QUEUE, 3)


def test_one_that_fails_does_not_keep_the_others_from_hearing(broker: Broker, connection: Connection) -> None:
    class Bad(Listener):
        def on_message(self, message: Message) -> None:
            raise ValueError("bad")

        def on_disconnected(self) -> None:
            raise ValueError("bad")

        def on_listener_error(self, message: Message, exception: Exception) -> None:
            raise ValueError("worse")

    good, own = Recorder(), Collector()
    connection.add_listener(Bad())
    connection.add_listener(good)
    connection.subscribe(QUEUE, own, confirm=True)
    connection.send(QUEUE, "x")
    eventually(lambda: own.texts == ["x"], "the message")
    assert good.count("listener_error") == 1
    broker.drop_connections()
    reconnected(connection)
    eventually(lambda: good.count("connected") == 1, "the events")
    assert good.count("disconnected") == 1


def test_hooks_of_a_subscriptions_own_listener(broker: Broker, connection: Connection) -> None:
    class Own(Recorder):
        def on_message(self, message: Message) -> None:
            raise ValueError(message.text)

    own = Own()
    connection.subscribe(QUEUE, own, confirm=True)
    connection.send(QUEUE, "x")
    eventually(lambda: own.count("listener_error") == 1, "the error")
    broker.error_next("SUBSCRIBE", "not for you")
    refused = Own()
    connection.subscribe("/queue/other", refused)
    eventually(lambda: refused.count("error") == 1, "the refusal")
    assert own.count("error") == 0


def test_a_message_that_was_waiting_comes_before_connected(broker: Broker) -> None:
    with Connection(broker.uri) as sender:
        sender.send(QUEUE, "x", confirm=True)
    heard = Everything()
    consumer = Connection(broker.uri, timeout=10)
    consumer.add_listener(heard)
    consumer.subscribe(QUEUE)
    with consumer:
        eventually(lambda: bool(heard.args("on_connected")), "the event")
    order = [name for name, _ in heard.calls if name in ("on_message", "on_connected")]
    assert order == ["on_message", "on_connected"]


def test_receipts_of_our_own_are_shown_to_nobody(broker: Broker, connection: Connection) -> None:
    shown: list[str] = []

    class Watcher(Listener):
        def on_receipt(self, frame: Frame) -> None:
            shown.append(frame.headers["receipt-id"])

    connection.add_listener(Watcher())
    subscription = connection.subscribe(QUEUE, lambda message: None, settle=True, confirm=True)
    connection.send(QUEUE, "x", confirm=True)
    connection.send_async(QUEUE, "x").result(10)
    with connection.transaction() as transaction:
        transaction.send(QUEUE, "x")
    subscription.unsubscribe(confirm=True)
    broker.drop_connections()
    reconnected(connection)
    connection.send(QUEUE, "x", {"receipt": "mine"})
    eventually(lambda: bool(shown), "the receipt that was asked for")
    assert shown == ["mine"]
