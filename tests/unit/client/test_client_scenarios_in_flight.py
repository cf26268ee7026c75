"""The scenarios of failover that speak of what was under way when the connection was lost."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest
from client_support import (
    QUEUE,
    Collector,
    Recorder,
    Refuser,
    Relay,
    commands,
    eventually,
    failover,
    in_thread,
    own_threads,
    reconnected,
)

from stomplistener import (
    BrokerError,
    Connection,
    ConnectionLost,
    ConnectionState,
    Limits,
    Message,
    SubscriptionState,
    TransactionState,
)
from stomplistener.options import AckMode
from stomplistener.testing import Broker, FaultProxy

OTHER = "/queue/other"


def cut_off(broker: Broker, connection: Connection) -> None:
    """Take the broker away, and wait until that was noticed."""
    broker.stop()
    eventually(lambda: connection.state is ConnectionState.SUSPENDED, "the loss")


def test_scenario_15_calls_during_an_outage_return_at_once(broker: Broker, connection: Connection) -> None:
    held: list[Message] = []
    subscription = connection.subscribe(QUEUE, held.append, ack="client-individual", confirm=True)
    for body in "abc":
        broker.publish(QUEUE, body)
    eventually(lambda: len(held) == 3, "the messages")
    transaction = connection.transaction().begin()
    broker.wait_for(lambda: broker.frames(command="BEGIN"))
    cut_off(broker, connection)
    begin = time.monotonic()
    assert held[0].ack() is False
    assert held[1].nack() is False
    with pytest.raises(ConnectionLost):
        transaction.ack(held[2])
    subscription.unsubscribe()
    assert subscription.state is SubscriptionState.ENDED
    connection.subscribe(OTHER, print).unsubscribe(confirm=True)
    transaction.abort()
    connection.disconnect()
    assert time.monotonic() - begin < 2
    assert connection.state is ConnectionState.CLOSED
    broker.start()
    assert commands(broker.frames(connection=1)) == ["CONNECT", "SUBSCRIBE", "BEGIN"]
    assert broker.connection_count == 1


def test_scenario_17_a_stored_send_whose_receipt_is_lost_completes(broker: Broker, connection: Connection) -> None:
    broker.drop_after("SEND", n=2)
    connection.send(QUEUE, "once more", {"note": "same"}, confirm=True)
    sends = broker.frames(command="SEND")
    # Once for each connection, and no oftener.
    assert [len(broker.frames(connection=number, command="SEND")) for number in (1, 2, 3)] == [1, 1, 1]
    assert {(frame.body, frame.headers["note"]) for frame in sends} == {(b"once more", "same")}
    assert len({frame.headers["receipt"] for frame in sends}) == 3
    assert [m.text for m in broker.messages(QUEUE)] == ["once more"] * 3


@pytest.mark.parametrize("committed", [True, False])
def test_scenario_18_a_commit_without_an_answer_is_in_doubt(
    broker: Broker, connection: Connection, committed: bool
) -> None:
    (broker.drop_after if committed else broker.drop_before)("COMMIT")
    transaction = connection.transaction().begin()
    transaction.send(QUEUE, "in doubt")
    with pytest.raises(ConnectionLost, match="in doubt") as lost:
        transaction.commit()
    assert lost.value.outcome_unknown
    assert transaction.outcome_unknown
    assert transaction.state is TransactionState.IN_DOUBT
    reconnected(connection)
    with connection.transaction() as another:
        another.send(QUEUE, "certain")
    assert commands(broker.frames(connection=2)) == ["CONNECT", "BEGIN", "SEND", "COMMIT"]
    assert [m.text for m in broker.messages(QUEUE)] == (["in doubt"] if committed else []) + ["certain"]


def test_scenario_19_an_open_transaction_is_lost_whole(broker: Broker, connection: Connection) -> None:
    collector = Collector()
    connection.subscribe(QUEUE, collector, ack="client-individual", confirm=True)
    broker.publish(QUEUE, "acked in it")
    eventually(lambda: collector.texts == ["acked in it"], "the message")
    transaction = connection.transaction().begin()
    transaction.send(OTHER, "half")
    assert transaction.ack(collector.messages[0])
    connection.flush()
    broker.wait_for(lambda: broker.frames(command="ACK"))
    broker.drop_connections()
    reconnected(connection)
    with pytest.raises(ConnectionLost) as lost:
        transaction.send(OTHER, "other half")
    assert not lost.value.outcome_unknown
    with pytest.raises(ConnectionLost) as lost:
        transaction.commit()
    assert not lost.value.outcome_unknown
    transaction.abort()
    eventually(lambda: collector.texts == ["acked in it"] * 2, "the message again")
    assert collector.messages[1].redelivered
    assert broker.messages(OTHER) == []
    assert commands(broker.frames(connection=2)) == ["CONNECT", "SUBSCRIBE"]


@pytest.mark.parametrize("ack", ["client", "client-individual"])
def test_scenario_20_the_old_acknowledgement_is_not_sent_and_the_new_one_is(
    broker: Broker, connection: Connection, ack: AckMode
) -> None:
    recorder, collector = Recorder(), Collector(block=True, ack=True)
    connection.add_listener(recorder)
    connection.subscribe(QUEUE, collector, ack=ack, confirm=True)
    for body in ("m0", "m1"):
        broker.publish(QUEUE, body)
    assert collector.begun.wait(5)
    broker.drop_connections()
    reconnected(connection)
    collector.release.set()
    eventually(lambda: len(collector.answers) == 3, "the redelivery")
    assert collector.texts == ["m0", "m0", "m1"]
    assert collector.answers == [False, True, True]
    assert [m.redelivered for m in collector.messages[:2]] == [False, True]
    broker.wait_for(lambda: not broker.unacknowledged(QUEUE))
    assert broker.messages(QUEUE) == []
    assert recorder.count("error") == 0
    assert commands(broker.frames(connection=1)).count("ACK") == 0


@pytest.mark.parametrize("ack", ["auto", "client", "client-individual"])
def test_scenario_21_unread_messages_at_a_loss(broker: Broker, connection: Connection, ack: AckMode) -> None:
    collector = Collector(block=True, ack=ack != "auto")
    connection.subscribe(QUEUE, collector, ack=ack, confirm=True)
    broker.publish(QUEUE, "begun")
    assert collector.begun.wait(5)
    for number in range(10):
        broker.publish(QUEUE, str(number))
    eventually(lambda: connection.statistics().messages_received == 11, "ten in the hand-off")
    broker.drop_connections()
    reconnected(connection)
    collector.release.set()
    again = [] if ack == "auto" else ["begun"]
    expected = ["begun", *again, *map(str, range(10))]
    eventually(lambda: len(collector.texts) >= len(expected), "all messages")
    broker.wait_for(lambda: not broker.unacknowledged(QUEUE))
    # In their order, none twice but the one that a listener had in hand.
    assert collector.texts == expected
    assert connection.statistics().pending == 0


def test_scenario_22_two_consumers_get_everything_again_shared_out(broker: Broker, connection: Connection) -> None:
    one, two = Collector(block=True, ack=True), Collector(block=True, ack=True)
    for collector, workers in ((one, 1), (two, 2)):
        connection.subscribe(
            QUEUE, collector, ack="client-individual", workers=workers, headers={"prefetch": "20"}, confirm=True
        )
    for number in range(40):
        broker.publish(QUEUE, str(number))
    assert one.begun.wait(5)
    assert two.begun.wait(5)
    eventually(lambda: connection.statistics().messages_received == 40, "all messages unread or in hand")
    broker.restart()
    reconnected(connection)
    one.release.set()
    two.release.set()
    broker.wait_for(lambda: not broker.unacknowledged(QUEUE) and not broker.messages(QUEUE), 10)
    eventually(lambda: sum(one.answers) + sum(two.answers) >= 40, "the end of the listeners")
    done = Counter(text for text, answer in one.settled + two.settled if answer)
    assert done == Counter(map(str, range(40)))
    assert min(sum(one.answers), sum(two.answers)) > 0


def test_scenario_23_a_refused_subscription_is_not_replayed(broker: Broker, connection: Connection) -> None:
    collector, recorder = Collector(), Recorder()
    connection.add_listener(recorder)
    connection.subscribe(QUEUE, collector, confirm=True)
    broker.error_next("SUBSCRIBE", "not for you")
    own = Recorder()
    with pytest.raises(BrokerError, match="not for you"):
        connection.subscribe(OTHER, own, confirm=True)
    reconnected(connection)
    assert [f.headers["destination"] for f in broker.frames(connection=2, command="SUBSCRIBE")] == [QUEUE]
    again = Collector()
    connection.subscribe(OTHER, again, confirm=True)
    connection.send(OTHER, "now allowed")
    eventually(lambda: again.texts == ["now allowed"], "the subscription")
    assert recorder.count("error") == own.count("error") == 1


def test_scenario_23_a_refusal_that_names_no_receipt_is_found_by_elimination() -> None:
    recorder = Recorder()
    with Refuser(lambda frame: frame.headers.get("destination") == OTHER) as refuser:
        with Connection(failover(refuser.uri), timeout=10) as connection:
            connection.add_listener(recorder)
            good = [connection.subscribe(f"/queue/{n}", Collector(), confirm=True) for n in range(2)]
            with pytest.raises(BrokerError, match="not for you"):
                connection.subscribe(OTHER, Collector(), confirm=True)
            eventually(lambda: refuser.connections == 3 and connection.is_connected, "the connection without it")
            assert connection.session.subscriptions == tuple(s.id for s in good)
            said = [f.headers.get("destination") for f in refuser.received[3] if f.command == "SUBSCRIBE"]
            assert said == ["/queue/0", "/queue/1"]
            connection.send(QUEUE, "goes on", confirm=True)


def test_scenario_24_a_subscribe_without_its_receipt_is_served_by_the_replay(
    broker: Broker, connection: Connection
) -> None:
    broker.drop_before("SUBSCRIBE", n=1)
    subscription = connection.subscribe(QUEUE, Collector(), confirm=True, headers={"receipt": "mine"})
    assert subscription.state is SubscriptionState.ACTIVE
    assert commands(broker.frames(connection=2)) == ["CONNECT", "SUBSCRIBE"]
    first, second = broker.frames(command="SUBSCRIBE")
    assert first.headers["receipt"] == "mine"
    assert second.headers["receipt"] != "mine"
    broker.drop_after("SUBSCRIBE", connection=2)
    other = connection.subscribe(OTHER, Collector(), confirm=True)
    assert other.state is SubscriptionState.ACTIVE
    assert commands(broker.frames(connection=3)) == ["CONNECT", "SUBSCRIBE", "SUBSCRIBE"]


def test_scenario_25_a_replay_that_breaks_off_loses_no_subscription(broker: Broker, connection: Connection) -> None:
    headers = [{"selector": f"n = {number}", "extra": f"x{number}"} for number in range(5)]
    subscriptions = [
        connection.subscribe(
            f"/queue/{number}", Collector(), id=f"s{number}", ack="client", headers=headers[number], confirm=True
        )
        for number in range(5)
    ]

    def said(number: int) -> list[dict[str, str]]:
        frames = broker.frames(connection=number, command="SUBSCRIBE")
        return [{name: value for name, value in f.headers.items() if name != "receipt"} for f in frames]

    first = said(1)
    cut_off(broker, connection)
    subscriptions[2].unsubscribe()
    broker.drop_after("SUBSCRIBE", connection=2)
    broker.start()
    reconnected(connection)
    assert 1 <= len(said(2)) <= 4
    assert said(3) == [each for each in first if each["id"] != "s2"]
    assert commands(broker.frames(connection=3)) == ["CONNECT"] + ["SUBSCRIBE"] * 4
    assert [s.id for s in broker.subscriptions] == ["s0", "s1", "s3", "s4"]
    assert all(s.state is SubscriptionState.ACTIVE for s in subscriptions if s.id != "s2")


def test_what_is_subscribed_just_before_a_connection_opens_is_written_on_it(
    broker: Broker, connection: Connection
) -> None:
    connection.subscribe(QUEUE, Collector(), confirm=True)
    cycle, others = connection._engine.cycle, iter([OTHER, "/queue/third"])
    open_ = cycle._open

    def late(is_wanted: Callable[[], bool]) -> bool:
        # Each time that the receiver is about to open the connection, until there is no more to subscribe to.
        for destination in itertools.islice(others, 1):
            in_thread(partial(connection.subscribe, destination, Collector())).value()
        return open_(is_wanted)

    cycle._open = late  # type: ignore[method-assign]
    broker.drop_connections()
    reconnected(connection)
    written = [frame.headers["destination"] for frame in broker.frames(connection=2, command="SUBSCRIBE")]
    assert written == [QUEUE, OTHER, "/queue/third"]
    assert commands(broker.frames(connection=2)) == ["CONNECT"] + ["SUBSCRIBE"] * 3


def test_scenario_26_what_is_owed_goes_out_in_order_before_what_waited(broker: Broker, connection: Connection) -> None:
    connection.subscribe(OTHER, Collector(), confirm=True)
    broker.withhold_receipts("SEND", connection=1)
    body = bytearray(b"0")
    futures = []
    for number in range(3):
        body[:] = str(number).encode()
        futures.append(connection.send_async(QUEUE, body, {"number": str(number)}))
    body[:] = b"changed"
    broker.wait_for(lambda: len(broker.frames(command="SEND")) == 3)
    cut_off(broker, connection)
    waiting = in_thread(lambda: connection.send(QUEUE, "new"))
    eventually(waiting.is_alive, "the sender")
    broker.start()
    waiting.value()
    connection.flush()
    for future in futures:
        assert future.result(5).command == "RECEIPT"
    broker.wait_for(lambda: len(broker.frames(connection=2, command="SEND")) == 4)
    assert commands(broker.frames(connection=2)) == ["CONNECT", "SUBSCRIBE", "SEND", "SEND", "SEND", "SEND"]
    assert [f.body for f in broker.frames(connection=2, command="SEND")] == [b"0", b"1", b"2", b"new"]
    owed = broker.frames(connection=2, command="SEND")[:3]
    assert [f.headers["number"] for f in owed] == ["0", "1", "2"]


def test_scenario_27_ten_workers_and_nine_losses(broker: Broker) -> None:
    stop = threading.Event()
    connections, recorders, seen = [], [], set[str]()
    sent: list[str] = []

    def work(connection: Connection, name: str) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            connection.send(QUEUE, f"{name}-{number}", confirm=True)
            sent.append(f"{name}-{number}")

    def take(message: Message) -> None:
        if message.ack():
            seen.add(message.text)

    for _ in range(10):
        connection = Connection(failover(broker.uri), timeout=20)
        recorder = Recorder()
        connection.add_listener(recorder)
        connection.subscribe(QUEUE, take, ack="client-individual")
        connection.connect()
        connections.append(connection)
        recorders.append(recorder)
    workers = [in_thread(partial(work, c, f"w{n}")) for n, c in enumerate(connections)]
    for loss in range(1, 10):
        goal = len(sent) + 20
        eventually(lambda: len(sent) >= goal, "traffic")  # noqa: B023
        # Each connection is ready, so that every loss is one for each of them.
        for connection in connections:
            reconnected(connection, loss - 1)
        assert broker.drop_connections() == 10
    for connection in connections:
        reconnected(connection, 9)
    stop.set()
    for worker in workers:
        worker.value()
    eventually(lambda: set(sent) <= seen, "all messages")
    for connection, recorder in zip(connections, recorders, strict=True):
        eventually(lambda: recorder.count("connected") == 10, "the events")  # noqa: B023
        connection.disconnect()
        assert recorder.count("disconnected") in (9, 10)
        assert recorder.count("error") == recorder.count("listener_error") == 0
        order = [name for name in recorder.names if name in ("connected", "disconnected")]
        assert (
            order == ["connected", "disconnected"] * (len(order) // 2)
            or order[:-1] == ["connected", "disconnected"] * 9
        )


def test_scenario_28_many_notice_one_loss() -> None:
    with Broker(heartbeat=(0.1, 0.1)) as broker, FaultProxy(broker.uri) as proxy:
        done = threading.Event()

        class Busy(Recorder):
            def on_disconnected(self) -> None:
                super().on_disconnected()
                if self.count("disconnected") == 1:
                    client.send(OTHER, "from the hook", timeout=10)
                    client.subscribe(OTHER, Collector(), confirm=True, timeout=10)
                    done.set()

        recorder = Busy()
        client = Connection(failover(proxy.uri), heartbeat=(0.1, 0.1), timeout=20)
        client.add_listener(recorder)
        with client:
            client.subscribe(QUEUE, Collector(), confirm=True)

            def call(number: int) -> None:
                if number % 4 == 0:
                    client.subscribe(f"/queue/{number}", Collector(), confirm=True).unsubscribe(confirm=True)
                elif number % 4 == 1:
                    client.send(QUEUE, b"x" * 10_000, confirm=True)
                elif number % 4 == 2:
                    client.send(QUEUE, b"x" * 10_000)
                else:
                    client.send_async(QUEUE, b"x").result(20)

            # The reader gets nothing, writers come to block, the heart-beater misses the beat; then it is cut, too.
            proxy.blackhole()
            callers = [in_thread(partial(call, n)) for n in range(200)]
            eventually(lambda: recorder.count("heartbeat_timeout") == 1, "the missing heart-beat")
            proxy.reset()
            proxy.heal()
            for caller in callers:
                caller.value(30)
            assert done.wait(10)
            eventually(lambda: recorder.count("connected") == 2, "the events")
            assert recorder.count("disconnected") == 1
            assert recorder.count("heartbeat_timeout") == 1
            assert client.statistics().reconnects == 1


def test_scenario_29_a_blocked_writer_is_freed_by_the_missing_heart_beat() -> None:
    with Broker(heartbeat=(0.2, 0.2)) as broker:
        connection = Connection(failover(broker.uri + "?connectionTimeout=300"), heartbeat=(0.2, 0.2), timeout=30)
        recorder = Recorder()
        connection.add_listener(recorder)
        with connection:
            broker.go_silent()
            body = b"x" * 1_000_000
            futures = [connection.send_async(QUEUE, body + str(n).encode()) for n in range(3)]
            senders = [
                in_thread(partial(connection.send, QUEUE, body + str(n).encode(), confirm=True)) for n in range(3, 8)
            ]
            eventually(lambda: recorder.count("heartbeat_timeout") >= 1, "the lapse")
            broker.speak()
            for sender in senders:
                sender.value(30)
            for future in futures:
                assert future.result(30).command == "RECEIPT"
            arrived = {m.body[len(body) :] for m in broker.messages(QUEUE)}
            assert arrived == {str(n).encode() for n in range(8)}


def test_scenario_33_an_open_request_is_lost_with_its_temporary_queue(broker: Broker, connection: Connection) -> None:
    def serve(message: Message) -> None:
        # The first request may come only after the loss: an answer to its queue, which is gone, would be an ERROR.
        if message.body == b"next":
            connection.reply(message, b"answer to next")

    connection.subscribe(QUEUE, serve, confirm=True)
    asking = in_thread(lambda: connection.request(QUEUE, b"lost", timeout=20))
    broker.wait_for(lambda: [f for f in broker.frames(command="SEND") if "reply-to" in f.headers])
    begin = time.monotonic()
    broker.drop_connections()
    asking.done()
    assert isinstance(asking.error, ConnectionLost)
    assert time.monotonic() - begin < 10
    reconnected(connection)
    assert connection.request(QUEUE, b"next", timeout=10).body == b"answer to next"


def test_scenario_34_refusals_of_a_client_id_are_retried_until_it_lapses() -> None:
    with Broker(heartbeat=(0.3, 0.3)) as broker, Relay(broker.port) as relay:
        recorder = Recorder()
        connection = Connection(failover(relay.uri), heartbeat=(0.3, 0.3), headers={"client-id": "only-one"})
        connection.add_listener(recorder)
        with connection:
            relay.hang_up()
            eventually(lambda: recorder.count("error") >= 1, "a refusal")
            assert "client-id" in recorder.args("error")[0][0].headers["message"]
            assert connection.state is ConnectionState.SUSPENDED
            reconnected(connection)
            connection.send(QUEUE, "back", confirm=True)
        relay.let_go()


def test_a_window_of_one_holds_through_an_outage(broker: Broker) -> None:
    with Connection(failover(broker.uri), limits=Limits(max_unconfirmed_messages=1), timeout=10) as connection:
        cut_off(broker, connection)
        broker.withhold_receipts("SEND")
        senders = [in_thread(partial(connection.send, QUEUE, str(n), confirm=True)) for n in range(5)]
        eventually(lambda: len(own_threads("test-")) == 5, "five senders")
        broker.start()
        reconnected(connection)
        broker.wait_for(lambda: broker.frames(connection=2, command="SEND"))
        assert connection.statistics().unconfirmed == 1
        broker.release_receipts()
        for sender in senders:
            sender.value()
        assert len(broker.messages(QUEUE)) == 5
