"""Connections that end on a message: who is suspected, what is resent alone, who is given up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stomplistener.errors import BrokerError, ConnectionLost
from stomplistener.protocol import Frame, Outcome, Request, Session, SessionState, commands


def begin(session: Session) -> None:
    session.connect(host="/")
    session.receive(Frame("CONNECTED", {"version": "1.2"}))
    assert session.replay() == ([], [])


def restore(session: Session) -> list[Frame]:
    begin(session)
    return session.restored()


def ready() -> Session:
    session = Session()
    assert restore(session) == []
    return session


def send(session: Session, body: str, **headers: str) -> Frame | None:
    return session.send(commands.send("/q", body.encode(), headers), confirm=True, context=body)


def receipt(frame: Frame) -> Frame:
    return Frame("RECEIPT", {"receipt-id": frame.headers["receipt"]})


def bodies(frames: list[Frame]) -> list[str]:
    return [frame.body.decode() for frame in frames]


def given_up(ended: list[tuple[Request, Outcome]]) -> list[object]:
    return [request.context for request, outcome in ended if outcome is Outcome.GIVEN_UP]


ERROR = Frame("ERROR", {"message": "no"})


def isolating(*names: str) -> tuple[Session, list[Frame]]:
    """A session on which two connections ended with these SENDs out; and what the third begins with."""
    session = ready()
    for name in names:
        send(session, name)
    for _ in range(2):
        session.lost()
        out = restore(session)
    return session, out


def test_after_two_unexplained_ends_the_suspects_go_out_one_at_a_time() -> None:
    session, out = isolating("a", "b", "c")
    assert bodies(out) == ["a"]
    assert send(session, "new") is None
    assert session.next_resend() == []
    for name in ("b", "c", "new"):
        assert session.receive(receipt(out[0])) is not None
        out = session.next_resend()
        assert bodies(out) == [name]
    # The last one was no suspect: everything goes out at once again.
    assert send(session, "direct") is not None
    assert session.next_resend() == []
    assert session.unconfirmed == 2


def test_what_waits_behind_the_suspects_goes_out_together_in_order() -> None:
    session, out = isolating("a")
    plain = commands.send("/q", b"plain")
    assert session.send(plain) is plain
    for name in ("b", "c", "d"):
        assert send(session, name) is None
    session.receive(receipt(out[0]))
    assert bodies(session.next_resend()) == ["b", "c", "d"]


def test_ends_without_a_word_convict_a_lone_suspect_at_the_third_time() -> None:
    session, out = isolating("a", "poison", "b")
    session.receive(receipt(out[0]))
    assert bodies(session.next_resend()) == ["poison"]
    assert not session.is_on_trial
    for _ in range(2):
        assert session.lost() == []
        assert session.is_on_trial
        assert bodies(restore(session)) == ["poison"]
    [(request, outcome)] = session.lost()
    assert (request.context, outcome) == ("poison", Outcome.GIVEN_UP)
    assert isinstance(request.error, ConnectionLost)
    assert request.error.outcome_unknown
    assert "5 connections" in str(request.error)
    assert "given up" in str(request.error)
    out = restore(session)
    assert bodies(out) == ["b"]
    assert not session.is_on_trial
    session.receive(receipt(out[0]))
    assert session.next_resend() == []
    assert session.is_idle


def test_a_connection_that_ends_before_the_suspect_is_written_clears_it() -> None:
    """It is the network that ends connections, and not the message."""
    session, out = isolating("good")
    for _ in range(10):
        for _ in range(2):
            assert session.lost() == []
            assert session.is_on_trial
            assert bodies(restore(session)) == ["good"]
        session.lost(explained=True)
        assert session.is_on_trial
        begin(session)
        assert session.lost() == []
        assert not session.is_on_trial
        out = restore(session)
        assert bodies(out) == ["good"]
    assert session.receive(receipt(out[0])) is not None
    assert session.is_idle


def test_a_reason_for_the_end_of_a_connection_in_trial_clears_nothing() -> None:
    session, _ = isolating("poison")
    session.lost()
    begin(session)
    session.lost(explained=True)
    assert session.is_on_trial


@pytest.mark.parametrize("closes", [True, False])
def test_an_error_without_receipt_id_convicts_a_lone_suspect_at_once(closes: bool) -> None:
    session, out = isolating("poison", "b")
    request = session.receive(ERROR)
    assert isinstance(request, Request)
    assert request.context == "poison"
    assert isinstance(request.error, BrokerError)
    assert request.error.frame is ERROR
    if closes:
        assert session.lost() == []
        out = restore(session)
    else:
        out = session.next_resend()
    assert bodies(out) == ["b"]
    assert session.receive(receipt(out[0])) is not None
    assert session.is_idle


def test_an_error_may_mean_another_frame_that_is_awaited() -> None:
    session, out = isolating("a")
    transaction, _ = session.begin()
    commit = session.commit(transaction)
    assert session.receive(ERROR) is None
    session.receive(receipt(commit))
    assert session.receive(receipt(out[0])) is not None


def test_errors_count_once_for_each_connection() -> None:
    session = ready()
    for name in "abc":
        send(session, name)
    for _ in range(5):
        assert session.receive(ERROR) is None
    session.lost()
    assert bodies(restore(session)) == ["a", "b", "c"]
    session.receive(ERROR)
    session.lost()
    assert bodies(restore(session)) == ["a"]


def test_a_kept_connection_counts_too() -> None:
    """An ERROR is a suspicion whatever the reason for which the connection ends later."""
    session = ready()
    send(session, "poison")
    for expected in (["poison"], ["poison"]):
        good = send(session, "good")
        session.receive(ERROR)
        assert good is not None
        session.receive(receipt(good))
        session.lost(explained=True)
        assert bodies(restore(session)) == expected
    assert session.receive(ERROR) is not None
    assert session.is_idle


@pytest.mark.parametrize("reason", ["explained", "disconnecting", "refused", "unwritten"])
def test_an_end_with_another_reason_does_not_count(reason: str) -> None:
    session = ready()
    send(session, "a")
    for _ in range(6):
        frames = [frame for frame in (send(session, "b"),) if frame is not None]
        if reason == "disconnecting":
            session.disconnect()
        elif reason == "refused":
            session.receive(Frame("ERROR", {"receipt-id": frames[0].headers["receipt"]}))
        unsent = [Frame("SEND", {"receipt": request.receipt}) for request in session.awaited()]
        session.lost(unsent if reason == "unwritten" else (), explained=reason == "explained")
        session.forget("b")
        assert bodies(restore(session)) == ["a"]
    assert send(session, "c") is not None


def test_a_refusal_explains_no_end_that_comes_after_another_answer() -> None:
    session = ready()
    send(session, "poison")
    send(session, "behind")
    for _ in range(2):
        bad, good = send(session, "bad"), send(session, "good")
        assert bad is not None
        assert good is not None
        session.receive(Frame("ERROR", {"receipt-id": bad.headers["receipt"]}))
        assert session.receipt(receipt(good)) is not None
        session.lost()
        out = restore(session)
    assert bodies(out) == ["poison"]


def test_what_was_not_written_is_not_suspected() -> None:
    session = ready()
    send(session, "a")
    b = send(session, "b")
    assert b is not None
    # An ERROR cannot know what was written; the end does.
    session.receive(ERROR)
    session.lost([b])
    frames = restore(session)
    session.receive(ERROR)
    session.lost(frames[1:])
    assert bodies(restore(session)) == ["a"]
    assert session._ledger.unconfirmed
    assert {request.context: request.suspicions for request in session.awaited()} == {"a": 2, "b": 0}


def test_a_frame_that_was_written_in_part_is_suspected() -> None:
    """A broker that closes because a frame is too long does so before it is written."""
    session = ready()
    big = send(session, "big")
    assert big is not None
    frame = big
    for _ in range(4):
        assert session.lost([frame], begun=True) == []
        [frame] = restore(session)
    assert given_up(session.lost([frame], begun=True)) == ["big"]
    assert restore(session) == []


def test_a_part_of_another_frame_suspects_nobody() -> None:
    session = ready()
    frame = send(session, "a")
    assert frame is not None
    message = Frame("MESSAGE", {"ack": "1", "message-id": "1"})
    ack = session.ack(message, session.epoch)
    assert ack is not None
    session.lost([ack, frame], begun=True)
    assert [request.suspicions for request in session.awaited()] == [0]


def test_a_suspect_whose_caller_stops_waiting_makes_room() -> None:
    session, out = isolating("a", "b")
    assert bodies(out) == ["a"]
    assert session.forget("a") is not None
    assert bodies(session.next_resend()) == ["b"]
    assert session.forget("b") is not None
    assert session.next_resend() == []
    assert send(session, "c") is not None


def test_abandoning_ends_the_isolation() -> None:
    session, _ = isolating("a", "b")
    session.lost(explained=True)
    assert [request.context for request in session.abandon().requests] == ["a", "b"]
    assert restore(session) == []
    assert send(session, "c") is not None


def test_only_a_connected_session_hands_out_the_next() -> None:
    session, out = isolating("a", "b")
    session.disconnect()
    session.receive(receipt(out[0]))
    assert session.next_resend() == []
    session.lost()
    assert session.next_resend() == []
    assert bodies(restore(session)) == ["b"]


def test_a_message_that_fails_is_told_from_a_broker_that_is_restarted() -> None:
    """Brokers are killed while something is out; that the same SEND is out alone each time is no accident."""
    session, out = isolating("a", "b", "c")
    for killed in ("a", "b", "c"):
        assert bodies(out) == [killed]
        assert session.lost() == []
        out = restore(session)
        assert bodies(out) == [killed]
        session.receive(receipt(out[0]))
        out = session.next_resend()
    assert session.is_idle


# Any number of bad messages among any number of good ones


@dataclass
class Broker:
    """Closes on a poisoned SEND, with an ERROR, without one, or answers ERROR and keeps the connection."""

    session: Session
    poisoned: set[str]
    kind: str
    connections: int = 0
    stored: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)
    ends: dict[str, str] = field(default_factory=dict)
    queue: list[Frame] = field(default_factory=list)
    receipts: list[Frame] = field(default_factory=list)
    refused: bool = False

    def end(self, request: Request | None, how: str) -> None:
        if request is not None:
            assert isinstance(request.context, str)
            assert request.context not in self.ends
            self.ends[request.context] = how

    def connect(self) -> None:
        self.connections += 1
        self.receipts, self.refused = [], False
        self.queue = restore(self.session)

    def lose(self, written: int, *, explained: bool = False) -> None:
        """The connection ends; receipts on the way are lost with it."""
        for request, outcome in self.session.lost(self.queue[written:], explained=explained):
            assert outcome is Outcome.GIVEN_UP
            assert request.error is not None
            self.end(request, "given up")
        self.queue, self.receipts = [], []

    def take(self, ahead: int) -> bool:
        """Take one frame; False if it ended the connection. ``ahead`` frames more were written before that."""
        frame = self.queue.pop(0)
        name = frame.body.decode()
        self.written[name] += 1
        if name not in self.poisoned:
            self.stored[name] += 1
            self.receipts.append(receipt(frame))
            return True
        if self.kind != "silent":
            self.refused = True
            request = self.session.receive(ERROR)
            assert request is None or isinstance(request, Request)
            self.end(request, "given up")
        if self.kind == "keeps":
            self.queue += self.session.next_resend()
            return True
        for frame in self.queue[:ahead]:
            self.written[frame.body.decode()] += 1
        self.lose(ahead)
        return False

    def answer(self) -> None:
        if self.receipts:
            frame = self.receipts.pop(0)
            request = self.session.receive(frame)
            assert isinstance(request, Request)
            self.end(request, "confirmed")
            self.queue += self.session.next_resend()


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(),
    messages=st.integers(1, 12),
    kind=st.sampled_from(["silent", "error", "keeps"]),
    disturbances=st.integers(0, 4),
)
def test_the_good_are_confirmed_and_the_bad_are_given_up(
    data: st.DataObject, messages: int, kind: str, disturbances: int
) -> None:
    names = [str(number) for number in range(messages)]
    poisoned: set[str] = data.draw(st.sets(st.sampled_from(names)), "poisoned")
    session = Session()
    broker = Broker(session, poisoned, kind)
    later: list[str] = sorted(data.draw(st.sets(st.sampled_from(names)), "come later"), key=int)
    for name in names:
        if name not in later:
            send(session, name)
    all_at_once = not later
    explained = 0
    for _ in range(3000):  # far more steps than it takes
        if session.state is SessionState.DISCONNECTED:
            if not session.unconfirmed and not later:
                break
            assert broker.connections <= 3 + 5 * len(poisoned) + explained + len(later), "it does not come to an end"
            broker.connect()
        # The application may take its time, but not all of the steps.
        elif len(later) > 0 and (explained > 100 or data.draw(st.booleans(), "send")):
            new = send(session, later.pop(0))
            if new is not None:
                broker.queue.append(new)
        elif explained < disturbances and data.draw(st.booleans(), "disturb"):
            explained += 1
            for frame in broker.queue:
                broker.written[frame.body.decode()] += 1
            broker.lose(len(broker.queue), explained=True)
        elif broker.receipts and (not broker.queue or data.draw(st.booleans(), "answer")):
            broker.answer()
        elif broker.queue:
            broker.take(data.draw(st.integers(0, len(broker.queue)), "ahead"))
        else:
            # Nothing moves any more: a broker that keeps the connection leaves it to the next loss.
            explained += 1
            broker.lose(0, explained=True)
    assert broker.ends == {name: "given up" if name in poisoned else "confirmed" for name in names}
    assert session.is_idle
    assert session.abandon() == ([], [])
    if all_at_once and not explained:
        assert broker.connections <= 1 + 5 * len(poisoned)
    for name in names:
        most = 3 + explained if name not in poisoned else 5 + explained
        assert broker.written[name] <= most, f"{name} was written {broker.written[name]} times"
        assert broker.stored[name] >= (name not in poisoned)
