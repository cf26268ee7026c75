"""The Flask extension inside the test's process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, current_app, g
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text

from stomplistener import Backoff, ConnectFailed, InvalidURI, Message
from stomplistener.contrib.flask import Stomp
from stomplistener.testing import Broker
from stomplistener.worker import Repeated
from stomplistener.worker.tracing import Tracing

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


def make(stomp: Stomp, uri: str, name: str = "shop", **config: Any) -> Flask:
    app = Flask(name)
    app.config.update(STOMP_URL=uri, **config)
    stomp.init_app(app)
    return app


def close(stomp: Stomp, app: Flask) -> None:
    with app.app_context():
        stomp.close()


# Listeners


def test_a_listener_runs_in_a_context_of_its_own_that_is_torn_down_before_the_message_is_settled(
    broker: Broker,
) -> None:
    stomp, steps = Stomp(), []

    @stomp.listener("/queue/a", retries=1, retry_delay=0.01, error_destination="/queue/failed")
    def handle(message: Message) -> None:
        steps.append(f"{current_app.name} {message.text} {'seen' in g}")
        g.seen = message.text
        if message.text == "bad":
            raise LookupError("no such thing")

    app = make(stomp, broker.uri)

    @app.teardown_appcontext
    def end(error: BaseException | None) -> None:
        steps.append(f"end {g.get('seen')} {error!r} {len(broker.frames(command='ACK'))}")

    with stomp.running(app):
        broker.publish("/queue/a", "good")
        broker.wait_for(lambda: broker.frames(command="ACK"))
        broker.publish("/queue/a", "bad")
        broker.wait_for(lambda: broker.messages("/queue/failed"))
    assert steps == [
        "shop good False", "end good None 0",
        "shop bad False", "end bad LookupError('no such thing') 1",
        "shop bad False", "end bad LookupError('no such thing') 1",
    ]  # fmt: skip


def test_retries_wait_as_told_and_what_is_not_worth_one_goes_to_the_dead_letters(broker: Broker) -> None:
    stomp, calls = Stomp(), []

    @stomp.listener(
        "/queue/a",
        retries=2,
        retry_delay=Backoff(0.05, factor=4.0, jitter=0.0),
        dead_letter_on=LookupError,
        error_destination="/queue/failed",
    )
    def fail(message: Message) -> None:
        calls.append((message.text, time.monotonic()))
        raise KeyError("hopeless") if message.text == "hopeless" else OSError("away")

    with stomp.running(make(stomp, broker.uri)):
        broker.publish("/queue/a", "hopeless")
        broker.wait_for(lambda: len(broker.messages("/queue/failed")) == 1)
        broker.publish("/queue/a", "away")
        broker.wait_for(lambda: len(broker.messages("/queue/failed")) == 2)
    assert [text for text, _ in calls] == ["hopeless", "away", "away", "away"]
    assert calls[2][1] - calls[1][1] >= 0.05 * 0.95
    assert calls[3][1] - calls[2][1] >= 0.2 * 0.95


def test_a_message_that_comes_twice_is_handled_once_by_an_inbox_in_the_listeners_context(broker: Broker) -> None:
    seen: list[tuple[str, str]] = []
    handled: list[str] = []

    class Inbox:
        @contextmanager
        def handling(self, handler: str, identity: str) -> Iterator[None]:
            if identity in g.setdefault("known", {identity for _, identity in seen}):
                raise Repeated
            yield
            assert g.text, "the listener's context"
            seen.append((current_app.name, identity))

    stomp = Stomp(inbox=Inbox())

    @stomp.listener("/queue/a", once="x-order")
    def handle(message: Message) -> None:
        g.text = message.text
        handled.append(message.text)

    app = make(stomp, broker.uri)
    for _ in range(2):
        broker.publish("/queue/a", "good", {"x-order": "7"})
    with stomp.running(app):
        broker.wait_for(lambda: len(broker.frames(command="ACK")) == 2)
    assert handled == ["good"]
    assert seen == [("shop", "x-order:7")]


def test_once_without_an_inbox_says_how_to_give_one(broker: Broker) -> None:
    stomp = Stomp()

    @stomp.listener("/queue/a", once=True)
    def handle(message: Message) -> None: ...

    app = make(stomp, broker.uri)
    with pytest.raises(ValueError, match=r"Stomp\(inbox="), stomp.running(app):
        pass


def test_a_session_of_flask_sqlalchemy_ends_with_its_message(broker: Broker) -> None:
    stomp, db, sessions = Stomp(), SQLAlchemy(), []

    @stomp.listener("/queue/a")
    def handle(_message: Message) -> None:
        assert db.session.execute(text("select 1")).scalar() == 1
        sessions.append(db.session())

    app = make(stomp, broker.uri, SQLALCHEMY_DATABASE_URI="sqlite://")
    db.init_app(app)
    with stomp.running(app):
        broker.publish("/queue/a", "1")
        broker.publish("/queue/a", "2")
        broker.wait_for(lambda: len(broker.frames(command="ACK")) == 2)
    assert sessions[0] is not sessions[1]
    assert not any(session.in_transaction() for session in sessions)
    assert len(db.session.registry.registry) == 0


def test_two_applications_of_one_factory_share_what_is_declared_and_nothing_else(broker: Broker) -> None:
    stomp, names = Stomp(), []

    @stomp.listener("/queue/a")
    def handle(_message: Message) -> None:
        names.append(current_app.name)

    with Broker() as other:
        here, there = make(stomp, broker.uri, "here"), make(stomp, other.uri, "there")
        with stomp.running(here), stomp.running(there):
            other.publish("/queue/a", "2")
            other.wait_for(lambda: other.frames(command="ACK"))
            broker.publish("/queue/a", "1")
            broker.wait_for(lambda: broker.frames(command="ACK"))
    assert names == ["there", "here"]


def test_a_listener_sends_by_the_workers_connection(broker: Broker) -> None:
    stomp = Stomp()

    @stomp.listener("/queue/a")
    def handle(message: Message) -> None:
        stomp.send("/queue/b", message.body, confirm=True)

    app = make(stomp, broker.uri)
    with stomp.running(app):
        broker.publish("/queue/a", "1")
        broker.wait_for(lambda: broker.messages("/queue/b"))
    assert broker.connection_count == 1
    assert [frame.headers.get("persistent") for frame in broker.frames(command="SEND")] == ["true"]
    with app.app_context():
        stomp.send("/queue/b", "2", confirm=True)
    assert broker.connection_count == 2
    close(stomp, app)


def test_more_connections_for_listeners_and_for_sending(broker: Broker) -> None:
    with Broker(login="bill", passcode="secret") as other:
        stomp = Stomp()

        @stomp.listener("/queue/a", connection="billing")
        def handle(message: Message) -> None:
            stomp.send("/queue/b", message.body, confirm=True)

        billing = {"URL": f"tcp://127.0.0.1:{other.port}", "LOGIN": "bill", "PASSCODE": "secret"}
        app = make(stomp, broker.uri, STOMP_CONNECTIONS={"billing": billing})
        with app.app_context():
            stomp.send("/queue/a", "1", connection="billing", confirm=True)
            with pytest.raises(KeyError, match=r"has no connection .*booking.*; there are default, billing"):
                stomp.send("/queue/a", "1", connection="booking")
        with stomp.running(app):
            broker.wait_for(lambda: broker.messages("/queue/b"))
        close(stomp, app)


# Sending


def test_nothing_connects_before_the_first_use_and_one_connection_serves_all_threads(broker: Broker) -> None:
    stomp = Stomp()
    app = make(stomp, broker.uri)

    @app.post("/")
    def order() -> str:
        stomp.send("/queue/a", "x", confirm=True)
        return ""

    assert broker.connection_count == 0
    threads = [threading.Thread(target=lambda: app.test_client().post("/")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert broker.depth("/queue/a") == 8
    assert broker.connection_count == 1
    close(stomp, app)
    broker.wait_for(lambda: not broker.connections)
    app.test_client().post("/")
    assert broker.depth("/queue/a") == 9
    close(stomp, app)


def test_a_broker_that_is_down_fails_the_send_and_the_next_one_tries_again(broker: Broker) -> None:
    stomp = Stomp()
    app = make(stomp, broker.uri)
    broker.stop()
    with app.app_context():
        with pytest.raises(ConnectFailed, match="refused"):
            stomp.send("/queue/a", "1", confirm=True)
        broker.start()
        stomp.send("/queue/a", "2", confirm=True)
        assert stomp.connection().is_connected
        stomp.close()
    assert [message.body for message in broker.messages("/queue/a")] == [b"2"]


def test_an_application_without_the_extension(broker: Broker) -> None:
    stomp = Stomp()
    with Flask("bare").app_context(), pytest.raises(RuntimeError, match=r"'bare' has no Stomp: call init_app"):
        stomp.send("/queue/a", "x")
    app = make(stomp, broker.uri)
    with pytest.raises(RuntimeError, match="has a Stomp already"):
        Stomp().init_app(app)


def test_the_extension_takes_the_application_at_once_too(broker: Broker) -> None:
    app = Flask("shop")
    app.config["STOMP_URL"] = broker.uri
    stomp = Stomp(app)
    with app.app_context():
        stomp.send("/queue/a", "x", confirm=True)
        stomp.close()


# Configuration


def test_the_environment_names_the_broker_where_the_configuration_does_not(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOMP_URL", broker.uri)
    app = Flask("shop")
    stomp = Stomp(app)
    with app.app_context():
        stomp.send("/queue/a", "x", confirm=True)
        stomp.close()


def test_configuration_from_prefixed_variables(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_STOMP_URL", broker.uri)
    monkeypatch.setenv("FLASK_STOMP_HEARTBEAT", "[5, 2.5]")
    monkeypatch.setenv("FLASK_STOMP_TIMEOUT", "null")
    app = Flask("shop")
    app.config.from_prefixed_env()
    stomp = Stomp(app)
    with app.app_context():
        stomp.connection()
        stomp.close()
    (connect,) = broker.frames(command="CONNECT")
    assert connect.headers["heart-beat"] == "5000,2500"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, r"app.config\['STOMP_URL'\] is missing"),
        ({"STOMP_URL": 5}, r"app.config\['STOMP_URL'\] must be text, not int"),
        ({"STOMP_LOGIN": b"me"}, r"\['STOMP_LOGIN'\] must be text, not bytes"),
        ({"STOMP_PASSCODE": 1234567}, r"\['STOMP_PASSCODE'\] must be text, not int; .* quote it"),
        ({"STOMP_HEARTBEAT": 10}, r"\['STOMP_HEARTBEAT'\] must be two numbers of seconds.*, not 10"),
        ({"STOMP_HEARTBEAT": (10, -1)}, r"\['STOMP_HEARTBEAT'\] must be a number of seconds, not -1"),
        ({"STOMP_TIMEOUT": "soon"}, r"\['STOMP_TIMEOUT'\] must be a number of seconds, not 'soon'"),
        ({"STOMP_HEADERS": {"client-id": 7}}, r"\['STOMP_HEADERS'\] must be a mapping of text to text"),
        ({"STOMP_OPTIONS": [1]}, r"\['STOMP_OPTIONS'\] must be a mapping"),
        ({"STOMP_OPTIONS": {"limit": 1}}, r"\['STOMP_OPTIONS'\] has 'limit', which is not an argument .* limits"),
        ({"STOMP_CONNECTIONS": "tcp://h:1"}, r"\['STOMP_CONNECTIONS'\] must map"),
        ({"STOMP_CONNECTIONS": {"b": {}}}, r"\['STOMP_CONNECTIONS'\]\['b'\]\['URL'\] is missing"),
        (
            {"STOMP_CONNECTIONS": {"b": {"URLS": "x"}}},
            r"\['STOMP_CONNECTIONS'\]\['b'\] has 'URLS', which is none of URL",
        ),
        ({"STOMP_PASCODE": "x"}, r"\['STOMP_PASCODE'\] is no key of this extension; did you mean STOMP_PASSCODE\?"),
        ({"STOMP_XYZ": 1}, r"\['STOMP_XYZ'\] is no key of this extension; there are STOMP_URL, .*STOMP_CONNECTIONS"),
        ({"STOMP_PASSCODE_FILE": "/nonexistent/x"}, r"\['STOMP_PASSCODE_FILE'\] .*/nonexistent/x cannot be read"),
    ],
)
def test_bad_configuration(config: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STOMP_URL", raising=False)
    app = Flask("shop")
    app.config.update({"STOMP_URL": "tcp://localhost:61613"} if config else {}, **config)
    with pytest.raises(ValueError, match=message) as raised:
        Stomp(app)
    assert "1234567" not in str(raised.value)


def test_the_old_name_works_with_a_warning(broker: Broker) -> None:
    app = Flask("shop")
    app.config.update(STOMP_URI=broker.uri, STOMP_CONNECTIONS={"b": {"URI": broker.uri}})
    with pytest.warns(FutureWarning) as told:
        stomp = Stomp(app)
    assert [str(each.message) for each in told] == [
        "app.config['STOMP_URI'] is called app.config['STOMP_URL'] now; the old name will be removed",
        "app.config['STOMP_CONNECTIONS']['b']['URI'] is called app.config['STOMP_CONNECTIONS']['b']['URL'] now; "
        "the old name will be removed",
    ]
    with app.app_context():
        stomp.send("/queue/a", "x", connection="b", confirm=True)
        stomp.close()
    assert broker.depth("/queue/a") == 1


def test_login_and_passcode_come_from_files_and_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "passcode"
    file.write_text("s3cret\n")
    with Broker(login="joe", passcode="s3cret") as broker:
        uri = f"tcp://127.0.0.1:{broker.port}"
        for config, variables in (
            ({"STOMP_LOGIN": "joe", "STOMP_PASSCODE_FILE": str(file)}, {}),
            ({}, {"STOMP_LOGIN": "joe", "STOMP_PASSCODE_FILE": str(file)}),
            ({"STOMP_PASSCODE": "s3cret"}, {"STOMP_LOGIN": "joe", "STOMP_PASSCODE": "wrong"}),
        ):
            app = Flask("shop")
            app.config.update(STOMP_URL=uri, **config)
            with monkeypatch.context() as environment, app.app_context():
                for name, value in variables.items():
                    environment.setenv(name, value)
                stomp = Stomp(app)
                stomp.send("/queue/a", "x", confirm=True)
                stomp.close()
        assert broker.depth("/queue/a") == 3


def test_a_bad_uri_is_told_with_its_key_and_without_its_passcode() -> None:
    app = Flask("shop")
    app.config["STOMP_URL"] = "failover:(tcp://me:hush@mq1:61613)?maxReconectDelay=5"
    with pytest.raises(InvalidURI, match=r"app.config\['STOMP_URL'\]: .*maxReconnectDelay") as raised:
        Stomp(app)
    assert "hush" not in str(raised.value)


# flask stomp


def test_ping_tells_who_answers(broker: Broker) -> None:
    app = make(Stomp(), broker.uri, STOMP_CONNECTIONS={"other": {"URL": broker.uri}})
    result = app.test_cli_runner().invoke(args=["stomp", "ping"])
    assert result.exit_code == 0, result.output
    assert [line.partition(":")[0] for line in result.output.splitlines()] == ["default", "other"]
    assert "answers in STOMP 1.2" in result.output
    broker.stop()
    result = app.test_cli_runner().invoke(args=["stomp", "ping"])
    assert result.exit_code == 3
    assert "refused" in result.output


def test_the_worker_has_the_workers_options(broker: Broker) -> None:
    runner = make(Stomp(), broker.uri).test_cli_runner()
    assert "--alive-file" in runner.invoke(args=["stomp", "worker", "--help"]).output
    result = runner.invoke(args=["stomp", "worker", "--url", "tpc://h:1"])
    assert result.exit_code == 2
    assert "tcp" in result.output


@pytest.mark.parametrize("tracing", [False, True])
def test_what_a_listener_sends_is_persistent_unless_it_is_told_not_to_be(broker: Broker, tracing: bool) -> None:
    stomp = Stomp()
    app = make(stomp, broker.uri)
    with stomp.running(app) as worker, app.app_context():
        worker.tracing = Tracing() if tracing else None
        stomp.send("/queue/b", "kept", confirm=True)
        stomp.send("/queue/b", "not kept", persistent=False, confirm=True)
    assert [frame.headers.get("persistent") for frame in broker.frames(command="SEND")] == ["true", None]
    close(stomp, app)
