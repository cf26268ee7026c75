"""What others see of a worker: Prometheus, OpenTelemetry."""

from __future__ import annotations

import re
import sys
import threading
import urllib.request

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from worker_process import eventually

from stomplistener import Message
from stomplistener.cli.top import read
from stomplistener.testing import Broker
from stomplistener.transport import MissingExtra
from stomplistener.worker import Application, RunOptions, execute
from stomplistener.worker.handling import Tasks
from stomplistener.worker.metrics import OUTCOMES, Metrics
from stomplistener.worker.tracing import Tracing

pytestmark = pytest.mark.timeout(30)

HANDLED = "stomplistener_handled_total"

_exporter = InMemorySpanExporter()


@pytest.fixture(scope="module", autouse=True)
def _provider() -> None:
    # Of one process only the first provider counts.
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(_exporter))
    trace.set_tracer_provider(provider)


def test_a_trace_goes_on_through_messages(broker: Broker) -> None:
    _exporter.clear()
    app = Application(broker.uri)

    @app.listener("/queue/a")
    def forward(message: Message) -> None:
        app.send("/queue/b", message.body + b"!", {"x": "y"}, confirm=True)

    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with app.running(tracing=True):
        broker.publish("/queue/a", "hello", {"traceparent": parent, "correlation-id": "c"})
        [sent] = broker.wait_for(lambda: broker.messages("/queue/b"))
        broker.wait_for(lambda: broker.frames(command="ACK"))
    send, process = _exporter.get_finished_spans()
    assert (process.name, send.name) == ("process /queue/a", "send /queue/b")
    assert (process.kind, send.kind) == (trace.SpanKind.CONSUMER, trace.SpanKind.PRODUCER)
    assert process.parent is not None
    assert process.context is not None
    assert f"{process.parent.span_id:x}" == "b7ad6b7169203331"
    assert send.parent == process.context
    assert send.context is not None
    assert sent.headers["traceparent"] == f"00-0af7651916cd43dd8448eb211c80319c-{send.context.span_id:016x}-01"
    assert sent.headers["x"] == "y"
    attributes = dict(process.attributes or {})
    assert attributes.pop("messaging.message.id")
    assert attributes == {
        "messaging.system": "stomp",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "/queue/a",
        "messaging.message.body.size": 5,
        "messaging.message.conversation_id": "c",
    }


def test_a_handler_that_fails_makes_its_span_an_error(broker: Broker) -> None:
    _exporter.clear()
    app = Application(broker.uri)

    @app.listener("/queue/a")
    def fail(_message: Message) -> None:
        raise KeyError("missing")

    with app.running(tracing=True):
        broker.publish("/queue/a", "x", {})
        broker.wait_for(lambda: broker.messages("/queue/DLQ"))
    span = _exporter.get_finished_spans()[0]
    assert span.status.status_code is trace.StatusCode.ERROR
    assert dict(span.attributes or {})["error.type"] == "KeyError"


def test_prometheus_finds_counts_of_connections_and_handlers(broker: Broker) -> None:
    app = Application(broker.uri)
    page: list[str] = []
    ports: list[int] = []
    tasks = Tasks()
    metrics = Metrics(lambda: app.connections, tasks)

    @app.listener("/queue/a")
    def handle(message: Message) -> None:
        if message.text == "bad":
            raise ValueError(message.text)

    with metrics.served("127.0.0.1", 0) as port, app.open({}, tasks) as running:
        ports.append(port)
        for connection in running.connections.values():
            connection.connect()
        for text in ("good", "good", "bad"):
            broker.publish("/queue/a", text)
        broker.wait_for(lambda: broker.frames(command="NACK"))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            page.append(answer.read().decode())
        running.connections["default"].disconnect()
    labels = 'connection="default",destination="/queue/a"'
    assert f'stomplistener_handled_total{{{labels},outcome="acked"}} 2.0' in page[0]
    assert f"stomplistener_handler_seconds_count{{{labels}}}" in page[0]
    [(key, row)] = read(page[0], "here", 1.0).items()
    assert key == ("here", "default")
    assert row.connected
    assert row.values["messages_received_total"] >= 3
    assert row.values["handled_total"] == row.values["listener_errors_total"] + 2


def test_each_attempt_has_one_outcome_in_buckets_up_to_ten_minutes(broker: Broker) -> None:
    app, tasks = Application(broker.uri), Tasks()
    metrics = Metrics(lambda: app.connections, tasks)
    cut = threading.Event()

    @app.listener("/queue/a", retries=1, retry_delay=0.01, error_destination="/queue/failed")
    def forward(message: Message) -> None:
        if message.text == "bad":
            raise ValueError(message.text)

    @app.listener("/queue/b")
    def reject(message: Message) -> None:
        if message.text == "cut":
            broker.drop_connections()
            assert cut.wait(10)
        else:
            raise ValueError(message.text)

    def count(queue: str, outcome: str) -> float:
        labels = f'connection="default",destination="{queue}",outcome="{outcome}"'
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            page.append(answer.read().decode())
        found = re.search(rf"^{HANDLED}{{{re.escape(labels)}}} (.+)$", page[-1], re.MULTILINE)
        return float(found[1]) if found else 0.0

    page: list[str] = []
    with metrics.served("127.0.0.1", 0) as port, app.open({}, tasks) as running:
        connection = running.connections["default"].connect()
        for queue, text in (("/queue/a", "good"), ("/queue/a", "bad"), ("/queue/b", "bad")):
            broker.publish(queue, text)
        # The embedded broker buries what was rejected five times.
        broker.wait_for(lambda: broker.messages("/queue/failed") and broker.messages("/queue/DLQ"))
        eventually(lambda: count("/queue/b", "rejected") == 5, "the last rejection")
        assert [count("/queue/a", name) for name in OUTCOMES] == [1, 1, 1, 0, 0]
        epoch = connection.session.epoch
        broker.publish("/queue/b", "cut")
        eventually(lambda: connection.session.epoch > epoch, "the next connection")
        cut.set()
        eventually(lambda: count("/queue/b", "stale") == 1, "an attempt that counts for nothing")
        connection.close()
    assert set(OUTCOMES) == {"acked", "retried", "forwarded", "rejected", "stale"}
    assert 'stomplistener_handler_seconds_bucket{connection="default",destination="/queue/a",le="600.0"}' in page[0]


def test_a_taken_port_is_told(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    app = Application(broker.uri)
    app.listener("/queue/a")(lambda message: None)
    codes: list[int] = []
    options = RunOptions(metrics_port=broker.port)
    thread = threading.Thread(target=lambda: codes.append(execute(lambda: app, options)))
    thread.start()
    thread.join(5)
    assert codes == [1]
    assert f"cannot listen on 127.0.0.1:{broker.port}" in caplog.text


@pytest.mark.parametrize(
    ("package", "use", "extra"),
    [("opentelemetry", Tracing, "tracing"), ("prometheus_client", lambda: Metrics(dict), "metrics")],
)
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, package: str, use: type, extra: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"pip install 'stomplistener\[{extra}\]'"):
        use()
