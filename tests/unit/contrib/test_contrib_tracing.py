"""The trace of a web process goes on in what Django and Flask send."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import transaction
from django_support import outbox_of
from flask import Flask
from opentelemetry.sdk.trace import TracerProvider

from stomplistener import Connection
from stomplistener.contrib.django import publish, publish_on_commit
from stomplistener.contrib.django.conf import OutboxSettings
from stomplistener.contrib.django.outbox import enqueue
from stomplistener.contrib.django.relay import Relay
from stomplistener.contrib.flask import Stomp
from stomplistener.testing import Broker

QUEUE = "/queue/a"
_tracer = TracerProvider().get_tracer("test")

Send = Callable[[], None]


@pytest.fixture(autouse=True)
def _django(broker: Broker) -> Iterator[None]:
    with outbox_of(broker):
        yield


def by_commit() -> None:
    with transaction.atomic():
        publish_on_commit(QUEUE, "x")


def by_outbox(broker: Broker) -> Send:
    def send() -> None:
        enqueue(QUEUE, "x")

    return send


def by_flask(broker: Broker) -> Send:
    stomp, app = Stomp(), Flask("shop")
    app.config["STOMP_URL"] = broker.uri
    stomp.init_app(app)

    def send() -> None:
        with app.app_context():
            stomp.send(QUEUE, "x", confirm=True)
            stomp.close()

    return send


def header(broker: Broker) -> str | None:
    """The trace that the one message carries, whoever has to send it yet."""
    with Connection(broker.uri) as connection:
        Relay(connection, OutboxSettings()).publish_due()
    [message] = broker.messages(QUEUE)
    broker.clear(QUEUE)
    return message.headers.get("traceparent")


@pytest.mark.parametrize(
    "make", [lambda _: lambda: publish(QUEUE, "x"), lambda _: by_commit, by_outbox, by_flask],
    ids=["publish", "publish_on_commit", "enqueue", "flask"],
)  # fmt: skip
def test_a_send_carries_the_current_span_on_and_nothing_without_one(
    broker: Broker, make: Callable[[Broker], Send]
) -> None:
    send = make(broker)
    with _tracer.start_as_current_span("request") as span:
        send()
    trace_id = f"{span.get_span_context().trace_id:032x}"
    found = header(broker)
    assert found is not None
    assert found.split("-")[1] == trace_id
    send()
    assert header(broker) is None


def test_a_span_that_ended_before_the_commit_is_carried_on(broker: Broker) -> None:
    with transaction.atomic():
        with _tracer.start_as_current_span("request") as span:
            publish_on_commit(QUEUE, "x")
    found = header(broker)
    assert found is not None
    assert f"{span.get_span_context().trace_id:032x}" in found


def test_a_program_without_opentelemetry_does_not_import_it(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, *arguments: Any) -> Any:
        raise AssertionError(f"imports {name}")

    monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    monkeypatch.setattr("stomplistener.worker.tracing.Tracing", refuse)
    publish(QUEUE, "x")
    assert header(broker) is None
