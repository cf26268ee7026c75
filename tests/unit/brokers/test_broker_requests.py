"""Request and reply on the embedded broker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from stomplistener import Connection, ConnectionLost, Message, NotConnected, TimedOut
from stomplistener.testing import Broker

ASK = "/queue/ask"


@pytest.fixture
def server(broker: Broker) -> Iterator[Connection]:
    """A connection that answers with the request in capitals; "never" is not answered."""
    with Connection(f"failover:({broker.uri})?initialReconnectDelay=5&maxReconnectDelay=20") as connection:

        def answer(message: Message) -> None:
            if message.text != "never":
                connection.reply(message, message.text.upper())

        connection.subscribe(ASK, answer, confirm=True)
        yield connection


def client(broker: Broker) -> Connection:
    return Connection(f"failover:({broker.uri})?initialReconnectDelay=5&maxReconnectDelay=20", timeout=5.0)


def test_an_answer_comes_back(broker: Broker, server: Connection) -> None:
    with client(broker) as connection:
        assert connection.request(ASK, "hello").text == "HELLO"


def test_many_threads_share_one_subscription_and_get_their_own_answers(broker: Broker, server: Connection) -> None:
    with client(broker) as connection, ThreadPoolExecutor(16) as pool:
        texts = [f"request {number}" for number in range(200)]
        answers = list(pool.map(lambda text: connection.request(ASK, text).text, texts))
        assert answers == [text.upper() for text in texts]
        assert len([each for each in broker.subscriptions if "temp" in each.destination]) == 1


def test_no_answer_is_a_timeout_and_a_late_one_is_dropped(broker: Broker, server: Connection) -> None:
    with client(broker) as connection:
        with pytest.raises(
            TimedOut, match=r"request to /queue/ask timed out after 0\.05 s: it was sent, but no answer came"
        ):
            connection.request(ASK, "never", timeout=0.05)
        assert connection.request(ASK, "again").text == "AGAIN"


def test_a_listener_may_wait_for_an_answer_while_it_holds_up_the_dispatcher(broker: Broker, server: Connection) -> None:
    with client(broker) as connection:
        got: list[str] = []
        done = threading.Event()

        def on_message(message: Message) -> None:
            got.append(connection.request(ASK, message.text).text)
            done.set()

        connection.subscribe("/queue/work", on_message, confirm=True)
        connection.send("/queue/work", "inside")
        assert done.wait(5.0)
        assert got == ["INSIDE"]


def test_a_loss_ends_what_waits_and_the_next_request_works(broker: Broker, server: Connection) -> None:
    with client(broker) as connection, ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(connection.request, ASK, "never") for _ in range(3)]
        broker.wait_for(lambda: len([f for f in broker.frames(command="SEND") if f.body == b"never"]) == 3)
        broker.drop_connections()
        for future in waiting:
            with pytest.raises(ConnectionLost, match="the queue for the answer were lost"):
                future.result(5.0)
        broker.wait_for(lambda: server.is_connected and any(each.destination == ASK for each in broker.subscriptions))
        assert connection.request(ASK, "next").text == "NEXT"
        assert len([each for each in broker.subscriptions if "temp" in each.destination]) == 1


def test_closing_ends_what_waits(broker: Broker, server: Connection) -> None:
    connection = client(broker).connect()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(connection.request, ASK, "never")
        broker.wait_for(lambda: any(frame.body == b"never" for frame in broker.frames(command="SEND")))
        connection.close()
        with pytest.raises((ConnectionLost, NotConnected)):
            waiting.result(5.0)
    with pytest.raises(NotConnected):
        connection.request(ASK, "after")


def test_an_id_of_the_application_is_used(broker: Broker, server: Connection) -> None:
    with client(broker) as connection:
        assert connection.request(ASK, "x", headers={"correlation-id": "mine"}).headers["correlation-id"] == "mine"


def test_a_message_that_asks_for_nothing_cannot_be_answered(broker: Broker) -> None:
    with client(broker) as connection:
        with connection.consume("/queue/plain") as messages:
            connection.send("/queue/plain", "x")
            message = messages.receive(5.0)
            assert message is not None
            with pytest.raises(ValueError, match="reply-to"):
                connection.reply(message, "?")
