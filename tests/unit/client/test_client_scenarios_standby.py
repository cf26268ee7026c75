"""The scenarios of failover that speak of spare connections and of the return to a preferred broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial

import pytest
from client_support import (
    QUEUE,
    Collector,
    Recorder,
    commands,
    eventually,
    failover,
    in_thread,
    nothing_left_behind,
)

from stomplistener import Connection, ConnectionState, Frame, Message
from stomplistener._engine import standby
from stomplistener.options import AckMode
from stomplistener.testing import Broker

OTHER = "/queue/other"
RETURN = "initialReconnectDelay=20&maxReconnectDelay=100&priorityBackup=true"


@pytest.fixture
def brokers() -> Iterator[list[Broker]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Broker()) for _ in range(3)]


def on(connection: Connection, broker: Broker) -> bool:
    """Whether the connection is ready, and on this broker."""
    current = connection._engine.context.broker
    return connection.is_connected and current is not None and current.port == broker.port


@pytest.mark.parametrize("case", ["the first is preferred", "the second is named", "three brokers"])
def test_scenario_30_back_to_the_preferred_broker_each_time(brokers: list[Broker], case: str) -> None:
    a, b, c = brokers
    home, away = (b, a) if case == "the second is named" else (a, b)
    options = RETURN + (f"&priorityURIs={b.uri}" if home is b else "")
    uris = [a.uri, b.uri] + ([c.uri] if case == "three brokers" else [])
    recorder, collector = Recorder(), Collector(ack=True)
    with Connection(failover(*uris, options=options)) as connection:
        connection.add_listener(recorder)
        connection.subscribe(QUEUE, collector, ack="client-individual")
        eventually(lambda: on(connection, home), "the preferred broker")
        for number in range(3):
            home.stop()
            eventually(lambda: on(connection, away), "the other broker")
            connection.send(QUEUE, f"away {number}", confirm=True)
            eventually(lambda: len(collector.texts) == 2 * number + 1, "its message")  # noqa: B023
            away.wait_for(lambda: not away.unacknowledged(QUEUE))
            home.start()
            eventually(lambda: on(connection, home), "the return")
            connection.send(QUEUE, f"home {number}", confirm=True)
            eventually(lambda: len(collector.texts) == 2 * number + 2, "its message")  # noqa: B023
            home.wait_for(lambda: not home.unacknowledged(QUEUE))
        assert collector.texts == [f"{where} {n}" for n in range(3) for where in ("away", "home")]
        eventually(lambda: not away.connections, "the end of the old connection")
        assert away.depth(QUEUE) == 0
        order = [name for name in recorder.names if name in ("connected", "disconnected")]
        assert order[-12:] == ["disconnected", "connected"] * 6
        assert recorder.count("error") == 0


@pytest.mark.parametrize("ack", ["auto", "client", "client-individual"])
def test_scenario_31_the_return_loses_and_repeats_nothing(brokers: list[Broker], ack: AckMode) -> None:
    a, b, _ = brokers
    recorder = Recorder()
    got: list[tuple[str, bool]] = []
    stop = threading.Event()
    sent: list[str] = []

    def take(message: Message) -> None:
        time.sleep(0.001)
        got.append((message.text, ack == "auto" or message.ack()))

    def produce(name: str) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            connection.send(QUEUE, f"{name}-{number}", confirm=True)
            sent.append(f"{name}-{number}")

    a.refuse_connections()
    connection = Connection(failover(a.uri, b.uri, options=RETURN), timeout=20)
    connection.add_listener(recorder)
    with connection:
        connection.subscribe(QUEUE, take, ack=ack, confirm=True)
        producers = [in_thread(partial(produce, f"p{n}")) for n in range(3)]
        eventually(lambda: len(sent) > 100 and len(got) > 50, "load")
        a.accept_connections()
        eventually(lambda: on(connection, a), "the return", 20)
        goal = len(sent) + 100
        eventually(lambda: len(sent) > goal, "load at home")
        stop.set()
        for producer in producers:
            producer.value()
        # What was given back to B stays there: it is another store.
        eventually(
            lambda: {text for text, done in got if done} | {m.text for m in b.messages(QUEUE)} >= set(sent), "all"
        )
        done = [text for text, settled in got if settled]
        assert len(done) == len(set(done))
        assert not set(done) & {m.text for m in b.messages(QUEUE)}
        if ack == "auto":
            assert b.messages(QUEUE) == []
    order = [name for name in recorder.names if name in ("connected", "disconnected")]
    assert order == ["connected", "disconnected"] * 2
    for broker in (a, b):
        # No acknowledgement reached a broker that did not know the message.
        assert broker.frames(command="ERROR", direction="out") == []
    last = [f.command for f in b.frames() if f.command != "HEARTBEAT"]
    assert "DISCONNECT" in last


def test_scenario_31_what_is_begun_is_settled_before_the_move_and_no_more_is_begun(brokers: list[Broker]) -> None:
    a, b, _ = brokers
    begun: list[str] = []
    answers: list[bool] = []

    def take(message: Message) -> None:
        begun.append(message.text)
        eventually(lambda: connection.state is ConnectionState.MIGRATING, "the move", 20)
        answers.append(message.ack())

    a.refuse_connections()
    for text in ("one", "two", "three"):
        b.publish(QUEUE, text)
    connection = Connection(failover(a.uri, b.uri, options=RETURN), timeout=20)
    with connection:
        connection.subscribe(QUEUE, take, ack="client-individual", confirm=True)
        eventually(
            lambda: len(begun) == 1 and connection.statistics().messages_received == 3, "one in hand, two behind it"
        )
        a.accept_connections()
        eventually(lambda: on(connection, a), "the return", 20)
        assert (begun, answers) == (["one"], [True])
        b.wait_for(lambda: [m.text for m in b.messages(QUEUE)] == ["two", "three"], 10)


def test_scenario_31_an_open_transaction_delays_the_move(brokers: list[Broker]) -> None:
    a, b, _ = brokers
    a.refuse_connections()
    collector = Collector(ack=True)
    with Connection(failover(a.uri, b.uri, options=RETURN)) as connection:
        connection.subscribe(OTHER, collector, ack="client-individual", confirm=True)
        transaction = connection.transaction().begin()
        transaction.send(QUEUE, "first half")
        a.accept_connections()
        a.wait_for(lambda: a.connections)
        eventually(lambda: connection.state is ConnectionState.MIGRATING, "the move")
        # The transaction goes on, on B, while others wait.
        waiting = in_thread(lambda: connection.send(OTHER, "held back", confirm=True))
        transaction.send(QUEUE, "second half")
        transaction.commit()
        eventually(lambda: on(connection, a), "the return")
        waiting.value()
        assert [m.text for m in b.messages(QUEUE)] == ["first half", "second half"]
        eventually(lambda: collector.texts == ["held back"], "the message that waited")
        assert commands(a.frames())[:1] == ["CONNECT"]


def test_scenario_31_past_the_limit_everything_goes_on_here(
    brokers: list[Broker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standby, "MOVE_PATIENCE_SECONDS", 0.3)
    a, b, _ = brokers
    a.refuse_connections()
    collector, retried = Collector(ack=True), Collector()

    def fails_once(message: Message) -> None:
        retried(message)
        if message.attempts == 0:
            raise ValueError("once")

    options = "initialReconnectDelay=50&maxReconnectDelay=50&priorityBackup=true"
    with Connection(failover(a.uri, b.uri, options=options)) as connection:
        connection.subscribe(QUEUE, collector, ack="client-individual", confirm=True)
        connection.subscribe(OTHER, fails_once, ack="client-individual", settle=True, retries=1, retry_delay=0.1)
        transaction = connection.transaction().begin()
        a.accept_connections()
        eventually(lambda: connection.state is ConnectionState.MIGRATING, "the move")
        # These come on B while the move waits, and B will not deliver them again as long as it has us.
        for number in range(20):
            b.publish(QUEUE, str(number))
        b.publish(OTHER, "retried")
        eventually(lambda: len(collector.texts) == 20, "what came meanwhile")
        assert collector.texts == [str(number) for number in range(20)]
        eventually(lambda: len(retried.texts) == 2, "the retry")
        # It tries again and again while the transaction is open.
        a.wait_for(lambda: a.connection_count >= 2, 10)
        transaction.send("/queue/third", "in it")
        transaction.commit()
        eventually(lambda: on(connection, a), "the return")
        b.wait_for(lambda: not b.connections)
        assert b.depth(QUEUE) == b.depth(OTHER) == 0
        assert [m.text for m in b.messages("/queue/third")] == ["in it"]


def test_scenario_31_the_old_broker_dies_on_the_way(brokers: list[Broker], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standby, "MOVE_PATIENCE_SECONDS", 0.5)
    a, b, _ = brokers
    a.refuse_connections()
    recorder = Recorder()
    connection = Connection(failover(a.uri, b.uri, options=RETURN))
    connection.add_listener(recorder)
    connection.subscribe(QUEUE, Collector())
    with connection:
        transaction = connection.transaction().begin()
        a.accept_connections()
        eventually(lambda: connection.state is ConnectionState.MIGRATING, "the move")
        moved = time.monotonic()
        b.stop()
        eventually(lambda: on(connection, a), "the other connection")
        connection.send("/queue/third", "goes on", confirm=True)
        transaction.abort()
        # What began to leave the old connection must not take the new one for it.
        eventually(lambda: time.monotonic() > moved + 0.7, "the end of the patience")
        assert a.frames(command="DISCONNECT") == a.frames(command="UNSUBSCRIBE") == []
        assert recorder.count("connected") == 2
        assert recorder.count("disconnected") == 1


def test_close_during_the_move_ends_it_at_once(brokers: list[Broker]) -> None:
    a, b, _ = brokers
    a.refuse_connections()
    connection = Connection(failover(a.uri, b.uri, options=RETURN)).connect()
    connection.transaction().begin()
    a.accept_connections()
    eventually(lambda: connection.state is ConnectionState.MIGRATING, "the move")
    begin = time.monotonic()
    with nothing_left_behind(1.0):
        connection.close()
    assert time.monotonic() - begin < 1.0


def test_disconnect_during_the_move_is_graceful(brokers: list[Broker]) -> None:
    a, b, _ = brokers
    a.refuse_connections()
    connection = Connection(failover(a.uri, b.uri, options=RETURN)).connect()
    collector = Collector(block=True, ack=True)
    connection.subscribe(QUEUE, collector, ack="client-individual", confirm=True)
    b.publish(QUEUE, "held")
    assert collector.begun.wait(5)
    a.accept_connections()
    eventually(lambda: connection.state is ConnectionState.MIGRATING, "the move")
    ending = in_thread(lambda: connection.disconnect(timeout=10))
    collector.release.set()
    ending.value()
    assert collector.answers == [True]
    assert b.depth(QUEUE) == 0


def test_scenario_32_the_pool_shrinks_as_brokers_vanish(brokers: list[Broker]) -> None:
    a, b, c = brokers
    recorder = Recorder()
    options = "backup=true&backupPoolSize=2&initialReconnectDelay=20000&maxReconnectDelay=20000"
    with Connection(failover(a.uri, b.uri, c.uri, options=options)) as connection:
        connection.add_listener(recorder)

        def pool() -> list[int]:
            life = connection._engine.life
            held = life.standby if life is not None else None
            assert held is not None
            return sorted(each.port for each in held.held)

        eventually(lambda: pool() == sorted([b.port, c.port]), "two spares")
        assert b.subscriptions == c.subscriptions == []
        a.stop()
        # With 20 s of delay, only a connection in hand can be this quick.
        eventually(lambda: connection.is_connected and not on(connection, a), "a spare in use")
        connection.send(QUEUE, "one", confirm=True)
        eventually(lambda: len(pool()) == 1, "one spare")
        second = b if on(connection, b) else c
        second.stop()
        eventually(lambda: connection.is_connected and not on(connection, second), "the last")
        connection.send(QUEUE, "two", confirm=True)
        eventually(lambda: pool() == [], "no spare")
        eventually(lambda: recorder.count("connected") == 2, "the events")
        assert [delay for _pass, delay in recorder.args("reconnecting")] == [0.0, 0.0]


def test_scenario_32_connecting_and_closing_leaves_no_connection_on_any_broker(brokers: list[Broker]) -> None:
    options = "backup=true&backupPoolSize=2"
    uri = failover(*(broker.uri for broker in brokers), options=options)
    for number in range(10):
        with nothing_left_behind():
            connection = Connection(uri).connect()
            if number % 2:
                life = connection._engine.life
                standing = life.standby if life is not None else None
                assert standing is not None
                eventually(lambda: len(standing.held) == 2, "two spares")  # noqa: B023
            connection.close()
    for broker in brokers:
        broker.wait_for(lambda: not broker.connections)  # noqa: B023


@pytest.mark.parametrize("flaps", ["refuses at once", "accepts and closes", "logs in and closes"])
def test_a_preferred_broker_that_flaps_does_not_cost_the_one_that_works(brokers: list[Broker], flaps: str) -> None:
    home, away, _ = brokers
    if flaps == "refuses at once":
        home.refuse_connections()
    elif flaps == "accepts and closes":
        home.accept_and_close(None)
    else:
        home.connected_then_close(None)
    recorder = Recorder()
    with Connection(failover(home.uri, away.uri, options=RETURN), timeout=20) as connection:
        connection.add_listener(recorder)
        eventually(lambda: on(connection, away), "the broker that works")
        lost = recorder.count("disconnected")
        visits, began = home.connection_count, time.monotonic()
        for number in range(300):
            connection.send(QUEUE, str(number), confirm=True)
            time.sleep(0.005)
        eventually(lambda: on(connection, away), "the broker that works")
        # One that logs in is believed, if it does not close at once; ever more rarely.
        assert recorder.count("disconnected") - lost <= (5 if flaps == "logs in and closes" else 0)
        # Rarer and rarer: the delay between two looks doubles, up to maxReconnectDelay.
        assert home.connection_count - visits < 5 + (time.monotonic() - began) / 0.1
        home.clear_faults()
        home.accept_connections()
        eventually(lambda: on(connection, home), "the return", 60)


def test_a_move_comes_under_a_steady_stream_of_send_async(brokers: list[Broker]) -> None:
    home, away, _ = brokers
    home.refuse_connections()
    stop, futures = threading.Event(), list[Future[Frame]]()
    with Connection(failover(home.uri, away.uri, options=RETURN), timeout=20) as connection:

        def stream() -> None:
            while not stop.is_set():
                futures.append(connection.send_async(QUEUE, str(len(futures))))

        producers = [in_thread(stream) for _ in range(2)]
        eventually(lambda: away.depth(QUEUE) > 100, "load away")
        home.accept_connections()
        eventually(lambda: on(connection, home), "the return", 30)
        goal = home.depth(QUEUE) + 100
        eventually(lambda: home.depth(QUEUE) > goal, "load at home")
        stop.set()
        for producer in producers:
            producer.value()
        assert {future.result(20).command for future in futures} == {"RECEIPT"}
    # Left in good order: nothing was in doubt, so nothing was sent twice.
    assert home.depth(QUEUE) + away.depth(QUEUE) == len(futures)


def test_the_pool_is_filled_while_away_from_the_preferred_broker(brokers: list[Broker]) -> None:
    home, away, third = brokers
    home.refuse_connections()
    options = f"{RETURN}&backup=true"
    with Connection(failover(home.uri, away.uri, third.uri, options=options)) as connection:
        eventually(lambda: on(connection, away), "the second broker")
        for _ in range(2):
            third.wait_for(lambda: third.connections, 20)
            # What died is replaced, though the preferred broker is looked for all the time.
            third.drop_connections()
        third.wait_for(lambda: third.connections, 20)
        assert on(connection, away)
        home.accept_connections()
        eventually(lambda: on(connection, home), "the return", 30)
