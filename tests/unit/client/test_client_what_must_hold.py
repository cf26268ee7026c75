"""The eight points of what must hold, each by a test that fails without its mechanism."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from client_support import failover, reconnected

from stomplistener import (
    ClosedAfterFork,
    Connection,
    ConnectionLost,
    ConnectionState,
    Frame,
    Limits,
    Listener,
    Message,
    TimedOut,
)
from stomplistener._engine import inline_dispatch
from stomplistener.testing import Broker, FaultProxy

QUEUE = "/queue/test"


def eventually(condition: Callable[[], bool], what: str, timeout: float = 10.0) -> None:
    """Wait for a condition that no event announces."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"not within {timeout} s: {what}"
        time.sleep(0.005)


@pytest.fixture(autouse=True, params=["as usual", "reading lent early", "threads that switch every 10 µs"])
def _threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What must hold does so whoever reads, and whenever one thread gives way to another."""
    interval = sys.getswitchinterval()
    if request.param != "as usual":
        monkeypatch.setattr(inline_dispatch, "QUICK_BATCHES", 1)
    if request.param.startswith("threads"):
        sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture(autouse=True)
def _leave_nothing_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    ours = [
        t for t in threading.enumerate() if t not in before and t.name.startswith(("stomp-", "stomplistener-timer"))
    ]
    end = time.monotonic() + 5
    while any(thread.is_alive() for thread in ours):
        assert time.monotonic() < end, f"left behind: {[t.name for t in ours if t.is_alive()]}"
        time.sleep(0.005)


# 1. A listener that blocks


def test_a_listener_that_sleeps_through_many_heart_beats_keeps_the_connection() -> None:
    release, begun = threading.Event(), threading.Event()
    got: list[str] = []

    def slow(message: Message) -> None:
        begun.set()
        release.wait(10)
        got.append(message.text)

    with Broker(heartbeat=(0.1, 0.1)) as broker:
        with Connection(broker.uri, heartbeat=(0.1, 0.1)) as connection:
            connection.subscribe(QUEUE, slow, confirm=True)
            connection.send(QUEUE, "first", confirm=True)
            connection.send(QUEUE, "second", confirm=True)
            assert begun.wait(5)
            received = connection.statistics().bytes_received
            # Ten beats of the broker pass: its side would have ended the connection, and so would ours.
            eventually(lambda: connection.statistics().bytes_received >= received + 10, "ten heart-beats")
            assert connection.is_connected
            assert broker.connection_count == 1
            release.set()
            eventually(lambda: got == ["first", "second"], "both messages")


def test_a_reconnect_goes_on_while_a_listener_blocks(broker: Broker) -> None:
    release, begun = threading.Event(), threading.Event()

    def slow(_message: Message) -> None:
        begun.set()
        release.wait(10)

    with Connection(broker.uri) as connection:
        subscription = connection.subscribe(QUEUE, slow, ack="client-individual", confirm=True)
        connection.send(QUEUE, "x", confirm=True)
        assert begun.wait(5)
        broker.drop_connections()
        eventually(lambda: connection.statistics().reconnects == 1, "a reconnect")
        subscription.wait_active(5)
        connection.send("/queue/other", "while it blocks", confirm=True)
        assert not release.is_set()
        release.set()


# 2. Waiting inside a listener


def test_a_listener_that_waits_for_receipts_with_the_hand_off_full(broker: Broker) -> None:
    done: list[int] = []

    def busy(message: Message) -> None:
        connection.send("/queue/answers", message.body, confirm=True, timeout=5)
        done.append(1)

    for number in range(200):
        broker.publish(QUEUE, str(number))
    limits = Limits(max_pending_messages=10)
    with Connection(broker.uri, limits=limits) as connection:
        connection.subscribe(QUEUE, busy)
        eventually(lambda: len(done) == 200, "200 confirmed answers")
    assert len(broker.messages("/queue/answers")) == 200


def test_a_listener_may_unsubscribe_and_disconnect(broker: Broker) -> None:
    ended = threading.Event()

    def last_will(message: Message) -> None:
        assert message.subscription is not None
        message.subscription.unsubscribe(confirm=True, timeout=5)
        connection.disconnect(timeout=5)
        ended.set()

    for number in range(50):
        broker.publish(QUEUE, str(number))
    connection = Connection(broker.uri, limits=Limits(max_pending_messages=5)).connect()
    connection.subscribe(QUEUE, last_will, ack="client-individual")
    assert ended.wait(10)
    assert connection.state is ConnectionState.CLOSED


# 3. A listener that raises


def test_what_a_listener_raises_is_reported_and_the_next_message_comes(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[tuple[str, str]] = []
    got: list[str] = []

    class Watcher(Listener):
        def on_listener_error(self, message: Message, exception: Exception) -> None:
            errors.append((message.text, str(exception)))

    def bad(message: Message) -> None:
        if message.text == "bad":
            raise ValueError("no good")
        got.append(message.text)

    with Connection(broker.uri) as connection, caplog.at_level(logging.ERROR, "stomplistener"):
        connection.add_listener(Watcher())
        connection.subscribe(QUEUE, bad)
        for body in ("a", "bad", "b"):
            connection.send(QUEUE, body)
        eventually(lambda: got == ["a", "b"], "both good messages")
        assert errors == [("bad", "no good")]
        assert connection.statistics().listener_errors == 1
        assert broker.connection_count == 1
    assert "no good" in caplog.text
    assert "Traceback" in caplog.text


# 4. Memory


def test_a_backlog_is_held_back_at_the_broker(broker: Broker) -> None:
    begun, release = threading.Event(), threading.Event()
    got: list[int] = []

    def slow(message: Message) -> None:
        begun.set()
        release.wait(10)
        got.append(len(message.body))

    body = b"x" * 10_000
    for _ in range(5000):
        broker.publish(QUEUE, body)
    with Connection(broker.uri, limits=Limits(max_pending_messages=20)) as connection:
        connection.subscribe(QUEUE, slow)
        assert begun.wait(5)
        eventually(lambda: connection._engine.flow.is_paused, "the receiver's pause")
        # One read may carry a few more messages than the bound, but not the backlog of 50 MB.
        assert connection.statistics().pending < 100
        release.set()
        eventually(lambda: len(got) == 5000, "the backlog")


# 5. Failover


def test_subscriptions_come_first_then_confirmed_sends(broker: Broker) -> None:
    with Connection(broker.uri) as connection:
        connection.subscribe(QUEUE, lambda m: None, confirm=True)
        broker.withhold_receipts("SEND", connection=1)
        futures = [connection.send_async("/queue/out", str(number)) for number in range(3)]
        broker.wait_for(lambda: len(broker.frames(command="SEND")) == 3, what="three SENDs")
        broker.drop_connections()
        for future in futures:
            assert future.result(5).command == "RECEIPT"
        second = [frame.command for frame in broker.frames(connection=2)]
        assert second[:5] == ["CONNECT", "SUBSCRIBE", "SEND", "SEND", "SEND"]
        bodies = [frame.body for frame in broker.frames(connection=2, command="SEND")]
        assert bodies == [b"0", b"1", b"2"]


def test_an_open_transaction_raises_at_its_next_use_and_nothing_of_it_is_done(broker: Broker) -> None:
    with Connection(broker.uri) as connection:
        transaction = connection.transaction().begin()
        transaction.send(QUEUE, "half")
        connection.flush()
        broker.wait_for(lambda: len(broker.frames(command="SEND")) == 1, what="the SEND")
        broker.drop_connections()
        eventually(lambda: connection.statistics().reconnects == 1, "a reconnect")
        with pytest.raises(ConnectionLost):
            transaction.send(QUEUE, "other half")
        with pytest.raises(ConnectionLost) as lost:
            transaction.commit()
        assert not lost.value.outcome_unknown
        transaction.abort()
        assert broker.messages(QUEUE) == []
        assert [f.command for f in broker.frames(connection=2)] == ["CONNECT"]


# 6. Nothing is left behind


def test_two_hundred_connects_and_disconnects_leave_nothing(broker: Broker) -> None:
    with Connection(broker.uri):
        pass  # what the first connection of a process opens for good, it has now
    broker.wait_for(lambda: not broker.connections, what="the end of the first connection")
    descriptors = len(os.listdir("/proc/self/fd"))
    threads = threading.active_count()
    for _ in range(200):
        with Connection(broker.uri) as connection:
            connection.subscribe(QUEUE, lambda m: None)
    broker.wait_for(lambda: not broker.connections, what="the end of all connections")
    eventually(lambda: threading.active_count() <= threads, "the end of all threads")
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= descriptors, "the end of all sockets")


@pytest.mark.timeout(120)
def test_a_hundred_drops_under_load_lose_nothing_confirmed(broker: Broker) -> None:
    got: set[str] = set()
    stop = threading.Event()
    sent: list[str] = []

    def produce() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            connection.send(QUEUE, str(number), confirm=True)
            sent.append(str(number))

    uri = f"failover:({broker.uri})?initialReconnectDelay=1&maxReconnectDelay=5"
    with Connection(uri) as connection:

        def note(message: Message) -> None:
            got.add(message.text)
            message.ack()

        connection.subscribe(QUEUE, note, ack="client-individual")
        producer = threading.Thread(target=produce)
        producer.start()
        for number in range(100):
            before = len(sent)
            eventually(lambda n=before: len(sent) >= n + 5, "five more messages")  # type: ignore[misc]
            broker.drop_connections()
            eventually(lambda n=number: connection.statistics().reconnects > n, "a reconnect")  # type: ignore[misc]
        stop.set()
        producer.join(10)
        eventually(lambda: set(sent) <= got, "all messages")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_may_connect_anew_and_leaves_the_parents_socket_alone(broker: Broker) -> None:
    with Connection(broker.uri) as connection:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                try:
                    connection.send(QUEUE, "never")
                except ClosedAfterFork:
                    status = 2
                with connection.connect():
                    connection.send(QUEUE, "from the child", confirm=True)
                status = 0 if status == 2 else 3
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        connection.send(QUEUE, "from the parent", confirm=True)
        assert connection.statistics().reconnects == 0
        assert [m.body for m in broker.messages(QUEUE)] == [b"from the child", b"from the parent"]


# 7. No passcode


def test_no_passcode_in_any_log_repr_or_exception(caplog: pytest.LogCaptureFixture) -> None:
    secret = "hunter2-secret"
    caplog.set_level(logging.DEBUG)
    texts: list[str] = []
    with Broker(login="user", passcode=secret) as broker:
        plain = f"tcp://127.0.0.1:{broker.port}"
        with Connection(plain, "user", secret, headers={"passcode-hint": "none"}) as connection:
            connection.send(QUEUE, "x", confirm=True)
            texts += [repr(connection), repr(connection._config), repr(connection.session)]
        with Connection(f"failover:(tcp://user:{secret}@127.0.0.1:{broker.port})") as connection:
            texts += [repr(connection), str(connection._config.uri)]
        with pytest.raises(Exception, match="could not connect") as failed:
            Connection(plain, "user", secret + "-wrong").connect()
        texts += [str(failed.value), repr(failed.value)]
    for record in caplog.records:
        texts.append(record.getMessage())
        assert secret not in str(record.args)
    assert not [text for text in texts if secret in text]
    assert any("CONNECT" in text and "passcode:***" in text for text in texts)


# 8. Deadlines


def test_every_wait_ends_by_its_deadline(broker: Broker) -> None:
    with Connection(broker.uri, timeout=0.2) as connection:
        broker.go_silent()
        for wait in (
            lambda: connection.send(QUEUE, "x", confirm=True),
            lambda: connection.subscribe(QUEUE, print, confirm=True),
            lambda: connection.transaction().begin().commit(),
        ):
            start = time.monotonic()
            with pytest.raises(TimedOut):
                wait()
            assert time.monotonic() - start < 5
        assert connection.consume("/queue/none").receive(0.05) is None
        start = time.monotonic()
        connection.disconnect(timeout=0.2)
        assert time.monotonic() - start < 5
        broker.speak()


def test_a_silent_server_fails_the_attempt_within_connection_timeout(broker: Broker) -> None:
    broker.go_silent()
    start = time.monotonic()
    with pytest.raises(Exception, match="connectionTimeout"):
        Connection(f"{broker.uri}?connectionTimeout=200").connect()
    assert time.monotonic() - start < 5
    broker.speak()


def test_heart_beats_that_are_missing_break_the_connection_and_it_is_restored() -> None:
    events: list[str] = []

    class Watcher(Listener):
        def on_heartbeat_timeout(self) -> None:
            events.append("timeout")

        def on_disconnected(self) -> None:
            events.append("disconnected")

        def on_connected(self, frame: Frame) -> None:
            events.append("connected")

    with Broker(heartbeat=(0.1, 0.1)) as broker, FaultProxy(broker.uri) as proxy:
        uri = f"failover:({proxy.uri})?initialReconnectDelay=10&maxReconnectDelay=50"
        connection = Connection(uri, heartbeat=(0.1, 0.1))
        connection.add_listener(Watcher())
        with connection:
            eventually(lambda: events == ["connected"], "the first connection")
            proxy.blackhole()
            eventually(lambda: events == ["connected", "timeout", "disconnected"], "the missing heart-beats")
            proxy.heal()
            eventually(lambda: events[-1] == "connected", "the restored connection")


def test_the_heart_beat_check_of_an_old_connection_leaves_the_new_one_alone(broker: Broker) -> None:
    """It had found the old one silent, and comes to break it when there is a new one."""
    with Connection(failover(broker.uri), timeout=10) as connection:
        epoch = connection._engine.context.session.epoch
        broker.drop_connections()
        reconnected(connection)
        connection._engine.cycle.heartbeat_missed(20.0, epoch)
        connection._engine.cycle.broken(ConnectionLost("of old"), epoch)
        connection.send(QUEUE, "goes on", confirm=True)
        assert connection.statistics().reconnects == 1
        connection._engine.cycle.heartbeat_missed(20.0, epoch + 1)
        reconnected(connection, 2)
