"""The second part of the contract, as far as it is about messages: JSON, replies, browsing."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from application_support import SOON, Keeper, connected, returns_within, still_works
from client_support import QUEUE, eventually, in_thread

from stomplistener import Connection, Message, ProtocolError, Transaction
from stomplistener.testing import Broker

pytestmark = pytest.mark.timeout(30)

VALUES: dict[str, Any] = {
    "a dict": {"a": [1, 2.5, None, True], "ü": "€"},
    "a list": [1, "two"],
    "a text": "text",
    "a number": 7,
    "null": None,
    "false": False,
    "empty": {},
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
@pytest.mark.parametrize("way", ["send", "confirmed", "send_async", "transaction", "reply", "message.reply"])
def test_json(way: str, value: Any, broker: Broker) -> None:
    with connected(broker.uri) as connection:
        keeper = Keeper()
        connection.subscribe(QUEUE, keeper.on_message, confirm=True)
        if way == "send":
            connection.send(QUEUE, json=value)
        elif way == "confirmed":
            connection.send(QUEUE, json=value, confirm=True)
        elif way == "send_async":
            connection.send_async(QUEUE, json=value).result(SOON)
        elif way == "transaction":
            with connection.transaction() as transaction:
                transaction.send(QUEUE, json=value)
        else:
            connection.send(QUEUE, "question", {"reply-to": QUEUE, "correlation-id": "7"})
            keeper.expect("question")
            (question,) = keeper.messages
            if way == "reply":
                connection.reply(question, json=value)
            else:
                question.reply(json=value)
        eventually(lambda: bool(keeper.messages) and keeper.texts[-1] != "question", "the message")
        message = keeper.messages[-1]
        assert message.json() == value
        assert message.headers["content-type"].startswith("application/json")
        assert json.loads(message.body) == value


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", {"a": object()}, float("nan")])
def test_what_is_no_json(value: Any, broker: Broker) -> None:
    with connected(broker.uri) as connection:
        error = in_thread(lambda: connection.send(QUEUE, json=value)).done().error
        assert isinstance(error, (TypeError, ValueError))
        assert "json" in str(error).lower()
        still_works(connection)
        assert broker.depth(QUEUE) == 0


def test_json_and_a_body(broker: Broker) -> None:
    with connected(broker.uri) as connection, pytest.raises((TypeError, ValueError), match="json"):
        connection.send(QUEUE, "body", json={})


def test_the_content_type_that_is_given_wins(broker: Broker) -> None:
    with connected(broker.uri) as connection:
        connection.send(QUEUE, json=[1], content_type="application/vnd.orders+json", confirm=True)
        connection.send(QUEUE, json=[1], headers={"content-type": "application/x"}, confirm=True)
    types = [message.headers["content-type"] for message in broker.messages(QUEUE)]
    assert types == ["application/vnd.orders+json", "application/x"]


@pytest.mark.parametrize("function", [Connection.send, Connection.send_async, Connection.subscribe, Transaction.send])
def test_options_are_given_by_keyword(function: Any) -> None:
    """All but the first ones, so that a new one may come anywhere."""
    free = [
        name
        for name, each in inspect.signature(function).parameters.items()
        if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and name not in ("self", "destination")
    ]
    assert free == (["listener"] if function is Connection.subscribe else ["body", "headers"])


# message.reply


def test_reply(broker: Broker) -> None:
    def answer(message: Message) -> None:
        message.reply(message.text.upper(), {"shade": "red"})

    with connected(broker.uri) as server, connected(broker.uri) as client:
        server.subscribe(QUEUE, answer, confirm=True)
        answers = [client.request(QUEUE, text, timeout=SOON) for text in ("a", "b")]
    assert [message.text for message in answers] == ["A", "B"]
    assert [message.headers["shade"] for message in answers] == ["red", "red"]


def test_reply_where_nobody_waits(broker: Broker) -> None:
    with connected(broker.uri) as connection:
        keeper = Keeper()
        connection.subscribe(QUEUE, keeper.on_message, confirm=True)
        connection.send(QUEUE, "no question")
        keeper.expect("no question")
        with pytest.raises(ValueError, match="reply-to"):
            keeper.messages[0].reply("x")


def test_a_message_of_no_connection_cannot_reply() -> None:
    from stomplistener.testing import message

    made = message("body", {"reply-to": "/queue/x"}, destination=QUEUE)
    assert isinstance(made, Message)
    assert made.text == "body"
    assert made.destination == QUEUE
    assert made.acked is False
    assert made.ack() is True
    assert made.acked is True
    assert made.nacked is False


# browse


def test_browse_names_the_broker_that_cannot(broker: Broker) -> None:
    """The embedded broker may learn to; until then the error says which broker cannot."""
    broker.publish(QUEUE, "x")
    with connected(broker.uri) as connection:

        def look() -> list[str]:
            return [message.text for message in connection.browse(QUEUE, idle=0.2, timeout=SOON)]

        texts, error = returns_within(SOON, look)
        assert texts == ["x"] or isinstance(error, ProtocolError), repr(error)
        still_works(connection)
    assert [message.text for message in broker.messages(QUEUE)] == ["x"], "nothing was taken"
    assert not broker.unacknowledged(QUEUE)
