"""``subscribe(call_in=…)``: listeners in a thread of the application's choice."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from client_support import eventually

from stomplistener import Connection, Message
from stomplistener.testing import Broker

Call = Callable[[], object]


class Loop:
    """An event loop of the simplest kind, in the thread that runs it."""

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()

    def call_in(self, call: Call) -> None:
        self.calls.put(call)

    def run(self) -> None:
        while (call := self.calls.get()) is not None:
            call()

    def run_one(self) -> None:
        call = self.calls.get(timeout=10)
        assert call is not None
        call()

    @contextmanager
    def running(self) -> Iterator[threading.Thread]:
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield thread
        finally:
            self.calls.put(None)
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture
def connection(broker: Broker) -> Iterator[Connection]:
    with Connection(broker.uri) as connection:
        yield connection


def test_listeners_run_in_the_thread_that_was_asked_for_and_in_order(connection: Connection, broker: Broker) -> None:
    loop, seen = Loop(), list[tuple[str, threading.Thread]]()
    connection.subscribe(
        "/queue/a",
        lambda message: seen.append((message.text, threading.current_thread())),
        settle=True,
        call_in=loop.call_in,
    )
    with loop.running() as thread:
        for number in range(50):
            connection.send("/queue/a", str(number))
        eventually(lambda: len(seen) == 50, "all messages")
    assert seen == [(str(number), thread) for number in range(50)]
    eventually(lambda: not broker.messages("/queue/a"), "their acknowledgement")


def test_at_most_one_message_waits_in_the_loop(connection: Connection) -> None:
    loop, seen = Loop(), list[str]()
    connection.subscribe("/queue/a", lambda message: seen.append(message.text), call_in=loop.call_in, confirm=True)
    for number in range(20):
        connection.send("/queue/a", str(number), confirm=True)
    eventually(lambda: loop.calls.qsize() == 1, "the first message")
    assert connection.statistics().pending >= 19
    with loop.running():
        eventually(lambda: len(seen) == 20, "all messages")


def test_a_blocked_loop_holds_no_other_subscription(connection: Connection) -> None:
    loop, heard = Loop(), threading.Event()
    connection.subscribe("/queue/blocked", lambda message: None, call_in=loop.call_in)
    connection.subscribe("/queue/free", lambda message: heard.set(), confirm=True)
    connection.send("/queue/blocked", "x")
    eventually(lambda: loop.calls.qsize() == 1, "the message in the loop")
    connection.send("/queue/free", "x")
    assert heard.wait(10)


def test_an_exception_counts_as_in_any_listener(connection: Connection) -> None:
    loop, tries = Loop(), list[str]()

    def listener(message: Message) -> None:
        tries.append(message.text)
        raise ValueError("no")

    connection.subscribe(
        "/queue/a",
        listener,
        settle=True,
        retries=1,
        retry_delay=0,
        error_destination="/queue/dead",
        call_in=loop.call_in,
    )
    with loop.running(), connection.consume("/queue/dead") as dead:
        connection.send("/queue/a", "x")
        assert dead.receive(10) is not None
    assert tries == ["x", "x"]


@pytest.mark.parametrize("ack", ["auto", "client-individual"])
def test_the_loop_can_disconnect_while_a_message_waits_for_it(broker: Broker, ack: Any) -> None:
    """As a window does when it is closed."""
    loop, seen = Loop(), list[str]()
    connection = Connection(broker.uri).connect()
    connection.subscribe("/queue/a", lambda message: seen.append(message.text), ack=ack, call_in=loop.call_in)
    connection.send("/queue/a", "x")
    eventually(lambda: loop.calls.qsize() == 1, "the message in the loop")
    ended = threading.Thread(target=connection.disconnect)
    ended.start()
    ended.join(5)
    assert not ended.is_alive()
    loop.run_one()
    assert seen == [], "a message that was not begun is not begun after the end"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(f"{connection._config.name}-")]


@pytest.mark.parametrize("call", ["disconnect", "unsubscribe", "close"])
def test_a_listener_in_the_loop_can_end_its_connection_or_subscription(broker: Broker, call: str) -> None:
    loop, ended = Loop(), threading.Event()
    connection = Connection(broker.uri).connect()

    def listener(message: Message) -> None:
        ends: dict[str, Callable[[], object]] = {
            "disconnect": connection.disconnect,
            "unsubscribe": subscription.unsubscribe,
            "close": connection.close,
        }
        ends[call]()
        ended.set()

    subscription = connection.subscribe("/queue/a", listener, settle=True, call_in=loop.call_in)
    connection.send("/queue/a", "x")
    with loop.running():
        assert ended.wait(5)
        if call == "unsubscribe":
            eventually(lambda: not broker.messages("/queue/a"), "the acknowledgement before UNSUBSCRIBE")
        connection.disconnect()


def test_the_loop_can_unsubscribe_while_a_message_waits_for_it(connection: Connection, broker: Broker) -> None:
    loop, seen = Loop(), list[str]()
    subscription = connection.subscribe(
        "/queue/a", lambda message: seen.append(message.text), settle=True, call_in=loop.call_in
    )
    connection.send("/queue/a", "x")
    eventually(lambda: loop.calls.qsize() == 1, "the message in the loop")
    ended = threading.Thread(target=subscription.unsubscribe)
    ended.start()
    ended.join(5)
    assert not ended.is_alive()
    loop.run_one()
    assert seen == []
    eventually(lambda: len(broker.messages("/queue/a")) == 1, "the message back in its queue")


def test_a_message_that_waited_over_a_connection_loss_is_handled_once(broker: Broker) -> None:
    loop, seen = Loop(), list[str]()
    with Connection(f"failover:({broker.uri})?initialReconnectDelay=10") as connection:
        connection.subscribe("/queue/a", lambda message: seen.append(message.text), settle=True, call_in=loop.call_in)
        connection.send("/queue/a", "x", confirm=True)
        eventually(lambda: loop.calls.qsize() == 1, "the message in the loop")
        broker.drop_connections()
        eventually(lambda: loop.calls.qsize() == 2, "the message in the loop again")
        with loop.running():
            eventually(lambda: not broker.messages("/queue/a"), "the acknowledgement")
    assert seen == ["x"]


def test_one_that_raises_is_reported_and_the_message_comes_again(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    def call_in(call: Call) -> None:
        raise RuntimeError("the window is gone")

    with Connection(broker.uri) as connection:
        connection.subscribe("/queue/a", lambda message: None, settle=True, call_in=call_in)
        connection.send("/queue/a", "x")
        eventually(lambda: "call_in raised" in caplog.text, "the log line")
    assert len(broker.messages("/queue/a")) == 1


def test_an_executor_with_workers_runs_several_at_once(connection: Connection) -> None:
    together = threading.Barrier(3, timeout=10)
    with ThreadPoolExecutor(3) as executor:
        subscription = connection.subscribe(
            "/queue/a", lambda message: together.wait() and None, settle=True, workers=3, call_in=executor.submit
        )
        for _ in range(3):
            connection.send("/queue/a", "x")
        eventually(lambda: connection.statistics().pending == 0, "the end of all")
        subscription.unsubscribe()
    assert not together.broken


def test_an_asyncio_loop_calls_listeners(connection: Connection) -> None:
    async def receive() -> tuple[str, bool]:
        loop = asyncio.get_running_loop()
        came: asyncio.Future[tuple[str, bool]] = loop.create_future()

        def listener(message: Message) -> None:
            came.set_result((message.text, asyncio.get_running_loop() is loop))

        connection.subscribe("/queue/a", listener, call_in=loop.call_soon_threadsafe)
        connection.send("/queue/a", "x")
        return await asyncio.wait_for(came, 10)

    assert asyncio.run(receive()) == ("x", True)


def test_what_cannot_be_called_is_refused(connection: Connection) -> None:
    with pytest.raises(TypeError, match="call_in"):
        connection.subscribe("/queue/a", lambda message: None, call_in="main")  # type: ignore[arg-type]
