"""The session against a model broker, over random interleavings of everything that may happen to it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stomplistener.errors import BrokerError, ConnectionLost, ProtocolError
from stomplistener.protocol import (
    Frame,
    Outcome,
    Request,
    Session,
    SessionState,
    SubscriptionEntry,
    SubscriptionState,
    TransactionEntry,
    TransactionState,
    commands,
)


@dataclass(eq=False)
class Call:
    """Somebody who waits for an answer. Each ends once: answered, refused, lost or forgotten."""

    command: str
    number: int = 0
    size: int = 0
    kept: bool = False
    """Whether it waits on over a loss."""
    transaction: TransactionEntry | None = None
    end: str = ""

    def finish(self, end: str) -> None:
        assert not self.end, f"{self} ends again: {end}"
        self.end = end


@dataclass(eq=False)
class Epoch:
    """What the broker saw of one connection."""

    version: str
    subscribed: dict[str, str] = field(default_factory=dict)
    begun: dict[str, list[int]] = field(default_factory=dict)
    sends: list[int] = field(default_factory=list)
    isolated: bool = False
    """Whether suspects were written one at a time: then SENDs without a receipt overtake those that wait."""
    owed: dict[str, str] = field(default_factory=dict)
    """Receipts not yet sent, each with the subscription that it is about."""


class Model(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.session = Session()
        self.queue: list[Frame] = []
        self.epoch: Epoch | None = None
        self.calls: list[Call] = []
        self.live: list[SubscriptionEntry] = []
        self.open: list[TransactionEntry] = []
        self.ended: list[TransactionEntry] = []
        self.messages: list[tuple[Frame, int]] = []
        self.stored: Counter[int] = Counter()
        self.unconfirmed: set[int] = set()
        self.overtook: set[int] = set()
        """SENDs without a receipt that were handed out while suspects were written: if they were not written then, they
        stay ahead of those that waited for the suspects."""
        self.write_failed: Counter[int] = Counter()
        self.members: dict[str, list[int]] = {}
        self.number = 0
        self.own = 0
        self.receipts_said: set[str] = set()
        self.said: Counter[tuple[str, int]] = Counter()
        self.fatal = False

    # The wire

    def say(self, frame: Frame | None) -> None:
        """Everything that the session hands out passes here."""
        if frame is None:
            return
        assert self.session.state in (SessionState.REPLAYING, SessionState.CONNECTED, SessionState.DISCONNECTING)
        if self.session.state is SessionState.REPLAYING:
            assert frame.command in ("SUBSCRIBE", "UNSUBSCRIBE", "ACK"), f"{frame} before the replay is over"
        receipt = frame.headers.get("receipt", "own-")
        if not receipt.startswith("own-"):
            assert receipt not in self.receipts_said, f"the receipt of {frame} was used before"
            self.receipts_said.add(receipt)
        self.queue.append(frame)

    def take(self, frame: Frame) -> None:
        """The broker takes a frame; it knows only what it was told on this connection."""
        assert self.epoch is not None
        epoch, headers = self.epoch, frame.headers
        transaction = headers.get("transaction")
        if transaction is not None and frame.command != "BEGIN":
            assert transaction in epoch.begun, f"{frame} names a transaction of another connection"
        if frame.command == "SUBSCRIBE":
            assert headers["id"] not in epoch.subscribed, f"{frame} is said twice"
            epoch.subscribed[headers["id"]] = headers["destination"]
        elif frame.command == "UNSUBSCRIBE":
            epoch.subscribed.pop(headers["id"], None)
        elif frame.command == "BEGIN":
            assert headers["transaction"] not in epoch.begun
            epoch.begun[headers["transaction"]] = []
        elif frame.command == "COMMIT":
            numbers = epoch.begun.pop(headers["transaction"])
            assert numbers == self.members[headers["transaction"]], "half a transaction was committed"
            self.stored.update(numbers)
        elif frame.command == "ABORT":
            del epoch.begun[headers["transaction"]]
        elif frame.command == "SEND" and transaction is not None:
            epoch.begun[transaction].append(int(frame.body))
        elif frame.command == "SEND":
            number = int(frame.body)
            if "receipt" in headers or not (epoch.isolated or number in self.overtook):
                assert not epoch.sends or number > epoch.sends[-1], f"{number} comes behind {epoch.sends}"
                epoch.sends.append(number)
            self.stored[number] += 1
        elif frame.command == "ACK":
            name = headers["id"] if epoch.version == "1.2" else headers["message-id"]
            assert name.partition("-")[0] == str(self.session.epoch), f"{frame} is of another connection"
        if "receipt" in headers:
            epoch.owed[headers["receipt"]] = headers["id"] if frame.command == "SUBSCRIBE" else ""

    def answered(self, answer: Request | SubscriptionEntry | None, end: str) -> None:
        if not isinstance(answer, Request):
            assert answer is None
            return
        if answer.command == "SUBSCRIBE":
            entry = answer.subscription
            assert entry is not None
            if end == "refused" and entry in self.live:
                self.live.remove(entry)
                assert entry.state is SubscriptionState.REJECTED
                assert isinstance(entry.error, BrokerError)
            return
        call = answer.context
        assert isinstance(call, Call)
        assert call.command == answer.command
        call.finish(end)
        if end == "answered" and call.command == "SEND" and call.transaction is None:
            assert self.stored[call.number], "confirmed, and the broker has it not"
        if call.command == "COMMIT" and end == "refused":
            assert call.transaction is not None
            assert call.transaction.state is TransactionState.ABORTED
        self.sweep()

    def sweep(self) -> None:
        """What an answer changes for others: transactions that are over, SENDs that waited for it."""
        for transaction in tuple(self.open):
            unanswered = list(transaction.awaited.values())
            if transaction.state not in (TransactionState.OPEN, TransactionState.COMMITTING):
                assert transaction.state is not TransactionState.COMMITTED or not unanswered
                self.open.remove(transaction)
                self.ended.append(transaction)
                for request in unanswered:
                    assert isinstance(request.context, Call)
                    request.context.finish("over")
        if self.is_connected:
            for frame in self.session.next_resend():
                self.say(frame)

    def call(self, command: str, transaction: TransactionEntry | None = None) -> Call:
        call = Call(command, transaction=transaction)
        self.calls.append(call)
        return call

    @property
    def is_connected(self) -> bool:
        return self.session.state is SessionState.CONNECTED and not self.fatal

    @property
    def is_open(self) -> bool:
        return self.session.is_open and not self.fatal

    @property
    def is_isolating(self) -> bool:
        return self.session._ledger.is_isolating

    # Connecting

    @initialize()
    def start(self) -> None:
        self.reconnect("1.2", whole=True)

    @precondition(lambda self: self.epoch is None)
    @rule(version=st.sampled_from(["1.0", "1.1", "1.2", "1.2"]), whole=st.booleans())
    def reconnect(self, version: str, whole: bool) -> None:
        """Until CONNECTED is there, or until everything is restored and nothing came between."""
        self.session.connect(host="h")
        self.epoch = Epoch(version)
        self.session.receive(Frame("CONNECTED", {"version": version}))
        while whole and not self.is_connected:
            self.replay()
            self.settle()

    def settle(self) -> None:
        """Write everything; the broker confirms it while it still restores."""
        assert self.epoch is not None
        self.write(len(self.queue))
        if self.session.state is SessionState.REPLAYING:
            for receipt in self.epoch.owed:
                self.answered(self.session.receive(Frame("RECEIPT", {"receipt-id": receipt})), "answered")
            self.epoch.owed = {}

    @precondition(lambda self: self.session.state is SessionState.REPLAYING and not self.fatal)
    @rule()
    def replay(self) -> None:
        before = list(self.session.subscriptions.values())
        replay = self.session.replay()
        for entry in replay.rejected:
            assert (entry.ack, self.session.version) == ("client-individual", "1.0")
            assert entry.state is SubscriptionState.REJECTED
        ids = [frame.headers["id"] for frame in replay.frames]
        assert ids == [entry.id for entry in before if entry.id in set(ids)], "not in the order of creation"
        for frame in replay.frames:
            self.subscribed(frame)
        if self.session.is_replayed:
            assert self.epoch is not None
            frames = self.session.restored()
            self.epoch.isolated = self.is_isolating
            for frame in frames:
                assert frame.command == "SEND"
                assert "transaction" not in frame.headers
                self.say(frame)

    def subscribed(self, frame: Frame) -> None:
        [entry] = [entry for entry in self.live if entry.id == frame.headers["id"]]
        self.said[entry.id, self.session.epoch] += 1
        assert self.said[entry.id, self.session.epoch] == 1, f"{frame} is said twice in one epoch"
        assert frame.headers["destination"] == entry.destination
        assert frame.headers["selector"] == f"s={entry.destination}"
        self.say(frame)

    @precondition(lambda self: self.epoch is not None)
    @rule(arrived=st.booleans(), explained=st.booleans())
    def lose(self, arrived: bool, explained: bool) -> None:
        """The connection ends. What is in the queue was not written; of the first of it nobody can say."""
        if self.queue and arrived:
            self.take(self.queue[0])
        for frame in self.queue:
            if frame.command == "SEND" and "transaction" not in frame.headers:
                self.write_failed[int(frame.body)] += 1
        unanswered = self.session.lost(self.queue, explained=explained, begun=arrived)
        self.queue, self.epoch, self.fatal = [], None, False
        for request, outcome in unanswered:
            assert isinstance(request.context, Call)
            request.context.finish(f"lost: {outcome.value}")
            assert request.context.kept is (outcome is Outcome.GIVEN_UP)
            if request.context.kept:
                assert request.error is not None
                continue
            expected = {"ACK": Outcome.NOT_CONFIRMED, "COMMIT": Outcome.IN_DOUBT, "SEND": Outcome.LOST}
            if request.transaction is not None and request.transaction.state is TransactionState.IN_DOUBT:
                expected["SEND"] = Outcome.IN_DOUBT
            assert outcome is expected.get(request.command, Outcome.DONE)
        for transaction in self.open:
            assert transaction.state in (TransactionState.LOST, TransactionState.IN_DOUBT)
        self.ended += self.open
        self.open = []
        for call in self.calls:
            assert call.end or call.kept, f"{call} waits forever"

    # The network and the broker

    @precondition(lambda self: self.queue and not self.fatal)
    @rule(count=st.integers(1, 9))
    def write(self, count: int) -> None:
        for frame in self.queue[:count]:
            self.take(frame)
        del self.queue[:count]

    @precondition(lambda self: self.epoch is not None and self.epoch.owed and not self.fatal)
    @rule(data=st.data(), refused=st.sampled_from([False, False, False, True]))
    def answer(self, data: st.DataObject, refused: bool) -> None:
        assert self.epoch is not None
        receipt = data.draw(st.sampled_from(sorted(self.epoch.owed)))
        subscription = self.epoch.owed.pop(receipt)
        if refused:
            self.epoch.subscribed.pop(subscription, None)
        command = "ERROR" if refused else "RECEIPT"
        self.answered(
            self.session.receive(Frame(command, {"receipt-id": receipt})), "refused" if refused else "answered"
        )

    @precondition(lambda self: self.is_open)
    @rule()
    def unexplained_error(self) -> None:
        """After an ERROR the broker hangs up: nothing but the loss follows."""
        self.answered(self.session.receive(Frame("ERROR", {"message": "no"})), "refused")
        self.fatal = True

    @rule(data=st.data())
    def late_receipt(self, data: st.DataObject) -> None:
        """An answer that belongs to nothing of this connection."""
        if self.session.state is SessionState.CONNECTING:
            return
        current = set(self.epoch.owed) if self.epoch else set()
        current |= {frame.headers.get("receipt", "") for frame in self.queue}
        stale = sorted(self.receipts_said - current)
        if stale:
            frame = Frame("RECEIPT", {"receipt-id": data.draw(st.sampled_from(stale))})
            assert self.session.receive(frame) is None

    # The application

    @precondition(lambda self: not self.fatal)
    @rule(ack=st.sampled_from(["auto", "client", "client-individual"]))
    def subscribe(self, ack: str) -> None:
        destination = f"/q/{self.next_number()}"
        headers = {"selector": f"s={destination}"}
        if self.session.state is SessionState.CONNECTED and (ack, self.session.version) == ("client-individual", "1.0"):
            with pytest.raises(ProtocolError):
                self.session.subscribe(destination, ack=ack, headers=headers)
            return
        entry, frame = self.session.subscribe(destination, ack=ack, headers=headers)
        self.live.append(entry)
        assert (frame is None) is (self.session.state is not SessionState.CONNECTED)
        if frame is not None:
            self.subscribed(frame)

    @precondition(lambda self: self.live and not self.fatal)
    @rule(data=st.data(), confirm=st.booleans())
    def unsubscribe(self, data: st.DataObject, confirm: bool) -> None:
        entry = data.draw(st.sampled_from(self.live))
        known = self.said[entry.id, self.session.epoch] and self.session.is_open
        call = Call("UNSUBSCRIBE")
        frame = self.session.unsubscribe(entry, confirm=confirm, context=call)
        self.live.remove(entry)
        assert (frame is not None) == bool(known)
        if frame is not None and confirm:
            self.calls.append(call)
        self.say(frame)

    @precondition(lambda self: not self.fatal)
    @rule(kinds=st.lists(st.tuples(st.booleans(), st.sampled_from([False, False, True])), min_size=1, max_size=3))
    def send_some(self, kinds: list[tuple[bool, bool]]) -> None:
        for confirm, own in kinds:
            self.send(confirm, own)

    def send(self, confirm: bool, own: bool) -> None:
        number = self.next_number()
        headers = {}
        if own:
            self.own += 1
            headers["receipt"] = f"own-{self.own}"
        frame = commands.send("/q", str(number).encode(), headers)
        if not confirm and not own:
            if self.is_connected:
                self.unconfirmed.add(number)
                if self.is_isolating:
                    self.overtook.add(number)
                self.say(self.session.send(frame))
            else:
                with pytest.raises(ProtocolError):
                    self.session.send(frame)
            return
        call = self.call("SEND")
        call.number, call.size, call.kept = number, len(frame.body), True
        said = self.session.send(frame, confirm=True, context=call)
        assert (said is None) is not (self.is_connected and not self.is_isolating)
        self.say(said)

    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        waiting = [call for call in self.calls if not call.end and call.command == "SEND"]
        if waiting:
            call = data.draw(st.sampled_from(waiting))
            request = self.session.forget(call)
            assert request is not None
            assert request.context is call
            call.finish("forgotten")
            self.sweep()
        assert self.session.forget(Call("SEND")) is None

    @precondition(lambda self: self.is_connected)
    @rule()
    def begin(self) -> None:
        transaction, frame = self.session.begin()
        self.open.append(transaction)
        self.members[transaction.id] = []
        self.say(frame)

    @precondition(lambda self: self.open and self.is_connected)
    @rule(data=st.data(), confirm=st.booleans())
    def send_in_transaction(self, data: st.DataObject, confirm: bool) -> None:
        transaction = data.draw(st.sampled_from(self.open))
        number = self.next_number()
        frame = commands.send("/q", str(number).encode(), transaction=transaction.id)
        call = Call("SEND", number, transaction=transaction)
        if transaction.state is not TransactionState.OPEN:
            with pytest.raises(ConnectionLost):
                self.session.send(frame, confirm=confirm, context=call)
            return
        self.members[transaction.id].append(number)
        self.say(self.session.send(frame, confirm=confirm, context=call))
        if confirm:
            self.calls.append(call)

    @precondition(lambda self: self.open and self.is_connected)
    @rule(data=st.data(), commit=st.booleans())
    def end_transaction(self, data: st.DataObject, commit: bool) -> None:
        transaction = data.draw(st.sampled_from(self.open))
        if transaction.state is not TransactionState.OPEN:
            assert self.session.abort(transaction) is None
        elif commit:
            self.say(self.session.commit(transaction, context=self.call("COMMIT", transaction)))
        else:
            frame = self.session.abort(transaction)
            assert frame is not None
            self.say(frame)
            self.sweep()

    @precondition(lambda self: self.ended)
    @rule(data=st.data())
    def use_an_ended_transaction(self, data: st.DataObject) -> None:
        transaction = data.draw(st.sampled_from(self.ended))
        frame = commands.send("/q", b"0", transaction=transaction.id)
        for confirm in (True, False):
            with pytest.raises(ConnectionLost):
                self.session.send(frame, confirm=confirm)
        with pytest.raises(ConnectionLost):
            self.session.commit(transaction)
        assert self.session.abort(transaction) is None

    @precondition(lambda self: self.epoch is not None and self.epoch.subscribed and not self.fatal)
    @rule(data=st.data())
    def message(self, data: st.DataObject) -> None:
        assert self.epoch is not None
        subscription = data.draw(st.sampled_from(sorted(self.epoch.subscribed)))
        name = f"{self.session.epoch}-{self.next_number()}"
        headers = {"subscription": subscription, "message-id": name, "ack": name}
        message = Frame("MESSAGE", {**headers, "destination": self.epoch.subscribed[subscription]})
        entry = self.session.receive(message)
        assert entry is None or (isinstance(entry, SubscriptionEntry) and entry.id == subscription)
        assert entry is not None or all(entry.id != subscription for entry in self.live)
        self.messages.append((message, self.session.epoch))

    @precondition(lambda self: self.messages and not self.fatal)
    @rule(data=st.data(), confirm=st.booleans())
    def ack(self, data: st.DataObject, confirm: bool) -> None:
        message, epoch = data.draw(st.sampled_from(self.messages))
        call = Call("ACK")
        frame = self.session.ack(message, epoch, confirm=confirm, context=call)
        assert (frame is not None) is (epoch == self.session.epoch and self.session.is_open)
        if frame is not None and confirm:
            self.calls.append(call)
        self.say(frame)

    def next_number(self) -> int:
        self.number += 1
        return self.number

    # What must hold

    @invariant()
    def the_registry_is_what_the_application_has(self) -> None:
        assert list(self.session.subscriptions.values()) == self.live

    @invariant()
    def no_request_is_lost_and_none_is_invented(self) -> None:
        waiting = [call for call in self.calls if call.kept and not call.end]
        assert self.session.unconfirmed == len(waiting)
        assert self.session.unconfirmed_bytes == sum(call.size for call in waiting)

    @invariant()
    def transactions_are_those_of_this_connection(self) -> None:
        assert list(self.session.transactions.values()) == self.open
        assert all(transaction.epoch == self.session.epoch for transaction in self.open)

    @invariant()
    def an_unconfirmed_send_arrives_once_unless_its_write_failed(self) -> None:
        for number in self.unconfirmed:
            assert self.stored[number] <= 1 + self.write_failed[number]

    def teardown(self) -> None:
        """On a network that works everything ends: each confirmed SEND is answered, whatever happened before."""
        if self.fatal:
            self.lose(arrived=False, explained=True)
        if self.epoch is None:
            self.reconnect("1.2", whole=False)
        for _ in range(10 + 2 * len(self.live) + self.session.unconfirmed):
            if self.session.state is SessionState.REPLAYING:
                self.replay()
            while self.queue:
                self.write(len(self.queue))
            assert self.epoch is not None
            owed, self.epoch.owed = self.epoch.owed, {}
            for receipt in owed:
                self.answered(self.session.receive(Frame("RECEIPT", {"receipt-id": receipt})), "answered")
        assert self.is_connected
        assert self.session.is_replayed
        assert self.session.unconfirmed == 0
        assert all(call.end for call in self.calls)
        for call in self.calls:
            if call.kept and call.end == "answered":
                assert self.stored[call.number] >= 1
        assert self.epoch is not None
        active = [entry for entry in self.live if entry.state is not SubscriptionState.REJECTED]
        assert set(self.epoch.subscribed) == {entry.id for entry in active}


TestSession = Model.TestCase
TestSession.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
