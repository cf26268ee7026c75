"""How connections begin and end: what is replayed and resent, when all threads may send, and what an end means."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from engine_support import FakeTransport, Running, make_context, wait_until

from stomplistener import BrokerError, ConnectionLost, Frame, InvalidHeader, NotConnected, TimedOut
from stomplistener._engine import connection_cycle as module
from stomplistener._engine.connection_cycle import ENDED, TRIAL_SECONDS, ConnectionCycle
from stomplistener._engine.flow_control import FlowControl
from stomplistener._engine.login import LoggedIn
from stomplistener._engine.receipts import Answer
from stomplistener._engine.writer import Writer
from stomplistener._util.deadline import Deadline
from stomplistener._util.locks import is_owned
from stomplistener.protocol import Decoder, Outcome, Request, SubscriptionEntry, encode
from stomplistener.states import ConnectionState, SessionState, SettlementState, SubscriptionState, WriteState

CLOSED = ConnectionLost("the broker closed the connection")
REFUSED = BrokerError("no", frame=Frame("ERROR", {"message": "no"}))
HOOKS = ("on_send", "on_connected", "on_connection_lost", "on_disconnected", "on_heartbeat_timeout")
SOON = 10.0


class Wire(FakeTransport):
    """Notes its time limits and its ends."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: list[float | None] = []
        self.settimeout = self.limits.append
        self.ends: list[str] = []
        self.abandon = partial(self.ends.append, "abandon")
        self.raises: BaseException | None = None

    def shutdown(self) -> None:
        self.ends.append("shutdown")
        if self.raises is not None:
            raise self.raises

    @property
    def frames(self) -> list[str]:
        """Each frame that was written: the body of a SEND, the command of any other."""
        return [frame.body.decode() or frame.command for frame in Decoder().feed(self.data)]


class Noted:
    """A neighbour that only notes its calls."""

    def __init__(self, name: str, calls: list[Any]) -> None:
        self._name, self._calls = name, calls

    def __getattr__(self, method: str) -> Callable[..., None]:
        return lambda *args: self._calls.append((f"{self._name}.{method}", *args))


