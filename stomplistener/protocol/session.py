"""One STOMP session over any number of connections, sans-I/O: which frames may be written, and what the answers mean.

The caller moves bytes, and the session decides which frames to write. The session keeps the subscriptions, in the order
of their creation, and the confirmed SENDs without a receipt. The session restores subscriptions and SENDs after every
connection loss. An *epoch* is the number of a connection. A frame of one epoch means nothing in the next. The session
refuses acknowledgements, transactions and receipts of an older epoch, so that no caller can write them by mistake.

    session = Session()
    write(session.connect(host="/"))                       # CONNECT
    session.receive(read())                                # CONNECTED: the version is settled
    write(*session.replay().frames)                        # SUBSCRIBE for every subscription
    session.receive(read()); write(*session.replay().frames)  # after each answer, until session.is_replayed
    write(*session.restored())                             # the SENDs to resend; then every frame may be written
    session.receive(read()); write(*session.next_resend()) # after each answer: nothing, or the next SENDs that wait
    …
    session.lost()                                         # the connection ended: start again with connect()

Not thread-safe: the caller holds one lock around every call. No time and no randomness; ``new_id`` makes the ids.

If a signal handler raises in the middle of a call, ``withdraw(context)`` with the context of that call restores the
session. A handler may also call into the session while it interrupts another call.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from stomplistener._util.text import shorten
from stomplistener.errors import BrokerError, ProtocolError
from stomplistener.protocol import commands, heartbeat
from stomplistener.protocol.frame import HEARTBEAT, Frame, Headers
from stomplistener.protocol.heartbeat import HeartBeat
from stomplistener.protocol.ledger import (
    Abandoned,
    Ledger,
    Outcome,
    Request,
    SubscriptionEntry,
    TransactionEntry,
)
from stomplistener.protocol.ledger import error_text as error_text
from stomplistener.protocol.spec import VERSIONS, version_rules
from stomplistener.protocol.subscriptions import Subscriptions
from stomplistener.protocol.transactions import Transactions
from stomplistener.states import SESSION_MOVES, SESSION_OPEN, SessionState, SubscriptionState, TransactionState


class Replay(NamedTuple):
    """The frames that restore the subscriptions, and the subscriptions that this version cannot express."""

    frames: list[Frame]
    rejected: list[SubscriptionEntry]


class Session:
    """The state of STOMP over any number of connections: subscriptions, receipts, transactions. No I/O.

    Not thread-safe. The module's text has the order of calls.

    Args:
        versions: the versions to offer.
        heartbeat: seconds between heartbeats that the client can send, and that it wants to receive; 0 for none.
        new_id: returns a new name for a receipt, subscription or transaction at each call.
        subscription_headers: called with the CONNECTED frame and an entry for each SUBSCRIBE. The entry's own headers
            win over the returned ones. So an option that needs another header on each broker survives a change of
            broker.
        refusal_hint: called with the text of an ERROR that refuses CONNECT, and with the ``host`` that was sent. The
            result is added to the exception.
        unsettle: called with the context of each acknowledgement in a transaction that is aborted, or whose COMMIT is
            refused: its message is not settled.

    Attributes:
        is_connected: whether every frame may be written now.
        is_open: whether messages of this epoch may be acknowledged now.
        subscriptions: all registered subscriptions, by id. Copy this mapping before iterating without the lock.
        transactions: the transactions of this epoch that have not ended, by name.
    """

    def __init__(
        self,
        versions: Iterable[str] = tuple(VERSIONS),
        heartbeat: tuple[float, float] = (0.0, 0.0),
        *,
        new_id: Callable[[], str] | None = None,
        subscription_headers: Callable[[Frame, SubscriptionEntry], Mapping[str, str]] | None = None,
        refusal_hint: Callable[[str, str | None], str] | None = None,
        unsettle: Callable[[object], object] | None = None,
    ) -> None:
        self.versions = tuple(version_rules(name).name for name in versions)
        self.heartbeat_wanted = HeartBeat(*heartbeat)
        self._next_id = new_id or map(str, itertools.count(1)).__next__
        self._subscription_headers = subscription_headers or (lambda _connected, _entry: {})
        self._refusal_hint = refusal_hint or (lambda _text, _host: "")
        self.state = SessionState.DISCONNECTED
        self.is_connected = self.is_open = False
        self.epoch = 0
        self.version: str | None = None
        self._version = ""
        self.heartbeat = HeartBeat(0.0, 0.0)
        self.connected_frame: Frame | None = None
        self._ledger = Ledger(self.new_id)
        self._registry = Subscriptions(self._ledger)
        self._transactions = Transactions(self._ledger, unsettle or (lambda _context: None))
        self.subscriptions = self._registry.entries
        self.transactions = self._transactions.entries
        self._host: str | None = None
        self._refused = False

    # Connecting

    def connect(
        self,
        host: str | None = None,
        login: str | None = None,
        passcode: str | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        host_required: bool = True,
    ) -> Frame:
        """Begin an epoch. Return the CONNECT frame to write.

        Args:
            host_required: False leaves the header out if ``host`` is None, although STOMP 1.1 and 1.2 require it.
        """
        frame = commands.connect(
            self.versions, host, login, passcode, self.heartbeat_wanted, headers, host_required=host_required
        )
        self._begin(frame)
        return frame

    def adopt(self, connect: Frame, connected: Frame) -> None:
        """Begin an epoch on a connection that another session has logged in.

        Args:
            connect: the CONNECT frame that was sent.
            connected: the broker's answer.
        """
        self._begin(connect)
        self.connected(connected)

    def _begin(self, connect: Frame) -> None:
        self._move("connect")
        self._host = connect.headers.get("host")
        self._refused = False
        self.epoch += 1

    def connected(self, frame: Frame) -> None:
        """Take the broker's answer to CONNECT.

        Raises:
            BrokerError: the answer is an ERROR.
            ProtocolError: the answer does not match the offer.
        """
        version, answered = _settled(frame, self.versions, self._host, self._refusal_hint)
        self._move("connected")
        self.version = self._version = version
        self.heartbeat = heartbeat.negotiate(self.heartbeat_wanted, answered)
        self.connected_frame = frame

    def replay(self) -> Replay:
        """Return the SUBSCRIBE frames that must still be written in this epoch.

        The registry changes only by the broker's answers. A subscription that this version cannot express is REJECTED
        for this epoch. The subscription stays registered for the next epoch.
        """
        _check(self, self.is_open, "SUBSCRIBE")
        frames: list[Frame] = []
        rejected: list[SubscriptionEntry] = []
        while due := self._registry.due(self.epoch):
            for entry in due:
                try:
                    frames.append(self._write(entry))
                except ProtocolError as error:
                    self._registry.postpone(entry, self.epoch, error)
                    rejected.append(entry)
        return Replay(frames, rejected)

    @property
    def is_replayed(self) -> bool:
        """Whether the broker has confirmed every subscription in this epoch that its version can express."""
        return self._registry.is_replayed(self.epoch)

    @property
    def is_on_trial(self) -> bool:
        """Whether the first SEND that ``restored()`` would return is on trial: connections ended on it alone.

        Let the connection live for a while first, longer than the last connection lived with the SEND. If the
        connection ends even without the SEND, the SEND is not the cause. The ledger's text has the rule.
        """
        return self._ledger.is_on_trial

    def restored(self) -> list[Frame]:
        """End the replay. Return the SENDs to resend, in their first order; after them, every frame may be written.

        If two connections in a row ended on the same SENDs, only the first of them is returned: see ``next_resend``.
        """
        self._move("restored")
        self._registry.one_by_one = False
        return self._ledger.hand_out(self.epoch)

    def next_resend(self) -> list[Frame]:
        """Return the waiting SENDs that may be written now. Call this after each answer, ``forget`` and ``retract``.

        The list is empty unless suspects are written one at a time (the ledger's text has the rule). In that case the
        list holds the next suspect, or all SENDs behind the last one.
        """
        if not self.is_connected or not self._ledger.is_isolating:
            return []
        return self._ledger.hand_out(self.epoch)

    def disconnect(self, context: object = None, headers: Mapping[str, str] | None = None) -> Frame:
        """DISCONNECT with a receipt, also during a replay; no frame may be written after it."""
        _check(self, self.is_open, "DISCONNECT")
        if headers and self._ledger.holds(headers.get("receipt")):
            # A name that is in use must not make DISCONNECT fail.
            headers = {key: value for key, value in headers.items() if key != "receipt"}
        make = partial(commands.disconnect, headers=headers, version=self._version)
        frame = self._ledger.ask(make, "DISCONNECT", self.epoch, headers, context=context)
        self._move("disconnect")
        return frame

    def lost(
        self, unsent: Iterable[Frame] = (), *, explained: bool = False, begun: bool = False
    ) -> list[tuple[Request, Outcome]]:
        """End the epoch: the connection ended for any reason.

        Args:
            unsent: frames of this epoch that were handed out and not fully written. SENDs outside a transaction are
                written after the next replay. No other frame survives its epoch.
            explained: whether the end has a reason that no message can have caused: a missed heartbeat, a close by the
                client. An unexplained end raises suspicion against the confirmed SENDs that were written.
            begun: whether a part of the first frame of ``unsent`` was written.

        Returns:
            the requests that will get no answer, with the outcome of each.
        """
        # After an ERROR that names its frame, brokers end the connection. The ERROR explains this end.
        explained = explained or self._refused or self.state is SessionState.DISCONNECTING
        opened = self.state not in (SessionState.CONNECTING, SessionState.REPLAYING)
        self._move("lost")
        ended = self._ledger.lost(self.epoch, unsent, opened=opened, explained=explained, begun=begun)
        self._transactions.lost()
        self._registry.lost()
        return ended

    # Subscriptions

    def subscribe(
        self,
        destination: str,
        *,
        id: str | None = None,
        ack: str = "auto",
        headers: Mapping[str, str] | None = None,
        durable: str | None = None,
        prefetch: int | None = None,
        selector: str | None = None,
        context: object = None,
    ) -> tuple[SubscriptionEntry, Frame | None]:
        """Register a subscription. The frame is None while not connected: ``replay`` writes it later.

        Raises:
            ValueError: the id is in use.
            ProtocolError: the current version cannot express the subscription (known only while connected).
        """
        headers = headers or {}
        id = headers["id"] if "id" in headers else id or self.new_id()
        if not id:
            raise ValueError("the header id of a subscription must not be empty; leave it out")
        if id in self.subscriptions:
            raise ValueError(f"there is a subscription with the id {id!r} already")
        if not destination:
            raise ValueError("a subscription needs a destination")
        entry = SubscriptionEntry(
            id=id,
            destination=destination,
            ack=headers.get("ack", ack),
            headers=Headers(headers),
            durable=durable,
            prefetch=prefetch,
            selector=selector,
            context=context,
        )
        frame = self._write(entry) if self.is_connected else None
        self.subscriptions[id] = entry
        return entry, frame

    def _write(self, entry: SubscriptionEntry) -> Frame:
        connected = self.connected_frame
        assert connected is not None
        return self._registry.write(entry, self._subscription_headers(connected, entry), self._version, self.epoch)

    def expect(self, id: str, destination: str, context: object = None) -> SubscriptionEntry:
        """Note a subscription of this epoch that the broker makes automatically: it is never written or restored."""
        entry = SubscriptionEntry(id=id, destination=destination, ack="auto", context=context)
        entry.epoch = self.epoch
        self._registry.activate(entry)
        self._registry.expect(entry)
        return entry

    def unsubscribe(
        self,
        entry: SubscriptionEntry,
        headers: Mapping[str, str] | None = None,
        *,
        confirm: bool = False,
        context: object = None,
        keep: bool = False,
    ) -> Frame | None:
        """Forget a subscription. The frame is None if the broker does not know the subscription in this epoch.

        Args:
            keep: whether to leave the subscription registered, so that the next epoch restores it.
        """
        if not self._registry.holds(entry):
            return None
        frame = None
        if entry.epoch == self.epoch and self.is_open and entry.state is not SubscriptionState.REJECTED:
            make = partial(commands.unsubscribe, entry.id, headers=headers, version=self._version)
            frame = self._ledger.ask(
                make, "UNSUBSCRIBE", self.epoch, headers, confirm=confirm, context=context, subscription=entry
            )
        if not keep:
            self._registry.end(entry)
        elif entry.state is SubscriptionState.ACTIVE:
            entry.move(SubscriptionState.REPLAYING)
        return frame

    def subscription(self, message: Frame) -> SubscriptionEntry | None:
        """Return the subscription that a MESSAGE belongs to, or None."""
        return self._registry.find(message)

    def assume_active(self, entries: Iterable[SubscriptionEntry] | None = None) -> list[SubscriptionEntry]:
        """Count unconfirmed subscriptions of this epoch as active: some brokers never confirm them.

        An answer that arrives nevertheless is accepted.

        Args:
            entries: the subscriptions; None for all.

        Returns:
            the subscriptions that were waiting until now.
        """
        return self._registry.assume(entries, self.epoch) if self.is_open else []

    def ack(
        self,
        message: Frame,
        epoch: int,
        *,
        transaction: TransactionEntry | None = None,
        headers: Mapping[str, str] | None = None,
        confirm: bool = False,
        context: object = None,
        negative: bool = False,
    ) -> Frame | None:
        """ACK, or NACK if ``negative``. None if the message belongs to another epoch: the broker will deliver it again.

        Args:
            context: the key of the acknowledgement in ``transaction.settled``.

        Raises:
            ConnectionLost: the transaction ended with its connection.
            ProtocolError: the version has no such command, or the MESSAGE lacks the header for it.
        """
        if epoch != self.epoch or not self.is_open:
            return None
        if transaction is not None:
            self.check_transaction(transaction)
        command = commands.nack if negative else commands.ack
        name = None if transaction is None else transaction.id
        if not confirm and headers is None:
            frame = command(message, name, version=self._version)
        else:
            make = partial(command, message, name, headers, version=self._version)
            said = "NACK" if negative else "ACK"
            frame = self._ledger.ask(make, said, self.epoch, headers, confirm=confirm, context=context)
        if transaction is not None and context is not None:
            transaction.settled.append(context)
        return frame

    # Sending

    def send(
        self,
        frame: Frame,
        *,
        confirm: bool = False,
        context: object = None,
        own_receipt: bool = True,
        transaction: TransactionEntry | None = None,
    ) -> Frame | None:
        """Take a SEND. Return None if the frame is only noted and written later.

        A confirmed SEND is only noted without a connection, and while suspects are written one at a time.

        Args:
            frame: a SEND frame. A frame that already has a ``receipt`` header counts as confirmed under that name.
            confirm: request a receipt. Outside a transaction, also resend the frame after every loss until the receipt
                arrives.
            context: finds the request again; a separate one for each call.
            own_receipt: whether the application chose the ``receipt`` header, if there is one. Any other receipt is a
                new one on each connection.
            transaction: the transaction that the frame's header names; None: the open one of that name.

        Raises:
            ConnectionLost: the transaction is not open.
            ProtocolError: no frame can be written now, and this frame is not kept.
            ValueError: another frame waits for the same receipt.
        """
        headers = frame.fields if type(frame.fields) is dict else frame.headers
        asked, name = headers.get("receipt"), headers.get("transaction")
        if name is not None:
            if transaction is None:
                transaction = self.open_transaction(name)
            else:
                self.check_transaction(transaction)
            if not confirm and asked is None:
                return frame
            make = partial(_asking, frame)
            return self._ledger.ask(
                make, "SEND", self.epoch, frame.headers, confirm=confirm, context=context, transaction=transaction
            )
        if not confirm and asked is None:
            _check(self, self.is_connected, "SEND")
            return frame
        ledger = self._ledger
        if asked is not None:
            own, receipt = own_receipt, ledger.free(asked)
        else:
            own, receipt = False, self.new_id()
            frame = frame.adding("receipt", receipt)
        goes_out = self.is_connected and not ledger.is_isolating
        ledger.keep(Request("SEND", receipt, context, self.epoch if goes_out else 0, own, frame, len(frame.body)))
        return frame if goes_out else None

    @property
    def unconfirmed(self) -> int:
        """How many confirmed SENDs wait for their receipt."""
        return len(self._ledger.unconfirmed)

    @property
    def unconfirmed_bytes(self) -> int:
        """The total size of the bodies of the confirmed SENDs that wait for their receipt."""
        return self._ledger.unconfirmed_bytes

    @property
    def unsent(self) -> int:
        """How many SENDs would be lost without another connection: those unconfirmed or never written."""
        ledger = self._ledger
        return len(ledger.unconfirmed) + sum(isinstance(item, Frame) for item in tuple(ledger.resend.values()))

    @property
    def is_idle(self) -> bool:
        """Whether no transaction is open and no receipt is awaited."""
        return not (self._ledger.unconfirmed or self._ledger.requests or self.transactions)

    def awaited(self) -> Iterator[Request]:
        """Return the requests that the broker still has to answer, as they are at the call."""
        return iter(self._ledger.awaited())

    def forget(self, context: object) -> Request | None:
        """Stop waiting for the request with this context, and do not resend it; None if it was answered."""
        request = self._ledger.forget(context)
        if request is not None:
            self._transactions.failed(request, refused=False)
        return request

    def abandon(self) -> Abandoned:
        """Give up and return every SEND that would be resent: there will be no later connection."""
        return self._ledger.abandon()

    def retract(self, frame: Frame, error: Exception) -> Request | None:
        """Take back a frame that was handed out and cannot be written. Return the frame's request, if there is one.

        A SUBSCRIBE of a replay stays registered: the version of the next connection may be able to express it.
        """
        request = self._ledger.find(frame.headers.get("receipt", ""))
        if request is not None:
            self._ledger.drop(request)
        if frame.command == "BEGIN" and (begun := self.transactions.get(frame.headers["transaction"])) is not None:
            self._transactions.end(begun, TransactionState.ABORTED)
        elif request is not None and request.command == "COMMIT" and request.transaction is not None:
            self._transactions.reopen(request.transaction)
        elif request is not None and request.command == "SUBSCRIBE" and request.subscription is not None:
            if self.is_connected:
                self._registry.reject(request.subscription, error)
            elif self._registry.holds(request.subscription):
                self._registry.postpone(request.subscription, self.epoch, error)
        return request

    def withdraw(self, context: object) -> None:
        """Undo everything that a call with this context registered before an exception interrupted it.

        You may call this twice. Use this only after an exception: it examines everything that is registered. A
        subscription that an interrupted ``unsubscribe`` has removed stays removed.
        """
        if context is not None:
            self._transactions.withdraw(context)
            self._registry.withdraw(context)
        self._ledger.withdraw(context)

    # Transactions

    def begin(
        self, id: str | None = None, headers: Mapping[str, str] | None = None, *, context: object = None
    ) -> tuple[TransactionEntry, Frame]:
        """BEGIN a transaction of this epoch."""
        _check(self, self.is_connected, "BEGIN")
        id = id or self.new_id()
        if id in self.transactions:
            raise ValueError(f"there is a transaction {id!r} already")
        make = partial(commands.begin, id, headers, version=self._version)
        frame = self._ledger.ask(make, "BEGIN", self.epoch, headers, confirm=False, context=context)
        entry = self.transactions[id] = TransactionEntry(id, self.epoch, context)
        return entry, frame

    def commit(
        self, entry: TransactionEntry, headers: Mapping[str, str] | None = None, *, context: object = None
    ) -> Frame:
        """COMMIT, always with a receipt: without one, its outcome would be unknown.

        The transaction is COMMITTED when its receipt and the receipts of its confirmed SENDs have arrived: RabbitMQ
        answers these SENDs only after the COMMIT, and its RECEIPT of the COMMIT confirms nothing. The entry's
        ``awaited`` has the requests that are not answered.

        Raises:
            ConnectionLost: the transaction ended with its connection.
        """
        self.check_transaction(entry)
        make = partial(commands.commit, entry.id, headers, version=self._version)
        frame = self._ledger.ask(make, "COMMIT", self.epoch, headers, context=context, transaction=entry)
        entry.move(TransactionState.COMMITTING)
        return frame

    def abort(self, entry: TransactionEntry, headers: Mapping[str, str] | None = None) -> Frame | None:
        """ABORT; None if the end of the connection has aborted it already."""
        if entry.state is not TransactionState.OPEN:
            return None
        frame = None
        if self.is_open:
            make = partial(commands.abort, entry.id, headers, version=self._version)
            frame = self._ledger.ask(make, "ABORT", self.epoch, headers, confirm=False)
        self._transactions.end(entry, TransactionState.ABORTED)
        return frame

    def open_transaction(self, id: str) -> TransactionEntry:
        """Return the open transaction of that name; ConnectionLost if there is none."""
        entry = self._transactions.open(id)
        self.check_transaction(entry)
        return entry

    def check_transaction(self, entry: TransactionEntry) -> None:
        """Raise ConnectionLost unless the transaction is open in this epoch."""
        if entry.state is not TransactionState.OPEN or entry.epoch != self.epoch or not self.is_open:
            self._transactions.refuse(entry)

    # Answers

    def receive(self, frame: Frame) -> Request | SubscriptionEntry | None:
        """Take any frame of the broker. Return the answered request, the subscription of a MESSAGE, or None."""
        if frame is HEARTBEAT:
            return None
        if self.state is SessionState.CONNECTING:
            self.connected(frame)
            return None
        try:
            handle = _HANDLERS[frame.command]
        except KeyError:
            raise ProtocolError(f"the broker sent {frame.command}, which is a client's frame", frame=frame) from None
        return handle(self, frame)

    def receipt(self, frame: Frame) -> Request | None:
        """Take a RECEIPT. Return the answered request, or None if no call waits for the answer."""
        self._refused = False
        request = self._answered(frame)
        if request is None:
            return None
        if request.command == "SUBSCRIBE" and request.subscription is not None:
            self._registry.activate(request.subscription)
        if request.transaction is not None:
            self._transactions.answered(request.transaction)
        return request

    def error(self, frame: Frame) -> Request | None:
        """Take an ERROR. Return the refused request, with its ``error``; None if the request is unknown."""
        if "receipt-id" in frame.headers:
            self._refused = True
            request = self._answered(frame)
        else:
            replaying = self.state is SessionState.REPLAYING
            request = self._registry.blamed(replaying=replaying) or self._ledger.accuse(frame, self.epoch)
        if request is None:
            return None
        if request.error is None:
            request.error = BrokerError(f"the broker refused {request.command}: {error_text(frame)}", frame=frame)
        if request.command == "SUBSCRIBE" and request.subscription is not None:
            self._registry.reject(request.subscription, request.error)
        self._transactions.failed(request, refused=True)
        return request

    # Private

    def _answered(self, frame: Frame) -> Request | None:
        if self.state is SessionState.DISCONNECTED:
            return None
        return self._ledger.take(frame.header("receipt-id") or "", self.epoch)

    def _move(self, event: str) -> None:
        try:
            self.state = SESSION_MOVES[self.state, event]
        except KeyError:
            raise ProtocolError(f"the session is {self.state.value}: there is no {event!r} now") from None
        # Nothing is called after the state was stored: a signal handler sees all three changes, or none.
        self.is_connected = self.state is SessionState.CONNECTED
        self.is_open = self.state in SESSION_OPEN

    def new_id(self) -> str:
        """Return a name that is not in use, whatever names the application chose."""
        ledger, next_id = self._ledger, self._next_id
        id = next_id()
        # The condition repeats ``holds``, since a call would cost too much here: every confirmed SEND runs this.
        while (
            id in ledger.unconfirmed
            or id in ledger.requests
            or id in ledger.assumed
            or id in self.subscriptions
            or id in self.transactions
        ):
            id = next_id()
        return id


def _settled(
    frame: Frame, offered: tuple[str, ...], host: str | None, refusal_hint: Callable[[str, str | None], str]
) -> tuple[str, HeartBeat]:
    """Return the version and the heartbeats from the broker's answer to CONNECT, or raise its error."""
    if frame.command == "ERROR":
        text = error_text(frame)
        raise BrokerError(f"the broker refused the login: {text}{refusal_hint(text, host)}", frame=frame)
    if frame.command != "CONNECTED":
        raise ProtocolError(f"the broker answered CONNECT with {frame.command}", frame=frame)
    version = frame.headers.get("version", "1.0")
    if version not in offered:
        names = ", ".join(offered)
        raise ProtocolError(f"the broker chose STOMP {shorten(version)}; offered were {names}", frame=frame)
    return version, heartbeat.parse(frame.headers.get("heart-beat", "0,0"))


def _check(session: Session, allowed: bool, command: str) -> None:
    if not allowed:
        raise ProtocolError(f"the session is {session.state.value}: {command} cannot be written now")


def _asking(frame: Frame, receipt: str | None) -> Frame:
    """Return the frame with a receipt, unless it has one already."""
    return frame if receipt is None or "receipt" in frame.headers else frame.adding("receipt", receipt)


def _refuse_connected(session: Session, frame: Frame) -> None:
    if session.state is SessionState.DISCONNECTED:
        raise ProtocolError("the session is disconnected: call connect() before receive(CONNECTED)", frame=frame)
    raise ProtocolError("the broker sent CONNECTED a second time", frame=frame)


_HANDLERS: Mapping[str, Callable[[Session, Frame], Request | SubscriptionEntry | None]] = {
    "MESSAGE": Session.subscription,
    "RECEIPT": Session.receipt,
    "ERROR": Session.error,
    "CONNECTED": _refuse_connected,
}
