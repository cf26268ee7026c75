"""The ledger of a session: the requests that survive a connection or wait for an answer.

There are two kinds of requests. A confirmed SEND outside a transaction stays until its receipt arrives, or an ERROR
with its receipt-id. Until then, the SEND is resent on every connection. Every other request belongs to the connection
on which it was written: :data:`_OUTCOMES` has the outcome after the loss of that connection.

**The suspicion rule.** Some messages make a broker close the connection, with an ERROR that does not name the message
or without any ERROR. Such a message must not be resent forever, and it must not make other messages fail.

1. A connection raises suspicion against confirmed SENDs that were written on it and not answered. The reason is an
   ERROR without receipt-id, or an end of the connection that nothing else explains. A connection raises suspicion only
   once against each SEND, however many ERRORs arrived. An answered SEND leaves the ledger, together with its suspicion.
2. A SEND with suspicion from :data:`_SUSPECT` connections is a suspect. The next replay writes the suspects one at a
   time: each waits for the answer to the one before. All other messages that are kept wait behind the last suspect. A
   SEND that requests no receipt overtakes waiting messages.
3. A suspect that is written while no other confirmed SEND waits for its receipt is *alone*. A suspect that is alone is
   given up if an ERROR without receipt-id arrives and no other answer is awaited. A suspect is also given up if
   :data:`_ENDS_ALONE` connections ended unexplained while it was alone. One unexplained end is not enough: a broker may
   restart, or a network fail, while a single message is on its way.
4. A suspect on which a connection ended alone is *on trial*. The caller lets the next connection live for a while
   without the suspect, before ``restored()``. If that connection also ends, the message is not the cause, and the count
   of rule 3 begins again. Without this rule, a network that fails once a second would convict good messages. So bad
   messages cause no good message to be written more than :data:`_SUSPECT` + 1 times. A bad message is written at most
   :data:`_SUSPECT` + :data:`_ENDS_ALONE` times. With k bad messages, at most k times as many connections end. Fewer
   connections end if the bad messages are written together, since they become suspects together.

**Interruptions.** A signal handler may raise at any instruction of the main thread, or call into the session again. So
every method here makes all objects first and registers the objects last. The attributes ``unconfirmed``, ``requests``
and ``resend`` are the truth. The index, the bytes and the receipts of a transaction follow from these attributes, and
:meth:`Ledger.withdraw` computes them again.
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
"""How many connections must raise suspicion against a SEND before it is written alone."""

_ENDS_ALONE = 3
"""How many connections must end while a SEND is the only unconfirmed one before it is given up."""


class Outcome(enum.Enum):
    """The meaning of the end of a connection for a request without an answer."""

    DONE = "done"
    """The end of the connection had the same effect: UNSUBSCRIBE, ABORT, DISCONNECT."""
    NOT_CONFIRMED = "not confirmed"
    """ACK and NACK: the broker may deliver the message again."""
    LOST = "lost"
    """The request was part of a transaction or subscription that ended with the connection."""
    IN_DOUBT = "in doubt"
    """The broker may have carried out the frame: COMMIT, a SEND of a transaction that was committing, and UNSUBSCRIBE
    of a durable subscription."""
    GIVEN_UP = "given up"
    """A SEND on which several connections ended; ``Request.error`` tells why it is not resent."""


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
    """The SENDs that were given up: confirmed ones without a receipt, and others that were never written."""

    requests: list[Request]
    unsent: list[Frame]


class SubscriptionEntry:
    """A subscription in the registry: all values that are needed to write SUBSCRIBE again.

    Attributes:
        durable: the name of a durable subscription.
        prefetch: how many messages the broker may send ahead of their acknowledgements.
        selector: the condition for messages that the broker delivers.
        epoch: the connection on which SUBSCRIBE was last written, or whose version could not express it; 0 for none.
        receipt: the receipt that the last SUBSCRIBE requested.
        error: why the subscription is REJECTED; None in every other state.
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
        """Change the state; IllegalMove if SUBSCRIPTION_MOVES does not have this move."""
        self.state = SUBSCRIPTION_MOVES[self.state, state]


