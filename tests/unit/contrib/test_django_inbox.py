"""once=True: messages that come twice are handled once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import cast

import pytest
from django.db import IntegrityError, connections
from django.utils import timezone
from django_support import broker_uri, override_settings

from stomplistener import Message
from stomplistener.contrib.django import housekeeping, listening
from stomplistener.contrib.django.database import DatabaseCare
from stomplistener.contrib.django.inbox import DatabaseInbox, purge_inbox
from stomplistener.contrib.django.models import InboxMessage
from stomplistener.testing import Broker
from stomplistener.worker import Application, NoIdentity
from stomplistener.worker.inbox import Once
from store.models import Order

QUEUE = "/queue/a"


@pytest.fixture(autouse=True)
def _tables(broker: Broker) -> Iterator[None]:
    with broker_uri(broker.uri):
        yield
    InboxMessage.objects.all().delete()
    Order.objects.all().delete()


@pytest.fixture
def app(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Application:
    app = Application(broker.uri)
    care = DatabaseCare(app)
    app.around(care.around)
    app.on_stop(care.close)
    monkeypatch.setattr(listening, "app", app)
    return app


def acknowledged(broker: Broker, count: int) -> None:
    broker.wait_for(lambda: len(broker.frames(command="ACK")) == count, 15)


def book(message: Message) -> None:
    Order.objects.create(article=message.text)


def articles() -> list[str]:
    return [order.article for order in Order.objects.order_by("pk")]


@pytest.mark.parametrize(
    ("once", "header"), [(True, "outbox-id"), (True, "dop-msg-id"), (True, "cap-msg-id"), ("x-order", "x-order")]
)
def test_the_second_copy_is_acknowledged_and_not_handled(
    broker: Broker, app: Application, once: bool | str, header: str
) -> None:
    listening.listener(QUEUE, once=once)(book)
    with app.running():
        for identity, text in (("1", "a"), ("1", "a again"), ("2", "b")):
            broker.publish(QUEUE, text, {header: identity})
        acknowledged(broker, 3)
    assert articles() == ["a", "b"]
    assert not broker.frames(command="NACK")


def test_two_copies_at_the_same_moment(broker: Broker, app: Application) -> None:
    begun = threading.Barrier(2, timeout=10)
    calls: list[str] = []

    @contextmanager
    def together(_message: Message) -> Iterator[None]:
        begun.wait()
        yield

    app.around(together)

    @listening.listener(QUEUE, once=True, workers=2)
    def slow(message: Message) -> None:
        calls.append(message.text)
        book(message)

    with app.running():
        for _ in range(2):
            broker.publish(QUEUE, "x", {"outbox-id": "1"})
        acknowledged(broker, 2)
    assert calls == articles() == ["x"]


def test_a_handler_that_fails_takes_its_row_back(broker: Broker, app: Application) -> None:
    calls: list[int] = []

    @listening.listener(QUEUE, once=True, retries=1, retry_delay=0.01)
    def fails_first(message: Message) -> None:
        calls.append(1)
        book(message)
        if len(calls) == 1:
            raise ValueError("not yet")

    with app.running():
        broker.publish(QUEUE, "x", {"outbox-id": "1"})
        acknowledged(broker, 1)
    assert articles() == ["x"]
    assert len(calls) == 2


def test_an_error_of_integrity_in_the_handler_is_the_handlers(broker: Broker, app: Application) -> None:
    @listening.listener(QUEUE, once=True)
    def fail(_message: Message) -> None:
        raise IntegrityError("the handler's own")

    with app.running():
        broker.publish(QUEUE, "x", {"outbox-id": "1"})
        broker.wait_for(lambda: broker.frames(command="NACK"))
    assert not InboxMessage.objects.exists()


def test_each_handler_and_each_destination_has_its_own(broker: Broker, app: Application) -> None:
    for destination in (QUEUE, "/queue/b"):
        listening.listener(destination, once="number")(book)
    with app.running():
        for destination in (QUEUE, "/queue/b"):
            broker.publish(destination, destination, {"number": "1"})
        acknowledged(broker, 2)
    assert sorted(articles()) == ["/queue/a", "/queue/b"]
    [handler] = {row.handler for row in InboxMessage.objects.all()}
    assert handler == f"{__name__}.book"


def test_a_message_that_nothing_identifies_fails_with_the_reason(
    broker: Broker, app: Application, caplog: pytest.LogCaptureFixture
) -> None:
    listening.listener(QUEUE, once=True)(book)
    with app.running():
        broker.publish(QUEUE, "x")
        broker.wait_for(lambda: broker.frames(command="NACK"))
    assert articles() == []
    assert "no header outbox-id or dop-msg-id or cap-msg-id" in caplog.text


@pytest.mark.parametrize(
    ("server", "once", "expected"),
    [
        ("ActiveMQ/5.18.3", True, "message-id:ID:1"),
        ("ActiveMQ/5.18.3", "x-order", None),
        ("ActiveMQ-Artemis/2.30.0 ActiveMQ Artemis Messaging Engine", True, None),
        ("RabbitMQ/3.13.1", True, None),
        ("", True, None),
    ],
)
def test_message_ids_count_only_where_they_are_safe(server: str, once: bool | str, expected: str | None) -> None:
    inbox = Once(DatabaseInbox(QUEUE, None), "", once, lambda: server)
    given = message({"message-id": "ID:1"})
    if expected is None:
        with pytest.raises(NoIdentity), inbox.noted(given):
            pass
    else:
        with inbox.noted(given):
            pass
        assert InboxMessage.objects.get().message == expected


def test_a_long_identity_is_shortened_and_stays_its_own() -> None:
    inbox = Once(DatabaseInbox(QUEUE, None), "", "long", lambda: "")
    for end in "ab":
        with inbox.noted(message({"long": "x" * 300 + end})):
            pass
    assert InboxMessage.objects.count() == 2


def message(headers: dict[str, str]) -> Message:
    """What the inbox looks at of a message."""
    return cast(Message, SimpleNamespace(headers=headers, id=headers.get("message-id", "")))


def test_once_needs_its_transaction() -> None:
    with pytest.raises(ValueError, match="remove atomic=False"):
        listening.listener(QUEUE, once=True, atomic=False)


def test_old_rows_are_purged() -> None:
    for number in range(5):
        InboxMessage.objects.create(handler="h", destination=QUEUE, message=str(number))
    InboxMessage.objects.filter(message__in="012").update(handled=timezone.now() - timedelta(days=8))
    assert purge_inbox(7 * 24 * 3600, chunk=2) == 3
    assert InboxMessage.objects.count() == 2
    assert purge_inbox(0) == 2


def test_a_worker_purges_while_it_runs(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "_inboxes", {None})
    InboxMessage.objects.create(handler="h", destination=QUEUE, message="old", handled=timezone.now() - timedelta(9))
    care = listening.InboxCare()
    care.start()
    broker.wait_for(lambda: not InboxMessage.objects.exists(), 10)
    care.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "stomp-purge"]
    with override_settings(STOMPLISTENER={"URL": broker.uri, "INBOX": {"KEEP": None}}):
        care.start()
    assert not [thread for thread in threading.enumerate() if thread.name == "stomp-purge"]
    connections.close_all()
    assert housekeeping.PURGE_EVERY > 60
