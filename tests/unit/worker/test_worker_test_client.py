"""The test client: one attempt at a message, without a broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from stomplistener import Backoff, Message
from stomplistener.testing import message
from stomplistener.worker import Application, TryAgain

QUEUE = "/queue/orders"


class Broken(Exception):
    pass


class BrokenForGood(Broken):
    pass


def test_what_a_handler_sends_and_that_it_was_acknowledged() -> None:
    app = Application()
    app.add_connection("billing")

    @app.listener(QUEUE)
    def book(order: Message) -> str:
        app.send("/queue/a", order.json()["id"], {"x": "y"}, confirm=True)
        app.connection("billing").send("/queue/b", json={"a": 1})
        return "booked"

    outcome = app.test_client().deliver(QUEUE, {"id": "7"}, headers={"reply-to": "/queue/r", "correlation-id": "c"})
    assert (outcome.name, outcome.error) == ("acked", None)
    first, second, reply = outcome.sent
    assert (first.destination, first.text, first.headers["x"]) == ("/queue/a", "7", "y")
    assert (second.destination, second.json(), second.connection) == ("/queue/b", {"a": 1}, "billing")
    assert (reply.destination, reply.text, reply.headers["correlation-id"]) == ("/queue/r", "booked", "c")
    assert app.connections == {}


@pytest.mark.parametrize("body", ["text", b"text", bytearray(b"text")])
def test_bodies_are_text_bytes_or_json(body: str | bytes) -> None:
    app, seen = Application(), list[bytes]()
    app.listener(QUEUE)(lambda given: seen.append(given.body))
    assert app.test_client().deliver(QUEUE, body).name == "acked"
    assert app.test_client().deliver(QUEUE, {"a": 1}, headers={"x": "y"}).name == "acked"
    assert seen == [b"text", b'{"a": 1}']
    assert message({"a": 1}, headers={"x": "y"}).json() == {"a": 1}
    assert message(body).body == b"text"


@pytest.mark.parametrize(
    ("options", "error", "attempts", "name"),
    [
        ({}, Broken, 0, "rejected"),
        ({"error_destination": "/queue/f"}, Broken, 0, "forwarded"),
        ({"retries": 2}, Broken, 0, "retried"),
        ({"retries": 2}, Broken, 1, "retried"),
        ({"retries": 2}, Broken, 2, "rejected"),
        ({"retries": 2, "retry_delay": Backoff(1)}, Broken, 0, "retried"),
        ({}, lambda: TryAgain("later"), 0, "retried"),
        ({"error_destination": "/queue/f"}, lambda: TryAgain("later", 5), 9, "retried"),
        ({"retries": 2, "dead_letter_on": Broken}, BrokenForGood, 0, "rejected"),
        ({"retries": 2, "dead_letter_on": (KeyError, Broken), "error_destination": "/q"}, Broken, 0, "forwarded"),
        ({"retries": 2, "dead_letter_on": BrokenForGood}, Broken, 0, "retried"),
        ({"retries": 2, "retry_on": Broken}, BrokenForGood, 0, "retried"),
        ({"retries": 2, "retry_on": [BrokenForGood]}, Broken, 0, "rejected"),
        ({"retries": 2, "retry_on": Broken, "dead_letter_on": BrokenForGood}, BrokenForGood, 0, "rejected"),
    ],
)
def test_one_delivery_is_one_attempt(options: dict, error: type[Exception], attempts: int, name: str) -> None:  # type: ignore[type-arg]
    app, calls = Application(), list[str]()

    @app.listener(QUEUE, **options)
    def fail(_message: Message) -> None:
        calls.append("call")
        raise error()

    outcome = app.test_client().deliver(QUEUE, "x", attempts=attempts)
    assert outcome.name == name
    assert len(calls) == 1
    assert type(outcome.error) is type(error())
    if name == "forwarded":
        [dead] = outcome.sent
        assert (dead.destination, dead.text) == (options["error_destination"], "x")
        assert dead.headers["original-destination"] == QUEUE
        assert dead.headers["error"].startswith(type(error()).__name__)


def test_what_goes_around_runs() -> None:
    app, steps = Application(), list[str]()

    @app.around
    @contextmanager
    def around(given: Message) -> Iterator[None]:
        steps.append(f"in {given.text}")
        yield
        steps.append("out")

    app.listener(QUEUE)(lambda given: steps.append("handler"))
    app.test_client().deliver(QUEUE, "x")
    assert steps == ["in x", "handler", "out"]


def test_an_unknown_destination_raises_and_names_it() -> None:
    app = Application()
    app.listener(QUEUE)(lambda given: None)
    with pytest.raises(LookupError, match="'/queue/other'; there are handlers of /queue/orders"):
        app.test_client().deliver("/queue/other", "x")


def test_a_handler_may_settle_by_itself() -> None:
    app = Application()

    @app.listener(QUEUE, settle=False)
    def settle(given: Message) -> None:
        if given.text == "bad":
            given.nack()
        else:
            given.ack()

    assert app.test_client().deliver(QUEUE, "good").name == "acked"
    assert app.test_client().deliver(QUEUE, "bad").name == "rejected"


def test_batches_and_transactions() -> None:
    app = Application()

    @app.listener(QUEUE)
    def book(given: Message) -> None:
        connection = app.connection()
        with connection.batch():
            connection.send("/queue/a", "1")
        connection.send_async("/queue/a", "2").result(1)
        with connection.transaction() as transaction:
            transaction.send("/queue/a", "3")
        with connection.transaction() as transaction:
            transaction.send("/queue/a", "never")
            raise Broken

    outcome = app.test_client().deliver(QUEUE, "x")
    assert [each.text for each in outcome.sent] == ["1", "2", "3"]
    assert outcome.name == "rejected"


def test_what_a_broker_would_refuse_is_refused() -> None:
    app = Application()

    @app.listener(QUEUE)
    def book(given: Message) -> None:
        app.send("/queue/a", "x", {"n": 7})  # type: ignore[dict-item]

    outcome = app.test_client().deliver(QUEUE, "x")
    assert isinstance(outcome.error, TypeError)


def test_the_test_client_needs_no_broker_to_know_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STOMP_URL", raising=False)
    app = Application()
    app.listener(QUEUE)(lambda given: list(app.connection().browse("/queue/a")))
    outcome = app.test_client().deliver(QUEUE, "x")
    assert isinstance(outcome.error, AttributeError)
    assert "the test client has no broker" in str(outcome.error)
