"""The session: what may be said, what the answers mean, what survives a loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from stomplistener.errors import BrokerError, ConnectionLost, InvalidHeader, ProtocolError
from stomplistener.protocol import (
    HEARTBEAT,
    Frame,
    Outcome,
    Request,
    Session,
    SessionState,
    SubscriptionEntry,
    SubscriptionState,
    TransactionState,
    commands,
)
from stomplistener.protocol.session import error_text
from stomplistener.states import SESSION_MOVES


def login(session: Session, version: str | None = "1.2", **headers: str) -> None:
    """CONNECT and CONNECTED: the session is replaying then."""
    session.connect(host="/")
    if version is not None:
        headers = {"version": version, **headers}
    session.receive(Frame("CONNECTED", headers))


def receipt(frame: Frame) -> Frame:
    return Frame("RECEIPT", {"receipt-id": frame.headers["receipt"]})


def refusal(frame: Frame | None = None) -> Frame:
    headers = {"message": "no"}
    if frame is not None:
        headers["receipt-id"] = frame.headers["receipt"]
    return Frame("ERROR", headers)


def restore(session: Session, version: str = "1.2") -> tuple[list[Frame], list[Frame]]:
    """A whole new epoch; the frames of the replay, each confirmed, and those that were owed."""
    login(session, version)
    replayed: list[Frame] = []
    while frames := session.replay().frames:
        for frame in frames:
            session.receive(receipt(frame))
        replayed += frames
    assert session.is_replayed
    return replayed, session.restored()


def ready(version: str = "1.2") -> Session:
    session = Session()
    assert restore(session, version) == ([], [])
    return session


def said(frame: Frame | None) -> Frame:
    assert frame is not None
    return frame


def send(session: Session, body: str, *, confirm: bool = True, context: object = None, **headers: str) -> Frame | None:
    return session.send(commands.send("/q", body.encode(), headers), confirm=confirm, context=context)


def bodies(frames: list[Frame]) -> list[str]:
    return [frame.body.decode() for frame in frames]


# Connecting


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_the_answer_is_obeyed(version: str) -> None:
    session = Session()
    assert session.connect(host="h").headers["accept-version"] == "1.0,1.1,1.2"
    session.connected(Frame("CONNECTED", {"version": version}))
    assert session.version == version
    assert session.state is SessionState.REPLAYING
    assert session.epoch == 1


def test_no_version_is_1_0() -> None:
    session = Session()
    login(session, None)
    assert session.version == "1.0"


@pytest.mark.parametrize(
    ("offered", "answer"),
    [
        (("1.1", "1.2"), {}),
        (("1.1",), {"version": "1.2"}),
        (("1.0", "1.2"), {"version": "1.1"}),
        (("1.0", "1.1", "1.2"), {"version": "1.3"}),
        (("1.0", "1.1", "1.2"), {"version": ""}),
        (("1.0", "1.1", "1.2"), {"version": "1.1,1.2"}),
    ],
)
def test_an_answer_that_was_not_offered_is_an_error(offered: tuple[str, ...], answer: dict[str, str]) -> None:
    session = Session(offered)
    session.connect(host="h")
    with pytest.raises(ProtocolError, match="offered"):
        session.receive(Frame("CONNECTED", answer))
    assert session.state is SessionState.CONNECTING
    assert session.version is None


def test_an_error_is_a_refusal() -> None:
    session = Session()
    session.connect(host="h", login="u", passcode="s3cr3t")
    refused = Frame("ERROR", {"message": "Bad CONNECT"}, b"Access refused\nmore")
    with pytest.raises(BrokerError, match="Bad CONNECT: Access refused") as caught:
        session.receive(refused)
    assert caught.value.frame is refused
    assert "s3cr3t" not in str(caught.value)
    session.lost()
    login(session)


@pytest.mark.parametrize("command", ["MESSAGE", "RECEIPT", "CONNECT", "SEND"])
def test_any_other_answer_is_an_error(command: str) -> None:
    session = Session()
    session.connect(host="h")
    assert session.receive(HEARTBEAT) is None
    with pytest.raises(ProtocolError, match=command):
        session.receive(Frame(command))


def test_a_bad_heartbeat_in_the_answer_is_an_error_and_settles_nothing() -> None:
    for bad in ("x", "9" * 5000 + ",0"):
        session = Session()
        session.connect(host="h")
        with pytest.raises(ProtocolError):
            session.receive(Frame("CONNECTED", {"version": "1.2", "heart-beat": bad}))
        assert session.state is SessionState.CONNECTING


def test_heartbeats_are_negotiated_anew_each_time() -> None:
    session = Session(heartbeat=(10.0, 20.0))
    assert session.connect(host="h").headers["heart-beat"] == "10000,20000"
    session.receive(Frame("CONNECTED", {"version": "1.1", "heart-beat": "5000,30000"}))
    assert session.heartbeat == (30.0, 20.0)
    session.lost()
    login(session)
    assert session.heartbeat == (0.0, 0.0)


def test_a_clients_frame_from_the_broker_is_an_error() -> None:
    session = ready()
    for command in ("SEND", "SUBSCRIBE", "CONNECT", "STOMP", "DISCONNECT"):
        with pytest.raises(ProtocolError, match=command):
            session.receive(Frame(command))


def test_a_connect_that_cannot_be_said_begins_no_epoch() -> None:
    session = Session()
    with pytest.raises(ProtocolError, match="host"):
        session.connect()
    assert (session.state, session.epoch) == (SessionState.DISCONNECTED, 0)


# States


def in_state(state: SessionState) -> Session:
    session = Session()
    if state is not SessionState.DISCONNECTED:
        session.connect(host="h")
    if state not in (SessionState.DISCONNECTED, SessionState.CONNECTING):
        session.connected(Frame("CONNECTED", {"version": "1.2"}))
    if state in (SessionState.CONNECTED, SessionState.DISCONNECTING):
        session.restored()
    if state is SessionState.DISCONNECTING:
        session.disconnect()
    assert session.state is state
    return session


EVENTS: Mapping[str, Callable[[Session], object]] = {
    "connect": lambda session: session.connect(host="h"),
    "connected": lambda session: session.connected(Frame("CONNECTED", {"version": "1.2"})),
    "restored": lambda session: session.restored(),
    "disconnect": lambda session: session.disconnect(),
    "lost": lambda session: session.lost(),
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", SessionState)
def test_every_event_in_every_state_is_in_the_table_or_an_error(state: SessionState, event: str) -> None:
    session = in_state(state)
    if (state, event) in SESSION_MOVES:
        EVENTS[event](session)
        assert session.state is SESSION_MOVES[state, event]
    else:
        before = session.epoch, session.version
        with pytest.raises(ProtocolError, match=state.value):
            EVENTS[event](session)
        assert session.state is state
        assert (session.epoch, session.version) == before


def test_the_table_has_no_event_and_no_state_beside() -> None:
    assert {event for _, event in SESSION_MOVES} == set(EVENTS)
    assert set(SESSION_MOVES.values()) == set(SessionState)
    assert all((state, "lost") in SESSION_MOVES for state in SessionState)


@pytest.mark.parametrize("state", [state for state in SessionState if state is not SessionState.CONNECTED])
def test_only_a_connected_session_sends_and_begins(state: SessionState) -> None:
    session = in_state(state)
    with pytest.raises(ProtocolError, match=state.value):
        send(session, "x", confirm=False)
    with pytest.raises(ProtocolError, match=state.value):
        session.begin()
    assert session.transactions == {}
    assert session.is_idle is (state is not SessionState.DISCONNECTING)  # which waits for its own receipt


def test_nothing_is_said_after_disconnect() -> None:
    session = ready()
    entry, _ = session.subscribe("/q")
    transaction, _ = session.begin()
    message = Frame("MESSAGE", {"subscription": entry.id, "ack": "1", "message-id": "1"})
    goodbye = session.disconnect("bye")
    assert session.abort(transaction) is None
    assert session.unsubscribe(entry) is None
    assert session.ack(message, session.epoch) is None
    assert send(session, "x") is None
    assert session.subscribe("/r")[1] is None
    assert said_receipt(session, goodbye).context == "bye"


def said_receipt(session: Session, frame: Frame) -> Request:
    request = session.receive(receipt(frame))
    assert isinstance(request, Request)
    return request


# Subscriptions


def test_a_replay_says_each_subscription_once_in_order_with_the_same_headers_and_a_new_receipt() -> None:
    session = ready()
    first: list[Frame] = []
    for number in range(5):
        entry, frame = session.subscribe(
            f"/q/{number}", id=f"s{number}", ack="client", headers={"selector": f"a={number}", "x": ":\n"}
        )
        assert entry.state is SubscriptionState.PENDING
        session.receive(receipt(said(frame)))
        assert entry.state.value == "active"
        first.append(said(frame))
    for _ in range(3):
        old = {frame.headers["receipt"] for frame in first}
        session.lost()
        assert {entry.state for entry in session.subscriptions.values()} == {SubscriptionState.REPLAYING}
        again, _ = restore(session)
        assert [without(frame) for frame in again] == [without(frame) for frame in first]
        assert old.isdisjoint(frame.headers["receipt"] for frame in again)
        assert session.replay().frames == []
        first = again


def without(frame: Frame, name: str = "receipt") -> dict[str, str]:
    return {key: value for key, value in frame.headers.items() if key != name}


def test_a_replay_changes_nothing_until_it_is_confirmed() -> None:
    session = ready()
    for number in range(3):
        session.receive(receipt(said(session.subscribe("/q", id=str(number))[1])))
    registry = dict(session.subscriptions)
    for interrupted_after in (0, 1, 2, 3):
        session.lost()
        login(session)
        frames = session.replay().frames
        assert len(frames) == 3
        assert session.replay().frames == []  # said, though not answered
        for frame in frames[:interrupted_after]:
            session.receive(receipt(frame))
        assert session.is_replayed is (interrupted_after == 3)
        assert session.subscriptions == registry
    session.lost()
    assert [frame.headers["id"] for frame in restore(session)[0]] == ["0", "1", "2"]


def test_what_is_subscribed_while_cut_off_or_replaying_is_carried_by_the_replay() -> None:
    session = Session()
    assert session.subscribe("/a", id="a") == (session.subscriptions["a"], None)
    login(session)
    [frame] = session.replay().frames
    assert session.subscribe("/b", id="b")[1] is None
    session.receive(receipt(frame))
    assert not session.is_replayed
    [frame] = session.replay().frames
    assert frame.headers["id"] == "b"
    session.receive(receipt(frame))
    assert session.is_replayed


@pytest.mark.parametrize("answered", [True, False])
def test_a_subscription_removed_in_between_is_not_replayed(answered: bool) -> None:
    session = ready()
    entries = [session.subscribe("/q", id=str(number)) for number in range(4)]
    if answered:
        for _, frame in entries:
            session.receive(receipt(said(frame)))
    session.unsubscribe(entries[1][0])
    session.lost()
    assert session.unsubscribe(entries[2][0]) is None
    assert entries[2][0].state is SubscriptionState.ENDED
    entries.append((session.subscribe("/q", id="4")[0], None))
    login(session)
    assert session.unsubscribe(entries[4][0], confirm=True) is None  # before it was said in this epoch
    frames = session.replay().frames
    assert [frame.headers["id"] for frame in frames] == ["0", "3"]
    gone = said(session.unsubscribe(entries[3][0]))
    assert gone.headers == {"id": "3"}
    session.receive(receipt(frames[1]))  # the answer to what was said before
    assert entries[3][0].state is SubscriptionState.ENDED
    session.receive(receipt(frames[0]))
    assert session.is_replayed
    assert session.unsubscribe(entries[3][0]) is None


def test_a_kept_subscription_is_unsubscribed_and_restored_by_the_next_epoch() -> None:
    session = ready()
    entry, frame = session.subscribe("/q", id="a")
    session.receive(receipt(said(frame)))
    assert said(session.unsubscribe(entry, keep=True)).command == "UNSUBSCRIBE"
    session.lost()
    [frame] = restore(session)[0]
    assert frame.headers["id"] == "a"


def test_an_id_that_is_gone_can_be_used_again_and_one_in_use_cannot() -> None:
    session = ready()
    entry, _ = session.subscribe("/q", id="a")
    with pytest.raises(ValueError, match="'a'"):
        session.subscribe("/r", id="a")
    session.unsubscribe(entry)
    session.subscribe("/r", id="a")
    with pytest.raises(ValueError, match="destination"):
        session.subscribe("")


def test_ids_of_our_own_keep_clear_of_those_of_the_application() -> None:
    session = Session()
    for _ in range(2):
        for number in (1, 2, 4):
            session.subscribe("/q", id=f"{number + session.epoch * 10}")
        ids = [session.subscribe("/q")[0].id for _ in range(3)]
        assert len(session.subscriptions) == 6 * (session.epoch + 1)
        assert len(set(ids)) == 3
        if session.epoch == 0:
            restore(session)
    transaction, _ = session.begin("99")
    assert session.begin()[0].id != transaction.id
    assert len({session.begin()[0].id for _ in range(200)}) == 200


def test_an_id_in_the_headers_is_the_subscriptions() -> None:
    session = ready()
    entry, frame = session.subscribe("/q", headers={"id": "mine", "ack": "client"})
    assert entry.id == said(frame).headers["id"] == "mine"
    assert entry.ack == said(frame).headers["ack"] == "client"
    entry, frame = session.subscribe("/q", id="given", ack="client", headers={"id": "wins", "ack": "auto"})
    assert entry.id == said(frame).headers["id"] == "wins"
    assert entry.ack == said(frame).headers["ack"] == "auto"
    assert session.subscriptions["wins"] is entry


def test_a_receipt_in_the_headers_of_a_subscription_is_used_once() -> None:
    session = ready()
    entry, frame = session.subscribe("/q", headers={"receipt": "mine"})
    assert said(frame).headers["receipt"] == "mine"
    assert session.receive(Frame("RECEIPT", {"receipt-id": "mine"})) is not None
    assert entry.state is SubscriptionState.ACTIVE
    session.lost()
    [frame] = restore(session)[0]
    assert frame.headers["receipt"] != "mine"


def test_a_receipt_in_the_headers_of_any_frame_is_the_one_awaited() -> None:
    session = ready()
    entry, _ = session.subscribe("/q")
    transaction, _ = session.begin()
    message = Frame("MESSAGE", {"ack": "1", "subscription": entry.id})
    for frame in (
        session.ack(message, session.epoch, headers={"receipt": "r1"}, confirm=True, context="r1"),
        session.commit(transaction, {"receipt": "r2"}, context="r2"),
        session.unsubscribe(entry, {"receipt": "r3"}, confirm=True, context="r3"),
    ):
        request = said_receipt(session, said(frame))
        assert request.context == request.receipt == said(frame).headers["receipt"]
    assert transaction.state is TransactionState.COMMITTED


def test_the_brokers_own_headers_come_under_the_entrys() -> None:
    def translate(connected: Frame, entry: SubscriptionEntry) -> dict[str, str]:
        return {"server": connected.headers["server"], "x": "translated", "n": entry.durable or ""}

    session = Session(subscription_headers=translate)
    session.subscribe("/q", headers={"x": "raw"}, durable="d")
    for server in ("A", "B"):
        login(session, server=server)
        [frame] = session.replay().frames
        assert (frame.headers["server"], frame.headers["x"], frame.headers["n"]) == (server, "raw", "d")
        session.lost()


def test_what_the_version_cannot_express_is_refused_before_anything_is_kept() -> None:
    session = ready("1.0")
    with pytest.raises(ProtocolError, match="client-individual"):
        session.subscribe("/q", ack="client-individual")
    assert session.subscriptions == {}
    assert session.is_idle


def test_a_subscription_that_another_version_cannot_express_is_rejected_and_the_others_go_on() -> None:
    session = ready("1.2")
    session.subscribe("/a", id="a")
    bad, _ = session.subscribe("/b", id="b", ack="client-individual")
    session.subscribe("/c", id="c")
    session.lost()
    login(session, "1.0")
    replay = session.replay()
    assert [frame.headers["id"] for frame in replay.frames] == ["a", "c"]
    assert replay.rejected == [bad]
    assert bad.state is SubscriptionState.REJECTED
    assert isinstance(bad.error, ProtocolError)
    assert list(session.subscriptions) == ["a", "b", "c"]
    assert session.replay() == ([], [])
    for frame in replay.frames:
        session.receive(receipt(frame))
    assert session.is_replayed


def test_what_one_version_cannot_express_comes_back_with_the_next_that_can() -> None:
    session = ready("1.2")
    entry, frame = session.subscribe("/q", id="a", ack="client-individual")
    session.receive(receipt(said(frame)))
    never, _ = session.subscribe("/r", id="b", ack="client-individual")
    for _ in range(2):
        session.lost()
        login(session, "1.0")
        assert session.replay() == ([], [entry, never])
        assert (entry.state, never.state) == (SubscriptionState.REJECTED, SubscriptionState.REJECTED)
        assert session.is_replayed
        session.restored()
        assert isinstance(entry.error, ProtocolError)
        assert session.is_idle
    assert session.unsubscribe(never) is None  # the broker of today does not know it
    assert never.state is SubscriptionState.ENDED
    session.lost()
    login(session, "1.2")
    [frame] = session.replay().frames
    assert entry.state.value == "replaying"
    assert entry.error is None
    assert not session.is_replayed
    session.receive(receipt(frame))
    assert entry.state.value == "active"
    assert session.is_replayed


def test_one_by_one_goes_past_what_the_version_cannot_express() -> None:
    session = ready("1.2")
    for number, ack in enumerate(("auto", "client-individual", "auto")):
        session.subscribe("/q", id=str(number), ack=ack)
    session.receive(refusal())
    session.lost()
    login(session, "1.0")
    [frame] = session.replay().frames
    assert frame.headers["id"] == "0"
    session.receive(receipt(frame))
    replay = session.replay()
    assert [frame.headers["id"] for frame in replay.frames] == ["2"]
    assert [entry.id for entry in replay.rejected] == ["1"]


def test_a_subscribe_of_a_replay_that_cannot_be_encoded_waits_for_a_later_version() -> None:
    session = ready("1.2")
    entry, frame = session.subscribe("/q", headers={"selector": "a:\n"})
    session.receive(receipt(said(frame)))
    session.lost()
    login(session, "1.0")
    [frame] = session.replay().frames
    error = InvalidHeader("no")
    assert session.retract(frame, error) is not None
    assert (entry.state, entry.error) == (SubscriptionState.REJECTED, error)
    assert session.is_replayed
    session.lost()
    [frame] = restore(session, "1.2")[0]
    assert entry.state is SubscriptionState.ACTIVE


def test_retracting_a_subscribe_that_was_unsubscribed_meanwhile() -> None:
    session = Session()
    entry, _ = session.subscribe("/q")
    login(session)
    [frame] = session.replay().frames
    session.unsubscribe(entry)
    session.retract(frame, InvalidHeader("no"))
    assert entry.state is SubscriptionState.ENDED
    assert session.is_idle


def test_a_replay_needs_a_connection() -> None:
    session = Session()
    entry, _ = session.subscribe("/q")
    with pytest.raises(ProtocolError, match="disconnected"):
        session.replay()
    assert entry.state is SubscriptionState.PENDING


def test_ended_subscriptions_are_remembered_for_their_late_messages_but_not_all() -> None:
    session = ready()
    for number in range(300):
        entry, frame = session.subscribe("/q", id=str(number))
        session.receive(receipt(said(frame)))
        session.unsubscribe(entry)
    assert session.receive(Frame("MESSAGE", {"subscription": "0"})) is None
    assert session.receive(Frame("MESSAGE", {"subscription": "299"})) is entry


def test_a_subscription_of_the_brokers_own_is_known_for_this_epoch() -> None:
    session = ready()
    entry = session.expect("/temp-queue/x", "/temp-queue/x", context="c")
    message = Frame("MESSAGE", {"subscription": "/temp-queue/x"})
    assert entry.state is SubscriptionState.ACTIVE
    assert session.receive(message) is entry
    session.lost()
    assert restore(session) == ([], [])
    assert session.receive(message) is None


# Brokers that never confirm a SUBSCRIBE


def test_what_is_assumed_to_be_active_is_and_a_late_answer_is_taken() -> None:
    session = ready()
    first, frame = session.subscribe("/a")
    second, other = session.subscribe("/b")
    gone, _ = session.subscribe("/c")
    session.unsubscribe(gone)
    assert session.assume_active([first]) == [first]
    assert (first.state, second.state) == (SubscriptionState.ACTIVE, SubscriptionState.PENDING)
    assert session.assume_active() == [second]
    assert session.assume_active() == []
    assert session.is_idle
    assert said_receipt(session, said(frame)).subscription is first
    assert first.state is SubscriptionState.ACTIVE
    request = session.receive(refusal(said(other)))
    assert isinstance(request, Request)
    assert second.state is SubscriptionState.REJECTED
    assert list(session.subscriptions.values()) == [first]
    session.lost()
    assert session.assume_active() == []
    login(session)
    [frame] = session.replay().frames
    assert not session.is_replayed
    assert session.assume_active() == [first]
    assert session.is_replayed


def test_what_is_assumed_leaves_nothing_when_it_ends() -> None:
    session = ready()
    for _ in range(10):
        entry, frame = session.subscribe("/a")
        session.assume_active()
        session.unsubscribe(entry)
        assert session.receive(receipt(said(frame))) is None
    assert session.is_idle
    assert not session._ledger.assumed


def test_an_assumed_subscription_is_not_what_an_error_means() -> None:
    session = Session()
    entry, _ = session.subscribe("/a")
    login(session)
    session.replay()
    session.assume_active()
    assert session.receive(refusal()) is None
    assert entry.state is SubscriptionState.ACTIVE


def test_a_subscription_refused_by_its_receipt_leaves_the_registry() -> None:
    session = ready()
    entry, frame = session.subscribe("/q", id="a")
    request = session.receive(refusal(said(frame)))
    assert isinstance(request, Request)
    assert request.subscription is entry
    assert entry.state is SubscriptionState.REJECTED
    assert isinstance(entry.error, BrokerError)
    # RabbitMQ sends the RECEIPT too.
    assert session.receive(receipt(said(frame))) is None
    assert entry.state.value == "rejected"
    session.lost()
    assert restore(session) == ([], [])
    session.subscribe("/q", id="a")


def test_a_refusal_after_unsubscribe_leaves_it_ended() -> None:
    session = ready()
    entry, frame = session.subscribe("/q")
    session.unsubscribe(entry)
    session.receive(refusal(said(frame)))
    assert entry.state is SubscriptionState.ENDED


@pytest.mark.parametrize("owed", [0, 3])
@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_subscription_refused_without_a_word_is_found_one_by_one(bad: int, owed: int) -> None:
    """By elimination; the SENDs that wait behind the replay were not said yet and cannot be what is refused."""
    session = ready()
    for number in range(3):
        session.receive(receipt(said(session.subscribe("/q", id=str(number))[1])))
    for number in range(owed):
        send(session, str(number))
    for _ in range(10):
        session.lost()
        login(session)
        while frames := session.replay().frames:
            if any(frame.headers["id"] == str(bad) for frame in frames):
                session.receive(refusal())
                break
            for frame in frames:
                session.receive(receipt(frame))
        else:
            break
    assert session.is_replayed
    assert list(session.subscriptions) == [str(number) for number in range(3) if number != bad]
    assert bodies(session.restored()) == [str(number) for number in range(owed)]
    # Afterwards all are said together again.
    session.lost()
    login(session)
    assert len(session.replay().frames) == 2


def test_messages_find_their_subscription() -> None:
    session = ready("1.0")
    first, _ = session.subscribe("/q", id="a")
    second, _ = session.subscribe("/r", id="b")
    assert session.receive(Frame("MESSAGE", {"subscription": "b", "destination": "/q"})) is second
    assert session.receive(Frame("MESSAGE", {"destination": "/q"})) is first
    assert session.receive(Frame("MESSAGE", {"destination": "/r"})) is second
    assert session.receive(Frame("MESSAGE", {"destination": "/x"})) is None
    assert session.receive(Frame("MESSAGE", {"subscription": "x", "destination": "/q"})) is None
    session.unsubscribe(first)
    late = Frame("MESSAGE", {"subscription": "a", "destination": "/q"})
    assert session.receive(late) is first  # on its way when UNSUBSCRIBE was said
    session.lost()
    restore(session)
    assert session.receive(late) is None


# Confirmed sends


def test_a_confirmed_send_waits_for_its_receipt() -> None:
    session = ready()
    frame = said(send(session, "one", context="ctx"))
    assert (session.unconfirmed, session.unconfirmed_bytes) == (1, 3)
    assert session.receive(Frame("RECEIPT", {"receipt-id": "other"})) is None
    assert session.receive(Frame("RECEIPT")) is None
    assert session.receive(Frame("ERROR", {"receipt-id": "other"})) is None
    request = said_receipt(session, frame)
    assert (request.context, request.command) == ("ctx", "SEND")
    assert (session.unconfirmed, session.unconfirmed_bytes) == (0, 0)
    assert session.receive(receipt(frame)) is None
    session.lost()
    assert restore(session) == ([], [])


def test_a_refused_send_is_not_sent_again() -> None:
    session = ready()
    frame = said(send(session, "one", context="ctx"))
    request = session.receive(refusal(frame))
    assert isinstance(request, Request)
    assert request.context == "ctx"
    assert session.unconfirmed_bytes == 0
    session.lost()
    assert restore(session) == ([], [])


def test_unconfirmed_sends_are_resent_in_first_order_behind_the_subscriptions() -> None:
    session = ready()
    session.subscribe("/q", id="a")
    original = [said(send(session, str(number), x="y:z")) for number in range(5)]
    session.receive(receipt(original[1]))
    for _ in range(3):
        assert session.lost(explained=True) == []
        subscriptions, owed = restore(session)
        assert len(subscriptions) == 1
        assert bodies(owed) == ["0", "2", "3", "4"]
        for frame in owed:
            assert without(frame) == without(original[int(frame.body)])
            assert frame.headers["receipt"] not in {old.headers["receipt"] for old in original}
            assert len(frame.headers.getall("receipt")) == 1
    for frame in owed:
        assert said_receipt(session, frame).frame == frame
    assert session.unconfirmed == 0


def test_what_is_sent_while_cut_off_stays_behind_what_was_sent_before_over_any_number_of_losses() -> None:
    session = ready()
    send(session, "0")
    session.lost(explained=True)
    assert send(session, "1") is None
    login(session)
    assert send(session, "2") is None
    assert bodies(session.restored()) == ["0", "1", "2"]
    send(session, "3")
    for _ in range(3):
        session.lost(explained=True)
        session.connect(host="h")
        session.lost(explained=True)
        assert bodies(restore(session)[1]) == ["0", "1", "2", "3"]


def test_own_receipts_keep_their_name_and_their_place() -> None:
    session = ready()
    for number, own in enumerate(("", "mine", "", "yours", "")):
        send(session, str(number), confirm=not own, **({"receipt": own} if own else {}))
    for _ in range(3):
        session.lost(explained=True)
        owed = restore(session)[1]
        assert bodies(owed) == ["0", "1", "2", "3", "4"]
        assert [frame.headers["receipt"] for frame in owed if frame.body in (b"1", b"3")] == ["mine", "yours"]
    assert said_receipt(session, owed[3]).receipt == "yours"
    assert session.unconfirmed == 4


def test_two_frames_cannot_wait_for_one_receipt() -> None:
    session = ready()
    send(session, "a", receipt="mine", context="a")
    for confirm in (True, False):
        with pytest.raises(ValueError, match="'mine'"):
            send(session, "b", receipt="mine", confirm=confirm)
    session.lost()
    with pytest.raises(ValueError, match="'mine'"):
        send(session, "b", receipt="mine")
    assert (session.unconfirmed, session.unconfirmed_bytes) == (1, 1)


def test_receipts_of_our_own_keep_clear_of_those_of_the_application() -> None:
    session = ready()
    taken = ["1", "2", "3", "5", "8"]
    for name in taken:
        send(session, name, receipt=name, context=name)
    frames = [said(send(session, "x", context=number)) for number in range(10)]
    assert session.unconfirmed == 15
    for number, frame in enumerate(frames):
        assert frame.headers["receipt"] not in taken
        assert said_receipt(session, frame).context == number
    for name in taken:
        assert session.receive(Frame("RECEIPT", {"receipt-id": name})) is not None
    assert session.is_idle


def test_unwritten_sends_survive_behind_the_confirmed_ones_in_their_order() -> None:
    session = ready()
    frames = [said(send(session, str(number), confirm=number % 2 == 0)) for number in range(6)]
    session.lost(explained=True, unsent=frames[3:])
    assert send(session, "6") is None
    owed = restore(session)[1]
    # 0 and 2 were written and not confirmed, 1 was written and is none of our business any more.
    assert bodies(owed) == ["0", "2", "3", "4", "5", "6"]
    assert owed[2].headers == frames[3].headers
    session.lost(explained=True, unsent=owed[4:])
    assert bodies(restore(session)[1]) == ["0", "2", "4", "5", "6"]


def test_a_loss_before_the_replay_is_over_keeps_what_is_owed() -> None:
    session = ready()
    session.subscribe("/q")
    frames = [said(send(session, "a")), said(send(session, "b", confirm=False)), said(send(session, "c"))]
    session.lost(unsent=frames[1:])
    for _ in range(3):
        login(session)
        session.lost(unsent=session.replay().frames)
    assert bodies(restore(session)[1]) == ["a", "b", "c"]


def test_a_loss_that_is_told_twice_sends_nothing_twice() -> None:
    session = ready()
    frames = [said(send(session, "a")), said(send(session, "b", confirm=False)), said(send(session, "c"))]
    session.lost(unsent=frames)
    session.lost(unsent=frames)
    session.lost()
    assert bodies(restore(session)[1]) == ["a", "b", "c"]


def test_nothing_but_plain_sends_survives_unwritten() -> None:
    session = ready()
    entry, subscribe = session.subscribe("/q", id="a")
    transaction, begin = session.begin()
    message = Frame("MESSAGE", {"ack": "1", "subscription": "a", "message-id": "1"})
    unsent = [
        said(subscribe),
        begin,
        said(send(session, "in", transaction=transaction.id, confirm=False)),
        said(send(session, "in", transaction=transaction.id)),
        said(session.ack(message, session.epoch)),
        said(session.ack(message, session.epoch, confirm=True)),
        session.commit(transaction),
        said(session.unsubscribe(entry, confirm=True)),
        HEARTBEAT,
        said(send(session, "plain", confirm=False)),
        session.disconnect(),
    ]
    session.lost(unsent=unsent)
    subscriptions, owed = restore(session)
    assert subscriptions == []
    assert bodies(owed) == ["plain"]


@pytest.mark.parametrize("own", [None, "mine"])
def test_receipts_of_an_older_epoch_answer_nothing(own: str | None) -> None:
    session = ready()
    headers = {"receipt": own} if own else {}
    frame = said(send(session, "x", confirm=True, **headers))
    late = receipt(frame)
    session.lost()
    assert session.receive(late) is None
    assert session.receive(refusal(frame)) is None
    login(session)
    assert session.receive(late) is None
    assert session.receive(refusal(frame)) is None
    assert session.unconfirmed == 1
    [again] = session.restored()
    if own is None:
        assert session.receive(late) is None
    assert session.unconfirmed == 1
    assert said_receipt(session, again).frame == again


def test_forgetting() -> None:
    session = ready()
    contexts = [object() for _ in range(4)]
    frames = [said(send(session, str(number), context=contexts[number])) for number in range(3)]
    request = session.forget(contexts[1])
    assert request is not None
    assert request.issued
    assert session.forget(contexts[1]) is None
    assert session.receive(receipt(frames[1])) is None
    assert (session.unconfirmed, session.unconfirmed_bytes) == (2, 2)
    session.lost(unsent=frames)
    assert send(session, "3", context=contexts[3]) is None
    session.forget(contexts[0])
    assert bodies(restore(session)[1]) == ["2", "3"]
    session.lost()
    unsaid = object()
    send(session, "4", context=unsaid)
    request = session.forget(unsaid)
    assert request is not None
    assert not request.issued
    assert bodies(restore(session)[1]) == ["2", "3"]
    assert session.unconfirmed_bytes == 2


def test_forgetting_nobody_forgets_nothing() -> None:
    session = ready()
    send(session, "x")
    session.subscribe("/q")
    assert session.forget(None) is None
    assert session.unconfirmed == 1


def test_abandoning_and_retracting() -> None:
    session = ready()
    send(session, "a", context="a")
    frame = said(send(session, "b", context="b"))
    session.retract(frame, InvalidHeader("no"))
    assert (session.unconfirmed, session.unconfirmed_bytes) == (1, 1)
    session.lost()
    send(session, "c", context="c")
    abandoned = session.abandon()
    assert [request.context for request in abandoned.requests] == ["a", "c"]
    assert abandoned.unsent == []
    assert (session.unconfirmed, session.unconfirmed_bytes) == (0, 0)
    assert restore(session) == ([], [])
    transaction, begin = session.begin()
    session.retract(begin, InvalidHeader("no"))
    assert transaction.id not in session.transactions
    _, subscribe = session.subscribe("/q")
    session.retract(said(subscribe), InvalidHeader("no"))
    assert session.subscriptions == {}
    assert session.is_idle


def test_abandoning_tells_what_was_never_written() -> None:
    session = ready()
    frames = [
        said(send(session, "a", confirm=False)),
        said(send(session, "b")),
        said(send(session, "c", confirm=False)),
    ]
    session.lost(frames)
    abandoned = session.abandon()
    assert [request.frame for request in abandoned.requests] == [frames[1]]
    assert abandoned.unsent == [frames[0], frames[2]]
    assert session.abandon() == ([], [])


def test_forgetting_leaves_nothing_and_costs_one_look_up() -> None:
    session = ready()
    contexts = [object() for _ in range(5000)]
    session.lost(explained=True)
    for context in contexts:
        send(session, "x", context=context)
    for context in reversed(contexts):
        assert session.forget(context) is not None
    ledger = session._ledger
    assert (ledger.unconfirmed, ledger.resend, ledger._by_context, ledger.unconfirmed_bytes) == ({}, {}, {}, 0)


def test_what_is_awaited_is_a_copy() -> None:
    session = ready()
    send(session, "a", context="a")
    send(session, "b", context="b")
    for request in session.awaited():
        assert session.forget(request.context) is request
    assert session.is_idle


# Transactions


def test_a_transaction_from_begin_to_commit() -> None:
    session = ready()
    transaction, begin = session.begin("t")
    assert begin == Frame("BEGIN", {"transaction": "t"})
    with pytest.raises(ValueError, match="'t'"):
        session.begin("t")
    assert send(session, "x", confirm=False, transaction="t") is not None
    assert session.open_transaction("t") is transaction
    commit = session.commit(transaction, context="c")
    assert transaction.state is TransactionState.COMMITTING
    with pytest.raises(ConnectionLost, match="committing"):
        send(session, "y", transaction="t")
    assert session.abort(transaction) is None
    assert said_receipt(session, commit).context == "c"
    assert transaction.state.value == "committed"
    with pytest.raises(ConnectionLost):
        session.commit(transaction)
    session.begin("t")


def test_an_abort_ends_and_is_said_once() -> None:
    session = ready()
    transaction, _ = session.begin("t")
    assert session.abort(transaction) == Frame("ABORT", {"transaction": "t"})
    assert session.abort(transaction) is None
    assert transaction.state is TransactionState.ABORTED


def test_a_refused_commit_is_aborted() -> None:
    session = ready()
    transaction, _ = session.begin()
    commit = session.commit(transaction)
    session.receive(refusal(commit))
    assert transaction.state is TransactionState.ABORTED
    assert session.transactions == {}


def test_an_open_transaction_is_lost_with_its_connection() -> None:
    session = ready()
    transaction, _ = session.begin("t")
    frame = said(send(session, "x", transaction="t", context="x"))
    [(request, outcome)] = session.lost(unsent=[frame])
    assert (request.context, outcome) == ("x", Outcome.LOST)
    assert session.unconfirmed_bytes == 0
    for version in ("1.2", "1.0"):
        assert transaction.state is TransactionState.LOST
        for use in (
            lambda: session.commit(transaction),
            lambda: session.open_transaction("t"),
            lambda: send(session, "y", transaction="t"),
            lambda: send(session, "y", confirm=False, transaction="t"),
            lambda: session.check_transaction(transaction),
            lambda: session.ack(
                Frame("MESSAGE", {"ack": "1", "message-id": "1"}), session.epoch, transaction=transaction
            ),
        ):
            if session.state is SessionState.CONNECTED or use.__code__.co_names[-1:] != ("epoch",):
                with pytest.raises(ConnectionLost) as caught:
                    use()
                assert not caught.value.outcome_unknown
        assert session.abort(transaction) is None
        session.lost()
        assert restore(session, version) == ([], [])
    session.begin("t")


def test_a_commit_without_an_answer_is_in_doubt() -> None:
    session = ready()
    transaction, _ = session.begin()
    commit = session.commit(transaction, context="c")
    [(request, outcome)] = session.lost(unsent=[commit])
    assert (request.context, outcome) == ("c", Outcome.IN_DOUBT)
    assert transaction.state is TransactionState.IN_DOUBT
    assert restore(session) == ([], [])
    assert session.receive(receipt(commit)) is None
    with pytest.raises(ConnectionLost, match="may have committed") as caught:
        session.commit(transaction)
    assert caught.value.outcome_unknown
    assert session.abort(transaction) is None


def test_a_commit_that_cannot_be_written_leaves_the_transaction_open() -> None:
    session = ready()
    transaction, _ = session.begin()
    session.retract(session.commit(transaction), InvalidHeader("no"))
    assert transaction.state is TransactionState.OPEN
    assert list(transaction.awaited.values()) == []
    session.receive(receipt(session.commit(transaction)))
    assert transaction.state.value == "committed"
    assert session.is_idle


def test_a_begin_that_cannot_be_written_ends_its_transaction() -> None:
    session = ready()
    transaction, frame = session.begin()
    session.retract(frame, InvalidHeader("no"))
    assert transaction.state is TransactionState.ABORTED
    with pytest.raises(ConnectionLost, match="aborted"):
        session.commit(transaction)


@pytest.mark.parametrize("late", [True, False])
def test_a_transaction_is_committed_when_its_sends_are_confirmed_too(late: bool) -> None:
    """RabbitMQ answers the SENDs of a transaction behind the COMMIT, others at once."""
    session = ready()
    transaction, _ = session.begin("t")
    sends = [said(send(session, str(number), context=number, transaction="t")) for number in range(3)]
    if not late:
        for frame in sends:
            assert said_receipt(session, frame).transaction is transaction
    commit = session.commit(transaction, context="commit")
    assert [request.context for request in transaction.awaited.values()] == [*range(3 * late), "commit"]
    session.receive(receipt(commit))
    if late:
        for frame in sends:
            assert transaction.state.value == "committing"
            said_receipt(session, frame)
    assert transaction.state.value == "committed"
    assert list(transaction.awaited.values()) == []
    assert session.is_idle


def test_a_loss_before_the_sends_of_a_transaction_are_confirmed_leaves_it_in_doubt() -> None:
    session = ready()
    transaction, _ = session.begin("t")
    send(session, "x", context="x", transaction="t")
    session.receive(receipt(session.commit(transaction)))
    [(request, outcome)] = session.lost()
    assert (request.context, outcome) == ("x", Outcome.IN_DOUBT)
    assert transaction.state is TransactionState.IN_DOUBT
    assert list(transaction.awaited.values()) == [request]
    assert restore(session) == ([], [])


@pytest.mark.parametrize("ends", ["abort", "refused commit"])
def test_the_sends_of_a_transaction_that_is_not_committed_are_awaited_no_more(ends: str) -> None:
    session = ready()
    transaction, _ = session.begin("t")
    frame = said(send(session, "x", context="x", transaction="t"))
    if ends == "abort":
        session.abort(transaction)
    else:
        session.receive(refusal(session.commit(transaction)))
    assert transaction.state is TransactionState.ABORTED
    assert [request.context for request in transaction.awaited.values()] == ["x"]
    assert session.is_idle
    assert session.forget("x") is None
    assert session.receive(receipt(frame)) is None


def test_a_send_refused_behind_its_commit_leaves_the_transaction_in_doubt() -> None:
    session = ready()
    transaction, _ = session.begin("t")
    first, second = (said(send(session, name, context=name, transaction="t")) for name in "ab")
    commit = session.commit(transaction)
    session.receive(refusal(first))
    assert transaction.state is TransactionState.COMMITTING
    session.receive(receipt(commit))
    assert transaction.state.value == "committing"
    session.receive(refusal(second))
    assert transaction.state.value == "in doubt"
    assert session.is_idle


def test_a_commit_that_nobody_waits_for_leaves_nothing() -> None:
    session = ready()
    transaction, _ = session.begin("t")
    frame = said(send(session, "x", context="x", transaction="t"))
    session.commit(transaction, context="commit")
    assert session.forget("commit") is not None
    assert transaction.state is TransactionState.IN_DOUBT
    assert session.is_idle
    assert session.receive(receipt(frame)) is None


def test_acknowledgements_in_a_transaction_are_noted() -> None:
    session = ready()
    transaction, _ = session.begin()
    message = Frame("MESSAGE", {"ack": "1", "message-id": "1"})
    session.ack(message, session.epoch, transaction=transaction, context="a")
    session.ack(message, session.epoch, transaction=transaction, context="b", negative=True)
    session.ack(message, session.epoch, transaction=transaction)
    session.ack(message, session.epoch, context="c")
    assert transaction.settled == ["a", "b"]
    session.abort(transaction)
    assert transaction.settled == ["a", "b"]


# Receipts


def test_a_request_tells_whether_the_application_asked_for_its_receipt() -> None:
    session = ready()
    message = Frame("MESSAGE", {"ack": "1", "message-id": "1"})

    def frames(number: int) -> list[Frame]:
        headers = {"receipt": f"mine-{number}"} if number else {}
        confirm = not number
        name = f"{number}"
        entry, subscribe = session.subscribe("/q", headers={**headers})
        done = [said(subscribe)]

        def own() -> dict[str, str]:
            return {"receipt": f"mine-{number}-{len(done)}"} if number else {}

        done.append(said(session.unsubscribe(entry, own(), confirm=confirm)))
        done.append(said(session.ack(message, session.epoch, headers=own(), confirm=confirm)))
        done.append(said(send(session, "x", confirm=confirm, **own())))
        transaction, begin = session.begin(f"{name}-a", own())
        done += [begin] if number else []
        done.append(said(send(session, "x", confirm=confirm, transaction=transaction.id, **own())))
        done.append(session.commit(transaction, own()))
        if number:
            transaction, _ = session.begin(f"{name}-b")
            done.append(said(session.abort(transaction, own())))
        done.append(session.disconnect(headers=own()))
        return done

    for number in (0, 1):
        for frame in frames(number):
            assert said_receipt(session, frame).own_receipt is bool(number), frame
        session.lost()
        restore(session)


def test_nobody_waits_for_a_receipt_that_was_not_asked_for() -> None:
    session = ready()
    transaction, begin = session.begin()
    assert "receipt" not in begin.headers
    assert "receipt" not in said(session.abort(transaction)).headers
    assert session.is_idle


def test_the_goodbye_does_not_fail_for_a_name() -> None:
    session = ready()
    send(session, "x", receipt="mine")
    assert session.disconnect(headers={"receipt": "mine", "x": "y"}).headers["x"] == "y"


# Acknowledgements


@pytest.mark.parametrize("negative", [False, True])
def test_only_a_fresh_message_is_acknowledged(negative: bool) -> None:
    session = ready("1.1")
    message = Frame("MESSAGE", {"message-id": "m", "subscription": "s", "ack": "a"})
    epoch = session.epoch
    frame = said(session.ack(message, epoch, negative=negative, confirm=True, context="c"))
    assert frame.command == ("NACK" if negative else "ACK")
    assert without(frame) == {"message-id": "m", "subscription": "s"}
    assert said_receipt(session, frame).context == "c"
    frame = said(session.ack(message, epoch, negative=negative))
    assert "receipt" not in frame.headers
    session.lost()
    assert session.ack(message, epoch, negative=negative) is None
    session.connect(host="h")
    assert session.ack(message, epoch, negative=negative, confirm=True) is None
    session.connected(Frame("CONNECTED", {"version": "1.2"}))
    assert session.ack(message, epoch, negative=negative) is None
    assert said(session.ack(message, session.epoch, negative=negative)).headers == {"id": "a"}
    assert session.is_idle


def test_an_ack_that_cannot_be_said_awaits_nothing() -> None:
    session = ready("1.0")
    with pytest.raises(ProtocolError, match="NACK"):
        session.ack(Frame("MESSAGE", {"message-id": "1"}), session.epoch, negative=True, confirm=True)
    with pytest.raises(ProtocolError, match="message-id"):
        session.ack(Frame("MESSAGE"), session.epoch, confirm=True)
    assert session.is_idle


# What a loss means


def outcomes(session: Session) -> dict[str, Outcome]:
    return {str(request.context): outcome for request, outcome in session.lost()}


def test_the_loss_of_each_command_means_what_the_table_says() -> None:
    session = ready()
    plain, _ = session.subscribe("/q", context="subscription")
    durable, _ = session.subscribe("/t", durable="d")
    transaction, _ = session.begin()
    open_one, _ = session.begin()
    message = Frame("MESSAGE", {"ack": "1", "subscription": plain.id, "message-id": "1"})
    session.ack(message, session.epoch, confirm=True, context="ack")
    session.ack(message, session.epoch, confirm=True, context="nack", negative=True)
    session.ack(message, session.epoch)
    session.unsubscribe(plain, confirm=True, context="unsubscribe")
    session.unsubscribe(durable, confirm=True, context="unsubscribe durable")
    send(session, "x", context="send")
    send(session, "x", transaction=open_one.id, context="send in transaction")
    session.commit(transaction, context="commit")
    session.disconnect("disconnect")
    assert outcomes(session) == {
        "ack": Outcome.NOT_CONFIRMED,
        "nack": Outcome.NOT_CONFIRMED,
        "unsubscribe": Outcome.DONE,
        "unsubscribe durable": Outcome.IN_DOUBT,
        "send in transaction": Outcome.LOST,
        "commit": Outcome.IN_DOUBT,
        "disconnect": Outcome.DONE,
    }
    # The confirmed SEND waits on, a SUBSCRIBE is the registry's; and nobody is told twice.
    assert session.unconfirmed == 1
    assert outcomes(session) == {}


@pytest.mark.parametrize(
    ("headers", "body", "text"),
    [
        ({"message": "bad"}, b"", "bad"),
        ({"message": "bad"}, b"bad\nmore", "bad"),
        ({"message": "bad"}, b"why\nmore", "bad: why"),
        ({}, b" why \n", "why"),
        ({}, b"\xff", "\ufffd"),
        ({}, b"", "it gave no reason"),
        ({"message": "x" * 1000}, b"", "x" * 300 + "…"),
    ],
)
def test_what_an_error_says(headers: dict[str, str], body: bytes, text: str) -> None:
    assert error_text(Frame("ERROR", headers, body)) == text
