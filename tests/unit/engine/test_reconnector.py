"""The connections of one life, one attempt at a time: which broker, how often, and how failures are reported."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from engine_support import Running, make_context, wait_until

from stomplistener import BrokerError, ConnectFailed, Frame, NotConnected, ProtocolError, StompError
from stomplistener._engine import reconnector as module
from stomplistener._engine.login import LoggedIn
from stomplistener._engine.reconnector import (
    OFFENCES_IN_A_ROW,
    REPORT_SECONDS,
    Offences,
    Reconnector,
    describe,
    refused_by_all,
)
from stomplistener._util.deadline import Deadline
from stomplistener.failover import Attempt, Broker, Schedule
from stomplistener.protocol import Decoder
from stomplistener.states import ConnectionState
from stomplistener.transport import Interrupt

REFUSED = BrokerError("no", frame=Frame("ERROR", {"message": "no"}))
GONE = OSError("gone")
TWO = "failover:(tcp://a:1,tcp://b:2)?randomize=false&initialReconnectDelay=0&useExponentialBackOff=false"


class Wire:
    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.is_closed = False
        self.is_shut_down = threading.Event()
        self.shutdown = self.is_shut_down.set

    def close(self) -> None:
        self.is_closed = True


class Noted(Schedule):
    """A schedule that notes how long connections had lived."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.lived: list[float] = []

    def outage(self, lost: Broker, lived: float) -> Iterator[Attempt]:
        self.lived.append(lived)
        return super().outage(lost, lived)


