"""Subscriptions and consumers: before, between and after connections."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from contextlib import suppress

import pytest
from client_support import (
    QUEUE,
    Collector,
    Recorder,
    ScriptedServer,
    Thread,
    commands,
    eventually,
    failover,
    in_thread,
    reconnected,
)

from stomplistener import (
    BrokerError,
    Connection,
    ConnectionLost,
    Frame,
    Message,
    NotConnected,
    Subscription,
    SubscriptionState,
    TimedOut,
)
from stomplistener._engine import connection_cycle
from stomplistener._engine.log import flush
from stomplistener.protocol import Decoder, SubscriptionEntry, encode
from stomplistener.testing import Broker

OTHER = "/queue/other"


def test_declared_before_connecting_and_sent_on_connecting(broker: Broker) -> None:
    collector = Collector()
    connection = Connection(broker.uri)
    subscription = connection.subscribe(QUEUE, collector, id="mine", headers={"extra": "x"})
    assert subscription.state is SubscriptionState.PENDING
    assert broker.connection_count == 0
    with connection:
        # connect() returns when the subscriptions are there.
        assert subscription.wait_active(0) is subscription
        (frame,) = broker.frames(command="SUBSCRIBE")
        assert (frame.headers["id"], frame.headers["extra"]) == ("mine", "x")
        broker.publish(QUEUE, "x")
        eventually(lambda: collector.texts == ["x"], "the message")
    assert subscription.has_ended


def test_an_id_is_taken_once(connection: Connection) -> None:
    connection.subscribe(QUEUE, print, id="mine")
    with pytest.raises(ValueError, match="mine"):
        connection.subscribe(OTHER, print, id="mine")


def test_two_threads_subscribe_at_the_same_time(
    broker: Broker, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One looks through the subscriptions while that of the other is registered and not yet complete."""
    complete = Subscription.bind
    others: list[Thread] = []

    def bind(subscription: Subscription, entry: SubscriptionEntry) -> None:
        if not others:
            others.append(in_thread(lambda: connection.subscribe(QUEUE, Collector())))
            others[0].join(0.3)
        complete(subscription, entry)

    monkeypatch.setattr(Subscription, "bind", bind)
    connection.subscribe(QUEUE, Collector(), confirm=True)
    others[0].value()
    broker.wait_for(lambda: len(broker.subscriptions) == 2)


def test_a_prefetch_of_none_at_all_is_refused_before_the_broker_ends_the_connection(connection: Connection) -> None:
    with pytest.raises(ValueError, match="prefetch"):
        connection.subscribe(QUEUE, print, prefetch=0)
    with pytest.raises(ValueError, match="prefetch"):
        connection.consume(QUEUE, prefetch=0)


def test_a_rejected_one_is_reported_and_the_others_are_replayed(broker: Broker) -> None:
    connection, recorder, own = Connection(failover(broker.uri)), Recorder(), Recorder()
    connection.add_listener(recorder)
    first = connection.subscribe("/queue/1", own)
    others = [connection.subscribe(f"/queue/{n}", Collector()) for n in (2, 3)]
    broker.error_next("SUBSCRIBE", "not for you")
    with pytest.raises(BrokerError, match="not for you"):
        connection.connect()
    with connection:
        assert first.state is SubscriptionState.REJECTED
        assert all(each.state is SubscriptionState.ACTIVE for each in others)
        with pytest.raises(BrokerError, match="not for you"):
            first.wait_active(1)
        eventually(lambda: own.count("error") == recorder.count("error") == 1, "the report")
        assert [s.destination for s in broker.subscriptions] == ["/queue/2", "/queue/3"]
        first.unsubscribe()


def test_unsubscribe_loses_no_auto_message_that_is_on_its_way(broker: Broker, connection: Connection) -> None:
    collector = Collector(block=True)
    subscription = connection.subscribe(QUEUE, collector, confirm=True)
    for number in range(100):
        broker.publish(QUEUE, str(number))
    assert collector.begun.wait(5)
    with suppress(TimedOut):
        # Its listener does not end in time.
        subscription.unsubscribe(confirm=True, timeout=0.3)
    for number in range(100, 110):
        broker.publish(QUEUE, str(number))
    collector.release.set()
    eventually(lambda: len(collector.texts) + len(broker.messages(QUEUE)) == 110, "all that came, or stayed")
    left = [m.text for m in broker.messages(QUEUE)]
    assert collector.texts + left == [str(number) for number in range(110)]


