"""One STOMP session over any number of connections, sans-I/O: what may be said now, and what the answers mean.

The caller moves bytes; the session says which frames to write and keeps, over every loss of the connection, what has to
be restored: the subscriptions in the order of their creation, and the confirmed SENDs whose receipt has not come. An
*epoch* counts connections. What was said in one epoch means nothing in the next: acknowledgements, transactions and
receipts of an older epoch are refused here, so that no caller can write them by mistake.

    session = Session()
    write(session.connect(host="/"))                       # CONNECT
    session.receive(read())                                # CONNECTED: the version is settled
    write(*session.replay().frames)                        # SUBSCRIBE for all that is registered
    session.receive(read()) …                              # their receipts, until session.is_replayed
    write(*session.restored())                             # the SENDs that are owed; from here on all may be said
    …
    session.lost()                                         # the connection ended: start again with connect()

Not thread-safe: the caller holds one lock around every call. No time, no randomness; ids come from ``new_id``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from stomplistener.errors import BrokerError, ConnectionLost, ProtocolError, shorten
from stomplistener.protocol import commands, heartbeat
from stomplistener.protocol.frame import HEARTBEAT, Frame, Headers, printable
from stomplistener.protocol.heartbeat import HeartBeat
from stomplistener.protocol.ledger import (
    Outcome,
    Request,
    SubscriptionEntry,
    TransactionEntry,
    loss_outcome,
)
from stomplistener.protocol.spec import VERSIONS, version_rules
from stomplistener.states import SESSION_MOVES, SessionState, SubscriptionState, TransactionState

_MOST_SUSPICIONS = 3
"""Connections that may end by an unexplained ERROR with the same SEND at the head before that SEND is given up."""


_MOST_ENDED = 256
"""Ended subscriptions of an epoch whose late messages can still be told from those of strangers."""


class Replay(NamedTuple):
    """What to write to restore the subscriptions, and those that the version now in use cannot express."""

    frames: list[Frame]
    rejected: list[SubscriptionEntry]


class Session:
    """See the module's text.

    Args:
        versions: the versions to offer.
        heartbeat: seconds between beats that we can send, and that we want to receive; 0 for none.
        new_id: gives names for receipts, subscriptions and transactions, each time another one.
        subscription_headers: called with the CONNECTED frame and an entry whenever a SUBSCRIBE is made; its headers
            come under the entry's own. It is how options that every broker spells otherwise survive a change of broker.
        refusal_hint: called with the text of an ERROR that refuses CONNECT and the ``host`` that was sent; what it
            returns is added to the exception.
    """

    def __init__(
        self,
        versions: Iterable[str] = tuple(VERSIONS),
        heartbeat: tuple[float, float] = (0.0, 0.0),
        *,
        new_id: Callable[[], str] | None = None,
        subscription_headers: Callable[[Frame, SubscriptionEntry], Mapping[str, str]] | None = None,
        refusal_hint: Callable[[str, str | None], str] | None = None,
    ) -> None:
        self.versions = tuple(version_rules(name).name for name in versions)
        self.heartbeat_wanted = HeartBeat(*heartbeat)
        counter = itertools.count(1)
        self._next_id = new_id or (lambda: str(next(counter)))
        self._subscription_headers = subscription_headers or (lambda _connected, _entry: {})
        self._refusal_hint = refusal_hint or (lambda _text, _host: "")
        self.state = SessionState.DISCONNECTED
        self.epoch = 0
        self.version: str | None = None
        self.heartbeat = HeartBeat(0.0, 0.0)
        self.connected_frame: Frame | None = None
        self.subscriptions: dict[str, SubscriptionEntry] = {}
        self.transactions: dict[str, TransactionEntry] = {}
        self.unconfirmed_bytes = 0
        self._requests: dict[str, Request] = {}
        self._unconfirmed: dict[str, Request] = {}
        self._owed: list[Request | Frame] = []
        self._ended: dict[str, SubscriptionEntry] = {}
        self._given: dict[str, SubscriptionEntry] = {}
        self._host: str | None = None
        self._one_by_one = False

    # Connecting

    def connect(
        self,
        host: str | None = None,
        login: str | None = None,
        passcode: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Frame:
        """Begin an epoch: the CONNECT frame to write."""
        frame = commands.connect(self.versions, host, login, passcode, self.heartbeat_wanted, headers)
        self._move("connect")
        self._host = frame.headers.get("host")
        self.epoch += 1
        return frame

    def connected(self, frame: Frame) -> None:
        """Take the broker's answer to CONNECT.

        Raises:
            BrokerError: it is an ERROR.
            ProtocolError: it is no answer to what was offered.
        """
        if frame.command == "ERROR":
            text = error_text(frame)
            raise BrokerError(
                f"the broker refused the login: {text}{self._refusal_hint(text, self._host)}", frame=frame
            )
        if frame.command != "CONNECTED":
            raise ProtocolError(f"the broker answered CONNECT with {frame.command}", frame=frame)
        version = frame.headers.get("version", "1.0")
        if version not in self.versions:
            offered = ", ".join(self.versions)
            raise ProtocolError(f"the broker chose STOMP {shorten(version)}; offered were {offered}", frame=frame)
        answered = heartbeat.parse(frame.headers.get("heart-beat", "0,0"))
        self._move("connected")
        self.version = version
        self.heartbeat = heartbeat.negotiate(self.heartbeat_wanted, answered)
        self.connected_frame = frame

    def replay(self) -> Replay:
        """The SUBSCRIBE frames that this epoch still owes. The registry changes by the broker's answers alone."""
        frames: list[Frame] = []
        rejected: list[SubscriptionEntry] = []
        for entry in tuple(self.subscriptions.values()):
            if entry.epoch == self.epoch:
                if self._one_by_one and entry.state is not SubscriptionState.ACTIVE:
                    break
                continue
            try:
                frames.append(self._subscribe_frame(entry))
            except ProtocolError as error:
                self._reject(entry, error)
                rejected.append(entry)
                continue
            if self._one_by_one:
                break
        return Replay(frames, rejected)

    @property
    def is_replayed(self) -> bool:
        """Whether the broker has confirmed every subscription in this epoch."""
        return all(
            entry.epoch == self.epoch and entry.state is SubscriptionState.ACTIVE
            for entry in self.subscriptions.values()
        )

    def restored(self) -> list[Frame]:
        """End the replay: from here on everything may be said, behind the SENDs returned here, in their first order."""
        self._move("restored")
        self._one_by_one = False
        owed, self._owed = self._owed, []
        return [self._again(item) if isinstance(item, Request) else item for item in owed]

    def disconnect(self, context: object = None, headers: Mapping[str, str] | None = None) -> Frame:
        """DISCONNECT with a receipt; nothing may be said after it."""
        self._move("disconnect")
        assert self.version is not None
        own = (headers or {}).get("receipt")
        if own in self._requests or own in self._unconfirmed:
            # The goodbye must not fail for a name.
            headers = {key: value for key, value in (headers or {}).items() if key != "receipt"}
        receipt = self._await("DISCONNECT", context, headers).receipt
        return commands.disconnect(receipt, headers, version=self.version)

    def lost(self, unsent: Iterable[Frame] = ()) -> list[tuple[Request, Outcome]]:
        """The connection ended, for whatever reason.

        Args:
            unsent: frames handed out in this epoch that were not, or not wholly, written. SENDs among them that stand
                outside a transaction go out after the next replay; nothing else survives its epoch.

        Returns:
            the requests that nobody will answer any more, each with what that means for it.
        """
        self._move("lost")
        self._owe(unsent)
        for transaction in self.transactions.values():
            in_doubt = transaction.state is TransactionState.COMMITTING
            transaction.state = TransactionState.IN_DOUBT if in_doubt else TransactionState.LOST
        self.transactions = {}
        self._ended = {}
        self._given = {}
        for entry in self.subscriptions.values():
            if entry.state is SubscriptionState.ACTIVE:
                entry.state = SubscriptionState.REPLAYING
        requests, self._requests = self._requests, {}
        return [(request, loss_outcome(request)) for request in requests.values() if request.command != "SUBSCRIBE"]

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
        """Register a subscription. The frame is None while not connected: then ``replay`` carries it.

        Raises:
            ValueError: the id is in use.
            ProtocolError: the version in use cannot express it (known only while connected).
        """
        headers = headers or {}
        id = headers.get("id") or id or self.new_id()
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
        frame = self._subscribe_frame(entry) if self.state is SessionState.CONNECTED else None
        self.subscriptions[id] = entry
        return entry, frame

    def expect(self, id: str, destination: str, context: object = None) -> SubscriptionEntry:
        """Note a subscription that the broker makes by itself: never said, never restored, gone with this epoch."""
        entry = SubscriptionEntry(id=id, destination=destination, ack="auto", context=context)
        entry.state, entry.epoch = SubscriptionState.ACTIVE, self.epoch
        self._given[id] = entry
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
        """Forget a subscription. The frame is None where the broker does not know it in this epoch.

        Args:
            keep: leave it registered, so that the next epoch restores it.
        """
        if self.subscriptions.get(entry.id) is not entry:
            return None
        known = entry.epoch == self.epoch and self.is_open
        if not keep:
            del self.subscriptions[entry.id]
            entry.state = SubscriptionState.ENDED
            self._remember_ended(entry)
        if not known:
            return None
        receipt = self._await("UNSUBSCRIBE", context, headers, subscription=entry).receipt if confirm else None
        return commands.unsubscribe(entry.id, headers=headers, receipt=receipt, version=self._version)

    def _remember_ended(self, entry: SubscriptionEntry) -> None:
        """Messages that were on their way when UNSUBSCRIBE was said still find where they belong."""
        self._ended[entry.id] = entry
        if len(self._ended) > _MOST_ENDED:
            del self._ended[next(iter(self._ended))]

    def subscription(self, message: Frame) -> SubscriptionEntry | None:
        """The subscription that a MESSAGE belongs to, or None."""
        id = message.header("subscription")
        if id is not None:
            entry = self.subscriptions.get(id)
            return self._ended.get(id) or self._given.get(id) if entry is None else entry
        # A broker of 1.0 may leave the header out; then only the destination can tell.
        destination = message.header("destination")
        return next((entry for entry in self.subscriptions.values() if entry.destination == destination), None)

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
        """ACK, or NACK where ``negative``. None if the message came in another epoch: the broker will deliver it again.

        Raises:
            ConnectionLost: the transaction ended with its connection.
            ProtocolError: the version has no such command, or the MESSAGE lacks the header for it.
        """
        if epoch != self.epoch or not self.is_open:
            return None
        if transaction is not None:
            self.check_transaction(transaction)
        command = commands.nack if negative else commands.ack
        name = transaction.id if transaction else None
        frame = command(message, name, headers, version=self._version)
        if confirm:
            receipt = self._await(frame.command, context, headers).receipt
            frame = command(message, name, headers, receipt=receipt, version=self._version)
        return frame

    # Sending

    def send(self, frame: Frame, *, confirm: bool = False, context: object = None) -> Frame | None:
        """Say SEND. None where it is only noted, to be written after the next replay (a confirmed one, while cut off).

        Args:
            frame: a SEND frame. With a ``receipt`` header of its own it counts as confirmed under that name.
            confirm: ask for a receipt and send again after every loss until it has come.

        Raises:
            ConnectionLost: the transaction that it names is not open.
            ProtocolError: nothing can be said now, and the frame is not one that is kept.
            ValueError: another frame waits for the same receipt.
        """
        transaction = None
        if "transaction" in frame.headers:
            transaction = self.open_transaction(frame.headers["transaction"])
        own = frame.headers.get("receipt")
        if not confirm and own is None:
            self._check_connected("SEND")
            return frame
        request = Request(
            command="SEND",
            receipt=self._receipt(own),
            context=context,
            transaction=transaction,
            epoch=self.epoch if self.state is SessionState.CONNECTED else 0,
            own_receipt=own is not None,
        )
        if own is None:
            frame = Frame("SEND", [*frame.headers.pairs, ("receipt", request.receipt)], frame.body)
        if transaction is None:
            request.frame = frame
            self._keep(request, len(frame.body))
        else:
            self._requests[request.receipt] = request
        if request.issued:
            return frame
        self._owed.append(request)
        return None

    def send_plain(self, destination: str, body: bytes | str, size: int, receipt: str, context: object) -> None:
        """Note a confirmed SEND with nothing but a destination and a body, which the caller encodes and writes.

        Args:
            size: bytes of the body.
            receipt: the one that it asks for, made by ``new_id``.
        """
        plain = (destination, body)
        self._unconfirmed[receipt] = Request("SEND", receipt, context, None, None, None, plain, size, self.epoch)
        self.unconfirmed_bytes += size

    def confirmed(self, frame: Frame) -> Request | None:
        """Take a RECEIPT if it is what nearly all are, the answer to a confirmed SEND; None, and not taken, else."""
        receipt = frame.header("receipt-id") or ""
        request = self._unconfirmed.get(receipt)
        if request is None or request.epoch != self.epoch or self._owed or self.state is not SessionState.CONNECTED:
            return None
        del self._unconfirmed[receipt]
        self.unconfirmed_bytes -= request.size
        return request

    def _keep(self, request: Request, size: int) -> None:
        request.size = size
        self._unconfirmed[request.receipt] = request
        self.unconfirmed_bytes += size

    @property
    def unconfirmed(self) -> int:
        """How many confirmed SENDs wait for their receipt."""
        return len(self._unconfirmed)

    @property
    def is_idle(self) -> bool:
        """Whether no transaction is open and no receipt is awaited."""
        return not (self._unconfirmed or self._requests or self.transactions)

    def awaited(self) -> Iterator[Request]:
        """What the broker still has to answer."""
        yield from self._unconfirmed.values()
        yield from self._requests.values()

    def forget(self, context: object) -> Request | None:
        """Stop waiting for the request with this context, and do not send it again; None if it was answered."""
        if context is None:
            return None
        found = next((request for request in self.awaited() if request.context is context), None)
        if found is not None:
            self._drop(found)
        return found

    def abandon(self) -> list[Request]:
        """Give up every confirmed SEND: there will be no later connection to send it again. Returns them."""
        requests = list(self._unconfirmed.values())
        for request in requests:
            self._drop(request)
        self._owed = []
        return requests

    def retract(self, frame: Frame, error: Exception) -> Request | None:
        """Undo having said a frame that turned out not to be writable; the request that it made, if it made one."""
        receipt = frame.headers.get("receipt", "")
        request = self._unconfirmed.get(receipt) or self._requests.get(receipt)
        if request is not None:
            self._drop(request)
        if request is not None and request.subscription is not None and frame.command == "SUBSCRIBE":
            self._reject(request.subscription, error)
        elif frame.command == "BEGIN":
            self.transactions.pop(frame.headers["transaction"], None)
        return request

    # Transactions

    def begin(self, id: str | None = None, headers: Mapping[str, str] | None = None) -> tuple[TransactionEntry, Frame]:
        """BEGIN a transaction of this epoch."""
        self._check_connected("BEGIN")
        id = id or self.new_id()
        if id in self.transactions:
            raise ValueError(f"there is a transaction {id!r} already")
        frame = commands.begin(id, headers, version=self._version)
        entry = self.transactions[id] = TransactionEntry(id, self.epoch)
        return entry, frame

    def commit(
        self, entry: TransactionEntry, headers: Mapping[str, str] | None = None, *, context: object = None
    ) -> Frame:
        """COMMIT, always with a receipt: without one it could not be told from one in doubt.

        Raises:
            ConnectionLost: the transaction ended with its connection.
        """
        self.check_transaction(entry)
        receipt = self._await("COMMIT", context, headers, transaction=entry).receipt
        entry.state = TransactionState.COMMITTING
        return commands.commit(entry.id, headers, receipt=receipt, version=self._version)

    def abort(self, entry: TransactionEntry, headers: Mapping[str, str] | None = None) -> Frame | None:
        """ABORT; None where the end of the connection did it already."""
        if entry.state is not TransactionState.OPEN:
            return None
        self._end(entry, TransactionState.ABORTED)
        return commands.abort(entry.id, headers, version=self._version) if self.is_open else None

    def open_transaction(self, id: str) -> TransactionEntry:
        """The open transaction of that name; ConnectionLost if there is none (any more)."""
        entry = self.transactions.get(id)
        if entry is None:
            raise ConnectionLost(f"transaction {id!r} is not open: it was ended, or lost with its connection")
        self.check_transaction(entry)
        return entry

    def check_transaction(self, entry: TransactionEntry) -> None:
        """Raise ConnectionLost unless the transaction is open in this epoch."""
        if entry.state is TransactionState.OPEN and entry.epoch == self.epoch and self.is_open:
            return
        if entry.state is TransactionState.IN_DOUBT:
            raise ConnectionLost(
                f"transaction {entry.id!r}: the connection was lost before its COMMIT was answered; "
                "the broker may have committed it or not",
                outcome_unknown=True,
            )
        raise ConnectionLost(f"transaction {entry.id!r} is {entry.state.value}; begin another one")

    # Answers

    def receive(self, frame: Frame) -> Request | SubscriptionEntry | None:
        """Take any frame of the broker: the request that it answers, the subscription that it belongs to, or None."""
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
        """Take a RECEIPT: the request that it answers, or None if nobody waits for it."""
        request = self._answered(frame)
        if request is None:
            return None
        if request.command == "SUBSCRIBE" and request.subscription is not None:
            if request.subscription.state is not SubscriptionState.ENDED:
                request.subscription.state = SubscriptionState.ACTIVE
        elif request.command == "COMMIT" and request.transaction is not None:
            self._end(request.transaction, TransactionState.COMMITTED)
        return request

    def error(self, frame: Frame) -> Request | None:
        """Take an ERROR: the request that it refuses, or None if it does not say (then the connection will end)."""
        request = self._answered(frame) if "receipt-id" in frame.headers else self._suspect()
        if request is None:
            return None
        error = BrokerError(f"the broker refused {request.command}: {error_text(frame)}", frame=frame)
        if request.command == "SUBSCRIBE" and request.subscription is not None:
            self._reject(request.subscription, error)
        elif request.command == "COMMIT" and request.transaction is not None:
            self._end(request.transaction, TransactionState.ABORTED)
        return request

    # Private

    @property
    def is_open(self) -> bool:
        """Whether what came in this epoch may be acknowledged now."""
        return self.state in (SessionState.REPLAYING, SessionState.CONNECTED)

    @property
    def _version(self) -> str:
        if self.version is None or not self.is_open:
            raise ProtocolError(f"the session is {self.state.value}: nothing can be said but CONNECT")
        return self.version

    def _check_connected(self, command: str) -> None:
        if self.state is not SessionState.CONNECTED:
            raise ProtocolError(f"the session is {self.state.value}: {command} cannot be said now")

    def _move(self, event: str) -> None:
        try:
            self.state = SESSION_MOVES[self.state, event]
        except KeyError:
            raise ProtocolError(f"the session is {self.state.value}: there is no {event!r} now") from None

    def _await(
        self,
        command: str,
        context: object,
        headers: Mapping[str, str] | None = None,
        *,
        subscription: SubscriptionEntry | None = None,
        transaction: TransactionEntry | None = None,
    ) -> Request:
        request = Request(
            command=command,
            receipt=self._receipt((headers or {}).get("receipt")),
            epoch=self.epoch,
            context=context,
            subscription=subscription,
            transaction=transaction,
        )
        self._requests[request.receipt] = request
        return request

    def new_id(self) -> str:
        """A name that nothing has, whatever names the application chose."""
        id = self._next_id()
        while id in self._unconfirmed or id in self._requests or id in self.subscriptions or id in self.transactions:
            id = self._next_id()
        return id

    def _receipt(self, own: str | None) -> str:
        if own in self._requests or own in self._unconfirmed:
            raise ValueError(f"another frame waits for the receipt {own!r} already")
        return own or self.new_id()

    def _subscribe_frame(self, entry: SubscriptionEntry) -> Frame:
        assert self.connected_frame is not None
        headers = {**self._subscription_headers(self.connected_frame, entry), **entry.headers}
        if entry.epoch or headers.get("receipt") in self._requests or headers.get("receipt") in self._unconfirmed:
            # Said once, the application's name for the receipt is used up.
            headers.pop("receipt", None)
        # The frame is made once without a receipt, so that a refusal by the version leaves no request behind.
        commands.subscribe(entry.destination, entry.id, entry.ack, version=self._version)
        entry.epoch = self.epoch
        return commands.subscribe(
            entry.destination,
            entry.id,
            entry.ack,
            headers,
            receipt=self._await("SUBSCRIBE", None, headers, subscription=entry).receipt,
            version=self._version,
        )

    def _reject(self, entry: SubscriptionEntry, error: Exception) -> None:
        if entry.state is not SubscriptionState.ENDED:
            entry.state = SubscriptionState.REJECTED
        entry.error = error
        if self.subscriptions.get(entry.id) is entry:
            del self.subscriptions[entry.id]

    def _answered(self, frame: Frame) -> Request | None:
        receipt = frame.header("receipt-id") or ""
        request = self._unconfirmed.get(receipt) or self._requests.get(receipt)
        # A SEND waits on over losses, but only for the answer to what was said in this epoch.
        if request is None or request.epoch != self.epoch or self.state is SessionState.DISCONNECTED:
            return None
        self._drop(request)
        return request

    def _drop(self, request: Request) -> None:
        if self._unconfirmed.pop(request.receipt, None) is not None:
            self.unconfirmed_bytes -= request.size
        else:
            self._requests.pop(request.receipt, None)
        if self._owed:
            self._owed = [item for item in self._owed if item is not request]

    def _suspect(self) -> Request | None:
        """Find by elimination what an ERROR without a receipt-id refuses."""
        subscribing = [request for request in self._requests.values() if request.command == "SUBSCRIBE"]
        if subscribing:
            # Alone in a replay it is the one; else each is said by itself on the next connection, until one is refused.
            if self.state is SessionState.REPLAYING and len(subscribing) == 1:
                self._drop(subscribing[0])
                return subscribing[0]
            self._one_by_one = True
            return None
        head = next((request for request in self._unconfirmed.values() if request.issued), None)
        if head is not None and self.state is SessionState.CONNECTED:
            head.suspicions += 1
            if head.suspicions >= _MOST_SUSPICIONS:
                self._drop(head)
                return head
        return None

    def _end(self, entry: TransactionEntry, state: TransactionState) -> None:
        entry.state = state
        self.transactions.pop(entry.id, None)

    def _owe(self, unsent: Iterable[Frame]) -> None:
        """Line up what goes out after the next replay: first what was written and not confirmed, then what was not."""
        not_written: list[Request | Frame] = []
        known = {id(item) for item in self._owed}
        for frame in unsent:
            receipt = frame.headers.get("receipt")
            if receipt in self._unconfirmed:
                not_written.append(self._unconfirmed[receipt])
            elif frame.command == "SEND" and receipt is None and "transaction" not in frame.headers:
                not_written.append(frame)
        waiting = [item for item in not_written if id(item) not in known] + self._owed
        later = {id(item) for item in waiting}
        written = (request for request in self._unconfirmed.values() if id(request) not in later)
        self._owed = [*written, *waiting]

    def _again(self, request: Request) -> Frame:
        """A confirmed SEND with a fresh receipt: an answer to an older one must not be taken for this one's."""
        if request.frame is None:
            assert request.plain is not None
            request.frame = commands.send(*request.plain, receipt=request.receipt)
        # Out and in again, whatever its name: the order of these is the order on the wire.
        del self._unconfirmed[request.receipt]
        if request.issued and not request.own_receipt:
            old = ("receipt", request.receipt)
            request.receipt = self.new_id()
            pairs = [pair for pair in request.frame.headers.pairs if pair != old]
            request.frame = Frame("SEND", [*pairs, ("receipt", request.receipt)], request.frame.body)
        request.epoch = self.epoch
        self._unconfirmed[request.receipt] = request
        return request.frame


def _refuse_connected(_session: Session, frame: Frame) -> None:
    raise ProtocolError("the broker sent CONNECTED a second time", frame=frame)


_HANDLERS: Mapping[str, Callable[[Session, Frame], Request | SubscriptionEntry | None]] = {
    "MESSAGE": Session.subscription,
    "RECEIPT": Session.receipt,
    "ERROR": Session.error,
    "CONNECTED": _refuse_connected,
}


def error_text(frame: Frame) -> str:
    """What an ERROR frame says, on one line and shortened."""
    body = frame.body.decode(errors="replace").strip().partition("\n")[0]
    message = frame.headers.get("message", "")
    text = message if not body or body in message else f"{message}: {body}" if message else body
    return printable(text[:300] + "…" if len(text) > 300 else text) or "it gave no reason"
