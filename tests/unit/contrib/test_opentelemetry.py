"""The instrumentor: spans and metrics of every send and every handled message, and nothing when it is off."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from client_support import eventually
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from django_support import outbox_of, override_settings
from flask import Flask
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from stomplistener import Connection, Message
from stomplistener.contrib.django import publish
from stomplistener.contrib.django.conf import OutboxSettings
from stomplistener.contrib.django.outbox import enqueue
from stomplistener.contrib.django.relay import Relay
from stomplistener.contrib.flask import Stomp
from stomplistener.contrib.opentelemetry import StomplistenerInstrumentor
from stomplistener.policy import TryAgain
from stomplistener.testing import Broker
from stomplistener.worker import Application


class Telemetry:
    """What was exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider(metric_readers=[self.reader])
        self._ended = threading.Condition()

    def spans(self, name: str | None = None) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if name in (None, span.name)]

    def span(self, name: str) -> ReadableSpan:
        [span] = self.spans(name)
        return span

    def expect(self, name: str) -> None:
        """Wait for the one span of this name."""
        eventually(lambda: len(self.spans(name)) == 1, name)

    def points(self, metric: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        assert data is not None
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for each in scope.metrics
            if each.name == metric
            for point in each.data.data_points
        ]


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    telemetry = Telemetry()
    instrumentor = StomplistenerInstrumentor()
    instrumentor.instrument(tracer_provider=telemetry.tracers, meter_provider=telemetry.meters)
    yield telemetry
    instrumentor.uninstrument()


def same_trace(*spans: ReadableSpan) -> bool:
    return len({span.context.trace_id for span in spans if span.context is not None}) == len(spans[:1])


def test_a_send_and_its_handling_are_one_trace(telemetry: Telemetry, broker: Broker) -> None:
    with Connection(broker.uri) as connection:
        connection.subscribe("/queue/a", lambda message: None, settle=True, confirm=True)
        connection.send("/queue/a", "four", {"correlation-id": "c"}, confirm=True)
        eventually(lambda: bool(telemetry.spans("process /queue/a")), "the spans")
    send, process = telemetry.span("send /queue/a"), telemetry.span("process /queue/a")
    assert same_trace(send, process)
    assert process.parent is not None
    assert send.context is not None
    assert process.parent.span_id == send.context.span_id
    assert send.kind is trace.SpanKind.PRODUCER
    assert process.kind is trace.SpanKind.CONSUMER
    for span, operation in ((send, "send"), (process, "process")):
        assert span.attributes is not None
        expected = {
            "messaging.system": "testing",
            "messaging.operation.name": operation,
            "messaging.operation.type": operation,
            "messaging.destination.name": "/queue/a",
            "messaging.message.body.size": 4,
            "server.address": "127.0.0.1",
            "server.port": broker.port,
        }
        assert expected.items() <= dict(span.attributes).items()
    assert process.attributes is not None
    assert process.attributes["messaging.message.conversation_id"] == "c"


def test_every_way_to_send_is_one_span(telemetry: Telemetry, broker: Broker) -> None:
    with Connection(broker.uri) as connection:
        connection.subscribe("/queue/ask", lambda message: message.reply("answer"), confirm=True)
        connection.send("/queue/plain", "x")
        connection.send_async("/queue/async", "x").result(10)
        with connection.transaction() as transaction:
            transaction.send("/queue/transaction", "x")
            connection.send("/queue/in", "x", transaction=transaction)
        assert connection.request("/queue/ask", "x").text == "answer"
        for name in ("plain", "async", "transaction", "in", "ask"):
            telemetry.expect(f"send /queue/{name}")
        eventually(lambda: sum(span.name.startswith("send ") for span in telemetry.spans()) == 6, "the spans")
    answer = next(
        span for span in telemetry.spans() if span.name.startswith("send ") and not span.name.startswith("send /queue/")
    )
    assert same_trace(answer, telemetry.span("send /queue/ask"), telemetry.span("process /queue/ask"))


