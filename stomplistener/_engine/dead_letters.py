"""Forward a message that is given up to the error destination of its subscription. Headers tell what happened.

The message must not vanish, and should not be stored twice. Some brokers store a copy and settle its message together
when both belong to one transaction, and answer COMMIT only afterwards. With such a broker, the copy and the
acknowledgement form one transaction. RabbitMQ answers COMMIT before the messages are stored, and Artemis settles before
COMMIT arrives. On RabbitMQ, on Artemis and on unknown brokers, the copy is a confirmed send, and the client
acknowledges the message after the receipt.

A copy may also be the reason why connections end. RabbitMQ closes the connection if an exchange does not exist;
ActiveMQ does so if the name of a queue is empty. The message is then delivered again, fails again and is copied again,
forever. So the copy also becomes a confirmed send after some transactions that ended with their connection, or after a
transaction that the broker refused. For confirmed sends, the session finds out which message ends connections (see the
ledger). The outcome of a copy is remembered until the broker delivers its message again. Only a message of the current
connection can be acknowledged or rejected.

On RabbitMQ the headers of a SEND declare its queue, and each message comes with these headers. A copy drops the limits
of the message's queue, such as a time to live: they are not limits of the error destination. A copy keeps the type of
the queue, so that a dead letter of a quorum queue is stored as safely. If the broker refuses the type of a copy, the
error destination is a queue of another type, and later copies have no type. A refusal ends the connection. So one copy
tries the type, and the others wait for its answer.
"""

from __future__ import annotations

import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial

from stomplistener._engine.context import Context
from stomplistener._engine.deliveries import message_key
from stomplistener._engine.receipts import Receipt
from stomplistener._engine.sender import Sender
from stomplistener._util.text import text_of
from stomplistener.brokers.profile import Declaring
from stomplistener.errors import BrokerError, ConnectionLost, ProtocolError, StompError, TimedOut
from stomplistener.message import OF_A_DELIVERY, Message
from stomplistener.options import SendOptions
from stomplistener.protocol import VERSIONS, Frame, Session, TransactionEntry, commands

_LONGEST_ERROR = 1000
_LONGEST_TRACEBACK = 4000
"""The longest value, in characters, of the two headers that describe the error."""

LOST_TRANSACTIONS = 3
"""After this many transactions that were lost with their connection, a copy becomes a confirmed send."""

MOST_REMEMBERED = 1000
"""The number of messages whose copies are remembered; the oldest entry is forgotten first."""


KEPT_SECONDS = 600.0
"""How long the outcome of an answered copy is remembered. A broker delivers the message again much sooner."""


_Place = tuple[str, frozenset[tuple[str, str]]]
"""An error destination, and the headers that declare the type of its queue; empty if none do."""


class _Copy:
    """A copy that is a confirmed send, outside of a transaction.

    Attributes:
        epoch: the epoch of the delivery that waits for the answer.
        receipt: the broker's answer.
        place: where the copy goes, with the type of the queue.
    """

    __slots__ = ("_at", "epoch", "place", "receipt")

    def __init__(self, epoch: int, receipt: Receipt, place: _Place) -> None:
        self.epoch = epoch
        self.receipt = receipt
        self.place = place
        self._at = time.monotonic()

    @property
    def is_old(self) -> bool:
        return self.receipt.done() and time.monotonic() - self._at > KEPT_SECONDS


class _Past:
    """The earlier attempts to forward one message, on earlier connections.

    Attributes:
        lost: the number of transactions that ended with their connection.
        copies: the confirmed copies. Equal messages without a constant name share one entry, and so have several
            copies.
    """

    __slots__ = ("copies", "lost")

    def __init__(self) -> None:
        self.lost = 0
        self.copies: list[_Copy] = []


