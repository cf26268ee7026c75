"""The second part of the contract: the names it fixes, each with what it promises."""

from __future__ import annotations

import inspect
import itertools
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from application_support import SOON, Keeper, Raiser, connected, log_texts, logged, returns_within, run_program
from client_support import QUEUE, Recorder, eventually, failover, in_thread, reconnected
from hypothesis import given
from hypothesis import strategies as st

import stomplistener
from stomplistener import ConnectFailed, Connection, Message, StompError
from stomplistener.options import AckMode
from stomplistener.testing import Broker

pytestmark = pytest.mark.timeout(30)


def backoff(*args: Any, **keywords: Any) -> Any:
    """``stomplistener.Backoff``, looked up late so that each test fails for itself where there is none."""
    return stomplistener.Backoff(*args, **keywords)


# The method stop.


def test_stop_is_the_graceful_end(broker: Broker) -> None:
    with connected(broker.uri) as connection:
        futures = [connection.send_async(QUEUE, str(number)) for number in range(20)]
        returns_within(0.0, connection.stop)
        assert connection.wait(SOON)
        assert all(future.exception(0) is None for future in futures)
        assert broker.depth(QUEUE) == 20
        assert [frame.command for frame in broker.frames()][-1] == "DISCONNECT"


def test_stop_waits_for_a_listener_that_runs(broker: Broker) -> None:
    begun, release, ended = threading.Event(), threading.Event(), threading.Event()

    def listen(message: Message) -> None:
        begun.set()
        release.wait(SOON)
        ended.set()

    with connected(broker.uri) as connection:
        connection.subscribe(QUEUE, listen, ack="client-individual", settle=True, confirm=True)
        broker.publish(QUEUE, "x")
        assert begun.wait(SOON)
        returns_within(0.0, connection.stop)
        assert not connection.wait(0.1)
        release.set()
        assert connection.wait(SOON)
        assert ended.is_set()
    assert broker.depth(QUEUE) == 0


STOPS: dict[str, Callable[[Connection], object]] = {
    "before connect": lambda connection: None,
    "twice": lambda connection: connection.connect().stop(),
    "after the end": lambda connection: connection.connect().disconnect(),
}


@pytest.mark.parametrize("state", STOPS)
def test_stop_in_each_state(state: str, broker: Broker) -> None:
    connection = Connection(broker.uri, timeout=SOON)
    STOPS[state](connection)
    returns_within(0.0, connection.stop)
    if state != "before connect":
        assert connection.wait(SOON)
    in_thread(connection.connect).value(SOON)
    connection.send(QUEUE, "x", confirm=True)
    in_thread(connection.disconnect).value(SOON)


def test_stop_ends_run_forever_and_an_outage(broker: Broker) -> None:
    connection = Connection(failover(broker.uri), timeout=SOON)
    running = in_thread(connection.run_forever)
    eventually(lambda: connection.is_connected, "the connection")
    broker.stop()
    eventually(lambda: not connection.is_connected, "the outage")
    returns_within(0.0, connection.stop)
    running.value(SOON)


def test_stop_in_a_listener(broker: Broker) -> None:
    with connected(broker.uri) as connection:
        connection.subscribe(QUEUE, lambda message: connection.stop(), confirm=True)
        broker.publish(QUEUE, "x")
        assert connection.wait(SOON)


def test_stop_in_a_signal_handler_ends_a_program(broker: Broker) -> None:
    source = (
        "import os, signal, sys, threading\n"
        "from stomplistener import Connection\n"
        "connection = Connection(sys.argv[1]).connect()\n"
        "signal.signal(signal.SIGTERM, lambda number, frame: connection.stop())\n"
        "threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        "connection.wait()\n"
        "print('ended', connection.state.value)\n"
    )
    ended = run_program(source, broker.uri, timeout=10)
    assert (ended.code, ended.out) == (0, "ended closed\n"), ended.err
    assert [frame.command for frame in broker.frames()][-1] == "DISCONNECT"


# Why and where: last_error, session.broker, on_connection_lost.