@pytest.mark.parametrize("workers", [1, 3])
def test_unsubscribe_gives_back_what_was_not_begun(broker: Broker, connection: Connection, workers: int) -> None:
    collector = Collector(block=True, ack=True)
    subscription = connection.subscribe(QUEUE, collector, ack="client-individual", workers=workers, confirm=True)
    for number in range(20):
        broker.publish(QUEUE, str(number))
    assert collector.begun.wait(5)
    eventually(lambda: connection.statistics().messages_received == 20, "all messages")
    # Its listener does not end in time: the subscription ends all the same.
    with suppress(TimedOut):
        subscription.unsubscribe(confirm=True, timeout=0.2)
    broker.wait_for(lambda: len(broker.messages(QUEUE)) == 20)
    collector.release.set()
    eventually(lambda: connection.statistics().pending == 0, "the end of the listeners")
    assert len(collector.texts) <= workers
    connection.send(OTHER, "goes on", confirm=True)


def test_a_durable_unsubscribe_without_an_answer_is_in_doubt(broker: Broker) -> None:
    with Connection(failover(broker.uri), headers={"client-id": "me"}, timeout=10) as connection:
        headers = {"durable-subscription-name": "news"}
        subscription = connection.subscribe(
            "/topic/news", Collector(), durable="news", headers=headers, id="news", confirm=True
        )
        broker.drop_before("UNSUBSCRIBE")
        with pytest.raises(ConnectionLost) as lost:
            subscription.unsubscribe(confirm=True, headers=headers)
        assert lost.value.outcome_unknown
        reconnected(connection)
        assert broker.frames(connection=2, command="UNSUBSCRIBE") == []


def test_the_end_of_a_durable_consumer_leaves_its_subscription_at_the_broker(broker: Broker) -> None:
    with Connection(failover(broker.uri), headers={"client-id": "me"}, timeout=10) as connection:
        with connection.consume("/topic/news", durable="news", selector="kind = 'a'") as consumer:
            consumer.subscription.wait_active()
        connection.flush()
        broker.wait_for(lambda: not broker.subscriptions, what="the end of the subscription")
        for kind in ("a", "b"):
            broker.publish("/topic/news", f"meanwhile {kind}", {"kind": kind})
        with connection.consume("/topic/news", durable="news", selector="kind = 'a'") as consumer:
            message = consumer.receive(5)
            assert message is not None
            assert message.text == "meanwhile a"
            assert message.ack()
            assert consumer.receive(0.1) is None
            consumer.subscription.unsubscribe(confirm=True)
        broker.publish("/topic/news", "deleted")
        with connection.consume("/topic/news", durable="news", selector="kind = 'a'") as consumer:
            assert consumer.receive(0.1) is None


def test_a_confirmed_consumer_misses_nothing_of_a_topic(broker: Broker, connection: Connection) -> None:
    broker.answer_late(0.3, "SUBSCRIBE")
    with connection.consume("/topic/news", confirm=True) as consumer:
        assert consumer.subscription.state is SubscriptionState.ACTIVE
        broker.publish("/topic/news", "at once")
        message = consumer.receive(5)
        assert message is not None
        assert message.text == "at once"


def test_a_consumer_that_is_refused_or_not_confirmed_leaves_nothing(broker: Broker, connection: Connection) -> None:
    broker.error_next("SUBSCRIBE", close=False)
    with pytest.raises(BrokerError):
        connection.consume(QUEUE, confirm=True)
    broker.withhold_receipts("SUBSCRIBE")
    with pytest.raises(TimedOut):
        connection.consume(QUEUE, confirm=True, timeout=0.1)
    with pytest.raises(ValueError, match="timeout"):
        connection.consume(QUEUE, confirm=True, timeout=-1)
    broker.wait_for(lambda: not broker.subscriptions, what="the end of the subscriptions")
    assert not connection.session.subscriptions


def test_a_durable_consumer_ends_without_doubt_while_cut_off(broker: Broker) -> None:
    with Connection(failover(broker.uri), headers={"client-id": "me"}, timeout=10) as connection:
        consumer = connection.consume("/topic/news", durable="news")
        consumer.subscription.wait_active()
        broker.stop()
        eventually(lambda: not connection.is_connected, "the loss")
        consumer.close()


def test_a_plain_unsubscribe_is_done_by_the_loss(broker: Broker, connection: Connection) -> None:
    subscription = connection.subscribe(QUEUE, Collector(), confirm=True)
    broker.drop_before("UNSUBSCRIBE")
    subscription.unsubscribe(confirm=True)
    subscription.unsubscribe(confirm=True)
    reconnected(connection)
    assert commands(broker.frames(connection=2)) == ["CONNECT"]


