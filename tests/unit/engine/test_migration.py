"""Leave a connection for another broker: the order of the steps, staying, and an end in the middle."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from engine_support import make_context

from stomplistener import ConnectionLost, TimedOut
from stomplistener._engine.flow_control import FlowControl
from stomplistener._engine.migration import Migration, end_auto_subscriptions
from stomplistener._engine.receipts import Receipt
from stomplistener._util.deadline import Deadline
from stomplistener._util.locks import is_owned
from stomplistener.protocol import Frame, Session, SessionState, SubscriptionEntry
from stomplistener.states import ConnectionState, SettlementState

SOON = Deadline(10.0)


class Rig:
    """A context with a connection, and the neighbours of a migration: the writer, the sender and the settlement.

    Attributes:
        steps: the calls of the neighbours and the frames, in order.
        meanwhile: what another thread does during a step.
        errors: what the wait for the receipt of a command raises.
        settled: whether no listener holds a message.
        settling: the state of the settlement.
    """

    def __init__(self) -> None:
        self.context = make_context(broker="artemis", headers={"client-id": "me"})
        self.session = self.context.session
        self.flow = FlowControl(self.context)
        self.steps: list[str] = []
        self.meanwhile: dict[str, Callable[[], object]] = {}
        self.errors: dict[str, BaseException] = {}
        self.settled = True
        self.settling = SettlementState.RUNNING
        self.broken: list[BaseException] = []
        # One object plays all three neighbours, so that the order of all calls is known.
        me: Any = self
        self.migration = Migration(self.context, me, me, me, lambda: Receipt(me), self.broken.append)
        self.become(ConnectionState.CONNECTING)
        self.connect()

    # What happens to the connection

    def become(self, state: ConnectionState) -> None:
        with self.context.lock:
            self.context.move(state)

    def connect(self) -> None:
        with self.context.lock:
            self.session.adopt(Frame("CONNECT"), Frame("CONNECTED", {"version": "1.2"}))
            self.answer(*self.session.replay().frames)
            self.session.restored()
            self.context.move(ConnectionState.CONNECTED)

    def lose(self) -> None:
        with self.context.lock:
            self.session.lost()
            self.context.move(ConnectionState.SUSPENDED)

    def lose_and_connect(self) -> None:
        self.lose()
        self.connect()

    def lose_and_move_again(self) -> None:
        self.lose_and_connect()
        self.become(ConnectionState.MIGRATING)

    def disconnect(self) -> None:
        self.become(ConnectionState.CLOSING)
        self.settling = SettlementState.DRAINING

    def answer(self, *frames: Frame | None) -> None:
        for frame in frames:
            assert frame is not None
            self.session.receive(Frame("RECEIPT", {"receipt-id": frame.headers["receipt"]}))

    def subscribe(self, id: str, ack: str = "auto", durable: str | None = None) -> SubscriptionEntry:
        entry, frame = self.session.subscribe("/queue/a", id=id, ack=ack, durable=durable)
        self.answer(frame)
        return entry

    # The methods of the neighbours, and of the desk of a receipt

    def _step(self, name: str) -> None:
        self.steps.append(name)
        self.meanwhile.get(name, bool)()

    def flush(self, _deadline: Deadline) -> bool:
        self._step("flush")
        return True

    def wait_for_answers(self, condition: Callable[[], bool], _deadline: Deadline) -> bool:
        self._step("answers")
        with self.context.lock:
            return condition()

    def transmit_now(self, note: Callable[[Session], Frame | None], _context: object) -> bool:
        with self.context.lock:
            frame = note(self.session)
        if frame is not None:
            self._step(" ".join(filter(None, (frame.command, frame.header("id")))))
        return frame is not None

    def await_receipt(self, _receipt: Receipt, _deadline: Deadline, what: str) -> None:
        self._step(f"receipt of {what}")
        if what in self.errors:
            raise self.errors[what]

    def move(self, state: SettlementState) -> None:
        self.settling = state
        self._step(state.value)

    @property
    def is_draining(self) -> bool:
        return self.settling is SettlementState.DRAINING

    def wait_settled(self, _deadline: Deadline) -> bool:
        self._step("listeners")
        return self.settled

    def call(self, _event: Callable[[], object]) -> None:
        raise AssertionError("no receipt has a callback")

    def withdraw(self, _future: object) -> bool:
        raise AssertionError("no receipt is cancelled")


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_the_order_in_which_a_connection_is_left(rig: Rig) -> None:
    rig.subscribe("1")
    states: list[ConnectionState] = []
    rig.meanwhile = dict.fromkeys(("held", "DISCONNECT"), lambda: states.append(rig.context.state))
    assert rig.migration.leave(SOON) is True
    in_order = ["held", "flush", "answers", "listeners", "UNSUBSCRIBE 1", "receipt of UNSUBSCRIBE"]
    assert rig.steps == [*in_order, "DISCONNECT", "receipt of DISCONNECT", "running"]
    assert states == [ConnectionState.MIGRATING] * 2
    # The reading thread ends the connection when the broker closes it.
    assert (rig.context.state, rig.session.state) == (ConnectionState.MIGRATING, SessionState.DISCONNECTING)
    assert rig.broken == []


@pytest.mark.parametrize("state", [ConnectionState.SUSPENDED, ConnectionState.CLOSING, ConnectionState.CLOSED])
def test_only_a_connection_that_is_ready_can_be_left(rig: Rig, state: ConnectionState) -> None:
    rig.become(state)
    assert rig.migration.leave(SOON) is False
    assert (rig.context.state, rig.steps) == (state, [])


def test_the_client_stays_while_an_answer_is_open(rig: Rig) -> None:
    frame = rig.session.send(Frame("SEND", {"destination": "/queue/a"}), confirm=True)
    assert rig.migration.leave(SOON) is False
    assert rig.steps == ["held", "flush", "answers", "running"]
    assert rig.context.state is ConnectionState.CONNECTED
    rig.answer(frame)
    assert rig.migration.leave(SOON) is True


def test_the_client_stays_while_a_listener_holds_a_message(rig: Rig) -> None:
    rig.settled = False
    assert rig.migration.leave(SOON) is False
    assert rig.steps == ["held", "flush", "answers", "listeners", "running"]
    assert rig.context.state is ConnectionState.CONNECTED
    assert rig.session.is_connected


@pytest.mark.parametrize("step", ["flush", "answers"])
def test_a_connection_that_ends_meanwhile_is_left_without_a_wait(rig: Rig, step: str) -> None:
    rig.session.send(Frame("SEND", {"destination": "/queue/a"}), confirm=True)
    rig.subscribe("1")
    rig.meanwhile[step] = rig.lose
    assert rig.migration.leave(SOON) is True
    assert rig.steps == ["held", "flush", "answers", "running"]
    assert (rig.context.state, rig.broken) == (ConnectionState.SUSPENDED, [])


def test_staying_does_not_touch_the_next_connection(rig: Rig) -> None:
    rig.settled = False
    for happens, state in (
        (rig.lose_and_connect, ConnectionState.CONNECTED),
        (rig.lose_and_move_again, ConnectionState.MIGRATING),
    ):
        rig.meanwhile["listeners"] = happens
        rig.migration.leave(SOON)
        assert rig.context.state is state
    assert "DISCONNECT" not in rig.steps


def test_a_graceful_end_meanwhile_goes_on_as_it_began(rig: Rig) -> None:
    """``disconnect()`` sends DISCONNECT itself, and no listener may begin any more."""
    rig.meanwhile["answers"] = rig.disconnect
    rig.migration.leave(SOON)
    assert rig.steps == ["held", "flush", "answers"]
    assert (rig.context.state, rig.settling) == (ConnectionState.CLOSING, SettlementState.DRAINING)


def test_a_graceful_end_finds_a_move_that_holds_messages_back_already(rig: Rig) -> None:
    states: list[tuple[ConnectionState, bool]] = []
    move = rig.move

    def look(state: SettlementState) -> None:
        states.append((rig.context.state, is_owned(rig.context.lock)))
        move(state)

    rig.move = look  # type: ignore[method-assign]
    rig.migration.leave(SOON)
    assert states[0] == (ConnectionState.MIGRATING, True)


def test_a_connection_without_an_answer_to_disconnect_is_broken(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    late = rig.errors["DISCONNECT"] = TimedOut("no receipt came")
    with caplog.at_level(logging.INFO, "stomplistener"):
        assert rig.migration.leave(SOON) is True
    assert rig.broken == [late]
    assert rig.settling is SettlementState.RUNNING
    assert "the connection ended while the client moved to another broker: no receipt came" in caplog.text


def test_the_next_connection_is_neither_broken_nor_left(rig: Rig) -> None:
    rig.subscribe("1")
    rig.meanwhile["receipt of UNSUBSCRIBE"] = rig.lose_and_connect
    assert rig.migration.leave(SOON) is True
    rig.errors["UNSUBSCRIBE"] = ConnectionLost("gone")
    assert rig.migration.leave(SOON) is True
    assert "DISCONNECT" not in rig.steps
    assert (rig.context.state, rig.broken) == (ConnectionState.CONNECTED, [])


def test_listeners_go_on_whatever_is_raised(rig: Rig) -> None:
    rig.errors["DISCONNECT"] = MemoryError()
    with pytest.raises(MemoryError):
        rig.migration.leave(SOON)
    assert rig.settling is SettlementState.RUNNING


def end(rig: Rig, *, for_good: bool) -> None:
    end_auto_subscriptions(rig.context, rig, lambda: Receipt(rig), SOON, for_good=for_good)  # type: ignore[arg-type]


def test_only_subscriptions_whose_messages_the_broker_forgets_end(rig: Rig) -> None:
    for id in "1", "2":
        rig.subscribe(id)
    rig.subscribe("individual", ack="client-individual")
    rig.subscribe("durable", durable="mine")
    rig.session.subscribe("/queue/a", id="unconfirmed")
    end(rig, for_good=True)
    # All frames are written before the first wait.
    assert rig.steps == ["UNSUBSCRIBE 1", "UNSUBSCRIBE 2", "receipt of UNSUBSCRIBE", "receipt of UNSUBSCRIBE"]
    asked = [request.command for request in rig.session.awaited() if isinstance(request.context, Receipt)]
    assert asked == ["UNSUBSCRIBE"] * 2
    assert list(rig.session.subscriptions) == ["individual", "durable", "unconfirmed"]


def test_the_next_connection_restores_a_subscription_that_ended_for_a_move(rig: Rig) -> None:
    entry = rig.subscribe("1")
    end(rig, for_good=False)
    assert rig.session.subscriptions == {"1": entry}
    rig.session.lost()
    rig.session.adopt(Frame("CONNECT"), Frame("CONNECTED", {"version": "1.2"}))
    assert [(frame.command, frame.headers["id"]) for frame in rig.session.replay().frames] == [("SUBSCRIBE", "1")]


def test_a_graceful_end_during_a_move_ends_each_subscription_once(rig: Rig) -> None:
    rig.subscribe("1")
    rig.subscribe("2")
    rig.meanwhile["UNSUBSCRIBE 1"] = rig.disconnect
    rig.migration.leave(SOON)
    end(rig, for_good=True)
    assert [step for step in rig.steps if step.startswith("UNSUBSCRIBE")] == ["UNSUBSCRIBE 1", "UNSUBSCRIBE 2"]


def test_no_unsubscribe_reaches_the_next_connection(rig: Rig) -> None:
    for id in "1", "2":
        rig.subscribe(id)
    rig.become(ConnectionState.MIGRATING)
    rig.meanwhile["UNSUBSCRIBE 1"] = rig.lose_and_connect
    end(rig, for_good=False)
    assert rig.steps == ["UNSUBSCRIBE 1", "receipt of UNSUBSCRIBE"]
