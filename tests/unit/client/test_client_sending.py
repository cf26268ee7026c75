"""Sending: windows, buffers, batches, many threads, and what an attempt to connect may renew."""

from __future__ import annotations

import concurrent.futures
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import pytest
from client_support import (
    QUEUE,
    Collector,
    Recorder,
    Thread,
    eventually,
    failover,
    in_thread,
    reconnected,
)

from stomplistener import (
    BrokerError,
    ConnectFailed,
    Connection,
    ConnectionLost,
    ConnectOptions,
    Frame,
    InvalidHeader,
    Limits,
    Listener,
    Message,
    TimedOut,
)
from stomplistener.protocol import Outcome, Request
from stomplistener.testing import Broker
from stomplistener.transport.stream import SocketTransport


@pytest.mark.parametrize("limits", [Limits(max_unconfirmed_messages=3), Limits(max_unconfirmed_bytes=3)])
def test_the_window_holds_the_caller_and_lets_go(broker: Broker, limits: Limits) -> None:
    with Connection(broker.uri, limits=limits, timeout=10) as connection:
        broker.withhold_receipts("SEND")
        futures = [connection.send_async(QUEUE, "x") for _ in range(3)]
        with pytest.raises(TimedOut, match="nothing was written"):
            connection.send_async(QUEUE, "never", timeout=0.1)
        waiting = in_thread(lambda: connection.send_async(QUEUE, "y", timeout=None))
        waiting.join(0.1)
        assert waiting.is_alive()
        assert connection.statistics().unconfirmed == 3
        broker.release_receipts()
        waiting.value()
        assert all(future.result(5).command == "RECEIPT" for future in futures)
        connection.disconnect()
    assert [m.text for m in broker.messages(QUEUE)] == ["x", "x", "x", "y"]


def test_a_timed_out_send_gives_up_its_place_in_the_window(broker: Broker) -> None:
    with Connection(broker.uri, limits=Limits(max_unconfirmed_messages=1), timeout=10) as connection:
        broker.withhold_receipts("SEND")
        first = in_thread(lambda: connection.send(QUEUE, "x", confirm=True, timeout=0.3))
        eventually(lambda: connection.statistics().unconfirmed == 1, "the first")
        second = in_thread(lambda: connection.send_async(QUEUE, "y", timeout=None))
        first.done()
        assert isinstance(first.error, TimedOut)
        second.done(5)
        broker.release_receipts()


def test_a_window_that_is_full_at_the_end_raises(broker: Broker) -> None:
    with Connection(broker.uri, limits=Limits(max_unconfirmed_messages=1), timeout=10) as connection:
        broker.withhold_receipts("SEND")
        future = connection.send_async(QUEUE, "x")
        waiting = in_thread(lambda: connection.send_async(QUEUE, "y", timeout=None))
        waiting.join(0.05)
        connection.close()
        waiting.done()
        assert waiting.error is not None
        with pytest.raises(ConnectionLost):
            future.result(1)


def test_a_refused_message_fails_its_own_future_alone(broker: Broker, connection: Connection) -> None:
    broker.error_next("SEND", "too big")
    future = connection.send_async(QUEUE, "x")
    with pytest.raises(BrokerError, match="too big"):
        future.result(5)
    connection.send(QUEUE, "y", confirm=True)
    assert [m.text for m in broker.messages(QUEUE)] == ["y"]


def test_callbacks_of_futures_run_in_the_dispatcher(broker: Broker, connection: Connection) -> None:
    names: list[str] = []
    for _ in range(3):
        connection.send_async(QUEUE, "x").add_done_callback(lambda _f: names.append(threading.current_thread().name))
    connection.send(QUEUE, "y", confirm=True)
    eventually(lambda: len(names) == 3, "the callbacks")
    assert set(names) <= {connection._config.name, threading.current_thread().name}