class Rig:
    """A reconnector with a real schedule. This object is its cycle and its standby.

    Attributes:
        logins: the failure of each log-in; None for one that succeeds, as all later ones do.
        replays: as ``logins``, for the steps of the cycle.
        spares: the standby connections at hand.
        calls: the hooks that were called.
    """

    def __init__(self, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.context = make_context(uri)
        self.brokers = self.context.config.uri.brokers
        self.logins: list[BaseException | None] = []
        self.replays: list[BaseException | Callable[[], None] | None] = []
        self.spares: list[LoggedIn] = []
        self.calls: list[Any] = []
        self.tried: list[tuple[str, int]] = []
        self.wires: list[Wire] = []
        self.failures: list[StompError] = []
        self.rejections = 0
        self.is_over = False
        self.interrupt, self.schedule = Interrupt(), Noted(self.context.config.uri)
        me: Any = self
        arguments = (self.context, me, self.schedule, self.interrupt, me, lambda: self.is_over, self.failures.append)
        self.reconnector = Reconnector(*arguments)
        monkeypatch.setattr(module, "log_in", self.log_in)
        with self.context.lock:
            self.context.move(ConnectionState.CONNECTING)
        self.context.broker = next(iter(self.brokers), None)

    def notify(self, hook: str, *values: object) -> None:
        self.calls.append((hook, *values))

    def logged_in(self, broker: Broker) -> LoggedIn:
        self.wires.append(Wire(broker))
        return LoggedIn(broker, self.wires[-1], Decoder(), ())  # type: ignore[arg-type]

    def log_in(self, _config: object, broker: Broker, number: int, *others: Any) -> LoggedIn:
        self.tried.append((broker.host, number))
        failure = self.logins.pop(0) if self.logins else None
        if failure is not None:
            raise failure
        others[-1](Frame("CONNECT"))
        return self.logged_in(broker)

    def begin(self, logged_in: LoggedIn, is_wanted: Callable[[], bool], deadline: Deadline) -> Any:
        self.is_wanted = is_wanted
        assert is_wanted()
        assert self.interrupt.step == "the receipts of the subscriptions"
        step = self.replays.pop(0) if self.replays else None
        if isinstance(step, BaseException):
            raise step
        if step is not None:
            step()
        return logged_in.transport

    def take(self) -> LoggedIn | None:
        return self.spares.pop(0) if self.spares else None


@pytest.fixture
def rig(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(TWO + getattr(request, "param", ""), monkeypatch)


def uri(options: str) -> pytest.MarkDecorator:
    """Let the URI of a test have these options, too."""
    return pytest.mark.parametrize("rig", [options], indirect=True)


@pytest.fixture
def info(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "stomplistener"):
        yield caplog


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """The level and the text of each record, without the name of the connection."""
    return [(record.levelname, record.getMessage().partition(": ")[2]) for record in caplog.records]


def test_the_same_offence_in_a_row_is_reported_at_a_bounded_rate(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    offences = Offences(make_context())
    with caplog.at_level(logging.ERROR, "stomplistener"):
        # What the frame says differs, such as how often the broker has delivered it.
        noted = [offences.note(ProtocolError("bad frame", data=b"%d" % n)) for n in range(OFFENCES_IN_A_ROW + 2)]
        assert noted == [False] * (OFFENCES_IN_A_ROW - 1) + [True] * 3
        assert len(caplog.records) == 1
        assert "3 connections in a row ended by the same offence: bad frame: b'2'" in caplog.text
        now += REPORT_SECONDS
        assert offences.note(ProtocolError("bad frame"))
        assert len(caplog.records) == 2
        assert "6 connections in a row ended by the same offence: bad frame" in caplog.text


def test_another_end_starts_anew() -> None:
    offences = Offences(make_context())
    for between in (None, OSError("gone"), ProtocolError("another")):
        for _ in range(OFFENCES_IN_A_ROW - 1):
            assert not offences.note(ProtocolError("bad frame"))
        assert not offences.note(between)


def test_failures_on_one_line() -> None:
    assert describe([("tcp://a:1", OSError("x")), ("tcp://b:1", OSError("y"))]) == "tcp://a:1: x; tcp://b:1: y"
    assert describe([]) == "there is no broker to try"


def test_refused_by_all() -> None:
    refused = ("a", BrokerError("no", frame=Frame("ERROR", {}, b"")))
    unreachable = ("b", ConnectFailed("no"))
    assert refused_by_all([refused, unreachable])
    assert not refused_by_all([unreachable])
    assert not refused_by_all([refused, ("c", ValueError("odd"))])
    assert not refused_by_all([])


def test_a_start_tries_each_broker_at_once(rig: Rig, info: pytest.LogCaptureFixture) -> None:
    rig.logins = [GONE]
    assert rig.reconnector.first() is rig.wires[-1]  # type: ignore[comparison-overlap]
    assert (rig.tried, rig.context.last_error, rig.failures) == ([("a", 1), ("b", 2)], GONE, [])
    hooks = [("on_connecting", ("a", 1)), ("on_connecting", ("b", 2)), ("on_send", Frame("CONNECT"))]
    assert (rig.calls, logged(info)) == (hooks, [("INFO", "tcp://a:1: gone")])


@uri("&startupMaxReconnectAttempts=2")
def test_a_start_that_fails_for_good_reports_the_brokers_of_its_last_pass(
    rig: Rig, info: pytest.LogCaptureFixture
) -> None:
    rig.logins = [GONE, SystemExit("odd"), REFUSED, ValueError("bad")]
    assert rig.reconnector.first() is None
    (failure,) = rig.failures
    assert str(failure) == "could not connect in 2 passes: tcp://a:1: no; tcp://b:2: bad"
    assert isinstance(failure, ConnectFailed)
    assert [broker for broker, _ in failure.attempts] == ["tcp://a:1", "tcp://b:2"]
    assert [call for call in rig.calls if call[0] != "on_connecting"] == [
        ("on_reconnecting", 2, 0.0),
        ("on_error", REFUSED.frame),
    ]
    # The exception has the failures of the last pass.
    assert logged(info) == [("WARNING", "not connected, pass 1 failed: tcp://a:1: gone; tcp://b:2: SystemExit: odd")]


def test_a_start_that_every_broker_refuses_ends_with_the_first_pass(rig: Rig, info: pytest.LogCaptureFixture) -> None:
    rig.logins = [REFUSED, ConnectFailed("unreachable")]
    assert rig.reconnector.first() is None
    assert [str(failure) for failure in rig.failures] == ["could not connect: tcp://a:1: no; tcp://b:2: unreachable"]
    assert logged(info) == []


def test_after_a_loss_a_refusal_is_not_final(rig: Rig, info: pytest.LogCaptureFixture) -> None:
    """A broker that restarts may refuse for a while."""
    rig.logins = [REFUSED, REFUSED]
    assert rig.reconnector.again() is rig.wires[-1]  # type: ignore[comparison-overlap]
    assert rig.tried == [("b", 1), ("a", 2), ("b", 3)]
    assert [call for call in rig.calls if call[0] == "on_reconnecting"] == [
        ("on_reconnecting", 1, 0.0),
        ("on_reconnecting", 2, 0.0),
    ]
    assert logged(info) == [
        ("WARNING", "not connected, pass 1 failed: tcp://b:2: no; tcp://a:1: no"),
        ("WARNING", "connected, pass 2 succeeded: tcp://b:2"),
    ]


@uri("&maxReconnectAttempts=1&warnAfterReconnectAttempts=0")
def test_after_a_loss_the_last_failure_is_logged(rig: Rig, info: pytest.LogCaptureFixture) -> None:
    rig.logins = [GONE, GONE]
    assert rig.reconnector.again() is None
    text = "could not connect again after a connection loss: tcp://b:2: gone; tcp://a:1: gone"
    assert [str(failure) for failure in rig.failures] == [text]
    assert logged(info) == [("INFO", "tcp://b:2: gone"), ("INFO", "tcp://a:1: gone"), ("ERROR", text)]


@uri("&maxReconnectAttempts=0")
def test_a_loss_is_final_if_the_uri_forbids_a_reconnect(rig: Rig) -> None:
    assert rig.reconnector.again() is None
    (failure,) = rig.failures
    assert (type(failure), rig.tried) == (NotConnected, [])
    assert str(failure) == "the connection was lost, and the URI forbids a reconnect"


def test_a_rejected_subscription_costs_the_others_no_wait(rig: Rig, info: pytest.LogCaptureFixture) -> None:
    def reject() -> None:
        rig.rejections += 1
        raise REFUSED

    rig.replays = [reject, reject]
    assert rig.reconnector.first() is rig.wires[2]  # type: ignore[comparison-overlap]
    assert rig.tried == [("a", 1)] * 3
    assert [wire.is_closed for wire in rig.wires] == [True, True, False]
    assert logged(info) == [("INFO", "tcp://a:1: no")] * 2


def test_a_replay_that_fails_costs_the_broker_its_turn(rig: Rig) -> None:
    rig.replays = [ConnectionResetError("reset")]
    rig.reconnector.first()
    assert rig.tried == [("a", 1), ("b", 2)]
    assert [wire.is_closed for wire in rig.wires] == [True, False]


def test_an_attempt_of_a_life_that_is_over_changes_nothing(rig: Rig) -> None:
    def close() -> None:
        rig.is_over = True
        wanted.append(rig.is_wanted())
        raise GONE

    wanted: list[bool] = []
    rig.replays = [close]
    assert rig.reconnector.first() is None
    assert wanted == [False]
    assert (rig.tried, rig.context.last_error, rig.failures) == ([("a", 1)], None, [])


def test_the_end_of_a_life_ends_the_wait_for_the_next_pass(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = Attempt(broker=rig.brokers[0], delay=60.0, pass_number=1, is_last_of_pass=True, warn=True)
    monkeypatch.setattr(Schedule, "outage", lambda *_: iter([attempt]))
    running = Running(rig.reconnector.again)
    wait_until(lambda: rig.context.changes.gates)
    assert rig.interrupt.step == "the next attempt"
    with rig.context.lock:
        rig.is_over = True
        rig.context.move(ConnectionState.CLOSED)
    assert (running.result(), rig.tried, rig.failures) == (None, [], [])
    assert rig.calls == [("on_reconnecting", 1, 60.0)]


def test_an_interrupt_breaks_a_replay_that_hangs(rig: Rig) -> None:
    def hang() -> None:
        wait_until(rig.wires[0].is_shut_down.is_set)
        rig.is_over = True
        raise GONE

    rig.replays = [hang]
    running = Running(rig.reconnector.first)
    wait_until(lambda: not rig.replays)
    rig.interrupt.set()
    assert running.result() is None
    assert rig.wires[0].is_closed


def test_warnings_of_the_schedule_are_logged_once(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.schedule.warnings.append("the file is bad")
    for _ in range(2):
        rig.reconnector.first()
    assert logged(caplog) == [("WARNING", "the file is bad")]


@pytest.mark.parametrize("end", [GONE, SystemExit("gone")])
def test_a_standby_connection_takes_over_and_dead_ones_are_skipped(
    rig: Rig, info: pytest.LogCaptureFixture, end: BaseException
) -> None:
    rig.spares = [rig.logged_in(rig.brokers[1]), rig.logged_in(rig.brokers[1])]
    rig.replays = [end]
    dead, alive = rig.wires
    assert rig.reconnector.again() is alive  # type: ignore[comparison-overlap]
    assert (dead.is_closed, alive.is_closed, rig.tried) == (True, False, [])
    assert rig.calls == [("on_reconnecting", 1, 0.0)] * 2
    assert logged(info) == [("INFO", "the standby connection to tcp://b:2 is dead: gone")]


def test_what_was_wrong_with_the_uri_is_logged_even_if_there_is_no_broker_to_try(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig("failover:()?updateURIsURL=file:///nonexistent/brokers", monkeypatch)
    assert rig.reconnector.first() is None
    assert [str(failure) for failure in rig.failures] == ["could not connect: there is no broker to try"]
    assert "/nonexistent/brokers" in caplog.text


def test_an_end_during_a_takeover_takes_no_further_connection(rig: Rig) -> None:
    def close() -> None:
        rig.is_over = True
        raise GONE

    rig.spares = [rig.logged_in(rig.brokers[1]), rig.logged_in(rig.brokers[1])]
    rig.replays = [close]
    assert rig.reconnector.again() is None
    assert (len(rig.spares), rig.tried) == (1, [])


def test_the_waits_grow_unless_the_last_connection_proved_itself(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A standby connection has proved itself, and a bad frame on each connection proves the opposite."""
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    rig.context.ready_since = 993.0
    rig.reconnector.again()
    rig.spares = [rig.logged_in(rig.brokers[1])]
    rig.reconnector.again()
    for _ in range(2):
        rig.reconnector.again()
    rig.context.last_error = ProtocolError("bad frame")
    for _ in range(OFFENCES_IN_A_ROW):
        rig.reconnector.again()
    assert rig.schedule.lived == [7.0, float("inf"), *[7.0] * OFFENCES_IN_A_ROW, 0.0]


def test_bad_frames_during_the_replay_count_as_offences(rig: Rig) -> None:
    rig.context.ready_since = time.monotonic() - 60.0
    rig.replays = [ProtocolError("bad frame")] * OFFENCES_IN_A_ROW
    rig.reconnector.again()
    rig.context.last_error = ProtocolError("bad frame")
    rig.reconnector.again()
    assert rig.schedule.lived[-1] == 0.0
