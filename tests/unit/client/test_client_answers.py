"""The futures of ``send_async`` are what ``concurrent.futures`` and ``asyncio`` expect."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading

import pytest
from client_support import QUEUE, eventually, failover, in_thread

from stomplistener import BrokerError, Connection, ConnectionLost, Limits, Message, NotConnected, TimedOut
from stomplistener.testing import Broker


def test_they_can_be_waited_for_together(stomp_broker: Broker) -> None:
    with Connection(stomp_broker.uri) as connection:
        futures = [connection.send_async(QUEUE, str(n)) for n in range(50)]
        done, not_done = concurrent.futures.wait(futures, timeout=10)
        assert (len(done), len(not_done)) == (50, 0)
        again = [connection.send_async(QUEUE, str(n)) for n in range(50)]
        completed = [future.result().command for future in concurrent.futures.as_completed(again, timeout=10)]
        assert completed == ["RECEIPT"] * 50


def test_the_receipts_of_others_wake_nobody_for_good(stomp_broker: Broker) -> None:
    stomp_broker.withhold_receipts("SEND")
    with Connection(stomp_broker.uri) as connection:
        future = connection.send_async(QUEUE, "withheld")
        for _ in range(3):
            connection.transaction().begin().commit()
        with pytest.raises(TimeoutError):
            future.result(0.05)
        with pytest.raises(TimeoutError):
            future.exception(0.05)
        assert future.running()
        stomp_broker.release_receipts()
        assert future.exception(5) is None


def test_what_is_cancelled_is_waited_for_by_nobody(stomp_broker: Broker) -> None:
    stomp_broker.withhold_receipts("SEND")
    with Connection(stomp_broker.uri) as connection:
        future = connection.send_async(QUEUE, "cancelled")
        waiting = in_thread(future.result)
        assert future.cancel()
        assert future.cancelled()
        assert isinstance(waiting.done().error, concurrent.futures.CancelledError)
        assert connection.statistics().unconfirmed == 0
        assert concurrent.futures.wait([future], timeout=5).done == {future}
        stomp_broker.release_receipts()


def test_what_is_cancelled_while_cut_off_is_not_sent(stomp_broker: Broker) -> None:
    with Connection(failover(stomp_broker.uri)) as connection:
        stomp_broker.stop()
        eventually(lambda: not connection.is_connected, "the loss")
        future = connection.send_async(QUEUE, "taken back")
        kept = connection.send_async(QUEUE, "kept")
        assert future.cancel()
        stomp_broker.start()
        kept.result(10)
        assert not kept.cancel()
        assert [message.text for message in stomp_broker.messages(QUEUE)] == ["kept"]


def test_a_listener_waits_for_a_receipt_behind_a_full_hand_off(stomp_broker: Broker) -> None:
    done = threading.Event()
    with Connection(stomp_broker.uri, limits=Limits(max_pending_messages=2)) as connection:

        def confirm(message: Message) -> None:
            connection.send_async("/queue/other", message.body).result(20)
            if message.text == "199":
                done.set()

        for number in range(200):
            stomp_broker.publish(QUEUE, str(number))
        connection.subscribe(QUEUE, confirm)
        assert done.wait(30)


def test_callbacks_run_in_the_dispatcher(stomp_broker: Broker) -> None:
    stomp_broker.withhold_receipts("SEND")
    names: list[str] = []
    called = threading.Event()
    with Connection(stomp_broker.uri, name="stomp-callbacks") as connection:
        future = connection.send_async(QUEUE, "x")
        future.add_done_callback(lambda _: (names.append(threading.current_thread().name), called.set()))  # type: ignore[func-returns-value]
        stomp_broker.release_receipts()
        assert called.wait(5)
    assert names == ["stomp-callbacks"]


def test_asyncio_can_await_them(stomp_broker: Broker) -> None:
    async def main(connection: Connection) -> list[str]:
        futures = [asyncio.wrap_future(connection.send_async(QUEUE, str(n))) for n in range(20)]
        return [frame.command for frame in await asyncio.gather(*futures)]

    with Connection(stomp_broker.uri) as connection:
        assert asyncio.run(main(connection)) == ["RECEIPT"] * 20


def test_they_fail_when_the_connection_is_closed(stomp_broker: Broker) -> None:
    stomp_broker.withhold_receipts("SEND")
    connection = Connection(stomp_broker.uri).connect()
    future = connection.send_async(QUEUE, "x")
    connection.close()
    with pytest.raises(ConnectionLost):
        future.result(5)


def test_who_cannot_wait_is_told_when_to_ask(stomp_broker: Broker) -> None:
    told = threading.Semaphore(0)
    with Connection(stomp_broker.uri) as connection:
        consumer = connection.consume(QUEUE, notify=told.release)
        for text in ("one", "two"):
            stomp_broker.publish(QUEUE, text)
            message = None
            while message is None:
                assert told.acquire(timeout=10)
                message = consumer.receive(0)
            assert message.text == text
            assert message.ack(timeout=0)
        assert not consumer.has_ended
    assert told.acquire(timeout=10)
    assert consumer.receive(0) is None
    assert consumer.has_ended


def test_who_cannot_wait_waits_elsewhere_until_it_can_send(stomp_broker: Broker) -> None:
    stomp_broker.withhold_receipts("SEND")
    connection = Connection(failover(stomp_broker.uri), limits=Limits(max_unconfirmed_messages=1))
    with pytest.raises(NotConnected):
        connection.wait_ready()
    with connection:
        connection.wait_ready(0)
        first = connection.send_async(QUEUE, "one")
        with pytest.raises(TimedOut):
            connection.send_async(QUEUE, "two", timeout=0)
        waiting = in_thread(connection.wait_ready)
        assert waiting.is_alive()
        stomp_broker.release_receipts()
        waiting.value()
        first.result(10)
        stomp_broker.stop()
        eventually(lambda: not connection.is_connected, "the loss")
        waiting = in_thread(connection.wait_ready)
        with pytest.raises(TimedOut):
            connection.send(QUEUE, "two", timeout=0)
        stomp_broker.start()
        waiting.value()
        connection.send(QUEUE, "two", timeout=0)


def test_a_request_without_waiting(stomp_broker: Broker) -> None:
    with Connection(stomp_broker.uri, broker="activemq", name="asking") as connection:
        connection.subscribe("/queue/echo", lambda message: connection.reply(message, message.body.upper()))
        answered = connection.request_async("/queue/echo", "hello")
        ignored = connection.request_async("/queue/nobody", "hello")
        assert ignored.cancel()
        names: list[str] = []
        told = threading.Event()

        def note(_done: concurrent.futures.Future[Message]) -> None:
            names.append(threading.current_thread().name)
            told.set()

        answered.add_done_callback(note)
        assert answered.result(10).text == "HELLO"
        assert told.wait(10)
        assert names == ["asking"]
        lost = connection.request_async("/queue/nobody", "hello")
    assert isinstance(lost.exception(10), ConnectionLost)
    assert connection.statistics().pending == 0


def test_an_answer_to_an_asker_that_is_gone_costs_no_connection(broker: Broker) -> None:
    """As on ActiveMQ, which answers ERROR and keeps the connection; else the request would come again forever."""
    with Connection(failover(broker.uri), timeout=10) as answering:
        with Connection(broker.uri, timeout=10) as asking, answering.consume(QUEUE) as questions:
            asking.request_async(QUEUE, "?")
            question = questions.receive(5)
            assert question is not None
            asking.close()
            broker.wait_for(lambda: len(broker.connections) == 1)
            question.reply("too late")
            assert question.ack()
            broker.wait_for(lambda: not broker.unacknowledged(QUEUE))
            answering.send("/queue/other", "x", confirm=True)
        assert answering.statistics().reconnects == 0
        assert isinstance(answering.last_error, BrokerError)