def test_waiting_for_a_receipt_that_does_not_come(broker: Broker, connection: Connection) -> None:
    broker.withhold_receipts("SUBSCRIBE")
    with pytest.raises(TimedOut):
        connection.subscribe(QUEUE, Collector(), confirm=True, timeout=0.1)
    pending = connection.subscribe(OTHER, Collector())
    waiting = in_thread(pending.wait_active)
    connection.close()
    waiting.done()
    assert isinstance(waiting.error, NotConnected)


def test_order_within_a_subscription(broker: Broker, connection: Connection) -> None:
    collectors = [Collector(ack=True), Collector(ack=True)]
    for number, collector in enumerate(collectors):
        connection.subscribe(f"/queue/{number}", collector, ack="client", confirm=True)
    for body in range(500):
        for number in range(2):
            broker.publish(f"/queue/{number}", str(body))
    for collector in collectors:
        eventually(lambda: len(collector.texts) == 500, "all messages")  # noqa: B023
        assert collector.texts == [str(number) for number in range(500)]


# Consumers


def test_receive_and_its_timeout(broker: Broker, connection: Connection) -> None:
    with connection.consume(QUEUE) as consumer:
        begin = time.monotonic()
        assert consumer.receive(0.1) is None
        assert 0.09 <= time.monotonic() - begin < 3
        assert consumer.receive(0) is None
        broker.publish(QUEUE, "x")
        message = consumer.receive(5)
        assert message is not None
        assert message.text == "x"
        assert message.ack()
    assert consumer.subscription.state is SubscriptionState.ENDED
    assert consumer.receive(0) is None


def test_iterating_and_closing_gives_the_rest_back(broker: Broker, connection: Connection) -> None:
    for number in range(10):
        broker.publish(QUEUE, str(number))
    with connection.consume(QUEUE) as consumer:
        for message in consumer:
            assert message.ack()
            if message.text == "3":
                break
    connection.flush()
    broker.wait_for(lambda: broker.frames(command="UNSUBSCRIBE"))
    assert [m.text for m in broker.messages(QUEUE)] == ["4", "5", "6", "7", "8", "9"]


def test_several_threads_share_the_messages_and_closing_wakes_them(broker: Broker, connection: Connection) -> None:
    lock, got = threading.Lock(), Counter[str]()
    consumer = connection.consume(QUEUE)

    def take() -> None:
        for message in consumer:
            with lock:
                got[message.text] += 1
            message.ack()

    takers = [in_thread(take) for _ in range(4)]
    for number in range(200):
        broker.publish(QUEUE, str(number))
    broker.wait_for(lambda: not broker.messages(QUEUE) and not broker.unacknowledged(QUEUE))
    assert got == Counter(map(str, range(200)))
    consumer.close()
    for taker in takers:
        taker.value()


def test_the_end_of_the_connection_wakes_consumers_made_at_once(broker: Broker, connection: Connection) -> None:
    start = threading.Barrier(20)

    def take() -> list[Message]:
        start.wait(10)
        return list(connection.consume(QUEUE))

    takers = [in_thread(take) for _ in range(20)]
    broker.wait_for(lambda: len(broker.subscriptions) == 20)
    connection.disconnect()
    for taker in takers:
        assert taker.value() == []


def test_a_consumer_goes_on_after_a_loss_with_fresh_messages(broker: Broker, connection: Connection) -> None:
    for number in range(5):
        broker.publish(QUEUE, str(number))
    with connection.consume(QUEUE) as consumer:
        first = consumer.receive(5)
        assert first is not None
        eventually(lambda: connection.statistics().messages_received == 5, "all messages")
        broker.drop_connections()
        reconnected(connection)
        assert first.ack() is False
        texts: list[str] = []
        while (message := consumer.receive(1 if len(texts) == 5 else 5)) is not None:
            assert message.ack()
            texts.append(message.text)
        assert texts == ["0", "1", "2", "3", "4"]


def test_a_refused_consumer_raises_instead_of_waiting_for_ever(broker: Broker, connection: Connection) -> None:
    broker.error_next("SUBSCRIBE", "not for you")
    taking = in_thread(lambda: connection.consume(QUEUE).receive(None))
    taking.done()
    assert isinstance(taking.error, BrokerError)


def test_auto_messages_of_a_consumer_survive_the_loss(broker: Broker, connection: Connection) -> None:
    with connection.consume(QUEUE, ack="auto") as consumer:
        for number in range(3):
            broker.publish(QUEUE, str(number))
        eventually(lambda: connection.statistics().messages_received == 3, "all messages")
        broker.drop_connections()
        reconnected(connection)
        assert [m.text for m in (consumer.receive(5) for _ in range(3)) if m] == ["0", "1", "2"]