def test_errors_are_named_with_their_module(telemetry: Telemetry, broker: Broker) -> None:
    class Broken(Exception):
        pass

    def listener(message: Message) -> None:
        raise Broken("no")

    with Connection(broker.uri) as connection:
        connection.subscribe("/queue/a", listener, settle=True, confirm=True, error_destination="/queue/dead")
        connection.send("/queue/a", "x")
        eventually(lambda: bool(telemetry.spans("process /queue/a")), "the spans")
        with pytest.raises(ValueError, match="priority"):
            connection.send("/queue/b", "x", priority=12)
    span = telemetry.span("process /queue/a")
    assert span.attributes is not None
    assert span.attributes["error.type"] == f"{__name__}.{Broken.__qualname__}"
    assert span.status.status_code is trace.StatusCode.ERROR
    failed = telemetry.span("send /queue/b")
    assert failed.attributes is not None
    assert failed.attributes["error.type"] == "ValueError"
    [point] = telemetry.points("messaging.process.duration")
    assert point.attributes["error.type"] == f"{__name__}.{Broken.__qualname__}"


def test_a_further_attempt_is_linked_and_no_error_if_asked_for(telemetry: Telemetry, broker: Broker) -> None:
    tries: list[Message] = []

    def listener(message: Message) -> None:
        tries.append(message)
        if len(tries) == 1:
            raise TryAgain("later", delay=0)

    with Connection(broker.uri) as connection:
        connection.subscribe("/queue/a", listener, settle=True, confirm=True)
        connection.send("/queue/a", "x")
        eventually(lambda: len(telemetry.spans("process /queue/a")) == 2, "the spans")
    first, second = telemetry.spans("process /queue/a")
    assert first.status.status_code is trace.StatusCode.UNSET
    assert not first.links
    assert [link.attributes for link in second.links] == [{"messaging.stomp.redelivered": True}]
    assert same_trace(first, second, telemetry.span("send /queue/a"))


def test_a_consumer_receives_with_a_link(telemetry: Telemetry, broker: Broker) -> None:
    with Connection(broker.uri) as connection, connection.consume("/queue/a") as consumer:
        assert consumer.receive(0) is None
        connection.send("/queue/a", "x")
        message = consumer.receive(10)
        assert message is not None
        message.ack()
    receive, send = telemetry.span("receive /queue/a"), telemetry.span("send /queue/a")
    assert receive.kind is trace.SpanKind.CLIENT
    assert [link.context.span_id for link in receive.links] == [send.context.span_id if send.context else 0]


def test_a_batch_is_a_span_with_its_size_and_links(telemetry: Telemetry, broker: Broker) -> None:
    with Connection(broker.uri) as connection:
        with connection.batch():
            connection.send("/queue/a", "1")
            with connection.batch():
                connection.send("/queue/b", "2")
                connection.send("/queue/b", "three")
            connection.send("/queue/b", "4")
        with connection.batch():
            pass
        connection.send("/queue/c", "alone")
    inner, outer = telemetry.span("batch /queue/b"), telemetry.span("batch")
    sizes = {span.name: span.attributes["messaging.batch.message_count"] for span in (inner, outer) if span.attributes}
    assert sizes == {"batch /queue/b": 2, "batch": 2}
    assert inner.kind is trace.SpanKind.CLIENT
    assert inner.attributes is not None
    assert inner.attributes["messaging.operation.type"] == "send"
    assert not any(name.startswith("messaging.message.") for name in inner.attributes)
    assert outer.attributes is not None
    assert "messaging.destination.name" not in outer.attributes
    sent = [span.context for span in telemetry.spans("send /queue/b")]
    assert [link.context for link in inner.links] == sent[:2]
    assert outer.links[-1].context == sent[2]
    for span in telemetry.spans():
        assert span.name.startswith("batch") or "messaging.batch.message_count" not in (span.attributes or {})


def test_metrics_count_and_have_no_ids(telemetry: Telemetry, broker: Broker) -> None:
    with Connection(broker.uri) as connection:
        connection.subscribe("/queue/a", lambda message: None, confirm=True)
        for _ in range(3):
            connection.send("/queue/a", "x", confirm=True)
        eventually(lambda: len(telemetry.spans("process /queue/a")) == 3, "the spans")
    [sent], [consumed] = (telemetry.points(f"messaging.client.{what}.messages") for what in ("sent", "consumed"))
    assert (sent.value, consumed.value) == (3, 3)
    [operation], [process] = (
        telemetry.points(f"messaging.{what}.duration") for what in ("client.operation", "process")
    )
    assert (operation.count, process.count) == (3, 3)
    assert operation.sum > 0
    for point in (sent, consumed, operation, process):
        assert not any(name.startswith("messaging.message.") for name in point.attributes)


