"""Applications of listeners, run inside the test's process."""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stomplistener import Backoff, BrokerError, ConnectFailed, Connection, InvalidURI, Message
from stomplistener._util.deadline import Deadline
from stomplistener._util.loggers import library_logger
from stomplistener.testing import Broker
from stomplistener.worker import Application, Exit, RunOptions, TryAgain, execute
from stomplistener.worker.backoff import BackOff
from stomplistener.worker.logs import JSONFormatter, handling
from stomplistener.worker.running import JITTER_SECONDS, Running

pytestmark = pytest.mark.timeout(30)


def test_a_handler_settles_what_it_ends_and_rejects_what_it_fails_on(broker: Broker) -> None:
    app = Application(broker.uri)

    @app.listener("/queue/a")
    def handle(message: Message) -> None:
        if message.text == "bad":
            raise ValueError("bad")

    with app.running():
        broker.publish("/queue/a", "good")
        broker.wait_for(lambda: broker.frames(command="ACK"))
        broker.publish("/queue/a", "bad")
        broker.wait_for(lambda: broker.messages("/queue/DLQ"))
    assert handle is not None
    assert len(broker.frames(command="ACK")) == 1


@pytest.mark.parametrize(
    ("options", "seconds"),
    [("", JITTER_SECONDS), ("?reconnectDelayJitter=0", 0.0), ("?reconnectDelayJitter=250", 0.25)],
)
@pytest.mark.parametrize("form", ["{}", "failover:({})"])
def test_workers_do_not_all_come_back_at_the_same_instant(
    broker: Broker, form: str, options: str, seconds: float
) -> None:
    app = Application(form.format(broker.uri) + options)
    with app.running():
        connection = app.connection()
        assert connection._config.uri.options.reconnect_delay_jitter == seconds


def test_retries_and_an_error_destination(broker: Broker) -> None:
    app = Application(broker.uri)
    tried: list[str] = []

    @app.listener("/queue/a", retries=2, retry_delay=0.01, error_destination="/queue/failed")
    def fail(message: Message) -> None:
        tried.append(message.text)
        raise ValueError("never")

    with app.running():
        broker.publish("/queue/a", "x")
        [failed] = broker.wait_for(lambda: broker.messages("/queue/failed"))
    assert tried == ["x"] * 3
    assert "never" in failed.headers["error"]


def test_managers_go_around_each_message_in_order_and_end_before_it_is_settled(broker: Broker) -> None:
    app = Application(broker.uri)
    steps: list[str] = []

    def manager(name: str) -> None:
        @app.around
        @contextmanager
        def around(message: Message) -> Iterator[None]:
            steps.append(f"{name} enters {message.text}")
            try:
                yield
            finally:
                steps.append(f"{name} leaves, {len(broker.frames(command='ACK'))} settled")

    manager("outer")
    manager("inner")

    @app.listener("/queue/a")
    def handle(_message: Message) -> None:
        steps.append("handler")

    with app.running():
        broker.publish("/queue/a", "1")
        broker.wait_for(lambda: broker.frames(command="ACK"))
    assert steps == [
        "outer enters 1", "inner enters 1", "handler", "inner leaves, 0 settled", "outer leaves, 0 settled",
    ]  # fmt: skip


def test_the_login_of_each_connection_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "passcode").write_text("of-joe\n")
    with Broker(login="joe", passcode="of-joe") as broker, Broker(login="bill", passcode="of-bill") as other:
        for name, value in {
            "STOMP_URL": f"tcp://127.0.0.1:{broker.port}",
            "STOMP_LOGIN": "joe",
            "STOMP_PASSCODE_FILE": str(tmp_path / "passcode"),
            "STOMP_URL_BILLING": f"tcp://127.0.0.1:{other.port}",
            "STOMP_LOGIN_BILLING": "bill",
            "STOMP_PASSCODE_BILLING": "of-bill",
        }.items():
            monkeypatch.setenv(name, value)
        app = Application()
        app.listener("/queue/a")(lambda message: None)
        app.add_connection("billing")
        with app.running():
            assert all(each.is_connected for each in app.connections.values())
        # What the program says goes before.
        wrong = Application()
        wrong.add_connection("billing", passcode="wrong")
        with pytest.raises(ConnectFailed), wrong.running():
            pass