class Rig:
    """A cycle with a real session and writer. This object is its ``Inbound``: each read takes a step of a script."""

    def __init__(self, **arguments: Any) -> None:
        self.context = make_context(**arguments)
        self.session, self.flow = self.context.session, FlowControl(self.context)
        self.calls: list[Any] = []
        hooks = {hook: lambda *args, hook=hook: self.calls.append((hook, *args)) for hook in HOOKS}
        self.context.listeners.add(SimpleNamespace(**hooks))
        self.writer = Writer(self.context, lambda reason, epoch: self.cycle.broken(reason, epoch))
        self.main = Noted("main", self.calls)
        sender, settlement, requests = (Noted(name, self.calls) for name in ("sender", "settlement", "requests"))
        neighbours: list[Any] = [sender, self, settlement, requests, lambda: [self.main], self.call]
        self.cycle = ConnectionCycle(self.context, self.flow, self.writer, *neighbours)
        self.desk: Any = SimpleNamespace(context=self.context, flow=self.flow, writer=self.writer)
        self.attach: Callable[..., None] = lambda *_connection: None
        self.early: list[Frame] = []
        self.dispatch = self.early.extend
        self.steps: list[Callable[[], Exception | None]] = []
        self.last_error: BrokerError | None = None
        self.has_room = True
        self.move(ConnectionState.CONNECTING)

    def call(self, event: Callable[[], object]) -> None:
        assert not is_owned(self.context.lock)
        event()

    def wait_for_room(self, _deadline: Deadline) -> bool:
        assert self.flow.is_urgent, "the receipts may lie behind any number of messages"
        return self.has_room

    def read(self) -> Exception | None:
        return self.steps.pop(0)()

    def move(self, state: ConnectionState) -> None:
        with self.context.lock:
            self.context.move(state)

    def subscribe(self, destination: str = "/queue/a", queue: object = None, **arguments: Any) -> SubscriptionEntry:
        hook = SimpleNamespace(queue=queue or self.main, hook=lambda name: (lambda *args: self.calls.append(name),))
        with self.context.lock:
            return self.session.subscribe(destination, context=hook, **arguments)[0]

    def send(self, body: bytes, context: object = None, **headers: str) -> None:
        with self.context.lock:
            frame = Frame("SEND", {"destination": "/queue/a", **headers}, body)
            out = self.session.send(frame, confirm=True, context=context)
            if out is not None:
                self.writer.append(encode(out, self.session.version))

    def receipts(self) -> None:
        """Receive a RECEIPT for each SUBSCRIBE."""
        with self.context.lock:
            for request in tuple(self.session.awaited()):
                if request.command == "SUBSCRIBE":
                    self.session.receive(Frame("RECEIPT", {"receipt-id": request.receipt}))

    def begin(
        self,
        *steps: Callable[[], Exception | None],
        wire: Wire | None = None,
        is_wanted: Callable[[], bool] = lambda: True,
        seconds: float = 30.0,
        version: str = "1.2",
    ) -> Wire:
        """Begin a connection whose reads take these steps, and let all frames be written."""
        self.steps[:] = steps
        used = wire or Wire()
        transport: Any = used
        logged_in = LoggedIn(self.context.config.uri.brokers[0], transport, Decoder(), ())
        logged_in.connect, logged_in.connected = Frame("CONNECT"), Frame("CONNECTED", {"version": version})
        logged_in.early = [Frame("MESSAGE")]
        assert self.cycle.begin(logged_in, is_wanted, Deadline(seconds)) is transport
        assert self.writer.flush(Deadline(SOON))
        assert (self.steps, self.context.last_received) == ([], logged_in.last_received)
        return used

    def lose(self, wire: Any) -> bool:
        return self.cycle.lost(wire, CLOSED)

    def names(self) -> list[Any]:
        """The calls since the last look, without their arguments."""
        names = [call[0] for call in self.calls]
        self.calls.clear()
        return names