def test_after_the_end_nothing_is_traced(broker: Broker) -> None:
    plain = Connection.send
    telemetry, instrumentor, heard = Telemetry(), StomplistenerInstrumentor(), threading.Semaphore(0)
    instrumentor.instrument(tracer_provider=telemetry.tracers, meter_provider=telemetry.meters)
    with Connection(broker.uri) as connection:
        connection.subscribe("/queue/a", lambda message: heard.release(), confirm=True)
        instrumentor.uninstrument()
        assert Connection.send is plain
        connection.send("/queue/a", "x")
        assert heard.acquire(timeout=10)
    assert telemetry.spans() == []


@contextmanager
def replying_worker(broker: Broker) -> Iterator[None]:
    """A worker that answers orders."""
    worker = Application()

    @worker.listener("/queue/orders")
    def book(message: Message) -> None:
        message.reply("booked")

    with worker.running({"default": broker.uri}, tracing=True):
        yield


def expect_one_trace(telemetry: Telemetry) -> None:
    """From the request over the worker's handler and its reply to the receiver of the reply."""
    eventually(lambda: bool(telemetry.spans("receive /queue/answers")), "the spans")
    request, process = telemetry.span("POST /orders"), telemetry.span("process /queue/orders")
    reply, receive = telemetry.span("send /queue/answers"), telemetry.span("receive /queue/answers")
    assert same_trace(request, process, reply)
    assert [link.context.trace_id for link in receive.links] == [request.context.trace_id if request.context else 0]


def test_a_web_request_in_flask_is_one_trace_to_the_reply(telemetry: Telemetry, broker: Broker) -> None:
    stomp, app = Stomp(), Flask("shop")
    app.config["STOMP_URL"] = broker.uri
    stomp.init_app(app)

    @app.post("/orders")
    def order() -> str:
        stomp.send("/queue/orders", "x", {"reply-to": "/queue/answers"}, confirm=True)
        return "placed"

    with replying_worker(broker), Connection(broker.uri) as connection:
        with connection.consume("/queue/answers", ack="auto") as answers:
            with telemetry.tracers.get_tracer("web").start_as_current_span("POST /orders"):
                assert app.test_client().post("/orders").text == "placed"
            assert answers.receive(10) is not None
        with app.app_context():
            stomp.close()
    expect_one_trace(telemetry)


def order_in_django(request: HttpRequest) -> HttpResponse:
    enqueue("/queue/orders", "x", {"reply-to": "/queue/answers"})
    return HttpResponse("placed")


urlpatterns = [path("orders", order_in_django)]


def test_a_web_request_in_django_is_one_trace_over_the_outbox_to_the_reply(
    telemetry: Telemetry, broker: Broker
) -> None:
    with outbox_of(broker), replying_worker(broker), Connection(broker.uri) as connection:
        with connection.consume("/queue/answers", ack="auto") as answers:
            with (
                override_settings(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["testserver"]),
                telemetry.tracers.get_tracer("web").start_as_current_span("POST /orders"),
            ):
                assert Client().post("/orders").content == b"placed"
            Relay(connection, OutboxSettings()).publish_due()
            assert answers.receive(10) is not None
    expect_one_trace(telemetry)


def test_the_outbox_of_django_carries_the_trace_to_the_worker(telemetry: Telemetry, broker: Broker) -> None:
    with outbox_of(broker), Connection(broker.uri) as connection:
        connection.subscribe("/queue/orders", lambda message: None, settle=True, confirm=True)
        with telemetry.tracers.get_tracer("web").start_as_current_span("POST /orders"):
            enqueue("/queue/orders", "x")
            publish("/queue/orders", "y")
        Relay(connection, OutboxSettings()).publish_due()
        eventually(lambda: len(telemetry.spans("process /queue/orders")) == 2, "the spans")
    assert same_trace(telemetry.span("POST /orders"), *telemetry.spans("process /queue/orders"))
