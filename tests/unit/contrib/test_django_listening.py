"""Handlers of apps: discovery, transactions, and the care for database connections."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django_support import broker_uri, override_settings

from stomplistener import Backoff, Message
from stomplistener.contrib.django import listening
from stomplistener.contrib.django.database import MOST_LOSSES, DatabaseCare
from stomplistener.testing import Broker
from stomplistener.worker import Application, Handler
from store.models import Order

QUEUE = "/queue/a"


@pytest.fixture
def app(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Application]:
    """An application of the test's own, cared for like that of a project."""
    app = Application(broker.uri)
    care = DatabaseCare(app)
    app.around(care.around)
    app.on_stop(care.close)
    monkeypatch.setattr(listening, "app", app)
    yield app
    Order.objects.all().delete()


@contextmanager
def handled(app: Application, handler: Handler, atomic: bool = True) -> Iterator[None]:
    listening.listener(QUEUE, atomic=atomic)(handler)
    with app.running():
        yield


def test_the_listeners_of_installed_apps_are_found(broker: Broker) -> None:
    with broker_uri(broker.uri):
        app = listening.load()
    assert "/queue/orders" in [each.destination for each in app.declarations]
    with pytest.raises(ValueError, match="no database 'archive' in DATABASES, which has default"):
        listening.listener(QUEUE, using="archive")


@pytest.mark.parametrize(
    ("atomic", "setting", "inside"), [(None, True, True), (None, False, False), (True, False, True)]
)
def test_a_transaction_is_the_handlers_choice_or_the_settings(
    broker: Broker, app: Application, atomic: bool | None, setting: bool, inside: bool
) -> None:
    seen: list[bool] = []
    listening.listener(QUEUE, atomic=atomic)(lambda _message: seen.append(connection.in_atomic_block))
    with override_settings(STOMPLISTENER={"URL": broker.uri, "ATOMIC": setting}), app.running():
        broker.publish(QUEUE, "x")
        broker.wait_for(lambda: broker.frames(command="ACK"))
    assert seen == [inside]


def test_a_handler_that_fails_leaves_nothing_in_the_database(broker: Broker, app: Application) -> None:
    def fail(_message: Message) -> None:
        Order.objects.create(article="half")
        raise ValueError("no")

    with handled(app, fail):
        broker.publish(QUEUE, "x")
        broker.wait_for(lambda: broker.messages("/queue/DLQ"))
    assert not Order.objects.exists()


def test_the_transaction_is_committed_before_the_message_is_acknowledged(broker: Broker, app: Application) -> None:
    acknowledged: list[int] = []

    def work(message: Message) -> None:
        Order.objects.create(article=message.text)
        transaction.on_commit(lambda: acknowledged.append(len(broker.frames(command="ACK"))))

    with handled(app, work):
        broker.publish(QUEUE, "x")
        broker.wait_for(lambda: broker.frames(command="ACK"))
    assert acknowledged == [0]
    assert Order.objects.get().article == "x"


def lose_connection() -> None:
    """As if the server had closed it: the use fails, and it is found broken. SQLite's rollback would succeed."""
    connection.ensure_connection()
    connection.is_usable = lambda: False
    connection.errors_occurred = True
    raise OperationalError("server closed the connection unexpectedly")


def test_a_lost_database_connection_costs_no_message(broker: Broker, app: Application) -> None:
    seen: list[int] = []

    def lost_once(message: Message) -> None:
        seen.append(message.postponed)
        if not message.postponed:
            lose_connection()
        del connection.is_usable
        Order.objects.create(article=message.text)

    with handled(app, lost_once, atomic=False):
        broker.publish(QUEUE, "x")
        broker.wait_for(lambda: broker.frames(command="ACK"), 10)
    assert seen == [0, 1]
    assert not broker.frames(command="NACK")
    assert Order.objects.get().article == "x"


def test_a_message_that_always_loses_the_connection_is_rejected_at_last(broker: Broker, app: Application) -> None:
    seen: list[int] = []

    def deadly(message: Message) -> None:
        seen.append(message.postponed)
        lose_connection()

    with handled(app, deadly, atomic=False):
        broker.publish(QUEUE, "x")
        broker.wait_for(lambda: broker.frames(command="NACK"), 10)
    assert seen[: MOST_LOSSES + 1] == list(range(MOST_LOSSES + 1))


def test_the_end_comes_while_a_handler_waits_for_the_database(
    broker: Broker, app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = threading.Event()

    def away(_connection: object) -> bool:
        waits.set()
        return False

    def lose(_message: Message) -> None:
        lose_connection()

    monkeypatch.setattr("stomplistener.contrib.django.database._answers", away)
    with handled(app, lose, atomic=False):
        broker.publish(QUEUE, "kept")
        assert waits.wait(10)
    broker.wait_for(lambda: [message.text for message in broker.messages(QUEUE)] == ["kept"])
    assert not broker.frames(command="NACK")


def test_a_worker_that_ends_does_not_try_again_in_circles(
    broker: Broker, app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stomplistener.contrib.django.database._answers", lambda _connection: False)
    tries: list[int] = []

    def work(message: Message) -> None:
        if message.text == "kept":
            tries.append(message.postponed)
            lose_connection()
        Order.objects.exists()

    with handled(app, work, atomic=False):
        # A worker knows of its end a while before its connection does.
        assert app._running is not None
        app._running.ending.set()
        broker.publish(QUEUE, "kept")
        for _ in range(50):
            broker.publish(QUEUE, "other")
        broker.wait_for(lambda: len(broker.frames(command="ACK")) == 50)
    assert tries == [0]
    assert not broker.frames(command="NACK")


def test_connections_are_closed_when_the_worker_ends(broker: Broker, app: Application) -> None:
    opened: list[Any] = []

    def work(_message: Message) -> None:
        Order.objects.exists()
        opened.append(connection._connections[connection._alias])

    with handled(app, work):
        broker.publish(QUEUE, "x")
        broker.wait_for(lambda: broker.frames(command="ACK"))
    assert [each.connection for each in opened] == [None]


def test_retries_wait_as_told_and_what_is_not_worth_one_goes_to_the_dead_letters(
    broker: Broker, app: Application
) -> None:
    calls: list[tuple[str, float]] = []

    @listening.listener(
        QUEUE,
        retries=2,
        retry_delay=Backoff(0.05, factor=4.0, jitter=0.0),
        dead_letter_on=LookupError,
        error_destination="/queue/failed",
    )
    def fail(message: Message) -> None:
        calls.append((message.text, time.monotonic()))
        raise KeyError("hopeless") if message.text == "hopeless" else OSError("away")

    with app.running():
        broker.publish(QUEUE, "hopeless")
        broker.wait_for(lambda: len(broker.messages("/queue/failed")) == 1)
        broker.publish(QUEUE, "away")
        broker.wait_for(lambda: len(broker.messages("/queue/failed")) == 2)
    assert [text for text, _ in calls] == ["hopeless", "away", "away", "away"]
    pauses = [after - before for (_, before), (_, after) in itertools.pairwise(calls[1:])]
    assert pauses[0] >= 0.05 * 0.95
    assert pauses[1] >= 0.2 * 0.95