class TransactionEntry:
    """A transaction of one epoch.

    Attributes:
        context: a value of the caller.
        awaited: the requests of the transaction that have no answer yet, by receipt. The requests stay here when the
            transaction ends, so that the caller can inform the waiting threads.
        settled: the contexts of the acknowledgements in the transaction. Without a COMMIT, the acknowledged messages
            are not settled.
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
        """Change the state; IllegalMove if TRANSACTION_MOVES does not have this move."""
        self.state = TRANSACTION_MOVES[self.state, state]


class Request:
    """A frame whose receipt is awaited.

    Attributes:
        context: a value of the caller that belongs to one call only, since it finds the request again.
        frame: the SEND to resend after a connection loss; None for a frame that is never repeated.
        size: the size of the body of a SEND that is resent, in bytes.
        epoch: the connection on which the frame was last handed out to be written; 0 for none.
        own_receipt: whether the application chose the receipt. A receipt that it chose for a SEND stays the same on all
            connections.
        error: why the broker rejected the frame, or why it was given up.
        number: the position in the order in which requests were made.
        suspicions: how many connections raised suspicion against it; ``suspected`` is the last of them.
        ends_alone: how many connections in a row ended unexplained while no other confirmed SEND was on its way.
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
        """Whether the frame was ever handed out to be written."""
        return self.epoch > 0

    @property
    def is_suspect(self) -> bool:
        """Whether the frame is written only while no other confirmed SEND is on its way."""
        return self.suspicions >= _SUSPECT

    def suspect(self, epoch: int) -> None:
        """Count the suspicion from one connection."""
        if self.suspected != epoch:
            self.suspected = epoch
            self.suspicions += 1

    def absolve(self, epoch: int) -> None:
        """Take back the suspicion from a connection on which the SEND was not written."""
        if self.suspected == epoch:
            self.suspected = 0
            self.suspicions -= 1


