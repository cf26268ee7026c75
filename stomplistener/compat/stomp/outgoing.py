"""Send the frames of a program with the connection of this library."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from stomplistener.compat.stomp import log
from stomplistener.compat.stomp.exception import StompException
from stomplistener.compat.stomp.unsettled import Unsettled
from stomplistener.compat.stomp.utils import Frame, encode, unescaped
from stomplistener.connection import Connection
from stomplistener.errors import StompError, TimedOut
from stomplistener.message import Message
from stomplistener.options import AckMode, SendOptions
from stomplistener.protocol import Frame as WireFrame
from stomplistener.protocol import TransactionState
from stomplistener.subscription import Subscription
from stomplistener.transaction import Transaction

Headers = dict[str, str]


@dataclass
class _Subscribed:
    """A subscription, with the fields that decide whether another SUBSCRIBE requests the same one."""

    destination: str
    ack: AckMode
    headers: Headers
    handle: Subscription
    epoch: int

    def is_as(self, destination: str, ack: AckMode, headers: Headers) -> bool:
        return (self.destination, self.ack, self.headers) == (destination, ack, headers) and not self.handle.has_ended


class Outgoing:
    """Sends the frames of a program, from any thread.

    Args:
        connection: the connection to send on.
        unsettled: returns the messages that can be acknowledged now.
        tell_receipt: called with the id of a requested receipt when it has arrived.
        encoding: the encoding of ``str`` bodies.
        is_escaped: whether the headers of frames are escaped, as stomp.py does from STOMP 1.1 on.
    """

    def __init__(
        self,
        connection: Connection,
        unsettled: Callable[[], Unsettled],
        tell_receipt: Callable[[str], None],
        encoding: str,
        is_escaped: bool,
    ) -> None:
        self._connection = connection
        self._unsettled = unsettled
        self._tell_receipt = tell_receipt
        self._encoding = encoding
        self._is_escaped = is_escaped
        self._subscriptions: dict[str, _Subscribed] = {}
        self._in_turn: set[str] = set()
        self._transactions: dict[str, tuple[Transaction, list[Message]]] = {}
        self._lock = threading.RLock()
        self._asked: set[str] = set()
        self._commands: dict[str, Callable[[Headers], str | None]] = {
            "SUBSCRIBE": self._subscribe,
            "UNSUBSCRIBE": self._unsubscribe,
            "ACK": partial(self._settle, negative=False),
            "NACK": partial(self._settle, negative=True),
            "BEGIN": self._begin,
            "COMMIT": self._commit,
            "ABORT": self._abort,
        }

    @property
    def destinations(self) -> set[str]:
        """The destinations to which the program is subscribed."""
        with self._lock:
            return {each.destination for each in self._subscriptions.values()}

    def knows(self, command: str | None) -> bool:
        """Whether ``send`` can send a frame of this command."""
        return command in self._commands

    def send(self, frame: Frame) -> str | None:
        """Send a client frame of any command except SEND, CONNECT and DISCONNECT.

        Returns:
            the id of a requested receipt that needs no answer of the broker, or None.
        """
        headers = written(frame.headers, self._is_escaped)
        self.ask(headers.get("receipt"), True)
        return self._commands[frame.cmd or ""](headers)

    def ask(self, receipt: str | None, wanted: bool) -> None:
        """Note whether the program requested this receipt.

        Other receipts, which the library requests, are not reported.
        """
        if receipt is not None and wanted:
            self._asked.add(receipt)
        elif receipt is not None:
            self._asked.discard(receipt)

    def is_asked(self, receipt: str) -> bool:
        """Whether the program requested this receipt. Forget the request."""
        asked = receipt in self._asked
        self._asked.discard(receipt)
        return asked

    # Messages

    def send_message(self, frame: Frame) -> None:
        """Send a SEND frame, which is the hot path of most programs."""
        headers, body = written(frame.headers, self._is_escaped), frame.body
        if type(body) is str:
            body = body.encode(self._encoding, "replace")
        elif body:
            body = encode(body)
        counted = headers.pop("content-length", None) is not None
        destination = headers.pop("destination")
        while True:
            try:
                self._send(destination, body or b"", headers, counted)
                return
            except TimedOut:
                # Nothing was sent. A broker that reads slowly holds back the program, as in stomp.py; only the wait for
                # a lost connection has an end.
                if not self._connection.is_connected:
                    raise

    def _send(self, destination: str, data: bytes, headers: Headers, counted: bool) -> None:
        if "receipt" in headers or "transaction" in headers or not counted:
            self._send_with_options(destination, data, dict(headers), counted)
        else:
            self._connection.send(destination, data, headers)

    def _send_with_options(self, destination: str, data: bytes, headers: Headers, counted: bool) -> None:
        receipt, name = headers.get("receipt"), headers.pop("transaction", None)
        options: SendOptions = {} if counted else {"auto_content_length": False}
        if name is not None:
            self.ask(receipt, True)
            begun = self._transactions.get(name)
            if begun is None:
                self._connection.send(destination, data, headers, transaction=name, **options)
            else:
                begun[0].send(destination, data, headers, **options)
            return
        if receipt is None:
            self._connection.send(destination, data, headers, **options)
            return
        # Use a receipt id of the library on the wire: programs use one id for many messages.
        del headers["receipt"]
        answer = self._connection.send_async(destination, data, headers, **options)
        answer.add_done_callback(lambda answered: self._sent(receipt, answered))

    def _sent(self, receipt: str, answer: Future[WireFrame]) -> None:
        error = answer.exception()
        if error is None:
            self._tell_receipt(receipt)
        else:
            log.warning("no receipt %s for a message: %s", receipt, error)

    def _settle(self, headers: Headers, *, negative: bool) -> None:
        command = "NACK" if negative else "ACK"
        # The session knows which header the version in use needs.
        id, message_id = headers.pop("id", None), headers.pop("message-id", None)
        name = id or message_id or ""
        named = headers.pop("transaction", None)
        transaction = None if named is None else self._transaction(command, named)
        messages = self._unsettled().take(name, headers.pop("subscription", None), self._in_turn, transaction is None)
        if not messages:
            log.info(
                "%s of %s is not sent: it is settled already, waits for its turn, or came on an older connection",
                command,
                name,
            )
            return
        message = messages[-1]
        if transaction is None:
            message.nack(headers=headers or None) if negative else message.ack(headers=headers or None)
            return
        begun, taken = transaction
        message.nack(begun, headers) if negative else message.ack(begun, headers)
        taken.extend(messages)

    # Subscriptions

    def _subscribe(self, headers: Headers) -> str | None:
        destination, ack, id = headers.pop("destination"), headers.pop("ack", "auto"), headers.pop("id", None)
        receipt = headers.pop("receipt", None)
        key = destination if id is None else id
        # STOMP 1.0 has no client-individual mode, although some brokers have it. To imitate the mode, an
        # acknowledgement waits until all earlier messages are acknowledged.
        in_turn = ack == "client-individual" and self._connection.session.version == "1.0"
        if in_turn:
            ack = "client"
        with self._lock:
            known = self._subscriptions.get(key)
            epoch = self._connection.session.epoch
            if known is not None and known.is_as(destination, ack, headers):  # type: ignore[arg-type]
                # The program subscribes again after a loss, but the subscription is restored already.
                known.epoch = epoch
                return receipt if receipt is not None and self.is_asked(receipt) else None
            for name in self._outdated(key, destination, ack, headers, epoch):  # type: ignore[arg-type]
                self._subscriptions.pop(name).handle.unsubscribe()
                self._unsettled().forget(name)
            said = headers if receipt is None else {**headers, "receipt": receipt}
            handle = self._connection.subscribe(destination, id=id, ack=ack, headers=said)  # type: ignore[arg-type]
            self._subscriptions[key] = _Subscribed(destination, ack, headers, handle, epoch)  # type: ignore[arg-type]
            if in_turn:
                self._in_turn.add(handle.id)
        return None

    def _outdated(self, key: str, destination: str, ack: AckMode, headers: Headers, epoch: int) -> list[str]:
        """Return the subscriptions that a new one replaces: the one with its id, and an equal one of an old connection.

        Programs that restore their subscriptions themselves may use new ids.
        """
        outdated = [key] if key in self._subscriptions else []
        for name, each in self._subscriptions.items():
            if name != key and each.epoch < epoch and each.is_as(destination, ack, headers):
                return [*outdated, name]
        return outdated

    def _unsubscribe(self, headers: Headers) -> None:
        id, destination = headers.pop("id", None), headers.pop("destination", None)
        key = id or destination or ""
        with self._lock:
            if key not in self._subscriptions:
                # In STOMP 1.0, a program may subscribe with an id, and unsubscribe from the destination.
                same = (name for name, each in self._subscriptions.items() if each.destination == destination)
                key = next(same, key)
            known = self._subscriptions.pop(key, None)
        if known is None:
            log.info("UNSUBSCRIBE from %s is not sent: there is no such subscription", key)
            return
        known.handle.unsubscribe(headers=headers)
        self._unsettled().forget(known.handle.id)

    def ended(self) -> None:
        """Forget all state, because the program has ended the connection."""
        with self._lock:
            self._subscriptions.clear()
            self._in_turn.clear()
            self._transactions.clear()
        self._asked.clear()

    # Transactions

    def _begin(self, headers: Headers) -> None:
        name = headers.pop("transaction")
        transaction = self._connection.transaction(headers, id=name).begin()
        with self._lock:
            still_open = {
                each: begun for each, begun in self._transactions.items() if begun[0].state is TransactionState.OPEN
            }
            self._transactions = {**still_open, name: (transaction, [])}

    def _transaction(self, command: str, name: str) -> tuple[Transaction, list[Message]]:
        begun = self._transactions.get(name)
        if begun is None:
            raise StompException(f"{command}: there is no open transaction {name!r}")
        return begun

    def _commit(self, headers: Headers) -> None:
        transaction, _taken = self._over("COMMIT", headers)
        while True:
            try:
                transaction.commit(headers=headers)
                return
            except TimedOut as late:
                if not self._connection.is_connected:
                    raise
                if transaction.state is not TransactionState.OPEN:
                    # stomp.py does not wait for the broker. If this raised, the program would repeat a transaction that
                    # the broker may still commit.
                    log.warning("%s", late)
                    return

    def _abort(self, headers: Headers) -> None:
        # Programs abort in an ``except`` block, and an exception here would hide the one that they handle. A
        # transaction that was lost with its connection is aborted anyway.
        try:
            transaction, taken = self._over("ABORT", headers)
            transaction.abort(headers)
        except (StompException, StompError) as error:
            log.warning("%s", error)
            return
        self._unsettled().put_back(taken)

    def _over(self, command: str, headers: Headers) -> tuple[Transaction, list[Message]]:
        name = headers.pop("transaction")
        begun = self._transaction(command, name)
        with self._lock:
            self._transactions.pop(name, None)
        return begun


def written(headers: dict[str, Any], is_escaped: bool = False) -> Headers:
    """Return the headers as text. None is left out, and only the first of several values is used, as in STOMP 1.2.

    Args:
        headers: the headers of a frame of the program.
        is_escaped: whether the values are escaped. Escaped values are unescaped here, because the session escapes them
            for the agreed version.
    """
    text: Headers = {}
    for key, value in headers.items():
        if type(value) is not str:
            if type(value) is tuple and value:
                value = value[0]
            if value is None:
                continue
            value = str(value)
        if not value.isascii():
            # As stomp.py encodes frames: a surrogate, as in the name of a file, becomes a question mark.
            value = value.encode(errors="replace").decode()
        text[key] = unescaped(value) if is_escaped and "\\" in value else value
    return text
