"""One life: the receiver reads, loses and makes connections until the life ends, and an old life does no harm."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from engine_support import DEADLINE_SECONDS, Running, make_context, wait_until

from stomplistener import ConnectionLost, NotConnected
from stomplistener._engine import life as module
from stomplistener._engine.life import Life
from stomplistener._util.deadline import Deadline
from stomplistener._util.locks import is_owned
from stomplistener.states import ConnectionState

CLOSED = ConnectionLost("the broker closed the connection")
BACKUP = {"uri": "failover:(tcp://a:1,tcp://b:1)?backup=true"}
SOON = 10.0

Step = Callable[[], Any]


class Wire:
    """A transport that the receiver only closes."""

    def __init__(self, rig: Rig, name: str) -> None:
        self._rig, self._name = rig, name
        self.raises: BaseException | None = None

    def close(self) -> None:
        self._rig.events.append(f"close {self._name}")
        if self.raises is not None:
            raise self.raises


class Rig:
    """A life and all its neighbours: this object is its cycle, reader, inline dispatch and reconnector.

    Attributes:
        reads: the effects of the reads, one after the other.
        connections: the effects of the attempts to connect.
        events: what was done, in order.
    """

    def __init__(self, **arguments: Any) -> None:
        self.context = make_context(**arguments)
        self.events: list[str] = []
        self.noticed: list[Exception] = []
        self.reads: list[Step] = []
        self.connections: list[Step] = []
        self.a, self.b = Wire(self, "a"), Wire(self, "b")
        self.is_current = self.restores = True
        self.is_worthwhile = self.has_waited = False
        self.stopped = threading.Event()
        me: Any = self
        migration: Any = SimpleNamespace(leave=None)
        self.life = Life(self.context, me, me, me, migration, lambda life: self.is_current, self.ended)
        with self.context.lock:
            self.context.move(ConnectionState.CONNECTING)

    def first(self) -> Any:
        self.events.append("first")
        return self.connections.pop(0)()

    def again(self) -> Any:
        self.events.append("again")
        return self.connections.pop(0)()

    def wait_for_room(self, deadline: Deadline) -> bool:
        assert deadline.at is None
        self.has_waited = True
        return True

    def read(self) -> Exception | None:
        assert self.has_waited, "the receiver may read only while there is room"
        self.has_waited = False
        self.events.append("read")
        found: Exception | None = self.reads.pop(0)()
        return found

    def hand_over(self, transport: Wire) -> Exception | None:
        self.events.append(f"hand over {transport._name}")
        found: Exception | None = self.reads.pop(0)()
        return found

    def lost(self, transport: Wire, noticed: Exception) -> bool:
        self.events.append(f"lose {transport._name}")
        self.noticed.append(noticed)
        return self.restores

    def stop(self) -> None:
        assert not is_owned(self.context.lock)
        self.events.append("stop")
        self.stopped.set()

    def ended(self, life: Life) -> None:
        assert life is self.life
        self.life.join(Deadline(0.0))
        self.events.append(f"ended in {threading.current_thread().name.rpartition('-')[2]}")

    def wait_stopped(self) -> None:
        assert self.stopped.wait(DEADLINE_SECONDS)

    def run(self) -> list[str]:
        """Run the life to its end. Return what it did."""
        self.life.start()
        self.life.thread.join(DEADLINE_SECONDS)
        assert not self.life.thread.is_alive()
        return self.events


@pytest.fixture
def rig(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(module, "Reconnector", lambda _context, cycle, *_others: cycle)
    rig = Rig(**getattr(request, "param", {}))
    yield rig
    rig.is_current = True
    rig.life.give_up(NotConnected("the test is over"))
    rig.life.join(Deadline(SOON))


def nothing() -> None:
    return None


def closed() -> Exception:
    return CLOSED


def fail(error: BaseException) -> Step:
    def step() -> None:
        raise error

    return step


def test_the_receiver_reads_each_connection_to_its_end_and_makes_the_next(rig: Rig) -> None:
    rig.connections = [lambda: rig.a, lambda: rig.b, nothing]
    rig.reads = [nothing, nothing, closed, closed]
    first, second = ["read", "read", "read", "lose a", "close a"], ["read", "lose b", "close b"]
    assert rig.run() == ["first", *first, "again", *second, "again", "ended in receiver"]
    assert rig.noticed == [CLOSED, CLOSED]


def test_the_dispatcher_reads_while_that_is_worthwhile(rig: Rig) -> None:
    rig.connections = [lambda: rig.a, nothing]
    rig.is_worthwhile = True
    rig.reads = [nothing, lambda: setattr(rig, "is_worthwhile", False), closed]
    assert rig.run()[1:4] == ["hand over a", "hand over a", "read"]


def test_a_connection_that_the_client_does_not_restore_is_the_last(rig: Rig) -> None:
    rig.connections, rig.reads, rig.restores = [lambda: rig.a], [closed], False
    assert rig.run() == ["first", "read", "lose a", "close a", "ended in receiver"]


@pytest.mark.parametrize("end", [lambda rig: rig.life.give_up(CLOSED), lambda rig: setattr(rig, "is_current", False)])
def test_a_life_that_is_over_makes_no_connection(rig: Rig, end: Callable[[Rig], None]) -> None:
    """Whether it was given up, or a later life has begun while this one was held up."""
    rig.connections, rig.reads = [lambda: rig.a], [lambda: end(rig) or CLOSED]  # type: ignore[func-returns-value]
    assert [event for event in rig.run() if event != "stop"][-3:] == ["lose a", "close a", "ended in receiver"]
    assert rig.life.is_over


@pytest.mark.parametrize("error", [ValueError("odd"), SystemExit("odd")])
def test_an_exception_of_the_reader_or_of_a_transport_ends_only_its_connection(
    rig: Rig, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    rig.connections, rig.reads = [lambda: rig.a, lambda: rig.b, nothing], [fail(error), closed]
    rig.a.raises = error
    assert rig.run()[-5:] == ["read", "lose b", "close b", "again", "ended in receiver"]
    assert [str(noticed) for noticed in rig.noticed] == [f"reading failed: {type(error).__name__}: odd", str(CLOSED)]
    assert isinstance(rig.noticed[0], ConnectionLost)
    found = [(record.getMessage().partition(": ")[2], record.exc_info) for record in caplog.records]
    assert [text for text, _ in found] == [
        "reading failed: please report this as a bug",
        "the transport could not be closed",
    ]
    assert all(caught is not None and caught[1] is error for _, caught in found)


def test_a_bug_in_the_receiver_ends_the_life_with_a_failure_for_all_calls(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.connections = [fail(ZeroDivisionError("bug"))]
    assert rig.run() == ["first", "stop", "ended in receiver"]
    assert (rig.context.state, type(rig.context.failure)) == (ConnectionState.CLOSED, NotConnected)
    assert str(rig.context.failure) == "the receiver failed: bug"
    assert "the receiver failed: please report this as a bug" in caplog.text


def test_the_first_failure_counts_and_each_call_stops_the_connection(rig: Rig) -> None:
    """A signal handler may have raised in the middle of the first call."""
    assert not rig.life.is_over
    first = NotConnected("first")
    rig.life.give_up(first)
    rig.life.give_up(NotConnected("second"))
    assert (rig.context.failure, rig.context.state) == (first, ConnectionState.CLOSED)
    assert (rig.events, rig.life.is_over) == (["stop", "stop"], True)


def test_an_old_life_does_not_end_the_current_one(rig: Rig) -> None:
    before, rig.is_current = rig.context.failure, False
    rig.life.give_up(NotConnected("late"))
    assert (rig.context.failure, rig.context.state) == (before, ConnectionState.CONNECTING)
    assert (rig.events, rig.life.is_over) == ([], True)


def test_a_join_waits_for_the_receiver_until_the_deadline(rig: Rig) -> None:
    rig.life.join(Deadline(None))  # not started yet
    rig.connections = [rig.wait_stopped]
    rig.life.start()
    rig.life.join(Deadline(0.01))
    assert rig.life.thread.is_alive()
    joining = Running(lambda: rig.life.join(Deadline(SOON)))
    rig.life.give_up(CLOSED)
    joining.result()
    assert rig.events[-1] == "ended in receiver"


@pytest.mark.parametrize("rig", [BACKUP], indirect=True)
def test_the_standby_thread_begins_and_ends_with_the_life(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    standby, entered, gate = rig.life.standby, threading.Event(), threading.Event()
    assert standby is not None

    def take() -> None:
        """The last step of the thread."""
        entered.set()
        assert gate.wait(DEADLINE_SECONDS)

    monkeypatch.setattr(standby, "take", take)
    rig.connections = [rig.wait_stopped]
    rig.life.start()
    wait_until(lambda: rig.context.changes.gates)
    rig.life.give_up(CLOSED)
    joining = Running(lambda: rig.life.join(Deadline(SOON)))
    assert entered.wait(DEADLINE_SECONDS)
    rig.life.thread.join(DEADLINE_SECONDS)
    assert not joining.is_over
    gate.set()
    joining.result()
    assert not standby.thread.is_alive()


def test_a_uri_without_standby_connections_gets_no_standby_thread(rig: Rig) -> None:
    assert rig.life.standby is None


@pytest.mark.parametrize("rig", [BACKUP], indirect=True)
def test_the_caller_gets_the_error_if_the_system_refuses_a_thread(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        rig.life.start()
    monkeypatch.undo()
    rig.life.join(Deadline(None))
    assert rig.events == []
