"""Standby connections: how they stay alive, who takes them, and when the client moves to a preferred broker."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from engine_support import FakeTransport, Running, make_config, make_context, wait_until

from stomplistener import Frame
from stomplistener._engine import standby as module
from stomplistener._engine.login import LoggedIn
from stomplistener._engine.standby import (
    LOOK_SECONDS,
    PROVEN_SECONDS,
    SETTLED_SECONDS,
    Standby,
    StandbyConnection,
    _Moves,
)
from stomplistener._util.deadline import Deadline
from stomplistener._util.timer import Entry
from stomplistener.failover import Broker, Schedule
from stomplistener.protocol import Decoder
from stomplistener.states import ConnectionState, StandbyState
from stomplistener.transport import Interrupt

BACKUP = "failover:(tcp://a:1,tcp://b:1,tcp://c:1)?randomize=false&backup=true"
BOTH = BACKUP + "&priorityBackup=true"
PRIORITY = "failover:(tcp://a:1,tcp://b:1)?randomize=false&priorityBackup=true"
LOOK, PROVEN, PATIENCE = 0.02, 0.005, 60.0
"""Seconds in the tests with a thread, in which the first wait of a probe is 0.01 s."""


class Timer:
    """Keeps entries and calls none, or each once when it is added."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.calls_at_once = False

    def call_at(self, at: float, function: Callable[[], float | None]) -> Entry:
        self.entries.append(Entry(at, function))
        if self.calls_at_once:
            function()
        return self.entries[-1]

    def cancel(self, entry: Entry) -> None:
        entry.cancelled = True


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Idle(FakeTransport):
    """The transport of a broker that sends only what it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[bytes | BaseException] = []
        self.timeout: float | None = None
        self.ended: list[str] = []

    def receive(self) -> bytes:
        assert self.timeout == 0.0, "a check must not wait"
        self.entered.set()
        if self.gate is not None:
            assert self.gate.wait(10.0)
        answer = self.answers.pop(0) if self.answers else BlockingIOError()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def settimeout(self, seconds: float | None) -> None:
        self.timeout = seconds

    def shutdown(self) -> None:
        self.ended.append("shutdown")

    def close(self) -> None:
        self.ended.append("close")


def logged_in(broker: Broker) -> tuple[LoggedIn, Idle]:
    """A new connection whose broker offers and wants heartbeats every 10 s, as the client does."""
    transport = Idle()
    found = LoggedIn(broker, transport, Decoder("1.2"), ())  # type: ignore[arg-type]
    found.connected = Frame("CONNECTED", {"version": "1.2", "heart-beat": "10000,10000"})
    return found, transport


@pytest.fixture
def timer(monkeypatch: pytest.MonkeyPatch) -> Timer:
    timer = Timer()
    monkeypatch.setattr(module, "timer", lambda: timer)
    return timer


class Checked:
    """A standby connection, whose checks run when a test wants them."""

    def __init__(self, timer: Timer) -> None:
        config = make_config("tcp://a:1")
        found, self.transport = logged_in(config.uri.brokers[0])
        self.connection = StandbyConnection(config, found)
        self.entry = timer.entries[-1]
        self.look = self.entry.function


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for name in "standby", "login":
        monkeypatch.setattr(f"stomplistener._engine.{name}.time", clock)
    return clock


@pytest.fixture
def checked(clock: Clock, timer: Timer) -> Checked:
    return Checked(timer)


def test_silence_is_death(clock: Clock, checked: Checked) -> None:
    assert checked.entry.at == 1000.0 + LOOK_SECONDS
    clock.now = 1024.0
    checked.transport.answers = [b"\n"]
    assert checked.look() == 1024.0 + LOOK_SECONDS
    clock.now = 1048.0
    assert checked.look() == 1048.0 + LOOK_SECONDS
    clock.now = 1049.0
    assert checked.look() is None
    assert checked.connection.state is StandbyState.DEAD
    # The owner closes it.
    assert checked.transport.ended == ["shutdown"]
    assert checked.connection.take() is False


def test_heartbeats_are_sent_in_time(clock: Clock, checked: Checked) -> None:
    transport = checked.transport
    sent = []
    for clock.now in (1006.0, 1007.0, 1008.0, 1014.0, 1015.0):
        # At first the kernel takes nothing.
        transport.nowait = clock.now != 1007.0
        checked.look()
        sent.append(len(transport.sent))
    assert sent == [0, 0, 1, 1, 2]
    assert transport.data == b"\n\n"


@pytest.mark.parametrize(
    "answer", [b"", b"ERROR\nmessage:no\n\n\0", b"Go away\n", ConnectionResetError("gone"), RuntimeError("a bug")]
)
def test_signs_of_death(checked: Checked, answer: bytes | BaseException) -> None:
    checked.transport.answers = [TimeoutError(), BlockingIOError(), b"\n", answer]
    for _ in range(3):
        assert checked.look() is not None
    assert checked.look() is None
    assert (checked.connection.state, checked.transport.ended) == (StandbyState.DEAD, ["shutdown"])


def test_a_heartbeat_that_cannot_be_sent_is_a_sign_of_death(clock: Clock, checked: Checked) -> None:
    clock.now = 1009.0
    checked.transport.nowait = BrokenPipeError()
    assert checked.look() is None
    assert checked.connection.state is StandbyState.DEAD


def test_a_connection_is_taken_once_and_then_left_alone(checked: Checked) -> None:
    assert checked.connection.take() is True
    assert checked.entry.cancelled
    assert checked.connection.take() is False
    checked.transport.answers = [b"MESSAGE for its new owner"]
    assert checked.look() is None
    assert (len(checked.transport.answers), checked.transport.ended) == (1, [])


def test_a_closed_connection_is_not_checked_any_more(checked: Checked) -> None:
    checked.connection.close()
    assert checked.entry.cancelled
    assert checked.look() is None
    assert (checked.connection.take(), checked.transport.ended) == (False, ["close"])


def test_a_takeover_waits_for_the_check_under_way(checked: Checked) -> None:
    transport = checked.transport
    transport.answers = [b""]
    transport.gate = threading.Event()
    checking = Running(checked.look)
    assert transport.entered.wait(10.0)
    taking = Running(checked.connection.take)
    wait_until(lambda: checked.entry.cancelled)
    transport.gate.set()
    assert checking.result() is None
    # The check has found it dead.
    assert taking.result() is False


class Rig:
    """The standby of a client that is connected, and its logins.

    Attributes:
        tried: the hosts to which the standby thread logged in.
        down: what a login to a host raises.
        answers: what the broker sends behind CONNECTED, for each login.
        transports: the transports of the logins, in order.
        moves: how each move to another broker goes.
        rests: how long the standby thread wanted to wait, each time.
    """

    def __init__(self, uri: str, current: str) -> None:
        self.context = make_context(uri)
        self.brokers = {each.host: each for each in self.context.config.uri.brokers}
        self.tried: list[str] = []
        self.down: dict[str, BaseException] = {}
        self.answers: list[bytes] = []
        self.transports: list[Idle] = []
        self.moves: list[Callable[[], bool]] = []
        self.rests: list[float | None] = []
        self.is_over = False
        self.schedule = Schedule(self.context.config.uri)
        self.standby = Standby(self.context, self.schedule, Interrupt(), self._migrate, lambda: self.is_over)
        self._rest = self.standby._rest
        self.standby._rest = self.rest  # type: ignore[method-assign]
        self.become(ConnectionState.CONNECTING)
        self.connect(current)

    def log_in(self, _config: object, broker: Broker, number: int, deadline: Deadline, *_: Any) -> LoggedIn:
        self.tried.append(broker.host)
        assert (number, deadline.timeout) == (len(self.tried), 30.0)
        refused = self.down.get(broker.host)
        if refused is not None:
            raise refused
        found, transport = logged_in(broker)
        transport.answers = [self.answers.pop(0)] if self.answers else []
        self.transports.append(transport)
        return found

    def rest(self, epoch: int, seconds: float | None) -> bool:
        self.rests.append(seconds)
        return self._rest(epoch, seconds)

    def _migrate(self, deadline: Deadline) -> bool:
        assert deadline.timeout == PATIENCE
        return self.moves.pop(0)()

    def become(self, state: ConnectionState) -> None:
        with self.context.lock:
            self.context.move(state)

    def connect(self, host: str) -> None:
        with self.context.lock:
            self.context.broker = self.brokers[host]
            self.context.session.lost()
            self.context.session.adopt(Frame("CONNECT"), Frame("CONNECTED", {"version": "1.2"}))
            self.context.session.restored()
            self.context.move(ConnectionState.CONNECTED)

    def move(self, host: str, *, moved: bool = True) -> bool:
        """The receiver takes the connection over. Return ``moved``: whether it was for the move."""
        assert self.take() == host
        self.become(ConnectionState.SUSPENDED)
        self.connect(host)
        return moved

    def take(self) -> str | None:
        found = self.standby.take()
        return None if found is None else found.broker.host

    @property
    def held(self) -> list[str]:
        return [broker.host for broker in self.standby.held]

    def keep(self, host: str) -> tuple[StandbyConnection, Idle]:
        found, transport = logged_in(self.brokers[host])
        connection = StandbyConnection(self.context.config, found)
        self.standby._keep(connection)
        return connection, transport

    def end(self) -> None:
        with self.context.lock:
            self.is_over = True
            self.context.changes.notify_all()
        if self.standby.thread.ident is not None:
            self.standby.thread.join(10.0)
            assert not self.standby.thread.is_alive()


@pytest.fixture
def make_rig(timer: Timer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Rig]]:
    rigs: list[Rig] = []

    def make(uri: str, current: str) -> Rig:
        rigs.append(Rig(uri, current))
        monkeypatch.setattr(module, "log_in", rigs[-1].log_in)
        return rigs[-1]

    monkeypatch.setattr(module, "LOOK_SECONDS", LOOK)
    monkeypatch.setattr(module, "PROVEN_SECONDS", PROVEN)
    monkeypatch.setattr(module, "MOVE_PATIENCE_SECONDS", PATIENCE)
    yield make
    for rig in rigs:
        rig.end()


MakeRig = Callable[[str, str], Rig]


def test_a_connection_to_a_preferred_broker_is_taken_first_and_a_dead_one_never(make_rig: MakeRig) -> None:
    rig = make_rig(BOTH, "c")
    (dead, dead_transport), _, (_, transport) = rig.keep("a"), rig.keep("b"), rig.keep("a")
    dead.state = StandbyState.DEAD
    assert rig.take() == "a"
    assert (dead_transport.ended, transport.ended) == (["close"], [])
    assert (rig.take(), rig.take()) == ("b", None)


def test_the_pool_is_filled_with_brokers_that_can_be_reached(
    make_rig: MakeRig, caplog: pytest.LogCaptureFixture
) -> None:
    rig = make_rig(BACKUP, "a")
    rig.down["b"] = ConnectionRefusedError("refused")
    with caplog.at_level(logging.INFO, "stomplistener"):
        rig.standby.thread.start()
        wait_until(lambda: rig.held == ["c"])
    assert rig.tried == ["b", "c"]
    assert "no standby connection to tcp://b:1: refused" in caplog.text


def test_the_pool_has_as_many_connections_as_the_uri_asks_for(make_rig: MakeRig) -> None:
    rig = make_rig(BACKUP + "&backupPoolSize=2", "b")
    rig.standby.thread.start()
    wait_until(lambda: rig.rests)
    assert (rig.held, rig.rests[0]) == (["a", "c"], LOOK)
    rig.end()
    assert rig.tried == ["a", "c"]
    # No connection outlives its client.
    assert [transport.ended for transport in rig.transports] == [["close"]] * 2
    assert rig.held == []


def test_no_more_connections_are_made_when_the_connection_in_use_ends(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = make_rig(BACKUP + "&backupPoolSize=2", "a")

    def log_in(*arguments: Any) -> LoggedIn:
        rig.become(ConnectionState.SUSPENDED)
        return rig.log_in(*arguments)

    monkeypatch.setattr(module, "log_in", log_in)
    rig.standby.thread.start()
    wait_until(lambda: rig.rests)
    assert (rig.held, rig.tried) == (["b"], ["b"])


def test_a_dead_connection_of_the_pool_is_replaced(make_rig: MakeRig, timer: Timer) -> None:
    rig = make_rig(BACKUP, "a")
    rig.standby.thread.start()
    wait_until(lambda: rig.held == ["b"])
    rig.down["b"] = ConnectionRefusedError("refused")
    rig.transports[0].answers = [b""]
    assert timer.entries[0].function() is None
    wait_until(lambda: rig.held == ["c"])
    assert rig.transports[0].ended == ["shutdown", "close"]


def test_after_a_takeover_the_pool_waits_for_the_new_connection(make_rig: MakeRig) -> None:
    rig = make_rig(BACKUP, "a")
    rig.standby.thread.start()
    wait_until(lambda: rig.held == ["b"])
    rig.become(ConnectionState.SUSPENDED)
    assert rig.take() == "b"
    wait_until(lambda: rig.context.changes.gates)
    assert rig.tried == ["b"]
    rig.connect("b")
    wait_until(lambda: rig.held == ["a"])


def test_a_failed_thread_leaves_the_client_and_no_connection(
    make_rig: MakeRig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = make_rig(BACKUP, "a")
    _, transport = rig.keep("b")
    monkeypatch.setattr(rig.schedule, "spares", None)
    rig.standby.thread.start()
    rig.standby.thread.join(10.0)
    assert "standby connections failed: please report this as a bug" in caplog.text
    assert (transport.ended, rig.context.state) == (["close"], ConnectionState.CONNECTED)


def test_the_client_moves_to_a_preferred_broker_as_soon_as_it_can(make_rig: MakeRig) -> None:
    rig = make_rig(PRIORITY, "b")
    rig.down["a"] = ConnectionRefusedError("refused")
    rig.moves = [lambda: rig.move("a")]
    rig.standby.thread.start()
    wait_until(lambda: len(rig.tried) >= 3)
    assert not rig.transports
    del rig.down["a"]
    # After the move there is nothing to go back to.
    wait_until(lambda: rig.rests[-2:] == [PATIENCE, None])
    assert (rig.context.broker, rig.transports[0].ended) == (rig.brokers["a"], [])
    assert (len(rig.transports), set(rig.tried)) == (1, {"a"})


def test_the_client_does_not_move_to_a_broker_that_closes_at_once(make_rig: MakeRig, timer: Timer) -> None:
    rig = make_rig(PRIORITY, "b")
    timer.calls_at_once = True
    rig.answers = [b"", b"ERROR\n\n\0"]
    rig.moves = [lambda: rig.move("a")]
    rig.standby.thread.start()
    wait_until(lambda: not rig.moves)
    assert [transport.ended for transport in rig.transports] == [["shutdown", "close"], ["shutdown", "close"], []]
    assert rig.rests[:6] == [0.01, PROVEN, 0.02, PROVEN, 0.04, PROVEN]


def test_a_connection_that_is_lost_meanwhile_leaves_the_new_one_to_the_receiver(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = make_rig(PRIORITY, "b")
    monkeypatch.setattr(module, "PROVEN_SECONDS", 60.0)
    rig.standby.thread.start()
    wait_until(lambda: rig.transports)
    rig.become(ConnectionState.SUSPENDED)
    wait_until(lambda: rig.held)
    assert (rig.take(), rig.transports[0].ended) == ("a", [])


def test_a_client_with_open_answers_stays_and_tries_again(make_rig: MakeRig, caplog: pytest.LogCaptureFixture) -> None:
    rig = make_rig(PRIORITY, "b")
    held: list[list[str]] = []

    def stay() -> bool:
        held.append(rig.held)
        return False

    rig.moves = [stay, stay, lambda: rig.move("a")]
    with caplog.at_level(logging.INFO, "stomplistener"):
        rig.standby.thread.start()
        wait_until(lambda: PATIENCE in rig.rests)
    assert held == [["a"], ["a"]]
    assert rig.rests[:6] == [0.01, PROVEN, 0.02, PROVEN, 0.04, PROVEN]
    assert [transport.ended for transport in rig.transports] == [["close"], ["close"], []]
    assert caplog.text.count("no return to tcp://a:1 yet: answers or messages are still open") == 2


def test_the_next_move_waits_for_its_time(make_rig: MakeRig) -> None:
    rig = make_rig(PRIORITY, "b")
    rig.standby._moved = _Moves(3600.0, 3600.0)
    rig.standby._moved.note(time.monotonic())
    rig.moves = [lambda: False]
    rig.standby.thread.start()
    wait_until(lambda: any((seconds or 0.0) > 3500.0 for seconds in tuple(rig.rests)))
    assert (rig.moves, rig.tried) == ([], ["a"])


def test_a_connection_that_the_receiver_has_taken_is_not_closed(make_rig: MakeRig) -> None:
    rig = make_rig(PRIORITY, "b")
    # The connection to b was lost before it could be left.
    rig.moves = [lambda: rig.move("a", moved=False)]
    rig.standby.thread.start()
    wait_until(lambda: rig.context.session.epoch == 2)
    rig.end()
    assert (rig.tried, rig.transports[0].ended) == (["a"], [])


def test_the_pool_is_kept_full_while_no_preferred_broker_can_be_reached(make_rig: MakeRig, timer: Timer) -> None:
    rig = make_rig(BOTH, "b")
    rig.down["a"] = ConnectionRefusedError("refused")
    rig.standby.thread.start()
    wait_until(lambda: rig.held == ["c"])
    rig.transports[0].answers = [b""]
    assert timer.entries[0].function() is None
    wait_until(lambda: len(rig.transports) == 2)
    assert rig.transports[0].ended == ["shutdown", "close"]


def test_a_connection_that_is_lost_before_it_is_left_keeps_the_new_one_for_the_receiver(make_rig: MakeRig) -> None:
    rig = make_rig(PRIORITY, "b")

    def lose() -> bool:
        rig.become(ConnectionState.SUSPENDED)
        return False

    rig.moves = [lose]
    rig.standby.thread.start()
    wait_until(lambda: not rig.moves)
    assert (rig.take(), rig.transports[0].ended) == ("a", [])


def test_an_attempt_that_fails_in_an_odd_way_costs_only_itself(make_rig: MakeRig, timer: Timer) -> None:
    rig = make_rig(BOTH, "b")
    rig.down["a"] = SystemExit("odd")
    call_at, refusals = timer.call_at, [RuntimeError("can't start new thread")]

    def refuse_once(at: float, function: Callable[[], float | None]) -> Entry:
        if refusals:
            raise refusals.pop()
        return call_at(at, function)

    timer.call_at = refuse_once  # type: ignore[method-assign]
    rig.standby.thread.start()
    wait_until(lambda: rig.held == ["c"])
    assert [transport.ended for transport in rig.transports] == [["close"], []]


def test_moves_to_a_broker_that_flaps_thin_out() -> None:
    moves = _Moves(2.0, 7.0)
    assert moves.wait(0.0) == 0.0
    now, waits = 100.0, []
    for _ in range(5):
        moves.note(now)
        waits.append(moves.wait(now))
        now += waits[-1]
        assert moves.wait(now) == 0.0
    assert waits == [0.0, 2.0, 4.0, 7.0, 7.0]
    # It stayed for long enough.
    moves.note(now + SETTLED_SECONDS + 7.0)
    assert moves.wait(now + SETTLED_SECONDS + 7.0) == 0.0


def test_no_wait_is_shorter_than_the_proof() -> None:
    moves = _Moves(0.01, 0.02)
    moves.note(0.0)
    moves.note(1.0)
    assert moves.wait(1.0) == PROVEN_SECONDS


def test_only_where_the_uri_asks_for_it() -> None:
    assert not Standby.is_wanted(make_config("failover:(tcp://a:1,tcp://b:1)"))
    assert Standby.is_wanted(make_config("failover:(tcp://a:1,tcp://b:1)?backup=true"))
    assert Standby.is_wanted(make_config("failover:(tcp://a:1,tcp://b:1)?priorityBackup=true"))
