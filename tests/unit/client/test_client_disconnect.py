"""The graceful end, the sudden one, and signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from client_support import (
    QUEUE,
    Collector,
    Recorder,
    Thread,
    commands,
    eventually,
    failover,
    in_thread,
)

from stomplistener import Connection, ConnectionLost, ConnectionState, Message, NotConnected, StompError
from stomplistener.testing import Broker


def test_what_runs_may_end_what_has_not_begun_goes_back(broker: Broker, connection: Connection) -> None:
    collector = Collector(block=True, ack=True)
    connection.subscribe(QUEUE, collector, ack="client-individual", confirm=True)
    for number in range(5):
        broker.publish(QUEUE, str(number))
    assert collector.begun.wait(5)
    eventually(lambda: connection.statistics().messages_received == 5, "all five")
    ending = in_thread(connection.disconnect)
    eventually(lambda: connection.state is ConnectionState.CLOSING, "the end's beginning")
    collector.release.set()
    ending.value()
    assert collector.texts == ["0"]
    assert collector.answers == [True]
    assert [m.text for m in broker.messages(QUEUE)] == ["1", "2", "3", "4"]
    assert commands(broker.frames())[-2:] == ["ACK", "DISCONNECT"]


def test_settled_on_return_also_at_the_end(broker: Broker, connection: Connection) -> None:
    begun, release = threading.Event(), threading.Event()

    def slow(_message: Message) -> None:
        begun.set()
        release.wait(10)

    connection.subscribe(QUEUE, slow, ack="client-individual", settle=True, workers=2, confirm=True)
    broker.publish(QUEUE, "x")
    assert begun.wait(5)
    ending = in_thread(connection.disconnect)
    eventually(lambda: connection.state is ConnectionState.CLOSING, "the end's beginning")
    release.set()
    ending.value()
    assert broker.messages(QUEUE) == broker.unacknowledged(QUEUE) == []


def test_auto_messages_that_have_come_are_delivered(broker: Broker, connection: Connection) -> None:
    collector, pooled = Collector(block=True), Collector(block=True)
    connection.subscribe(QUEUE, collector, confirm=True)
    connection.subscribe("/queue/pooled", pooled, workers=2, confirm=True)
    for number in range(50):
        broker.publish(QUEUE, str(number))
        broker.publish("/queue/pooled", str(number))
    assert collector.begun.wait(5)
    ending = in_thread(connection.disconnect)
    broker.wait_for(lambda: broker.frames(command="UNSUBSCRIBE"))
    broker.publish(QUEUE, "too late")
    collector.release.set()
    pooled.release.set()
    ending.value()
    assert collector.texts == [str(number) for number in range(50)]
    assert sorted(pooled.texts, key=int) == [str(number) for number in range(50)]
    assert [m.text for m in broker.messages(QUEUE)] == ["too late"]


def test_confirmed_sends_are_flushed_and_their_futures_resolved(broker: Broker, connection: Connection) -> None:
    broker.withhold_receipts("SEND")
    futures = [connection.send_async(QUEUE, str(number)) for number in range(20)]
    connection.send(QUEUE, "plain")
    broker.wait_for(lambda: len(broker.frames(command="SEND")) == 21)
    begin = time.monotonic()
    ending = in_thread(lambda: connection.disconnect(timeout=20))
    eventually(lambda: connection.state is ConnectionState.CLOSING, "the end's beginning")
    assert not any(future.done() for future in futures)
    broker.release_receipts()
    ending.value()
    assert time.monotonic() - begin < 10
    assert all(future.result(0).command == "RECEIPT" for future in futures)
    assert commands(broker.frames())[-1] == "DISCONNECT"
    assert len(broker.messages(QUEUE)) == 21


def test_without_receipts_the_end_comes_in_time_and_futures_fail(broker: Broker, connection: Connection) -> None:
    broker.withhold_receipts("SEND")
    future = connection.send_async(QUEUE, "x")
    broker.wait_for(lambda: broker.frames(command="SEND"))
    begin = time.monotonic()
    connection.disconnect(timeout=0.3)
    assert time.monotonic() - begin < 5
    with pytest.raises(ConnectionLost) as lost:
        future.result(0)
    assert lost.value.outcome_unknown


def test_a_listener_that_does_not_end_is_left_behind_in_time(broker: Broker, connection: Connection) -> None:
    collector = Collector(block=True, ack=True)
    connection.subscribe(QUEUE, collector, ack="client-individual", confirm=True)
    broker.publish(QUEUE, "x")
    assert collector.begun.wait(5)
    begin = time.monotonic()
    connection.disconnect(timeout=0.3)
    assert time.monotonic() - begin < 5
    collector.release.set()
    eventually(lambda: collector.answers == [False], "its late acknowledgement")
    assert [m.text for m in broker.messages(QUEUE)] == ["x"]


def test_ending_twice_and_after_close(broker: Broker, connection: Connection) -> None:
    connection.disconnect()
    connection.disconnect()
    connection.close()
    connection.disconnect()
    assert connection.state is ConnectionState.CLOSED
    assert commands(broker.frames()).count("DISCONNECT") == 1
    with pytest.raises(NotConnected, match="disconnect"):
        connection.send(QUEUE, "x")


def test_before_connect_there_is_nothing_to_end() -> None:
    connection = Connection("tcp://localhost:1")
    connection.disconnect()
    connection.close()
    with pytest.raises(NotConnected):
        connection.send(QUEUE, "x")


def test_a_second_disconnect_waits_for_the_first(broker: Broker, connection: Connection) -> None:
    broker.withhold_receipts("SEND")
    future = connection.send_async(QUEUE, "x")
    broker.wait_for(lambda: broker.frames(command="SEND"))
    first = in_thread(connection.disconnect)
    eventually(lambda: connection.state is ConnectionState.CLOSING, "the end's beginning")
    second = in_thread(connection.disconnect)
    second.join(0.2)
    assert connection.state is ConnectionState.CLOSING
    broker.release_receipts()
    first.value()
    second.value()
    assert future.result(0).command == "RECEIPT"


def test_disconnect_in_a_listener_while_another_thread_disconnects(broker: Broker, connection: Connection) -> None:
    release, begun = threading.Event(), threading.Event()
    answers: list[bool] = []

    class Tidy(Recorder):
        def on_disconnecting(self) -> None:
            super().on_disconnecting()
            connection.disconnect()

    def leaves(message: Message) -> None:
        begun.set()
        release.wait(10)
        connection.disconnect()
        answers.append(message.ack())

    recorder = Tidy()
    connection.add_listener(recorder)
    connection.subscribe(QUEUE, leaves, ack="client-individual", confirm=True)
    broker.publish(QUEUE, "x")
    assert begun.wait(5)
    begin = time.monotonic()
    ending = in_thread(lambda: connection.disconnect(timeout=20))
    eventually(lambda: connection.state is ConnectionState.CLOSING, "the end's beginning")
    release.set()
    ending.value(30)
    assert time.monotonic() - begin < 10
    assert answers == [True]
    eventually(lambda: recorder.count("disconnecting") == 1, "the hook")


def test_close_ends_a_disconnect_at_once(broker: Broker, connection: Connection) -> None:
    broker.withhold_receipts("SEND")
    connection.send_async(QUEUE, "x")
    ending = in_thread(lambda: connection.disconnect(timeout=60))
    eventually(lambda: connection.state is ConnectionState.CLOSING, "the end's beginning")
    begin = time.monotonic()
    connection.close()
    ending.value(5)
    assert time.monotonic() - begin < 3


def test_an_end_while_the_connection_is_lost(broker: Broker, connection: Connection) -> None:
    broker.drop_before("DISCONNECT")
    connection.disconnect()
    assert connection.state is ConnectionState.CLOSED
    assert broker.connection_count == 1


def test_a_connection_can_be_used_again(broker: Broker) -> None:
    connection = Connection(failover(broker.uri))
    for number in range(3):
        collector = Collector(block=True, ack=True)
        subscription = connection.subscribe(QUEUE, collector, ack="client-individual")
        # A lane of its own, which must not take the place of the main one.
        with connection.consume("/queue/pull"):
            pass
        connection.connect()
        subscription.wait_active(5)
        connection.send(QUEUE, str(number), confirm=True)
        assert collector.begun.wait(5)
        ending = in_thread(connection.disconnect)
        eventually(lambda: connection.state is ConnectionState.CLOSING, "the end's beginning")
        collector.release.set()
        ending.value()
        assert collector.answers == [True]
        assert connection.session.subscriptions == ()
    assert broker.messages(QUEUE) == []


def test_with_leaves_by_an_exception_gracefully(broker: Broker) -> None:
    with pytest.raises(ZeroDivisionError), Connection(broker.uri) as connection:
        connection.send(QUEUE, str(1 // (connection.statistics().reconnects)))
    assert commands(broker.frames()) == ["CONNECT", "DISCONNECT"]


def calls_of(thread: Thread) -> list[str]:
    """The functions that a thread is in."""
    assert thread.ident is not None
    frame = sys._current_frames().get(thread.ident)
    names = []
    while frame is not None:
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return names


def test_close_ends_a_disconnect_that_waits_for_a_listener_of_a_connection_that_is_cut_off(broker: Broker) -> None:
    collector = Collector(block=True)
    with Connection(failover(broker.uri), timeout=20) as connection:
        connection.subscribe(QUEUE, collector, settle=True)
        broker.publish(QUEUE, "x")
        try:
            assert collector.begun.wait(10)
            broker.stop()
            eventually(lambda: connection.state is ConnectionState.SUSPENDED, "the loss")
            ending = in_thread(connection.disconnect)
            eventually(lambda: "join" in calls_of(ending), "its wait for the listener")
            assert connection.state is ConnectionState.CLOSED
            connection.close()
            ending.value(5)
        finally:
            collector.release.set()


def test_an_end_while_cut_off_waits_for_the_listeners_that_run(broker: Broker) -> None:
    collector = Collector(block=True)
    with Connection(failover(broker.uri), timeout=20) as connection:
        connection.subscribe(QUEUE, collector, settle=True)
        broker.publish(QUEUE, "x")
        assert collector.begun.wait(10)
        broker.stop()
        eventually(lambda: connection.state is ConnectionState.SUSPENDED, "the loss")
        ending = in_thread(connection.disconnect)
        eventually(lambda: "join" in calls_of(ending), "its wait for the listener")
        collector.release.set()
        ending.value()
    assert collector.texts == ["x"]


RESTORING = pytest.mark.parametrize("again", [False, True], ids=["first connect", "reconnect"])


@contextmanager
def restoring(
    broker: Broker, listener: Callable[[Message], object], *, again: bool, **options: Any
) -> Iterator[Connection]:
    """A connection whose broker has not confirmed the subscriptions yet, and has delivered a message by one of them."""
    connection = Connection(failover(broker.uri), timeout=20)
    connection.subscribe(QUEUE, listener, settle=True, **options)
    if again:
        connection.connect()
    broker.withhold_receipts("SUBSCRIBE")
    connecting = in_thread(connection.connect)
    if again:
        broker.drop_connections()
        connecting.value()
        broker.wait_for(lambda: len(broker.frames(command="SUBSCRIBE")) == 2)
    broker.publish(QUEUE, "x")
    try:
        yield connection
    finally:
        connection.close()
        connecting.done()


def ending_of(connection: Connection) -> Thread:
    """``disconnect()`` in a thread, when it has begun."""
    ending = in_thread(connection.disconnect)
    eventually(lambda: connection.state is ConnectionState.CLOSING, "the end's beginning")
    return ending


@RESTORING
def test_what_runs_while_subscriptions_are_restored_may_end_and_is_settled(broker: Broker, again: bool) -> None:
    collector = Collector(block=True)
    with restoring(broker, collector, again=again) as connection:
        assert collector.begun.wait(10)
        broker.publish(QUEUE, "not begun")
        ending = ending_of(connection)
        collector.release.set()
        # The broker never confirms: what runs is settled all the same, and nothing is waited for.
        assert ending.done().seconds < 3
    assert collector.texts == ["x"]
    broker.wait_for(lambda: [m.text for m in broker.messages(QUEUE)] == ["not begun"])
    assert commands(broker.frames())[-2:] == ["ACK", "DISCONNECT"]


@RESTORING
def test_what_fails_while_subscriptions_are_restored_is_given_up_before_the_end(broker: Broker, again: bool) -> None:
    def fail() -> None:
        raise ValueError("no")

    failing = Collector(block=True, then=fail)
    with restoring(broker, failing, again=again, error_destination="/queue/failed") as connection:
        assert failing.begun.wait(10)
        ending = ending_of(connection)
        failing.release.set()
        eventually(lambda: connection._engine.settlement.has_deferred, "the message that waits to be forwarded")
        broker.release_receipts()
        ending.value()
    assert [m.text for m in broker.messages("/queue/failed")] == ["x"]
    assert broker.messages(QUEUE) == []
    assert commands(broker.frames())[-1] == "DISCONNECT"


@RESTORING
def test_a_listener_may_send_to_its_end_while_subscriptions_are_restored(broker: Broker, again: bool) -> None:
    def answer() -> None:
        connection.send("/queue/plain", "x")
        connection.send("/queue/confirmed", "x", confirm=True)

    answering = Collector(block=True, then=answer)
    with restoring(broker, answering, again=again) as connection:
        recorder = Recorder()
        connection.add_listener(recorder)
        assert answering.begun.wait(10)
        kept = connection.send_async("/queue/kept", "x")
        ending = ending_of(connection)
        answering.release.set()
        broker.release_receipts()
        ending.value()
    assert kept.result(0).command == "RECEIPT"
    for name in ("plain", "confirmed", "kept"):
        assert [m.text for m in broker.messages(f"/queue/{name}")] == ["x"]
    assert broker.messages(QUEUE) == broker.unacknowledged(QUEUE) == []
    # Of a connection that is made to be ended nobody hears.
    assert not {"connected", "disconnecting", "disconnected"} & set(recorder.names)


def test_an_end_while_subscriptions_are_restored_is_over_with_the_connection(broker: Broker) -> None:
    collector = Collector(block=True, ack=False)
    with restoring(broker, collector, again=False) as connection:
        assert collector.begun.wait(10)
        ending = ending_of(connection)
        broker.drop_connections()
        eventually(lambda: connection.state is ConnectionState.CLOSED, "the loss")
        collector.release.set()
        ending.value()
    assert broker.connection_count == 1
    assert [m.text for m in broker.messages(QUEUE)] == ["x"]


def test_messages_that_come_before_a_second_life_is_ready_are_delivered(broker: Broker) -> None:
    with Connection(broker.uri, timeout=20) as connection:
        connection.disconnect()
        collector = Collector(ack=True)
        connection.subscribe(QUEUE, collector, ack="client-individual")
        broker.withhold_receipts("SUBSCRIBE")
        broker.publish(QUEUE, "x")
        connecting = in_thread(connection.connect)
        assert collector.begun.wait(10)
        broker.release_receipts()
        connecting.value()
        assert collector.texts == ["x"]


@pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX")
def test_a_signal_before_run_forever_has_begun_to_connect_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection("failover:(tcp://127.0.0.1:1)?initialReconnectDelay=5000")
    start, late = threading.Thread.start, list[threading.Thread]()

    def in_bad_order(thread: threading.Thread) -> None:
        if thread.name.endswith("-watch"):
            signal.raise_signal(signal.SIGTERM)
            late.append(thread)
            return
        start(thread)
        if thread.name.endswith("-disconnect"):
            thread.join()
            start(late.pop())

    monkeypatch.setattr(threading.Thread, "start", in_bad_order)
    # What is begun behind the end would go on for ever.
    closing = threading.Timer(5, connection.close)
    closing.daemon = True
    start(closing)
    begin = time.monotonic()
    connection.run_forever()
    closing.cancel()
    assert time.monotonic() - begin < 4
    assert connection.state is ConnectionState.CLOSED


def test_wait_returns_when_it_is_closed(broker: Broker, connection: Connection) -> None:
    assert connection.wait(0.05) is False
    waiting = in_thread(connection.wait)
    connection.close()
    assert waiting.value() is True


WORKER = """
    import sys, time
    from stomplistener import Connection

    def work(message):
        print("begun", flush=True)
        time.sleep(float(message.text))
        print("done", flush=True)

    connection = Connection(sys.argv[1], timeout=20)
    connection.subscribe("/queue/test", work, ack="client-individual", settle=True)
    try:
        connection.run_forever()
    except Exception as error:
        print(type(error).__name__, flush=True)
    print("ended", flush=True)