class DeadLetters:
    """Forwards messages.

    Args:
        context: the context of the connection; its lock guards the state of this object.
        sender: sends the copies.
        new_receipt: makes a future.
    """

    def __init__(self, context: Context, sender: Sender, new_receipt: Callable[[], Receipt]) -> None:
        self._context = context
        self._sender = sender
        self._new_receipt = new_receipt
        self._past: OrderedDict[str, _Past] = OrderedDict()
        self._fits: dict[_Place, bool] = {}
        self._waiting: dict[_Place, list[tuple[Message, BaseException]]] = {}
        """The messages that wait until the broker has answered another copy for the same queue type."""

    def forward(self, message: Message, destination: str, error: BaseException) -> None:
        """Send a copy of the message and acknowledge the message; reject the message if the broker refuses the copy.

        Does nothing if the message is stale, so that the broker delivers it again.

        Raises:
            StompError: the message can be neither forwarded nor rejected now.
        """
        try:
            key, receipt, in_transaction = self._forward(message, destination, error)
        except (ConnectionLost, TimedOut):
            raise
        except (StompError, TypeError, ValueError) as refused:
            # This version of STOMP cannot express the copy.
            self._refused(message, destination, refused)
            return
        if receipt is None:
            return
        if in_transaction:
            receipt.add_done_callback(partial(self._transaction_ended, message, destination, key, error))
        else:
            receipt.add_done_callback(partial(self._copy_ended, message, destination, key, error))

    def _forward(self, message: Message, destination: str, error: BaseException) -> tuple[str, Receipt | None, bool]:
        context = self._context
        with context.lock:
            profile = context.profile
            key = message_key(message, named=not profile.renames_redelivered)
            past = self._past.get(key)
            earlier = None if past is None else _adopt(past, message.epoch)
            in_transaction = profile.settles_in_transactions and (past is None or past.lost < LOST_TRANSACTIONS)
            place, dropped = self._place(message, destination, profile.declaring)
        if earlier is not None:
            return key, earlier, False
        headers = self._headers(message, error, OF_A_DELIVERY | dropped)
        # A text message stays a text message.
        counted = "content-length" in message.headers or b"\0" in message.body
        if in_transaction:
            return key, self._in_transaction(message, destination, headers, counted), True
        if not self._may_go(place, message, error):
            return key, None, False
        try:
            receipt = self._confirmed(message, destination, headers, counted)
        except BaseException:
            self._release(place)
            raise
        with context.lock:
            self._remember(key).copies.append(_Copy(message.epoch, receipt, place))
        return key, receipt, False

    # The type of the queue

    def _place(self, message: Message, destination: str, declaring: Declaring) -> tuple[_Place, frozenset[str]]:
        """Return where a copy goes, and the headers that it drops."""
        place = destination, frozenset(item for item in message.headers.items() if item[0] in declaring.type)
        if self._fits.get(place, True):
            return place, declaring.limits
        return (destination, frozenset()), declaring.limits | declaring.type

    def _may_go(self, place: _Place, message: Message, error: BaseException) -> bool:
        """Whether the copy may be sent now. If not, keep the message until the broker has answered another copy."""
        with self._context.lock:
            if not place[1] or place in self._fits:
                return True
            if place in self._waiting:
                self._waiting[place].append((message, error))
                return False
            self._waiting[place] = []
            return True

    def _release(self, place: _Place) -> None:
        """Forward the waiting messages, except for stale ones, which the broker delivers again."""
        with self._context.lock:
            waiting = self._waiting.pop(place, [])
        for message, error in waiting:
            self._again(message, place[0], error)

    def _again(self, message: Message, destination: str, error: BaseException) -> None:
        if self._context.is_current(message.epoch):
            with suppress(StompError):
                self.forward(message, destination, error)

    def _note_fit(self, key: str, future: Future[Frame]) -> bool:
        """Note what the answer to a copy says about the queue. Return whether to send the copy without a type."""
        failure = future.exception()
        with self._context.lock:
            past = self._past.get(key)
            copies = () if past is None else past.copies
            place = next((copy.place for copy in copies if copy.receipt is future), None)
            if place is None or not place[1]:
                return False
            # The copy stays remembered: a redelivered message may wait for the same answer, and needs its place.
            refused = isinstance(failure, BrokerError)
            if refused or failure is None:
                self._fits[place] = not refused
        self._release(place)
        return refused

    # The broker's answer, in the dispatcher

    def _transaction_ended(
        self, message: Message, destination: str, key: str, error: BaseException, future: Future[Frame]
    ) -> None:
        failure = future.exception()
        if isinstance(failure, ConnectionLost):
            with self._context.lock:
                self._remember(key).lost += 1
            self._context.log.warning("%r is delivered again; its copy to %s failed: %s", message, destination, failure)
            return
        with self._context.lock:
            if failure is None:
                self._past.pop(key, None)
                return
            # Some brokers refuse a COMMIT for a short time, or lose track of the acknowledgements.
            self._remember(key).lost = LOST_TRANSACTIONS
        if self._context.is_current(message.epoch):
            told = "%r is sent to %s again, outside of a transaction: %s"
            self._context.log.warning(told, message, destination, failure)
            self._again(message, destination, error)

    def _copy_ended(
        self, message: Message, destination: str, key: str, error: BaseException, future: Future[Frame]
    ) -> None:
        failure = future.exception()
        if self._note_fit(key, future):
            self._context.log.warning("%r is sent to %s again, without a queue type: %s", message, destination, failure)
            self._again(message, destination, error)
            return
        if not self._context.is_current(message.epoch):
            # The broker delivers this message again; the outcome of its copy is still remembered.
            return
        settled = message.ack() if failure is None else self._refused(message, destination, failure)
        # The refusal stays remembered: another refusal may end the connection before the broker has read this NACK.
        if settled and failure is None:
            with self._context.lock:
                self._forget(key, future)

    def _refused(self, message: Message, destination: str, failure: BaseException) -> bool:
        self._context.log.error("%r is rejected: %s refused the copy: %s", message, destination, failure)
        return reject(self._context, message)

    # The memory of earlier copies. Call with the lock held

    def _remember(self, key: str) -> _Past:
        past = self._past.pop(key, None) or _Past()
        self._past[key] = past
        if len(self._past) > MOST_REMEMBERED:
            self._past.popitem(last=False)
        return past

    def _forget(self, key: str, future: Future[Frame]) -> None:
        past = self._past.get(key)
        if past is None:
            return
        past.copies = [copy for copy in past.copies if copy.receipt is not future]
        if not past.copies:
            del self._past[key]

    # Two ways to forward a message

    def _in_transaction(
        self, message: Message, destination: str, headers: Mapping[str, str], counted: bool
    ) -> Receipt | None:
        timeout = self._context.config.timeout
        entries: list[TransactionEntry] = []

        def begin(session: Session) -> Frame | None:
            if message.epoch != session.epoch:
                return None
            entry, frame = session.begin()
            entries.append(entry)
            return frame

        if self._sender.transmit(None, timeout, "BEGIN", note=begin, lingers=True) is None:
            return None
        entry = entries[0]
        try:
            frame = commands.send(destination, message.body, headers, transaction=entry.id, auto_content_length=counted)
            self._sender.send_in(entry, frame, timeout, None)
            if not self._sender.settle(message, entry, None, negative=False, timeout=timeout):
                self._sender.transmit_now(lambda session: session.abort(entry))
                return None
            receipt = self._new_receipt()
            self._sender.transmit(
                None,
                timeout,
                "COMMIT",
                note=lambda session: session.commit(entry, context=receipt),
                begun=True,
                context=receipt,
            )
        except BaseException:
            self._sender.transmit_now(lambda session: session.abort(entry))
            raise
        return receipt

    def _confirmed(self, message: Message, destination: str, headers: Mapping[str, str], counted: bool) -> Receipt:
        receipt, timeout = self._new_receipt(), self._context.config.timeout
        options: SendOptions = {"auto_content_length": counted}
        self._sender.send_confirmed(destination, message.body, headers, receipt, timeout, options, wait=False)
        return receipt

    def _headers(self, message: Message, error: BaseException, dropped: frozenset[str]) -> dict[str, str]:
        # Artemis obeys destination-type: a message from a topic would vanish on its way to a queue.
        headers = {name: value for name, value in message.headers.items() if name not in dropped}
        rules = VERSIONS[self._context.session.version or "1.0"]

        def writable(text: str) -> str:
            text = text.replace("\r", "").replace("\0", "").encode(errors="replace").decode()
            # STOMP 1.0 cannot express a line feed in a header.
            return text if "\n" in rules.escapes else text.replace("\n", " | ")

        story = "".join(traceback.format_exception(error))
        return headers | {
            "original-destination": message.destination,
            "original-message-id": message.id,
            "error": writable(f"{type(error).__name__}: {text_of(error)}".replace("\n", " "))[:_LONGEST_ERROR],
            "error-traceback": writable(story)[-_LONGEST_TRACEBACK:],
            "attempts": str(message.attempts + 1),
        }


def reject(context: Context, message: Message) -> bool:
    """NACK a message if the STOMP version allows it. Return whether the message was rejected."""
    try:
        return message.nack()
    except ProtocolError:
        context.log.warning("STOMP 1.0 cannot reject %r; it stays unacknowledged", message)
        return False


def _adopt(past: _Past, epoch: int) -> Receipt | None:
    """Let this delivery wait for the answer to the copy that an earlier delivery of the same message sent."""
    past.copies = [copy for copy in past.copies if not copy.is_old]
    for copy in past.copies:
        # A delivery on the same connection belongs to another message.
        if copy.epoch < epoch:
            copy.epoch = epoch
            return copy.receipt
    return None