def test_the_old_name_of_the_broker_works_with_a_warning(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOMP_URI", broker.uri)
    app = Application()
    app.listener("/queue/a")(lambda message: None)
    with pytest.warns(FutureWarning, match="STOMP_URI is called STOMP_URL now"), app.running():
        assert app.connection().is_connected


def test_several_connections_in_one_process(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    with Broker() as other:
        monkeypatch.setenv("STOMP_URL", broker.uri)
        monkeypatch.setenv("STOMP_URL_BILL_ING", other.uri)
        app = Application()

        @app.listener("/queue/orders")
        def order(message: Message) -> None:
            app.send("/queue/bills", message.body, connection="bill-ing", confirm=True)

        @app.listener("/queue/bills", connection="bill-ing")
        def bill(message: Message) -> None:
            app.send("/queue/done", message.body, {"x": "y"})

        with app.running():
            assert list(app.connections) == ["default", "bill-ing"]
            broker.publish("/queue/orders", "7")
            [done] = broker.wait_for(lambda: broker.messages("/queue/done"))
        assert done.body == b"7"
        assert len(other.frames(command="ACK")) == 1
    assert app.connections == {}


def test_a_connection_that_only_sends_lives_until_the_last_handler_has_ended(broker: Broker) -> None:
    begun, release = threading.Event(), threading.Event()
    with Broker() as other:
        app = Application(broker.uri)
        app.add_connection("out", other.uri)

        @app.listener("/queue/a")
        def forward(message: Message) -> None:
            begun.set()
            release.wait(10)
            app.send("/queue/b", message.body, connection="out", confirm=True)

        with app.running():
            broker.publish("/queue/a", "last")
            assert begun.wait(5)
            threading.Timer(0.2, release.set).start()
        assert [message.body for message in other.messages("/queue/b")] == [b"last"]
    assert len(broker.frames(command="ACK")) == 1


def test_hooks_run_in_order(broker: Broker) -> None:
    app = Application(broker.uri)
    app.add_connection("second", broker.uri)
    steps: list[str] = []
    app.on_start(lambda: steps.append(f"start {broker.connection_count}"))
    app.on_stop(lambda: steps.append(f"stop {len(broker.connections)}"))
    with app.running():
        steps.append("running")
        broker.wait_for(lambda: len(broker.connections) == 2)
    broker.wait_for(lambda: not broker.connections)
    assert steps[:2] == ["start 0", "running"]
    assert steps[2].startswith("stop")


def test_a_handler_that_waits_hears_of_the_end_and_leaves_its_message(broker: Broker) -> None:
    app = Application(broker.uri)
    begun = threading.Event()

    @app.listener("/queue/a")
    def wait(_message: Message) -> None:
        begun.set()
        assert app.wait_ending(25)
        raise TryAgain("the worker ends")  # Which may be tried once more before the connection takes no more.

    with app.running():
        assert not app.wait_ending(0)
        broker.publish("/queue/a", "kept")
        assert begun.wait(25)
    assert app.wait_ending(0)
    broker.wait_for(lambda: not broker.connections)
    assert [message.body for message in broker.messages("/queue/a")] == [b"kept"]
    assert not broker.frames(command="NACK")


def test_what_is_put_off_at_the_end_is_not_begun_again(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    app = Application(broker.uri)
    calls: queue.SimpleQueue[None] = queue.SimpleQueue()
    disconnect = Running._disconnect

    @app.listener("/queue/a")
    def wait(_message: Message) -> None:
        calls.put(None)
        assert app.wait_ending(10)
        raise TryAgain("the worker ends")

    def disconnect_late(running: Running, name: str, deadline: Deadline) -> None:
        with pytest.raises(queue.Empty):
            calls.get(timeout=0.3)
        disconnect(running, name, deadline)

    monkeypatch.setattr(Running, "_disconnect", disconnect_late)
    with app.running():
        broker.publish("/queue/a", "kept")
        calls.get(timeout=5)
    broker.wait_for(lambda: [message.body for message in broker.messages("/queue/a")] == [b"kept"])


def test_run_in_a_thread_ends_by_stop(broker: Broker) -> None:
    app = Application(broker.uri)
    app.listener("/queue/a")(lambda message: None)
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(execute(lambda: app, RunOptions(grace=5))))
    thread.start()
    broker.wait_for(lambda: broker.subscriptions)
    app.stop()
    thread.join(5)
    assert codes == [Exit.DONE]


def test_a_start_hook_that_raises_ends_the_process_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    app = Application("tcp://127.0.0.1:1")

    @app.on_start
    def fail() -> None:
        raise RuntimeError("no database")

    with pytest.raises(SystemExit) as ended:
        app.run()
    assert ended.value.code == Exit.FAILED
    assert "no database" in caplog.text


def test_what_cannot_be_run_says_so(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STOMP_URL", raising=False)
    app = Application()
    with pytest.raises(InvalidURI, match="nothing to run"), app.running():
        pass
    app.listener("/queue/a")(print)
    with pytest.raises(InvalidURI, match="STOMP_URL"), app.running():
        pass
    with pytest.raises(RuntimeError, match="does not run"):
        app.connection()
    with pytest.raises(ValueError, match="settle=True"):
        app.listener("/queue/a", ack="auto", retries=1)
    with pytest.raises(ValueError, match="not a name"):
        app.add_connection("a b")

    async def coroutine(_message: Message) -> None: ...

    with pytest.raises(TypeError, match="coroutine"):
        app.listener("/queue/a")(coroutine)  # type: ignore[type-var]


def test_a_refused_subscription_is_raised(broker: Broker) -> None:
    app = Application(broker.uri)
    app.listener("/queue/a")(lambda message: None)
    broker.error_next("SUBSCRIBE", "not for you", close=False)
    with pytest.raises(BrokerError, match="not for you"), app.running():
        pass


def test_log_records_are_json_and_tell_of_the_message(broker: Broker) -> None:
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    keep = Keep()
    keep.setFormatter(JSONFormatter())
    log = logging.getLogger("test.worker.json")
    log.addHandler(keep)

    def handle(message: Message) -> None:
        with handling(message):
            try:
                raise ValueError("é\nline")
            except ValueError:
                log.exception("failed on %s", message.text, extra={"order": 7})

    with Connection(broker.uri) as connection:
        connection.subscribe("/queue/a", handle, confirm=True)
        broker.publish("/queue/a", "it")
        broker.wait_for(lambda: lines or broker.publish("/topic/nobody"), what="a log line")
    [line] = map(json.loads, lines)
    assert line["message"] == "failed on it"
    assert line["level"] == "ERROR"
    assert line["order"] == 7
    assert line["destination"] == "/queue/a"
    assert line["message_id"]
    assert "ValueError: é\nline" in line["exception"]


def test_a_decorator_without_its_destination_is_refused_at_once() -> None:
    app = Application()
    with pytest.raises(TypeError, match=r'write @app\.listener\("/queue/orders"\)'):

        @app.listener  # type: ignore[arg-type]
        def handle(message: Message) -> None: ...


def test_a_generator_is_no_handler() -> None:
    with pytest.raises(TypeError, match="handle is a generator, whose body would never run"):

        @Application().listener("/queue/a")  # type: ignore[type-var]
        def handle(message: Message) -> Iterator[str]:
            yield message.text


def test_a_json_line_of_no_connection_names_none() -> None:
    lines: list[dict[str, str]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(JSONFormatter().format(record)))

    log = library_logger("stomplistener.test")
    log.addHandler(Keep())
    log.error("of none")
    log.error("of one", extra={"connection": "default", "broker": "tcp://a:1"})
    none, one = lines
    assert not {"connection", "broker"} & set(none)
    assert (one["connection"], one["broker"]) == ("default", "tcp://a:1")


def test_the_back_off_doubles_and_forgets() -> None:
    back_off = BackOff(first=1, most=5, stable=10)
    assert [back_off.delay(0) for _ in range(4)] == [1, 2, 4, 5]
    assert back_off.delay(10) == 1
    assert back_off.delay(0) == 2


def test_an_application_may_include_what_another_declares(broker: Broker) -> None:
    app, part = Application(broker.uri), Application()
    steps: list[str] = []

    def manager(declarer: Application, name: str) -> None:
        @declarer.around
        @contextmanager
        def around(message: Message) -> Iterator[None]:
            steps.append(f"{name} around {message.text}")
            yield

    manager(app, "outer")
    manager(part, "inner")
    part.on_start(lambda: steps.append("start"))
    part.on_stop(lambda: steps.append("stop"))
    app.listener("/queue/a")(lambda _message: steps.append("own"))
    part.listener("/queue/b")(lambda _message: steps.append("included"))
    app.include(part)
    with app.running():
        broker.publish("/queue/a", "1")
        broker.wait_for(lambda: len(broker.frames(command="ACK")) == 1)
        broker.publish("/queue/b", "2")
        broker.wait_for(lambda: len(broker.frames(command="ACK")) == 2)
    assert steps == ["start", "outer around 1", "own", "outer around 2", "inner around 2", "included", "stop"]


def test_an_included_application_brings_its_connections_once(broker: Broker) -> None:
    app, part = Application(broker.uri), Application()
    part.add_connection("billing", broker.uri)
    app.include(part)
    with app.running():
        assert list(app.connections) == ["default", "billing"]
    with pytest.raises(ValueError, match="billing"):
        app.include(part)


def test_a_retry_by_the_broker_is_a_copy_that_counts_its_attempts() -> None:
    """The embedded broker delivers at once what Artemis would delay."""
    calls: list[tuple[str, str]] = []
    with Broker() as broker:
        app = Application(broker.uri, broker="artemis")

        @app.listener(
            "/queue/a",
            retries=2,
            retry_delay=Backoff(60, maximum=3600, jitter=0),
            retry_by="broker",
            error_destination="/queue/failed",
        )
        def fail(message: Message) -> None:
            calls.append((message.text, message.headers["x"]))
            raise LookupError("no such item")

        # Artemis would drop a copy with this header, and the message be lost.
        broker.publish("/queue/a", "an order", {"x": "y", "_AMQ_DUPL_ID": "7"})
        with app.running():
            [failed] = broker.wait_for(lambda: broker.messages("/queue/failed"), 15)
            broker.wait_for(lambda: not broker.unacknowledged("/queue/a"))
        copies = [
            frame.headers for frame in broker.frames(command="SEND") if frame.headers["destination"] == "/queue/a"
        ]
    assert calls == [("an order", "y")] * 3
    assert [int(copy["stomplistener-attempts"]) for copy in copies] == [1, 2]
    delays = [float(copy["AMQ_SCHEDULED_DELAY"]) / 1000 for copy in copies]
    assert delays == [pytest.approx(60, abs=1), pytest.approx(120, abs=1)]
    assert not [copy for copy in copies if "_AMQ_DUPL_ID" in copy]
    # A dead letter that the broker delays for as long as the last attempt is found too late.
    assert "AMQ_SCHEDULED_DELAY" not in failed.headers
    assert (failed.headers["attempts"], failed.headers["x"]) == ("3", "y")


def test_a_broker_that_cannot_delay_leaves_the_retry_to_the_worker() -> None:
    calls: list[str] = []
    with Broker() as broker:
        app = Application(broker.uri)

        @app.listener("/queue/a", retries=1, retry_delay=0.01, retry_by="broker", error_destination="/queue/failed")
        def fail(message: Message) -> None:
            calls.append(message.text)
            raise LookupError("no such item")

        broker.publish("/queue/a", "an order")
        with app.running():
            broker.wait_for(lambda: broker.messages("/queue/failed"), 15)
        assert not [frame for frame in broker.frames(command="SEND") if frame.headers["destination"] == "/queue/a"]
    assert calls == ["an order"] * 2


def test_what_a_worker_sends_is_persistent_unless_it_is_told_not_to_be(broker: Broker) -> None:
    app = Application(broker.uri)
    with app.running():
        app.send("/queue/a", "kept", confirm=True)
        app.send("/queue/a", "not kept", persistent=False, confirm=True)
        app.send("/queue/a", "its own way", {"persistent": "false"}, confirm=True)
    said = [frame.headers.get("persistent") for frame in broker.frames(command="SEND")]
    assert said == ["true", None, "false"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "4"),
        ({"workers": 8}, "32"),
        ({"prefetch": 100}, "100"),
        ({"workers": 8, "max_deliveries": 3}, "8"),
        ({"prefetch": 100, "max_deliveries": 3}, "100"),
        ({"settle": False}, None),
        ({"ack": "auto"}, None),
    ],
)
def test_a_worker_takes_no_more_than_a_share_of_the_backlog(options: dict[str, Any], expected: str | None) -> None:
    with Broker(server_name="ActiveMQ/5.18.3") as broker:
        app = Application(broker.uri)
        app.listener("/queue/a", **options)(lambda message: None)
        with app.running():
            (frame,) = broker.frames(command="SUBSCRIBE")
    assert frame.headers.get("activemq.prefetchSize") == expected


def test_a_broker_that_is_not_known_gives_what_it_likes() -> None:
    with Broker(server_name="Nobody/1") as broker:
        app = Application(broker.uri)
        app.listener("/queue/a")(lambda message: None)
        with app.running():
            (frame,) = broker.frames(command="SUBSCRIBE")
    assert not any("prefetch" in name for name in frame.headers)


def test_two_workers_share_a_backlog() -> None:
    """One that came first and is slow leaves the rest to the other."""
    with Broker() as broker:
        for number in range(40):
            broker.publish("/queue/a", str(number))
        slow, quick, release = Application(broker.uri), Application(broker.uri), threading.Event()
        done: list[str] = []
        slow.listener("/queue/a")(lambda message: release.wait(20))
        quick.listener("/queue/a")(lambda message: done.append(message.text))
        with slow.running():
            broker.wait_for(lambda: broker.unacknowledged("/queue/a"))
            with quick.running():
                broker.wait_for(lambda: len(done) == 36)
                release.set()