class Ledger:
    """The requests of a session. See the module's text. Not thread-safe.

    Args:
        new_id: returns a new name for a receipt.

    Attributes:
        unconfirmed: the confirmed SENDs outside transactions, by receipt, until they are answered.
        unconfirmed_bytes: the total size of the bodies of ``unconfirmed``.
        requests: every other request, by receipt.
        assumed: the SUBSCRIBEs that count as answered, although their answers may still arrive.
        resend: the frames to write after the next replay, in order: requests of ``unconfirmed``, and SENDs without a
            receipt that were never written. The keys are identities, so removing one costs one look-up.
        is_isolating: whether suspects are written one at a time, and all other confirmed SENDs wait behind them.
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
        """Return the name; ValueError if another frame waits for a receipt of this name."""
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
        """Return the frame that ``make`` makes with a receipt, and the request that awaits it.

        Args:
            headers: the application's headers. A receipt among the headers is awaited under its name.
            confirm: whether to request a receipt if the headers have none.
        """
        own = headers["receipt"] if headers and "receipt" in headers else None
        if own is None and not confirm:
            return make(receipt=None)
        receipt = self._new_id() if own is None else self.free(own)
        # Make the frame first: a frame that the version refuses must leave no request.
        frame = make(receipt=receipt)
        self.wait(Request(command, receipt, context, epoch, own is not None, None, 0, subscription, transaction))
        return frame

    def keep(self, request: Request) -> None:
        """Register a SEND that is resent until it is answered. A SEND not yet written goes behind all that wait."""
        request.number = next(self._numbers)
        if not request.epoch:
            self.resend[id(request)] = request
        if request.context is not None:
            self._by_context[id(request.context)] = request
        size = request.size
        # No call separates load and store, so no signal handler can run and change the number between them.
        self.unconfirmed_bytes += size
        self.unconfirmed[request.receipt] = request

    def wait(self, request: Request) -> None:
        """Register a request that belongs to the current connection."""
        if request.context is not None:
            self._by_context[id(request.context)] = request
        if request.transaction is not None:
            request.transaction.awaited[request.receipt] = request
        self.requests[request.receipt] = request

    def assume(self, request: Request) -> None:
        """Count a SUBSCRIBE as answered; its answer is still accepted."""
        self.assumed[request.receipt] = request
        self.requests.pop(request.receipt, None)

    # Answers

    def take(self, receipt: str, epoch: int) -> Request | None:
        """Remove and return the request for an answer of this epoch; None if there is none."""
        request = self.unconfirmed.get(receipt) or self.requests.get(receipt) or self.assumed.get(receipt)
        # A SEND outlives connections, but only the answer to its frame of this epoch counts.
        if request is None or request.epoch != epoch:
            return None
        self.drop(request)
        return request

    def find(self, receipt: str) -> Request | None:
        """Return the request that waits for this receipt."""
        return self.unconfirmed.get(receipt) or self.requests.get(receipt)

    def forget(self, context: object) -> Request | None:
        """Stop waiting for the request with this context, and do not resend it; None if there is none."""
        request = None if context is None else self._by_context.get(id(context))
        if request is not None:
            self.drop(request)
        return request

    def drop(self, request: Request) -> None:
        """Stop waiting for a request of any kind."""
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
            # Clear the leftovers of an interruption between two of these lines.
            self.unconfirmed_bytes = 0
        if self.resend:
            self.resend.pop(id(request), None)
        self._unindex(request)

    def _unindex(self, request: Request) -> None:
        context = request.context
        if context is not None and self._by_context.get(id(context)) is request:
            del self._by_context[id(context)]

    def release(self, transaction: TransactionEntry) -> None:
        """Stop waiting for the requests of a transaction. The transaction keeps its requests in ``awaited``."""
        for receipt, request in tuple(transaction.awaited.items()):
            self.requests.pop(receipt, None)
            self._unindex(request)

    def withdraw(self, context: object) -> list[Request]:
        """Undo the registration of every request with this context, and repair the effects of an interruption.

        Use this only after an exception interrupted a call, since it examines every request.
        """
        gone: list[Request] = []
        for registry in (self.unconfirmed, self.requests, self.assumed):
            for receipt, request in tuple(registry.items()):
                if context is not None and context is _context_of(request):
                    registry.pop(receipt, None)
                    gone.append(request)
                elif request.receipt != receipt and registry.get(request.receipt) is request:
                    # The request is registered under two receipts: an interruption came while it got a new one.
                    registry.pop(receipt, None)
        for key, item in tuple(self.resend.items()):
            if isinstance(item, Request) and self.unconfirmed.get(item.receipt) is not item:
                self.resend.pop(key, None)
        self._by_context = {id(request.context): request for request in self.awaited() if request.context is not None}
        self.unconfirmed_bytes = sum(request.size for request in tuple(self.unconfirmed.values()))
        return gone

    def awaited(self) -> tuple[Request, ...]:
        """Return the requests that the broker still has to answer."""
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
        """Whether the next SEND to resend is a suspect on which a connection has ended while it was alone."""
        first = next(iter(tuple(self.resend.values())), None)
        return isinstance(first, Request) and first.ends_alone > 0

    def hand_out(self, epoch: int) -> list[Frame]:
        """Return the frames of the resend queue to write now: none, one suspect, or all."""
        if self._alone is not None and self.unconfirmed.get(self._alone.receipt) is self._alone:
            return []
        first = next(iter(self.resend.values()), None)
        self._alone = first if isinstance(first, Request) and first.is_suspect else None
        self.is_isolating = self._alone is not None
        items = tuple(self.resend.values()) if self._alone is None else (self._alone,)
        return [self._again(item, epoch) for item in items]

    def _again(self, item: Request | Frame, epoch: int) -> Frame:
        """Return the frame with a new receipt, so that an answer to an older one is not taken for its answer."""
        if not isinstance(item, Request):
            del self.resend[id(item)]
            return item
        assert item.frame is not None
        if item.epoch and not item.own_receipt:
            old, new = item.receipt, self._new_id()
            item.frame = item.frame.adding("receipt", new)
            # At each interruption, the request is registered under the old or the new receipt.
            self.unconfirmed[new] = item
            item.receipt = new
            del self.unconfirmed[old]
        item.epoch = epoch
        del self.resend[id(item)]
        return item.frame

    # The end of a connection

    def accuse(self, error: Frame, epoch: int) -> Request | None:
        """Take an ERROR without receipt-id. Give up and return the SEND if the ERROR can mean only that one."""
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
        """End the connection. Return the requests that will get no answer, with the outcome of each.

        Args:
            epoch: the connection.
            unsent: the frames that were handed out and not fully written.
            opened: whether SENDs were handed out on this connection.
            explained: whether the end has a reason that no message can have caused.
            begun: whether a part of the first frame of ``unsent`` was written.
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
        """Count an unexplained end against the suspect that was alone. Return the suspect if it is given up."""
        alone = self._alone
        if alone is None or id(alone) in not_written or self._out(epoch) != [alone]:
            return None
        alone.ends_alone += 1
        if alone.ends_alone < _ENDS_ALONE:
            return None
        self._give_up(alone)
        return alone

    def _clear(self) -> None:
        """Clear the suspects: a connection without any SEND ended too, so the suspects are not the cause."""
        for request in tuple(self.unconfirmed.values()):
            request.ends_alone = 0

    def _out(self, epoch: int) -> list[Request]:
        """Return the confirmed SENDs that were handed out on this connection and are not answered."""
        resend = self.resend
        return [item for item in tuple(self.unconfirmed.values()) if item.epoch == epoch and id(item) not in resend]

    def _unwritten(self, unsent: Iterable[Frame]) -> list[Request | Frame]:
        """Return what has to be written on the next connection, out of the frames that were not written."""
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
        """Build the resend queue: the suspects, the SENDs that were written, the SENDs that were not, the rest."""
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
    """Return the key of the request's owner: for a SUBSCRIBE, which replays write too, the subscription."""
    if request.command == "SUBSCRIBE" and request.subscription is not None:
        return request.subscription.context
    return request.context


def error_text(frame: Frame) -> str:
    """Return the text of an ERROR frame, shortened and on one line."""
    body = frame.body.decode(errors="replace").strip().partition("\n")[0]
    message = frame.headers.get("message", "")
    text = message if not body or body in message else f"{message}: {body}" if message else body
    return printable(text[:300] + "…" if len(text) > 300 else text) or "it gave no reason"
