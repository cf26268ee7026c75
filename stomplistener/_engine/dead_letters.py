"""A message that is given up goes to its subscription's error destination, with what happened in headers.

The message must not vanish, and should not be stored twice. Where a broker stores and settles what belongs to a
transaction together, and says so by its answer to COMMIT, copy and acknowledgement are one transaction. RabbitMQ
answers before the messages are stored, and Artemis settles before COMMIT comes: there, and where it is not known, the
copy is confirmed by itself, and the message acknowledged afterwards.

A copy may also be what ends the connection: RabbitMQ closes if an exchange does not exist, ActiveMQ if the name of a
queue is empty. The message then comes again, fails again and is copied again, forever. So after some transactions that
ended with their connection, or one that the broker refused, the copy is confirmed by itself, too: of confirmed messages
the session finds out which one ends connections (see the ledger). What a copy came to is remembered until the broker
delivers its message again, since only a message of the current connection can be acknowledged or rejected.

RabbitMQ declares the queue of a SEND by headers that come back with each message. Limits of the message's queue, such
as a time to live, are not those of the error destination: a copy has none of them. It keeps the type of the queue, so
that a dead letter of a quorum queue lives as safely. If the broker refuses that type, the error destination is a queue
of another one, and later copies go there without a type. A refusal ends the connection, so only one copy finds out:
the others wait for its answer.
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
from stomplistener.brokers.profile import Declaring
from stomplistener.errors import BrokerError, ConnectionLost, ProtocolError, StompError, TimedOut
from stomplistener.message import OF_A_DELIVERY, Message
from stomplistener.protocol import VERSIONS, Frame, Session, TransactionEntry, commands

_LONGEST_ERROR = 1000
_LONGEST_TRACEBACK = 4000
"""Characters of the two headers that tell of the error."""

LOST_TRANSACTIONS = 3
"""Transactions that forward one message and end with their connection, before its copy is confirmed by itself."""

MOST_REMEMBERED = 1000
"""Messages whose copies are remembered; what was noted longest ago is forgotten first."""


KEPT_SECONDS = 600.0
"""How long it is remembered what an answered copy came to: a broker delivers its message again long before."""


_Place = tuple[str, frozenset[tuple[str, str]]]
"""An error destination, and the headers that say of which type its queue is; empty if none do."""


class _Copy:
    """A copy that is sent and confirmed outside of a transaction.

    Attributes:
        epoch: the connection of the delivery that waits for the answer.
        receipt: the answer.
        place: where it goes, and as what.
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
    """What came of forwarding one message on earlier connections.

    Attributes:
        lost: transactions that ended with their connection.
        copies: those that are confirmed by themselves. There is more than one where a broker gives equal messages no
            name that stays the same.
    """

    __slots__ = ("copies", "lost")

    def __init__(self) -> None:
        self.lost = 0
        self.copies: list[_Copy] = []