def test_last_error_is_none_until_there_is_one(broker: Broker) -> None:
    with connected(broker.uri) as connection:
        assert connection.last_error is None
        in_thread(connection.disconnect).value(SOON)
        assert connection.last_error is None, "an end that was asked for is no error"


def test_last_error_of_a_loss(broker: Broker) -> None:
    with connected(broker.uri) as connection:
        broker.error_next("SEND", "too much")
        with pytest.raises(StompError):
            connection.send(QUEUE, "x", confirm=True)
        reconnected(connection)
        assert isinstance(connection.last_error, Exception)
        assert "too much" in str(connection.last_error)


def test_last_error_of_an_attempt() -> None:
    connection = Connection("tcp://127.0.0.1:1", login="me", passcode="secret-word")
    with pytest.raises(ConnectFailed):
        connection.connect(timeout=SOON)
    assert "127.0.0.1:1" in str(connection.last_error)
    assert "secret-word" not in repr(connection.last_error)


def test_last_error_during_an_outage(broker: Broker) -> None:
    with connected(broker.uri) as connection:
        broker.stop()
        eventually(lambda: not connection.is_connected, "the loss")
        eventually(lambda: "refused" in str(connection.last_error).lower(), "the attempt that failed")
        broker.start()
        reconnected(connection)


def test_the_broker_in_use() -> None:
    with Broker(login="me", passcode="secret-word") as first, Broker() as second:
        uri = f"failover:({first.uri},{second.uri})?randomize=false&initialReconnectDelay=1"
        connection = Connection(uri, timeout=SOON)
        assert connection.session.broker is None
        try:
            in_thread(connection.connect).value(SOON)
            assert connection.session.broker == f"tcp://127.0.0.1:{first.port}"
            first.stop()
            reconnected(connection)
            assert connection.session.broker == f"tcp://127.0.0.1:{second.port}"
        finally:
            in_thread(connection.close).done()


class Losses(Recorder):
    """Notes the new hook among the others."""

    def on_connection_lost(self, error: Exception) -> None:
        self._note("connection_lost", error)


@pytest.mark.parametrize("how", ["a broker that goes", "an ERROR", "silence"])
def test_a_loss_is_told_before_the_end(how: str) -> None:
    beats = (0.1, 0.1) if how == "silence" else (0.0, 0.0)
    with Broker(heartbeat=beats) as broker, connected(broker.uri, heartbeat=beats) as connection:
        losses = Losses()
        connection.add_listener(losses)
        if how == "silence":
            broker.go_silent()
        elif how == "an ERROR":
            broker.error_next("SEND", "too much")
            connection.send(QUEUE, "x")
        else:
            broker.drop_connections()
        eventually(lambda: losses.count("disconnected") == 1, "the loss")
        broker.speak()
        reconnected(connection)
        assert losses.count("connection_lost") == 1
        assert losses.names.index("connection_lost") < losses.names.index("disconnected")
        ((error,),) = losses.args("connection_lost")
        assert isinstance(error, Exception)
        assert how != "an ERROR" or "too much" in str(error)
        assert str(connection.last_error) == str(error)


@pytest.mark.parametrize("end", ["disconnect", "close", "stop"])
def test_an_end_is_no_loss(end: str, broker: Broker) -> None:
    losses = Losses()
    with connected(broker.uri) as connection:
        connection.add_listener(losses)
        in_thread(getattr(connection, end)).value(SOON)
        assert connection.wait(SOON)
        eventually(lambda: losses.count("disconnected") == 1, "the end")
    assert losses.count("connection_lost") == 0


