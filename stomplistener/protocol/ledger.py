"""What survives a connection or waits for an answer: the ledger of a session, and its entries.

Two kinds of requests. A confirmed SEND outside a transaction stays until its receipt or an ERROR with its receipt-id
comes, and is resent on every connection until then. Everything else belongs to the connection that it was written on,
and :data:`_OUTCOMES` says what the loss of that connection means for it.

**The suspicion rule.** Some messages make a broker close the connection, with an ERROR that does not name the message
or without a word. Such a message must not be resent forever, and innocent messages must not fail for it.

1. A connection raises suspicion against the confirmed SENDs that were written on it and not answered, if it brought an
   ERROR without receipt-id, or if it ended and nothing else explains the end. It does so once for each SEND, however
   many ERRORs came. An answered SEND leaves the ledger, and its suspicion with it.
2. A SEND with suspicion from :data:`_SUSPECT` connections is a suspect. The next replay writes the suspects one at a
   time: each waits for the answer to the one before. All other messages that are kept wait behind the last suspect; a
   SEND that asks for no receipt overtakes them.
3. A suspect that is out alone is given up if an ERROR without receipt-id comes and no other answer is awaited, or if
   :data:`_ENDS_ALONE` connections ended unexplained while it was out alone. The second needs more than one such end,
   because brokers are also restarted and networks fail while nothing but one message is on its way.
4. A suspect on which a connection ended alone is *on trial*: the caller lets the next connection live for a while
   without it, before ``restored()``. If that one ends too, connections do not end because of the message, and the count
   of rule 3 begins again. Without this, one cut a second would convict good messages.

So no good message is written more than :data:`_SUSPECT` + 1 times because of bad ones. A bad message is written at most
:data:`_SUSPECT` + :data:`_ENDS_ALONE` times. k bad messages end at most k times as many connections; fewer if they are
written together, since then they become suspects together.

**Interruptions.** A signal handler may raise at any instruction of the main thread, or call again into the session.
So every method here makes all it needs first and registers it last, and ``unconfirmed``, ``requests`` and ``resend``
are what counts: the index, the bytes and the receipts of a transaction follow from them, and :meth:`Ledger.withdraw`
makes these again.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Container, Iterable, Mapping
from typing import NamedTuple

from stomplistener._util.text import printable, shorten
from stomplistener.errors import BrokerError, ConnectionLost
from stomplistener.protocol.frame import Frame
from stomplistener.states import (
    SUBSCRIPTION_MOVES,
    TRANSACTION_MOVES,
    SubscriptionState,
    TransactionState,
)

_SUSPECT = 2
"""Connections that have to raise suspicion against a SEND before it is written alone."""

_ENDS_ALONE = 3
"""Connections that have to end without an answer to a SEND that is the only unconfirmed one before it is given up."""


class Outcome(enum.Enum):
    """What the end of a connection means for a request that was not answered."""

    DONE = "done"
    """The end of the connection did it: UNSUBSCRIBE, ABORT, DISCONNECT."""
    NOT_CONFIRMED = "not confirmed"
    """ACK and NACK: the message may come again."""
    LOST = "lost"
    """It was part of something that ended with the connection."""
    IN_DOUBT = "in doubt"
    """The broker may have done it: COMMIT, a SEND of a transaction that was committing, and UNSUBSCRIBE of a durable
    subscription."""
    GIVEN_UP = "given up"
    """A SEND on which several connections ended; ``Request.error`` says why it is not resent."""


_OUTCOMES = {
    "UNSUBSCRIBE": Outcome.DONE,
    "ABORT": Outcome.DONE,
    "DISCONNECT": Outcome.DONE,
    "ACK": Outcome.NOT_CONFIRMED,
    "NACK": Outcome.NOT_CONFIRMED,
    "BEGIN": Outcome.LOST,
    "SEND": Outcome.LOST,
    "COMMIT": Outcome.IN_DOUBT,
}


class Abandoned(NamedTuple):
    """What will not be resent: confirmed SENDs without a receipt, and unconfirmed ones that were never written."""

    requests: list[Request]
    unsent: list[Frame]


class SubscriptionEntry:
    """A subscription as the registry keeps it: all that is needed to write SUBSCRIBE again.

    Attributes:
        durable: the name of a durable subscription.
        prefetch: how many messages the broker may send ahead of their acknowledgements.
        selector: which messages the broker is to deliver.
        epoch: the connection on which it was last written, or on which its version could not express it; 0 for none.
        receipt: what its last SUBSCRIBE asked for.
        error: why it is REJECTED; None in every other state.
    """

    __slots__ = (
        "ack",
        "context",
        "destination",
        "durable",
        "epoch",
        "error",
        "headers",
        "id",
        "prefetch",
        "receipt",
        "selector",
        "state",
    )

    def __init__(
        self,
        *,
        id: str,
        destination: str,
        ack: str,
        headers: Mapping[str, str] | None = None,
        durable: str | None = None,
        prefetch: int | None = None,
        selector: str | None = None,
        context: object = None,
    ) -> None:
        self.id = id
        self.destination = destination
        self.ack = ack
        self.headers = headers or {}
        self.durable = durable
        self.prefetch = prefetch
        self.selector = selector
        self.context = context
        self.state = SubscriptionState.PENDING
        self.epoch = 0
        self.receipt = ""
        self.error: Exception | None = None

    def move(self, state: SubscriptionState) -> None:
        """Change the state. IllegalMove for a move that SUBSCRIPTION_MOVES does not have."""
        self.state = SUBSCRIPTION_MOVES[self.state, state]


class TransactionEntry:
    """A transaction of one epoch.

    Attributes:
        context: the caller's.
        awaited: the requests of the transaction that have no answer yet, by receipt. What ends the transaction leaves
            them here, so that the caller can inform the waiting threads.
        settled: the contexts of the acknowledgements in the transaction: if it is not committed, their messages are
            not settled after all.
    """

    __slots__ = ("awaited", "context", "epoch", "id", "settled", "state")

    def __init__(self, id: str, epoch: int, context: object = None) -> None:
        self.id = id
        self.epoch = epoch
        self.context = context
        self.awaited: dict[str, Request] = {}
        self.settled: list[object] = []
        self.state = TransactionState.OPEN

    def move(self, state: TransactionState) -> None:
        """Change the state. IllegalMove for a move that TRANSACTION_MOVES does not have."""
        self.state = TRANSACTION_MOVES[self.state, state]


class Request:
    """A frame whose receipt is awaited.

    Attributes:
        context: the caller's; of one call only, since a request is found by it.
        frame: the SEND to resend after a loss; None for everything that is never repeated.
        size: bytes of the body of a SEND that is resent.
        epoch: the connection on which it was last handed out to be written; 0 for none.
        own_receipt: whether the application chose the receipt. For a SEND it then stays the same on all connections.
        error: why the broker rejected it, or why it was given up.
        number: its place in the first order of all requests.
        suspicions: connections that raised suspicion against it; ``suspected`` is the last one of them.
        ends_alone: connections in a row that ended unexplained while no other confirmed SEND was out.
    """

    __slots__ = (
        "command",
        "context",
        "ends_alone",
        "epoch",
        "error",
        "frame",
        "number",
        "own_receipt",
        "receipt",
        "size",
        "subscription",
        "suspected",
        "suspicions",
        "transaction",
    )

    def __init__(
        self,
        command: str,
        receipt: str,
        context: object = None,
        epoch: int = 0,
        own_receipt: bool = False,
        frame: Frame | None = None,
        size: int = 0,
        subscription: SubscriptionEntry | None = None,
        transaction: TransactionEntry | None = None,
    ) -> None:
        self.command = command
        self.receipt = receipt
        self.context = context
        self.epoch = epoch
        self.own_receipt = own_receipt
        self.frame = frame
        self.size = size
        self.subscription = subscription
        self.transaction = transaction
        self.error: Exception | None = None
        self.number = self.suspicions = self.suspected = self.ends_alone = 0

    @property
    def issued(self) -> bool:
        """Whether it was ever handed out to be written."""
        return self.epoch > 0

    @property
    def is_suspect(self) -> bool:
        """Whether it is written only while no other confirmed SEND is out."""
        return self.suspicions >= _SUSPECT

    def suspect(self, epoch: int) -> None:
        """Count the suspicion of one connection."""
        if self.suspected != epoch:
            self.suspected = epoch
            self.suspicions += 1

    def absolve(self, epoch: int) -> None:
        """Take the suspicion of a connection back: the SEND was not written on it."""
        if self.suspected == epoch:
            self.suspected = 0
            self.suspicions -= 1


class Ledger:
    """The requests of a session. See the module's text; not thread-safe.

    Args:
        new_id: gives a name that nothing has, for a receipt.

    Attributes:
        unconfirmed: the confirmed SENDs outside transactions, by receipt, until they are answered.
        unconfirmed_bytes: what their bodies hold.
        requests: every other request, by receipt.
        assumed: SUBSCRIBEs that count as answered and may be answered yet.
        resend: what goes out after the next replay, in order: requests of ``unconfirmed``, and SENDs without a receipt
            that were never written. By identity, so that each leaves at the cost of one look-up.
        is_isolating: whether suspects are written one at a time and everything confirmed waits behind them.
    """

    __slots__ = (
        "_alone",
        "_by_context",
        "_complaint",
        "_new_id",
        "_numbers",
        "assumed",
        "is_isolating",
        "requests",
        "resend",
        "unconfirmed",
        "unconfirmed_bytes",
    )

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self.unconfirmed: dict[str, Request] = {}
        self.unconfirmed_bytes = 0
        self.requests: dict[str, Request] = {}
        self.assumed: dict[str, Request] = {}
        self.resend: dict[int, Request | Frame] = {}
        self.is_isolating = False
        self._by_context: dict[int, Request] = {}
        self._numbers = itertools.count(1)
        self._alone: Request | None = None
        self._complaint: Frame | None = None

    # Registering

    def holds(self, receipt: str | None) -> bool:
        """Whether a request waits for a receipt of this name."""
        return receipt in self.unconfirmed or receipt in self.requests or receipt in self.assumed

    def free(self, receipt: str) -> str:
        """The name itself; ValueError if another frame waits for it."""
        if self.holds(receipt):
            raise ValueError(f"another frame waits for the receipt {receipt!r} already")
        return receipt

    def ask(
        self,
        make: Callable[..., Frame],
        command: str,
        epoch: int,
        headers: Mapping[str, str] | None = None,
        *,
        confirm: bool = True,
        context: object = None,
        subscription: SubscriptionEntry | None = None,
        transaction: TransactionEntry | None = None,
    ) -> Frame:
        """The frame that ``make`` gives for a receipt, and the request that awaits it.

        Args:
            headers: the application's. A receipt among them is awaited under its name.
            confirm: ask for a receipt if they have none.
        """
        own = headers["receipt"] if headers and "receipt" in headers else None
        if own is None and not confirm:
            return make(receipt=None)
        receipt = self._new_id() if own is None else self.free(own)
        # Made first: what the version refuses leaves no request.
        frame = make(receipt=receipt)
        self.wait(Request(command, receipt, context, epoch, own is not None, None, 0, subscription, transaction))
        return frame

    def keep(self, request: Request) -> None:
        """Register a SEND that is resent until it is answered; behind all that waits, if it was not issued yet."""
        request.number = next(self._numbers)
        if not request.epoch:
            self.resend[id(request)] = request
        if request.context is not None:
            self._by_context[id(request.context)] = request
        size = request.size
        # No call between load and store: a signal handler cannot run here, so none can change the number meanwhile.
        self.unconfirmed_bytes += size
        self.unconfirmed[request.receipt] = request

    def wait(self, request: Request) -> None:
        """Register a request that belongs to this connection."""
        if request.context is not None:
            self._by_context[id(request.context)] = request
        if request.transaction is not None:
            request.transaction.awaited[request.receipt] = request
        self.requests[request.receipt] = request

    def assume(self, request: Request) -> None:
        """Count a SUBSCRIBE as answered; its answer is still taken if it comes."""
        self.assumed[request.receipt] = request
        self.requests.pop(request.receipt, None)

    # Answers

    def confirm(self, receipt: str) -> Request | None:
        """The way of nearly all receipts: the SEND that waits for it is done."""
        request = self.unconfirmed.get(receipt)
        if request is not None:
            self._drop_send(request)
        return request

    def take(self, receipt: str, epoch: int) -> Request | None:
        """Remove and return the request that an answer of this epoch belongs to; None if there is none."""
        request = self.unconfirmed.get(receipt) or self.requests.get(receipt) or self.assumed.get(receipt)
        # A SEND waits over losses, but only for the answer to what was written in this epoch.
        if request is None or request.epoch != epoch:
            return None
        self.drop(request)
        return request

    def find(self, receipt: str) -> Request | None:
        """The request that waits for this receipt."""
        return self.unconfirmed.get(receipt) or self.requests.get(receipt)

    def forget(self, context: object) -> Request | None:
        """Stop waiting for the request with this context, and do not resend it; None if there is none."""
        request = None if context is None else self._by_context.get(id(context))
        if request is not None:
            self.drop(request)
        return request

    def drop(self, request: Request) -> None:
        """Wait no longer for a request, whatever it is."""
        receipt = request.receipt
        if self.unconfirmed.get(receipt) is request:
            self._drop_send(request)
            return
        self.requests.pop(receipt, None)
        self.assumed.pop(receipt, None)
        if request.transaction is not None:
            request.transaction.awaited.pop(receipt, None)
        self._unindex(request)

    def _drop_send(self, request: Request) -> None:
        del self.unconfirmed[request.receipt]
        size = request.size
        self.unconfirmed_bytes -= size
        if not self.unconfirmed:
            # What an interruption between two of these lines may have left over ends here.
            self.unconfirmed_bytes = 0
        if self.resend:
            self.resend.pop(id(request), None)
        self._unindex(request)

    def _unindex(self, request: Request) -> None:
        context = request.context
        if context is not None and self._by_context.get(id(context)) is request:
            del self._by_context[id(context)]

    def release(self, transaction: TransactionEntry) -> None:
        """Wait no longer for what belongs to a transaction, which keeps its requests in ``awaited``."""
        for receipt, request in tuple(transaction.awaited.items()):
            self.requests.pop(receipt, None)
            self._unindex(request)

    def withdraw(self, context: object) -> list[Request]:
        """Undo the registration of every request with this context, and mend what an interruption left.

        Looks at every request: it is for calls that an exception broke off.
        """
        gone: list[Request] = []
        for registry in (self.unconfirmed, self.requests, self.assumed):
            for receipt, request in tuple(registry.items()):
                if context is not None and context is _context_of(request):
                    registry.pop(receipt, None)
                    gone.append(request)
                elif request.receipt != receipt and registry.get(request.receipt) is request:
                    # Interrupted while it got a fresh receipt, under which it is registered too.
                    registry.pop(receipt, None)
        for key, item in tuple(self.resend.items()):
            if isinstance(item, Request) and self.unconfirmed.get(item.receipt) is not item:
                self.resend.pop(key, None)
        self._by_context = {id(request.context): request for request in self.awaited() if request.context is not None}
        self.unconfirmed_bytes = sum(request.size for request in tuple(self.unconfirmed.values()))
        return gone

    def awaited(self) -> tuple[Request, ...]:
        """What the broker still has to answer."""
        return (*self.unconfirmed.values(), *self.requests.values())

    def abandon(self) -> Abandoned:
        """Give up everything that would be resent."""
        requests = sorted(self.unconfirmed.values(), key=lambda request: request.number)
        unsent = [item for item in tuple(self.resend.values()) if isinstance(item, Frame)]
        for request in requests:
            self.drop(request)
        self.resend.clear()
        self.is_isolating = False
        return Abandoned(requests, unsent)

    # Resending

    @property
    def is_on_trial(self) -> bool:
        """Whether the next SEND to resend is a suspect: a connection ended while it was the only one on its way."""
        first = next(iter(tuple(self.resend.values())), None)
        return isinstance(first, Request) and first.ends_alone > 0

    def hand_out(self, epoch: int) -> list[Frame]:
        """What is to be written now of the resend queue: nothing, one suspect, or all of it."""
        if self._alone is not None and self.unconfirmed.get(self._alone.receipt) is self._alone:
            return []
        first = next(iter(self.resend.values()), None)
        self._alone = first if isinstance(first, Request) and first.is_suspect else None
        self.is_isolating = self._alone is not None
        items = tuple(self.resend.values()) if self._alone is None else (self._alone,)
        return [self._again(item, epoch) for item in items]

    def _again(self, item: Request | Frame, epoch: int) -> Frame:
        """A confirmed SEND gets a fresh receipt: an answer to an older one must not be taken for this one's."""
        if not isinstance(item, Request):
            del self.resend[id(item)]
            return item
        assert item.frame is not None
        if item.epoch and not item.own_receipt:
            old, new = item.receipt, self._new_id()
            item.frame = item.frame.adding("receipt", new)
            # Found under one name or the other wherever this is interrupted.
            self.unconfirmed[new] = item
            item.receipt = new
            del self.unconfirmed[old]
        item.epoch = epoch
        del self.resend[id(item)]
        return item.frame

    # The end of a connection

    def accuse(self, error: Frame, epoch: int) -> Request | None:
        """Take an ERROR without receipt-id: the SEND that it can only mean, given up; None if it may mean several."""
        self._complaint = error
        out = self._out(epoch)
        for request in out:
            request.suspect(epoch)
        if self._alone is None or out != [self._alone] or self.requests:
            return None
        self._give_up(self._alone)
        return out[0]

    def lost(
        self, epoch: int, unsent: Iterable[Frame], *, explained: bool, begun: bool, opened: bool = True
    ) -> list[tuple[Request, Outcome]]:
        """The connection ended: what nobody will answer any more, and what that means.

        Args:
            epoch: the connection.
            unsent: what was handed out and not, or not wholly, written.
            opened: whether SENDs were handed out on it.
            explained: whether there is a reason for the end that no message can have caused.
            begun: whether a part of the first of ``unsent`` was written.
        """
        unsent = tuple(unsent)
        waiting = self._unwritten(unsent)
        not_written = {id(item) for item in (self._unwritten(unsent[1:]) if begun else waiting)}
        ended = [
            (request, _loss_outcome(request))
            for request in tuple(self.requests.values())
            if request.command != "SUBSCRIBE"
        ]
        for request in self._out(epoch):
            if id(request) in not_written:
                request.absolve(epoch)
            elif not explained:
                request.suspect(epoch)
        if not explained and (culprit := self._ended_alone(epoch, not_written)) is not None:
            ended.append((culprit, Outcome.GIVEN_UP))
        if not explained and not opened:
            self._clear()
        self._line_up(waiting)
        for request in tuple(self.requests.values()):
            self._unindex(request)
        self.requests.clear()
        self.assumed.clear()
        self._alone = self._complaint = None
        self.is_isolating = False
        return ended

    def _ended_alone(self, epoch: int, not_written: Container[int]) -> Request | None:
        """Count an unexplained end against the suspect that was out alone; returns it if it is given up."""
        alone = self._alone
        if alone is None or id(alone) in not_written or self._out(epoch) != [alone]:
            return None
        alone.ends_alone += 1
        if alone.ends_alone < _ENDS_ALONE:
            return None
        self._give_up(alone)
        return alone

    def _clear(self) -> None:
        """A connection ended without any SEND: it is not the suspects that end connections."""
        for request in tuple(self.unconfirmed.values()):
            request.ends_alone = 0

    def _out(self, epoch: int) -> list[Request]:
        """The confirmed SENDs that were handed out on this connection and are not answered."""
        resend = self.resend
        return [item for item in tuple(self.unconfirmed.values()) if item.epoch == epoch and id(item) not in resend]

    def _unwritten(self, unsent: Iterable[Frame]) -> list[Request | Frame]:
        """What of the frames that were not written has to be written on the next connection."""
        items: list[Request | Frame] = []
        for frame in unsent:
            receipt = frame.headers.get("receipt")
            request = None if receipt is None else self.unconfirmed.get(receipt)
            if request is not None:
                items.append(request)
            elif frame.command == "SEND" and receipt is None and "transaction" not in frame.headers:
                items.append(frame)
        return items

    def _line_up(self, waiting: Iterable[Request | Frame]) -> None:
        """Make the resend queue: the suspects, what was written and not confirmed, what was not written, the rest."""
        unwritten = {
            id(item): item
            for item in waiting
            if id(item) not in self.resend and (not isinstance(item, Request) or self._is_kept(item))
        }
        unwritten |= self.resend
        written = [item for item in tuple(self.unconfirmed.values()) if id(item) not in unwritten]
        written.sort(key=lambda request: request.number)
        queue = [*written, *unwritten.values()]
        queue.sort(key=lambda item: not (isinstance(item, Request) and item.is_suspect))
        self.resend = {id(item): item for item in queue}

    def _is_kept(self, request: Request) -> bool:
        return self.unconfirmed.get(request.receipt) is request

    def _give_up(self, request: Request) -> None:
        self.drop(request)
        assert request.frame is not None
        destination = shorten(request.frame.headers.get("destination", ""))
        text = (
            f"SEND to {destination} failed: {request.suspicions} connections were closed or brought an ERROR on this "
            "message, the last one when no other message waited for a receipt; it was given up and is not resent"
        )
        if self._complaint is None:
            request.error = ConnectionLost(text, outcome_unknown=True)
        else:
            request.error = BrokerError(f"{text}: {error_text(self._complaint)}", frame=self._complaint)


def _loss_outcome(request: Request) -> Outcome:
    subscription, transaction = request.subscription, request.transaction
    if request.command == "UNSUBSCRIBE" and subscription is not None and subscription.durable is not None:
        return Outcome.IN_DOUBT
    if transaction is not None and transaction.state is TransactionState.COMMITTING:
        return Outcome.IN_DOUBT
    return _OUTCOMES.get(request.command, Outcome.LOST)


def _context_of(request: Request) -> object:
    """What tells whose request it is: a SUBSCRIBE, which is written by replays too, is its subscription's."""
    if request.command == "SUBSCRIBE" and request.subscription is not None:
        return request.subscription.context
    return request.context


def error_text(frame: Frame) -> str:
    """What an ERROR frame says, on one line and shortened."""
    body = frame.body.decode(errors="replace").strip().partition("\n")[0]
    message = frame.headers.get("message", "")
    text = message if not body or body in message else f"{message}: {body}" if message else body
    return printable(text[:300] + "…" if len(text) > 300 else text) or "it gave no reason"