def test_tracked_messages_are_kept_over_a_loss(broker: Broker) -> None:
    uri = failover(broker.uri, options="trackMessages=true&maxCacheSize=1000&initialReconnectDelay=1&timeout=200")
    with Connection(uri, timeout=10) as connection:
        broker.withhold_receipts("SEND", connection=1)
        connection.send(QUEUE, "a" * 400)
        broker.wait_for(lambda: broker.frames(command="SEND"))
        broker.stop()
        eventually(lambda: not connection.is_connected, "the loss")
        # There is room for this one, and past the cache's size for no more.
        connection.send(QUEUE, "b" * 700)
        begin = time.monotonic()
        with pytest.raises(TimedOut):
            connection.send(QUEUE, "never")
        assert 0.19 <= time.monotonic() - begin < 5
        broker.start()
        reconnected(connection)
        connection.send(QUEUE, "c", confirm=True)
    assert [m.text[0] for m in broker.messages(QUEUE)] == ["a", "a", "b", "c"]


def test_tracked_messages_that_are_lost_at_the_end_are_told(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    connection = Connection(failover(broker.uri, options="trackMessages=true")).connect()
    broker.withhold_receipts("SEND")
    connection.send(QUEUE, "x")
    connection.close()
    assert "1 message kept by trackMessages" in caplog.text


def test_before_connect_renews_login_and_headers_at_each_attempt() -> None:
    seen: list[ConnectOptions] = []
    with Broker(login="token-2", passcode="p") as broker:

        def renew(options: ConnectOptions) -> None:
            seen.append(options)
            options.login = f"token-{len(seen)}"
            options.headers["attempt"] = str(len(seen))

        uri = failover(f"tcp://127.0.0.1:{broker.port}", options="initialReconnectDelay=1&maxReconnectDelay=1")
        connection = Connection(uri, "none", "p", headers={"own": "kept"}, before_connect=renew)
        with pytest.raises(ConnectFailed, match="access refused"):
            connection.connect()
        with connection:
            frame = broker.frames(command="CONNECT")[-1]
            assert (frame.headers["login"], frame.headers["attempt"], frame.headers["own"]) == ("token-2", "2", "kept")
            assert [options.attempt for options in seen] == [1, 1]
            broker.drop_connections()
            broker.wait_for(lambda: len(broker.frames(command="CONNECT")) >= 4, what="attempts of the outage")
            assert [options.attempt for options in seen[2:4]] == [1, 2]
            # Each begins with what the connection was made with.
            assert [frame.headers["attempt"] for frame in broker.frames(command="CONNECT")][2:4] == ["3", "4"]


@pytest.mark.parametrize("error", [KeyError("token"), RuntimeError("no token"), OSError("no network")])
def test_what_before_connect_raises_fails_its_attempt_alone(broker: Broker, error: Exception) -> None:
    calls: list[int] = []

    def renew(_options: ConnectOptions) -> None:
        calls.append(1)
        if len(calls) < 3:
            raise error

    with Connection(failover(broker.uri), before_connect=renew) as connection:
        connection.send(QUEUE, "x", confirm=True)
    assert len(calls) == 3


def test_statistics_count(broker: Broker, connection: Connection) -> None:
    collector = Collector(block=True)

    def fails(_message: object) -> None:
        raise ValueError

    connection.subscribe(QUEUE, collector, confirm=True)
    connection.subscribe("/queue/fails", fails, workers=2, confirm=True)
    for _ in range(5):
        connection.send(QUEUE, b"12345")
    connection.send("/queue/fails", "x", confirm=True)
    eventually(lambda: connection.statistics().messages_received == 6, "all messages")
    eventually(lambda: connection.statistics().listener_errors == 1, "the error")
    eventually(lambda: connection.statistics().pending == 5, "the end of that listener")
    before = connection.statistics()
    assert before.messages_sent == 6
    # The bodies have 25 bytes; headers count, too: a broker can fill the memory with them as well.
    assert 25 < before.pending_bytes < 1000
    assert before.unconfirmed == before.unconfirmed_bytes == before.reconnects == 0
    assert 0 < before.last_received <= time.monotonic()
    assert 0 < before.last_sent <= time.monotonic()
    collector.release.set()
    eventually(lambda: connection.statistics().pending == 0, "the end of the listeners")
    broker.withhold_receipts("SEND")
    connection.send_async(QUEUE, b"123")
    assert connection.statistics().unconfirmed == 1
    assert connection.statistics().unconfirmed_bytes == 3
    broker.drop_connections()
    reconnected(connection)
    broker.release_receipts()
    eventually(lambda: connection.statistics().unconfirmed == 0, "the receipt")
    after = connection.statistics()
    assert after.messages_sent == 7
    assert after.reconnects == 1
    assert after.bytes_sent > before.bytes_sent
    assert after.bytes_received > before.bytes_received


def test_a_batch_leaves_together_and_flush_waits(broker: Broker, connection: Connection) -> None:
    with connection.batch():
        for number in range(100):
            connection.send(QUEUE, str(number))
        with connection.batch():
            connection.send(QUEUE, "nested")
        assert connection.statistics().bytes_sent < 1000
        # What waits for an answer is not held back.
        connection.send("/queue/other", "x", confirm=True)
        connection.send(QUEUE, "last")
    connection.flush()
    broker.wait_for(lambda: len(broker.messages(QUEUE)) == 102)
    assert [m.text for m in broker.messages(QUEUE)] == [*map(str, range(100)), "nested", "last"]


def test_flush_has_a_deadline(broker: Broker, connection: Connection) -> None:
    broker.stop_reading()
    sending = in_thread(lambda: connection.send(QUEUE, b"x" * 30_000_000, timeout=30))
    eventually(lambda: connection.statistics().bytes_sent > 1_000_000, "a write that blocks")
    with pytest.raises(TimedOut, match="takes no more bytes"):
        connection.flush(0.1)
    broker.resume_reading()
    sending.value(30)
    connection.flush(20)
    broker.wait_for(lambda: broker.messages(QUEUE), 10)


def test_what_the_socket_refuses_goes_out_on_the_next_connection(broker: Broker, connection: Connection) -> None:
    class Broken(SocketTransport):
        def send_nowait(self, data: bytes) -> bool:
            raise ConnectionResetError("the network is gone")

    transport = connection._engine.cycle._transport
    assert isinstance(transport, SocketTransport)
    connection.send(QUEUE, "before")
    broker.wait_for(lambda: broker.depth(QUEUE) == 1, 5)
    transport.__class__ = Broken
    connection.send(QUEUE, "after")
    reconnected(connection)
    broker.wait_for(lambda: [message.text for message in broker.messages(QUEUE)] == ["before", "after"], 5)
    assert connection.statistics().messages_sent == 2


def lost_behind_its_back(broker: Broker, connection: Connection) -> None:
    """The next frame is taken, and before it is written the receiver has seen the connection end."""

    class Interferes(Listener):
        def on_send(self, frame: Frame) -> None:
            connection.remove_listener(self)
            broker.drop_connections()
            eventually(lambda: not connection.is_connected, "the loss")

    connection.add_listener(Interferes())


@pytest.mark.parametrize("last", ["no reconnecting", "the last pass"])
def test_a_plain_send_that_nothing_carries_any_more_raises(broker: Broker, last: str) -> None:
    uri = broker.uri if last == "no reconnecting" else failover(broker.uri, options="maxReconnectAttempts=1")
    connection = Connection(uri, reconnect=last == "the last pass", timeout=10)
    with connection:
        lost_behind_its_back(broker, connection)
        broker.refuse_connections()
        with pytest.raises(ConnectionLost, match="may have received the message or not"):
            connection.send(QUEUE, "x")


def test_a_plain_send_that_the_next_connection_carries_returns(broker: Broker, connection: Connection) -> None:
    lost_behind_its_back(broker, connection)
    connection.send(QUEUE, "x")
    assert broker.wait_for(lambda: broker.messages(QUEUE))[0].body == b"x"


@pytest.mark.parametrize("say", ["send", "ack"])
def test_between_a_loss_and_its_report_nothing_is_sent(broker: Broker, connection: Connection, say: str) -> None:
    held = Collector()
    connection.subscribe(QUEUE, held, ack="client-individual")
    broker.publish(QUEUE, "held")
    eventually(lambda: len(held.messages) == 1, "the message")
    engine = connection._engine
    fail = engine.cycle.fail

    def meanwhile() -> None:
        if say == "ack":
            assert not held.messages[0].ack()
        else:
            with pytest.raises(TimedOut, match="nothing was written"):
                getattr(connection, say)("/queue/late", "late", timeout=0)
        assert not engine.writer.waiting
        assert engine.context.session.unconfirmed == 0

    def late(unanswered: Sequence[tuple[Request, Outcome]]) -> None:
        if not said:
            said.append(in_thread(meanwhile))
            said[0].join(5)
        fail(unanswered)

    said: list[Thread] = []
    engine.cycle.fail = late  # type: ignore[method-assign]
    broker.drop_connections()
    reconnected(connection)
    said[0].value(5)


@pytest.mark.parametrize("losses", [0, 3])
@pytest.mark.parametrize("confirm", ["receipt", "future", "none"])
def test_each_thread_keeps_its_order(broker: Broker, connection: Connection, losses: int, confirm: str) -> None:
    def produce(name: int) -> None:
        futures = []
        for number in range(150):
            body = f"{name}:{number}"
            if confirm == "receipt":
                connection.send(QUEUE, body, confirm=True)
            elif confirm == "future":
                futures.append(connection.send_async(QUEUE, body))
            else:
                connection.send(QUEUE, body)
        for future in futures:
            future.result(20)

    producers = [in_thread(partial(produce, name)) for name in range(6)]
    for loss in range(losses):
        goal = (loss + 1) * 100
        eventually(
            lambda: broker.depth(QUEUE) >= goal or not any(p.is_alive() for p in producers),  # noqa: B023
            "traffic",
        )
        broker.drop_connections()
        eventually(lambda: connection.is_connected, "the connection")
    for producer in producers:
        producer.value(30)
    connection.disconnect()
    seen: dict[str, list[int]] = defaultdict(list)
    for message in broker.messages(QUEUE):
        name, number = message.text.split(":")
        if int(number) not in seen[name]:
            seen[name].append(int(number))
    for numbers in seen.values():
        assert numbers == sorted(numbers)
        if confirm != "none" or not losses:
            assert numbers == list(range(150))


def test_a_header_that_cannot_be_written_raises_and_harms_nothing(broker: Broker) -> None:
    with Connection(broker.uri, versions=("1.0",), timeout=10) as connection:
        for call in (
            lambda: connection.send(QUEUE, "x", {"a": "b\nc"}),
            lambda: connection.send(QUEUE, "x", {"a": "b\nc"}, confirm=True),
            lambda: connection.send_async(QUEUE, "x", {"a": "b\nc"}),
        ):
            with pytest.raises(InvalidHeader):
                call()
        assert connection.statistics().unconfirmed == 0
        connection.send(QUEUE, "good", confirm=True)
    assert [m.text for m in broker.messages(QUEUE)] == ["good"]


def test_a_header_that_the_next_broker_cannot_write_fails_its_future_alone() -> None:
    with Broker() as new, Broker(versions=("1.0",)) as old:
        with Connection(failover(new.uri, old.uri), timeout=10) as connection:
            new.withhold_receipts("SEND")
            modern = connection.send_async(QUEUE, "x", {"a": "b\nc"})
            new.wait_for(lambda: new.frames(command="SEND"))
            plain = connection.send_async(QUEUE, "y")
            new.stop()
            eventually(lambda: not connection.is_connected or connection.session.epoch > 1, "the loss")
            with pytest.raises(InvalidHeader):
                modern.result(5)
            assert plain.result(5).command == "RECEIPT"
            connection.send(QUEUE, "goes on", confirm=True)
        assert [m.text for m in old.messages(QUEUE)] == ["y", "goes on"]


@pytest.mark.parametrize("kind", ["auto", "client-individual"])
def test_the_classics_with_threads_that_switch_all_the_time(broker: Broker, kind: str) -> None:
    """Messages through losses, and calls from a listener: with a thread switch every ten microseconds."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        recorder, got, lock = Recorder(), set[str](), threading.Lock()

        def work(message: Message) -> None:
            client.send("/queue/answers", message.text, confirm=True)
            if kind != "auto":
                message.ack()
            with lock:
                got.add(message.text)

        with Connection(failover(broker.uri), limits=Limits(max_pending_messages=5), timeout=20) as client:
            client.add_listener(recorder)
            client.subscribe(QUEUE, work, ack=kind, workers=2, confirm=True)  # type: ignore[arg-type]

            def produce(name: int) -> None:
                for number in range(40):
                    client.send(QUEUE, f"{name}:{number}", confirm=True)

            producers = [in_thread(partial(produce, name)) for name in range(4)]
            if kind != "auto":
                for loss in range(1, 4):
                    eventually(lambda: len(got) > loss * 20, "traffic")  # noqa: B023
                    broker.drop_connections()
                    reconnected(client, loss)
            for producer in producers:
                producer.value(30)
            eventually(lambda: len(got) == 160, "all messages", 20)
            assert recorder.count("listener_error") == 0
    finally:
        sys.setswitchinterval(interval)


def sends(broker: Broker, count: int) -> list[Frame]:
    broker.wait_for(lambda: len(broker.frames(command="SEND")) >= count, what="SENDs")
    return broker.frames(command="SEND")


@pytest.mark.parametrize("name", ["activemq", "artemis"])
def test_a_text_goes_without_content_length_where_that_would_make_bytes_of_it(broker: Broker, name: str) -> None:
    with Connection(broker.uri, broker=name, timeout=10) as connection:
        connection.send(QUEUE, "text")
        connection.send(QUEUE, "text", {"a": "b"}, confirm=True)
        connection.send_async(QUEUE, "text").result(10)
        with connection.transaction() as transaction:
            transaction.send(QUEUE, "text")
        for body, asked in ((b"bytes", None), ("with\0NUL", None), ("text", True), (b"bytes", False)):
            connection.send(QUEUE, body, auto_content_length=asked)
        found = ["content-length" in frame.headers for frame in sends(broker, 8)]
    assert found == [False, False, False, False, True, True, True, False]


def test_elsewhere_a_text_has_a_content_length(broker: Broker) -> None:
    with Connection(broker.uri, timeout=10) as connection:
        connection.send(QUEUE, "text", confirm=True)
    (frame,) = sends(broker, 1)
    assert frame.headers["content-length"] == "4"


def test_an_id_against_duplicates_goes_with_a_message_that_has_nothing_else(broker: Broker) -> None:
    with Connection(broker.uri, timeout=10) as connection:
        connection.send(QUEUE, "x", duplicate_id="1")
        connection.send_async(QUEUE, "x", duplicate_id="2").result(10)
        assert [frame.headers.get("duplicate-id") for frame in sends(broker, 2)] == ["1", "2"]


@pytest.mark.parametrize("wait", ["future", "futures", "request", "commit", "consumer"])
def test_a_wait_for_an_answer_ends_the_gathering_of_a_batch(wait: str, broker: Broker, connection: Connection) -> None:
    """The frame that is to be answered is in the batch."""

    def answer(message: Message) -> None:
        message.reply("yes")

    connection.subscribe("/queue/echo", answer, confirm=True)
    broker.publish("/queue/there", "x")
    with connection.batch():
        if wait == "future":
            connection.send_async(QUEUE, "x").result(10)
        elif wait == "futures":
            futures = [connection.send_async(QUEUE, "x")]
            assert concurrent.futures.wait(futures, 10).not_done == set()
        elif wait == "request":
            assert connection.request("/queue/echo", "x", timeout=10).text == "yes"
        elif wait == "commit":
            begun = connection.transaction().begin()
            begun.send(QUEUE, "x")
            begun.commit_async().result(10)
        else:
            with connection.consume("/queue/there") as consumer:
                assert consumer.receive(10) is not None