def test_an_error_that_names_no_frame_is_quoted_by_the_time_out_and_blamed_on_nobody(
    broker: Broker, connection: Connection
) -> None:
    recorder = Recorder()
    connection.add_listener(recorder)
    other = Collector()
    connection.subscribe(OTHER, other, confirm=True)
    broker.error_next("SUBSCRIBE", "not for you", with_receipt_id=False, close=False)
    with pytest.raises(TimedOut, match=r"no receipt .*; meanwhile .* answered ERROR: not for you .*did not say"):
        connection.subscribe(QUEUE, confirm=True, timeout=0.5)
    broker.error_next("SEND", "nor for me", with_receipt_id=False, close=False)
    with pytest.raises(TimedOut, match=r"sent no receipt.*; meanwhile .* answered ERROR: nor for me .*did not say"):
        connection.send(QUEUE, "a", confirm=True, timeout=0.5)
    eventually(lambda: recorder.count("error") == 2, "both heard")
    broker.go_silent()
    with pytest.raises(TimedOut) as caught:
        connection.send(QUEUE, "b", confirm=True, timeout=0.1)
    assert "meanwhile" not in str(caught.value), "an older ERROR has nothing to do with it"
    broker.speak()
    connection.send(OTHER, "c", confirm=True)
    eventually(lambda: other.texts == ["c"], "the other goes on")
    assert connection.statistics().reconnects == 0


def test_an_error_of_an_older_connection_is_not_quoted() -> None:
    def silent_at_the_replay(connected: socket.socket, number: int) -> None:
        decoder = Decoder()
        while data := connected.recv(65536):
            for frame in decoder.feed(data):
                if frame.command == "CONNECT":
                    connected.sendall(encode(Frame("CONNECTED", {"version": "1.2"})))
                elif frame.command == "SEND":
                    connected.sendall(encode(Frame("ERROR", {"message": "long ago"}), "1.2"))
                    return
                elif number == 1 and "receipt" in frame.headers:
                    connected.sendall(encode(Frame("RECEIPT", {"receipt-id": frame.headers["receipt"]}), "1.2"))

    with ScriptedServer(silent_at_the_replay) as server:
        connection = Connection(failover(server.uri), timeout=10).connect()
        subscription = connection.subscribe(QUEUE, confirm=True)
        connection.send(QUEUE, "a")
        eventually(lambda: subscription.state is SubscriptionState.REPLAYING, "the replay")
        with pytest.raises(TimedOut) as caught:
            subscription.wait_active(0.2)
        connection.close()
    assert "long ago" not in str(caught.value)


def test_a_broker_that_never_confirms_a_subscription_can_be_connected_to_again_and_again(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Spring's simple broker."""
    monkeypatch.setattr(connection_cycle, "REPLAY_SILENCE_SECONDS", 0.1)
    broker.withhold_receipts("SUBSCRIBE")
    collector = Collector(ack=True)
    with Connection(failover(broker.uri), timeout=20) as connection:
        subscription = connection.subscribe(QUEUE, collector, ack="client-individual")
        for number in range(3):
            broker.drop_connections()
            reconnected(connection, number + 1)
            broker.publish(QUEUE, str(number))
            eventually(lambda: len(collector.texts) == number + 1, "the message")  # noqa: B023
            assert subscription.state is SubscriptionState.ACTIVE
    assert collector.answers == [True] * 3
    flush(5.0)
    assert f"sends no receipt for SUBSCRIBE to {QUEUE}; the subscriptions count as active" in caplog.text


@pytest.mark.parametrize("end", ["stop", "disconnect", "close"])
def test_a_subscription_for_the_next_life_survives_the_end_of_this_one(end: str, broker: Broker) -> None:
    """The thread that waits for the end may go on before the ending thread has cleaned up."""
    for _ in range(10):
        connection = Connection(broker.uri).connect()
        connection.subscribe("/queue/old", print)
        ending = threading.Timer(0.01, getattr(connection, end))
        ending.start()
        assert connection.wait(10)
        got = threading.Event()
        connection.subscribe(QUEUE, lambda _message, got=got: got.set())
        ending.join()
        connection.connect()
        broker.publish(QUEUE, "x")
        assert got.wait(10)
        connection.disconnect()
        broker.clear()


def test_a_consumer_of_a_closed_connection_does_not_wait(broker: Broker) -> None:
    connection = Connection(broker.uri).connect()
    connection.disconnect()
    consumer = connection.consume(QUEUE)
    assert list(consumer) == []
    connection.connect()
    broker.publish(QUEUE, "x")
    assert consumer.receive(10) is not None
    connection.disconnect()