"""


def worker(broker: Broker) -> subprocess.Popen[str]:
    script = [sys.executable, "-c", textwrap.dedent(WORKER), failover(broker.uri, options="maxReconnectAttempts=1")]
    return subprocess.Popen(script, stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_run_forever_gracefully(broker: Broker, number: signal.Signals) -> None:
    broker.publish(QUEUE, "0.5")
    broker.publish(QUEUE, "60")
    with worker(broker) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        rest = process.communicate(timeout=20)[0]
    assert rest == "done\nended\n"
    assert process.returncode == 0
    assert [m.text for m in broker.messages(QUEUE)] == ["60"]
    assert commands(broker.frames())[-2:] == ["ACK", "DISCONNECT"]


@pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX")
def test_a_second_signal_ends_run_forever_at_once(broker: Broker) -> None:
    broker.publish(QUEUE, "30")
    with worker(broker) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.terminate()
        threading.Event().wait(0.5)
        assert process.poll() is None
        begin = time.monotonic()
        process.terminate()
        assert process.communicate(timeout=20)[0] == "ended\n"
    assert time.monotonic() - begin < 10
    assert process.returncode == 0
    broker.wait_for(lambda: [m.text for m in broker.messages(QUEUE)] == ["30"])


def test_run_forever_ends_with_the_failure(broker: Broker) -> None:
    connection = Connection(failover(broker.uri, options="maxReconnectAttempts=1&initialReconnectDelay=1"))
    running = in_thread(connection.run_forever)
    eventually(lambda: connection.is_connected, "the connection")
    broker.stop()
    running.done()
    assert isinstance(running.error, StompError)
    again = in_thread(Connection(failover(broker.uri, options="startupMaxReconnectAttempts=1")).run_forever)
    again.done()
    assert isinstance(again.error, StompError)


def test_run_forever_returns_when_another_thread_disconnects(broker: Broker) -> None:
    connection = Connection(broker.uri)
    running = in_thread(connection.run_forever)
    eventually(lambda: connection.is_connected, "the connection")
    connection.disconnect()
    assert running.value() is None


@pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX")
def test_a_signal_ends_run_forever_while_it_connects() -> None:
    with Broker() as broker:
        broker.go_silent()
        with worker(broker) as process:
            broker.wait_for(lambda: broker.connections, 20)
            process.terminate()
            assert process.communicate(timeout=20)[0] == "ended\n"
        assert process.returncode == 0
        broker.speak()