def test_each_loss_and_each_return_is_logged_once(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "stomplistener")
    with connected(broker.uri) as connection:
        connection.subscribe(QUEUE, print, confirm=True)
        broker.withhold_receipts("SEND")
        future = connection.send_async(QUEUE + "/other", "x")
        broker.wait_for(lambda: broker.depth(QUEUE + "/other") == 1)
        eventually(lambda: "connected to" in caplog.text, "the report of the first connection")
        caplog.clear()
        broker.drop_connections()
        broker.clear_faults()
        reconnected(connection)
        future.result(SOON)
        address = f"127.0.0.1:{broker.port}"
        eventually(logged(caplog, address, level=20), "the return")
        warnings = [text for text in log_texts(caplog) if address in text]
        assert len(warnings) == 1, warnings
        assert re.search(r"\b1\b", warnings[0].replace(address, "")), "how many are unconfirmed"
        levels = [record.levelname for record in caplog.records if address in record.getMessage()]
        assert sorted(levels) == ["INFO", "WARNING"], levels


def test_each_record_names_its_connection_and_its_broker(caplog: pytest.LogCaptureFixture) -> None:
    """Also what a hook raised, an option without effect and a browser without an end, which are logged elsewhere."""
    caplog.set_level("DEBUG", "stomplistener")
    with Broker(server_name="ActiveMQ/5.18.3") as broker:
        for number in range(400):
            broker.publish(QUEUE, str(number))
        uri = f"{failover(broker.uri)}&nested.trace=true"
        with Connection(uri, name="shop", timeout=SOON) as connection:
            raiser = Raiser(lambda: ValueError("from a hook"))
            connection.add_listener(type("Hook", (), {"on_send": raiser})())
            connection.send("/queue/b", "x", confirm=True)
            eventually(lambda: raiser.is_spent, "the hook")
            assert len(list(connection.browse(QUEUE))) == 400
            with connection.consume("/queue/b", notify=Raiser(lambda: ValueError("told"))) as consumer:
                assert consumer.receive(SOON) is not None
        records = [record for record in caplog.records if record.name.startswith("stomplistener")]
        for record in records:
            assert record.connection == "shop", record.getMessage()  # type: ignore[attr-defined]
            assert record.getMessage().startswith("shop: "), record.getMessage()
        named = {record.getMessage(): record.broker for record in records}  # type: ignore[attr-defined]
        for words in ("Raiser", "maxBrowsePageSize"):
            found = [broker_name for text, broker_name in named.items() if words in text]
            assert set(found) == {f"tcp://127.0.0.1:{broker.port}"}, words
        assert any("has no effect" in text for text in named)


# Subscribing.


def test_ack_follows_settle(broker: Broker) -> None:
    with connected(broker.uri) as connection:
        connection.subscribe("/queue/a", print, settle=True, confirm=True)
        connection.subscribe("/queue/b", print, confirm=True)
        acks = {frame.headers["destination"]: frame.headers["ack"] for frame in broker.frames(command="SUBSCRIBE")}
    assert acks == {"/queue/a": "client-individual", "/queue/b": "auto"}


@pytest.mark.parametrize("ack", ["auto", "client"])
def test_settle_refuses_another_ack(ack: AckMode) -> None:
    with pytest.raises(ValueError, match="ack"):
        Connection("tcp://127.0.0.1:1").subscribe(QUEUE, print, settle=True, ack=ack)


def test_backoff_has_its_defaults() -> None:
    parameters = inspect.signature(stomplistener.Backoff).parameters
    assert {name: each.default for name, each in parameters.items() if name != "first"} == {
        "factor": 2.0,
        "maximum": 60.0,
        "jitter": 0.1,
    }