@pytest.fixture
def rig(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    rig = Rig(**getattr(request, "param", {}))
    monkeypatch.setattr(module, "Heartbeater", lambda *_watched: Noted("heartbeater", rig.calls))
    yield rig
    rig.writer.stop()


def silence() -> None:
    raise TimeoutError


def test_all_threads_may_send_behind_the_replay_and_the_messages_that_wait(rig: Rig) -> None:
    rig.subscribe()
    rig.send(b"kept")
    wire = Wire()

    def receipts() -> None:
        assert (wire.frames, rig.context.state) == (["SUBSCRIBE"], ConnectionState.CONNECTING)
        rig.receipts()

    rig.begin(receipts, wire=wire)
    assert wire.frames == ["SUBSCRIBE", "kept"]
    assert (rig.context.state, rig.session.is_connected) == (ConnectionState.CONNECTED, True)
    assert (rig.context.broker_name, wire.limits[-1]) == ("tcp://localhost:1", None)
    assert (rig.early, rig.context.counters.connects) == ([Frame("MESSAGE")], 1)
    assert rig.names() == ["on_send", "settlement.move", "on_send", "on_connected", "settlement.restored"]
    assert not rig.flow.is_urgent


def test_a_subscription_made_after_the_replay_is_replayed_before_all_threads_may_send(rig: Rig) -> None:
    looks: list[bool] = []

    def is_wanted() -> bool:
        looks.append(is_owned(rig.context.lock))
        if len(looks) == 2:
            rig.subscribe()
        return True

    assert rig.begin(rig.receipts, is_wanted=is_wanted).frames == ["SUBSCRIBE"]
    assert (looks, rig.session.is_connected) == ([True] * 3, True)


@pytest.mark.parametrize("read", [silence, lambda: None])
def test_a_subscription_without_a_receipt_counts_as_active_after_a_while(
    rig: Rig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, read: Callable[[], None]
) -> None:
    """In a silence as well as behind messages that keep arriving."""
    if read is not silence:
        monkeypatch.setattr(module, "REPLAY_SILENCE_SECONDS", 0.0)
    entry = rig.subscribe()
    rig.begin(read)
    assert entry.state is SubscriptionState.ACTIVE
    assert "sends no receipt for SUBSCRIBE to /queue/a; the subscriptions count as active" in caplog.text


@pytest.mark.parametrize(("seconds", "has_room"), [(0.0, True), (30.0, False)])
def test_a_broker_that_is_too_slow_loses_the_connection(rig: Rig, seconds: float, has_room: bool) -> None:
    entry, wire = rig.subscribe(), Wire()
    rig.has_room = has_room
    with pytest.raises(TimedOut, match=rf"did not send the receipts of the subscriptions within {seconds:g} s \("):
        rig.begin(wire=wire, seconds=seconds)
    assert (rig.context.state, rig.session.state) == (ConnectionState.CONNECTING, SessionState.DISCONNECTED)
    assert (rig.writer.state, wire.ends, rig.flow.is_urgent) == (WriteState.DETACHED, ["shutdown"], False)
    assert rig.names() == ["on_send", "heartbeater.stop", "settlement.lost"]
    rig.has_room = True
    assert rig.begin(rig.receipts).frames == ["SUBSCRIBE"]
    assert entry.state is SubscriptionState.ACTIVE


@pytest.mark.parametrize("noticed", [None, ConnectionLost("noticed by the receiver, too")])
def test_a_connection_that_breaks_while_it_is_restored_is_never_open(rig: Rig, noticed: Exception | None) -> None:
    rig.subscribe()

    def break_it() -> Exception | None:
        rig.receipts()
        rig.cycle.broken(CLOSED)
        return noticed

    with pytest.raises(ConnectionLost) as raised:
        rig.begin(break_it)
    assert raised.value is CLOSED
    assert (rig.session.state, "on_connected" in rig.names()) == (SessionState.DISCONNECTED, False)
    # The report was about that connection only.
    rig.begin(rig.receipts)
    assert (rig.session.is_connected, rig.flow.is_urgent) == (True, False)


@pytest.mark.parametrize(("answers", "epoch"), [([False], 0), ([True, False], 1)])
def test_a_connection_of_a_life_that_is_over_is_not_used(rig: Rig, answers: list[bool], epoch: int) -> None:
    left = iter(answers)
    with pytest.raises(NotConnected, match="the connection was closed meanwhile"):
        rig.begin(is_wanted=lambda: next(left))
    assert (rig.session.epoch, rig.session.state) == (epoch, SessionState.DISCONNECTED)
    assert (rig.writer.state, rig.context.counters.connects) == (WriteState.DETACHED, 0)


def test_a_frame_that_this_version_cannot_express_fails_alone(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """The session refuses the first subscription, and the encoder the second one: both may suit the next version."""
    own = Noted("own", rig.calls)
    entries = [rig.subscribe(ack="client-individual", queue=own), rig.subscribe(headers={"a": "\n"})]
    answer: Answer[Frame] = Answer(rig.desk)
    rig.send(b"1", answer, a="\n")
    rig.send(b"2", a="\n")
    rig.send(b"3")
    wire = rig.begin(version="1.0")
    assert wire.frames == ["3"]
    assert isinstance(answer.exception(0), InvalidHeader)
    assert caplog.text.count("cannot be sent on this connection: SEND: ") == 1
    assert rig.cycle.rejected_at_start == [entry.error for entry in entries]
    # None for good, so another attempt at once would end in the same way.
    assert (rig.cycle.rejections, caplog.text.count("was rejected: ")) == (0, 2)
    assert "own.stop" not in rig.names()
    rig.lose(wire)
    assert rig.begin(rig.receipts).frames == ["SUBSCRIBE", "SUBSCRIBE", "3"]


@pytest.mark.parametrize(("disconnects", "last"), [(False, "kept"), (True, "DISCONNECT")])
def test_a_graceful_end_during_the_replay_announces_no_connection(rig: Rig, disconnects: bool, last: str) -> None:
    """The messages that wait are sent nevertheless, until DISCONNECT."""
    rig.lose(rig.begin())
    rig.names()
    rig.subscribe()
    rig.send(b"kept")

    def end() -> None:
        rig.move(ConnectionState.CLOSING)
        if not disconnects:
            return rig.receipts()
        with rig.context.lock:
            return rig.writer.append(encode(rig.session.disconnect(), rig.session.version))

    wire = rig.begin(end)
    assert (wire.frames, rig.context.state) == (["SUBSCRIBE", last], ConnectionState.CLOSING)
    assert not rig.lose(wire)
    assert not {"on_connected", "on_disconnected"} & set(rig.names())


def put_on_trial(rig: Rig, lived: float = 0.0) -> None:
    """Let three connections end on one message, the last one after so many seconds."""
    rig.send(b"bad")
    for _ in range(3):
        wire = rig.begin()
        rig.context.ready_since = time.monotonic() - lived
        assert (wire.frames, rig.lose(wire)) == (["bad"], True)


SHORTEST, LONGEST = TRIAL_SECONDS


@pytest.mark.parametrize(
    ("lived", "seconds", "expected"), [(0.0, 30.0, SHORTEST), (0.05, 30.0, 1.0), (9.0, 30.0, LONGEST), (9.0, 1.0, 0.5)]
)
def test_a_connection_lives_for_a_while_before_the_suspect_is_written(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, lived: float, seconds: float, expected: float
) -> None:
    """The trial takes half of the time for the attempt at most."""
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    put_on_trial(rig, lived)
    wire = Wire()

    def look() -> None:
        assert (wire.frames, rig.session.is_connected) == ([], False)
        raise TimeoutError

    assert rig.begin(lambda: None, look, wire=wire, seconds=seconds).frames == ["bad"]
    assert wire.limits == [seconds, pytest.approx(expected), pytest.approx(expected), None]


@pytest.mark.parametrize("end", [CLOSED, REFUSED, ConnectionResetError("reset")])
def test_a_trial_that_ends_unexplained_clears_the_message(rig: Rig, end: Exception) -> None:
    put_on_trial(rig)
    with pytest.raises(type(end)):
        rig.begin(lambda: end)
    assert not rig.session.is_on_trial


def test_a_trial_that_runs_out_of_time_has_shown_nothing(rig: Rig) -> None:
    put_on_trial(rig)
    rig.has_room = False
    with pytest.raises(TimedOut):
        rig.begin(lambda: CLOSED)
    assert rig.session.is_on_trial


def test_a_transport_that_raises_at_the_last_step_leaves_no_open_connection(rig: Rig) -> None:
    wire = Wire()

    def settimeout(seconds: float | None) -> None:
        if seconds is None:
            raise OSError("odd")

    wire.settimeout = settimeout
    with pytest.raises(OSError, match="odd"):
        rig.begin(wire=wire)
    assert (rig.context.state, rig.session.is_open) == (ConnectionState.CONNECTING, False)
    rig.begin()
    assert rig.context.state is ConnectionState.CONNECTED


@pytest.mark.parametrize(("report", "resent"), [(CLOSED, ["1", "2"]), (REFUSED, ["1"]), (None, ["1"])])
def test_an_end_with_another_cause_raises_no_suspicion(rig: Rig, report: Exception | None, resent: list[str]) -> None:
    rig.send(b"1")
    rig.send(b"2")
    for _ in range(2):
        wire = rig.begin()
        if report is not None:
            rig.cycle.broken(report)
        rig.lose(wire)
    assert rig.begin().frames == resent


def test_after_a_connection_loss_the_client_reconnects(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.subscribe()
    wire = rig.begin(rig.receipts)
    rig.send(b"kept")
    rig.names()
    assert rig.lose(wire)
    assert (rig.context.state, rig.context.last_error) == (ConnectionState.SUSPENDED, CLOSED)
    assert ("settlement.discard_stale", [rig.main]) in rig.calls
    names = rig.names()
    assert [name for name in names if name.startswith("on_")] == ["on_connection_lost", "on_disconnected"]
    assert {"heartbeater.stop", "sender.notify_window", "requests.lost", "settlement.lost"} < set(names)
    assert "the broker closed the connection; 1 message unconfirmed\n" in caplog.text
    with caplog.at_level("INFO", "stomplistener"):
        assert rig.begin(rig.receipts).frames == ["SUBSCRIBE", "kept"]
    assert "1 subscription replayed, 1 message resent" in caplog.text


@pytest.mark.parametrize("rig", [{"reconnect": False}], indirect=True)
@pytest.mark.parametrize(
    ("state", "after", "failure"),
    [
        (ConnectionState.CONNECTED, ConnectionState.CLOSED, f"the connection to tcp://localhost:1 was lost: {CLOSED}"),
        (ConnectionState.CLOSING, ConnectionState.CLOSED, ENDED),
        (ConnectionState.MIGRATING, ConnectionState.SUSPENDED, "not connected yet: call connect() first"),
    ],
)
def test_without_reconnect_a_loss_is_final_and_an_end_that_the_client_wants_is_no_loss(
    rig: Rig, caplog: pytest.LogCaptureFixture, state: ConnectionState, after: ConnectionState, failure: str
) -> None:
    """A move to another broker goes on."""
    wire, is_loss = rig.begin(), state is ConnectionState.CONNECTED
    if not is_loss:
        rig.move(state)
    assert rig.lose(wire) is (after is ConnectionState.SUSPENDED)
    assert (rig.context.state, str(rig.context.failure)) == (after, failure)
    assert isinstance(rig.context.failure, ConnectionLost) is is_loss
    assert rig.context.last_error is (CLOSED if is_loss else None)
    assert "; it is not restored" in caplog.text if is_loss else caplog.text == ""
    names = rig.names()
    assert ("on_connection_lost" in names, "on_disconnected" in names) == (is_loss, True)


def test_only_a_connection_after_a_loss_is_logged_as_connected_again(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """Not one after a move to another broker, and not the first one of a new life."""
    with caplog.at_level("INFO", "stomplistener"):
        rig.lose(rig.begin())
        wire = rig.begin()
        rig.move(ConnectionState.MIGRATING)
        rig.lose(wire)
        rig.lose(rig.begin())
        for state in ConnectionState.CLOSED, ConnectionState.CONNECTING:
            rig.move(state)
        rig.cycle.begin_life()
        rig.begin()
    words = [record.getMessage().split()[1:3] for record in caplog.records if record.levelname == "INFO"]
    assert words == [["connected", "to"], ["connected", "again"], ["connected", "to"], ["connected", "to"]]


def test_a_transport_that_is_not_in_use_ends_nothing(rig: Rig) -> None:
    wire, old = rig.begin(), Wire()
    rig.names()
    assert not rig.lose(old)
    assert (rig.context.state, rig.calls, old.ends, wire.ends) == (ConnectionState.CONNECTED, [], [], [])
    assert rig.lose(wire)
    rig.names()
    assert (rig.lose(wire), rig.calls) == (False, [])


def test_an_end_waits_for_a_thread_inside_a_write(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LAST_WRITE_SECONDS", 60.0)
    wire = rig.begin()
    wire.gate = threading.Event()
    rig.send(b"kept")
    writing = Running(rig.writer.write_all)
    assert wire.entered.wait(SOON)
    ending = Running(lambda: rig.lose(wire))
    wait_until(lambda: rig.writer._progress.gates)
    assert (wire.ends, rig.session.is_connected) == (["shutdown"], True)
    wire.gate.set()
    assert (ending.result(), writing.result()) == (True, None)


@pytest.mark.parametrize(
    ("outcome", "then"),
    [
        (Outcome.NOT_CONFIRMED, "the broker may deliver the message again"),
        (Outcome.LOST, "the transaction had no effect"),
        (Outcome.IN_DOUBT, "it is in doubt: the broker may have carried it out or not"),
        (Outcome.GIVEN_UP, "it is not sent again"),
    ],
)
def test_a_waiting_call_gets_the_meaning_of_the_loss(rig: Rig, outcome: Outcome, then: str) -> None:
    plain, explained, done = (Answer[Frame](rig.desk) for _ in range(3))
    requests = [Request("ACK", "1"), Request("ACK", "2", plain), Request("ACK", "3", explained)]
    requests[-1].error = REFUSED
    rig.cycle.fail([*((request, outcome) for request in requests), (Request("ABORT", "4", done), Outcome.DONE)])
    lost = plain.exception(0)
    assert isinstance(lost, ConnectionLost)
    assert str(lost) == f"ACK: the connection to no broker was lost before the broker's answer; {then}"
    assert lost.outcome_unknown is (outcome is Outcome.IN_DOUBT)
    assert (explained.exception(0), done.result(0)) == (REFUSED, Frame("RECEIPT"))


def test_an_error_is_the_best_reason_and_the_first_report_the_next(rig: Rig) -> None:
    wire = rig.begin()
    assert rig.cycle.reason(CLOSED) is CLOSED
    rig.cycle.broken(SystemExit("stop"))
    rig.cycle.broken(OSError("late"))
    reason = rig.cycle.reason(CLOSED)
    assert (type(reason), str(reason)) == (ConnectionLost, "SystemExit: stop")
    assert (wire.ends, rig.flow.is_urgent) == (["shutdown"] * 2, True)
    rig.last_error = REFUSED
    assert rig.cycle.reason(CLOSED) is REFUSED


def test_a_missed_heartbeat_breaks_the_connection_of_its_epoch_only(rig: Rig) -> None:
    wire = rig.begin()
    rig.names()
    rig.cycle.heartbeat_missed(2.5, rig.session.epoch - 1)
    assert (rig.names(), wire.ends) == ([], [])
    rig.cycle.heartbeat_missed(2.5, rig.session.epoch)
    assert (rig.names(), wire.ends) == (["on_heartbeat_timeout"], ["shutdown"])
    assert str(rig.cycle.reason(CLOSED)) == "tcp://localhost:1 sent nothing for 2.5 s, not even a heartbeat"


@pytest.mark.parametrize("end", [lambda cycle: cycle.broken(CLOSED), ConnectionCycle.stop])
def test_a_transport_that_raises_ends_the_wait_of_the_receiver(
    rig: Rig, end: Callable[[ConnectionCycle], None]
) -> None:
    """Only the main thread gets an exception that may come from a signal handler."""
    wire = rig.begin()
    wire.raises = OSError("odd")
    end(rig.cycle)
    wire.raises = KeyboardInterrupt()
    rig.flow.open()
    Running(lambda: end(rig.cycle)).result()
    assert rig.flow.is_urgent
    rig.flow.open()
    with pytest.raises(KeyboardInterrupt):
        end(rig.cycle)
    assert rig.flow.is_urgent


@pytest.mark.parametrize("is_final", [False, True])
def test_a_rejected_subscription_is_reported_and_its_own_queue_ends_for_good(rig: Rig, is_final: bool) -> None:
    entries = [rig.subscribe(queue=Noted("own", rig.calls)), rig.subscribe()]
    for entry in entries:
        entry.error = REFUSED
        if is_final:
            del rig.session.subscriptions[entry.id]
        rig.cycle.rejected(entry)
    assert rig.calls == [*[("own.stop",)] * is_final, "on_error", "on_error"]
    assert (rig.cycle.rejections, rig.cycle.rejected_at_start) == (2 * is_final, [REFUSED] * 2)
    rig.cycle.begin_life()
    assert rig.calls[-1] == ("settlement.move", SettlementState.RUNNING)
    rig.move(ConnectionState.CONNECTED)
    rig.cycle.rejected(entries[1])
    assert (rig.cycle.rejections, rig.cycle.rejected_at_start) == (3 * is_final, [])


def test_the_child_of_a_fork_frees_the_socket_without_the_lock(rig: Rig) -> None:
    wire = rig.begin()
    with rig.context.lock:
        Running(rig.cycle.abandon).result()
    assert wire.ends == ["abandon"]