class DeadLetters:
    """Forwards messages.

    Args:
        context: of the connection; its lock guards what is remembered here.
        sender: the way out.
        new_receipt: makes a future.
    """

    def __init__(self, context: Context, sender: Sender, new_receipt: Callable[[], Receipt]) -> None:
        self._context = context
        self._sender = sender
        self._new_receipt = new_receipt
        self._past: OrderedDict[str, _Past] = OrderedDict()
        self._fits: dict[_Place, bool] = {}
        self._waiting: dict[_Place, list[tuple[Message, BaseException]]] = {}
        """Messages that wait until it is known whether the copy of another one fits."""

    def forward(self, message: Message, destination: str, error: BaseException) -> None:
        """Send a copy of the message and acknowledge the message; reject it if the copy is refused.

        Does nothing if the message is stale, so that the broker delivers it again.

        Raises:
            StompError: neither is possible now.
        """
        try:
            key, receipt, in_transaction = self._forward(message, destination, error)
        except (ConnectionLost, TimedOut):
            raise
        except (StompError, TypeError, ValueError) as refused:
            # The copy cannot be written in this version of STOMP.
            self._refused(message, destination, refused)
            return
        if receipt is None:
            return
        if in_transaction:
            receipt.add_done_callback(partial(self._transaction_ended, message, destination, key, error))
        else:
            receipt.add_done_callback(partial(self._copy_ended, message, destination, key, error))

    def _forward(self, message: Message, destination: str, error: BaseException) -> tuple[str, Receipt | None, bool]:
        context, dialect = self._context, self._context.config.dialect
        with context.lock:
            connected = context.session.connected_frame
            key = message_key(message, named=not dialect.renames_redelivered(connected))
            past = self._past.get(key)
            earlier = None if past is None else _adopt(past, message.epoch)
            in_transaction = dialect.settles_in_transactions(connected) and (
                past is None or past.lost < LOST_TRANSACTIONS
            )
            place, dropped = self._place(message, destination, dialect.declaring(connected))
        if earlier is not None:
            return key, earlier, False
        headers = self._headers(message, error, OF_A_DELIVERY | dropped)
        # What was a text stays one.
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
        """Where a copy goes, and the headers that it does not take along."""
        place = destination, frozenset(item for item in message.headers.items() if item[0] in declaring.type)
        if self._fits.get(place, True):
            return place, declaring.limits
        return (destination, frozenset()), declaring.limits | declaring.type

    def _may_go(self, place: _Place, message: Message, error: BaseException) -> bool:
        """Whether the copy may go now; if not, it goes when the one that is under way is answered."""
        with self._context.lock:
            if not place[1] or place in self._fits:
                return True
            if place in self._waiting:
                self._waiting[place].append((message, error))
                return False
            self._waiting[place] = []
            return True

    def _release(self, place: _Place) -> None:
        """Forward what waited. What is stale is delivered again."""
        with self._context.lock:
            waiting = self._waiting.pop(place, [])
        for message, error in waiting:
            self._again(message, place[0], error)

    def _again(self, message: Message, destination: str, error: BaseException) -> None:
        if self._context.is_current(message.epoch):
            with suppress(StompError):
                self.forward(message, destination, error)

    def _note_fit(self, key: str, future: Future[Frame]) -> bool:
        """Note what the answer to a copy says about the queue. Return whether to send it again without its type."""
        failure = future.exception()
        with self._context.lock:
            past = self._past.get(key)
            copies = () if past is None else past.copies
            place = next((copy.place for copy in copies if copy.receipt is future), None)
            if place is None or not place[1]:
                return False
            refused = isinstance(failure, BrokerError)
            if refused or failure is None:
                self._fits[place] = not refused
            if refused:
                self._forget(key, future)
        self._release(place)
        return refused

    # The end of it, in the dispatcher

    def _transaction_ended(
        self, message: Message, destination: str, key: str, error: BaseException, future: Future[Frame]
    ) -> None:
        failure = future.exception()
        if isinstance(failure, ConnectionLost):
            with self._context.lock:
                self._remember(key).lost += 1
            self._context.log.warning("%r comes again: on its way to %s %s", message, destination, failure)
            return
        with self._context.lock:
            if failure is None:
                self._past.pop(key, None)
                return
            # Some brokers cannot commit for a moment, or lose their place among the acknowledgements.
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
            self._context.log.warning("%r is sent to %s again, as to any queue: %s", message, destination, failure)
            self._again(message, destination, error)
            return
        if not self._context.is_current(message.epoch):
            # The broker delivers it again, and what the copy came to is remembered.
            return
        settled = message.ack() if failure is None else self._refused(message, destination, failure)
        # A refusal stays known: another one may end the connection before the broker has read this NACK.
        if settled and failure is None:
            with self._context.lock:
                self._forget(key, future)

    def _refused(self, message: Message, destination: str, failure: BaseException) -> bool:
        self._context.log.error("%r is rejected: %s refused the copy: %s", message, destination, failure)
        return reject(self._context, message)

    # What is remembered, with the lock held

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

    # The two ways

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
        receipt = self._new_receipt()
        frame = commands.send(destination, message.body, headers, auto_content_length=counted)
        self._sender.send_confirmed(frame, receipt, self._context.config.timeout, wait=False)
        return receipt

    def _headers(self, message: Message, error: BaseException, dropped: frozenset[str]) -> dict[str, str]:
        # Artemis obeys destination-type: what came by a topic would vanish on its way to a queue.
        headers = {name: value for name, value in message.headers.items() if name not in dropped}
        rules = VERSIONS[self._context.session.version or "1.0"]

        def writable(text: str) -> str:
            text = text.replace("\r", "").replace("\0", "").encode(errors="replace").decode()
            # 1.0 has no way to write a line feed.
            return text if "\n" in rules.escapes else text.replace("\n", " | ")

        story = "".join(traceback.format_exception(error))
        return headers | {
            "original-destination": message.destination,
            "original-message-id": message.id,
            "error": writable(f"{type(error).__name__}: {error}".replace("\n", " "))[:_LONGEST_ERROR],
            "error-traceback": writable(story)[-_LONGEST_TRACEBACK:],
            "attempts": str(message.attempts + 1),
        }


def reject(context: Context, message: Message) -> bool:
    """NACK a message, where STOMP can; whether it was."""
    try:
        return message.nack()
    except ProtocolError:
        context.log.warning("STOMP 1.0 cannot reject %r; it stays unacknowledged", message)
        return False


def _adopt(past: _Past, epoch: int) -> Receipt | None:
    """The answer to a copy that an earlier delivery of the same message has sent, for this delivery to wait for."""
    past.copies = [copy for copy in past.copies if not copy.is_old]
    for copy in past.copies:
        # A delivery on the same connection is that of another message.
        if copy.epoch < epoch:
            copy.epoch = epoch
            return copy.receipt
    return None