@pytest.mark.parametrize(
    ("args", "keywords"),
    [
        ((-1,), {}),
        (("1",), {}),
        ((float("nan"),), {}),
        ((1,), {"factor": 0.5}),
        ((1,), {"maximum": -1}),
        ((1,), {"jitter": -0.1}),
        ((1,), {"jitter": 1.1}),
    ],
)
def test_backoff_checks_its_arguments(args: Any, keywords: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        backoff(*args, **keywords)


@given(first=st.floats(0.001, 100.0), jitter=st.floats(0.01, 1.0), tries=st.integers(1, 10_000))
def test_jitter_is_a_share_of_the_wait_up_and_down(first: float, jitter: float, tries: int) -> None:
    wait = min(first * 2.0 ** min(tries - 1, 100), 60.0)
    varied = backoff(first, jitter=jitter)
    delays = [varied.delay(tries) for _ in range(64)]
    assert all(wait * (1 - jitter) * 0.999 <= each <= min(wait * (1 + jitter) * 1.001, 60.0) for each in delays)
    assert min(delays) < wait
    assert max(delays) > wait or wait == 60.0


def test_retries_follow_the_backoff(broker: Broker) -> None:
    times: list[float] = []

    def fail(message: Message) -> None:
        times.append(time.monotonic())
        raise ValueError("again")

    with connected(broker.uri) as connection:
        delay = backoff(0.05, factor=3.0, maximum=0.2, jitter=0.0)
        connection.subscribe(QUEUE, fail, settle=True, retries=3, retry_delay=delay, confirm=True)
        broker.publish(QUEUE, "x")
        # Rejected then, the message is delivered again.
        eventually(lambda: len(times) >= 4, "three retries")
    pauses = [after - before for before, after in itertools.pairwise(times[:4])]
    for pause, least in zip(pauses, (0.05, 0.15, 0.2), strict=True):
        assert least * 0.95 <= pause < least + 0.15, pauses


class Hopeless(ValueError):
    """What no retry mends."""


@pytest.mark.parametrize("listed", [(Hopeless,), (KeyError, ValueError), Hopeless])
def test_dead_letter_on(listed: Any, broker: Broker) -> None:
    raiser = Raiser(lambda: Hopeless("of no use"), times=10)
    options: dict[str, Any] = {"retries": 5, "retry_delay": 0.0, "error_destination": "/queue/errors"}
    with connected(broker.uri) as connection:
        connection.subscribe(QUEUE, raiser, settle=True, dead_letter_on=listed, confirm=True, **options)
        broker.publish(QUEUE, "x")
        broker.wait_for(lambda: broker.depth("/queue/errors") == 1)
        assert raiser.calls == 1
        assert not broker.unacknowledged(QUEUE)


def test_another_exception_is_retried(broker: Broker) -> None:
    raiser = Raiser(lambda: KeyError("again"), times=2)
    with connected(broker.uri) as connection:
        connection.subscribe(
            QUEUE, raiser, settle=True, retries=5, retry_delay=0.0, dead_letter_on=(Hopeless,), confirm=True
        )
        broker.publish(QUEUE, "x")
        eventually(lambda: raiser.calls == 3, "two retries")


@pytest.mark.parametrize("error_destination", [None, "/queue/errors"])
def test_max_deliveries(error_destination: str | None) -> None:
    """A message that kills its connection each time is given up, and its listener not run again.

    One at a time: the broker also counts what has only waited behind the poison.
    """
    limit = 3
    with Broker(max_deliveries=1) as broker, connected(broker.uri) as connection:
        runs: list[int] = []

        def listen(message: Message) -> None:
            if message.text == "poison":
                runs.append(1)
                broker.drop_connections()
            else:
                keeper.on_message(message)

        keeper = Keeper()
        connection.subscribe(
            QUEUE,
            listen,
            settle=True,
            max_deliveries=limit,
            error_destination=error_destination,
            prefetch=1,
            confirm=True,
        )
        broker.publish(QUEUE, "poison")
        broker.publish(QUEUE, "good")
        keeper.expect("good", timeout=2 * SOON)
        where = error_destination or "/queue/DLQ"
        broker.wait_for(lambda: broker.depth(where) == 1, 2 * SOON, "the poison there")
        assert limit - 1 <= len(runs) <= limit


@pytest.mark.parametrize(
    "options", [{"max_deliveries": 0}, {"max_deliveries": "3"}, {"dead_letter_on": "ValueError"}, {"dead_letter_on": 5}]
)
def test_these_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=next(iter(options))):
        Connection("tcp://127.0.0.1:1").subscribe(QUEUE, print, settle=True, **options)


@pytest.mark.parametrize("options", [{"max_deliveries": 2}, {"dead_letter_on": (ValueError,)}])
def test_these_options_belong_to_settle(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="settle"):
        Connection("tcp://127.0.0.1:1").subscribe(QUEUE, print, **options)
