"""Run the lines of ``stomplistener shell``."""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Callable
from pathlib import Path

from stomplistener import Connection, Frame, Listener, Message, StompError, Subscription, TimedOut, Transaction
from stomplistener._util.deadline import Deadline
from stomplistener._util.pieces import in_pieces
from stomplistener.cli import forms
from stomplistener.cli.target import Target

_HEADER = re.compile(r"-H\s+([^\s:]+):(\S*)\s*")
_ACKS = ("auto", "client", "client-individual")
_NOT_SETTLED = 1000
"""The number of messages that are remembered for ``ack`` and ``nack``."""


class Mistake(Exception):
    """The line is not valid. The text of the error says what to write instead."""


class Interpreter(Listener):
    """Runs lines on one connection. One thread passes lines, and another one delivers messages.

    A method ``do_name`` is the command ``name``. The first line of its docstring is its usage.

    Args:
        write: a thread-safe function that shows a text.
    """

    def __init__(self, connection: Connection, target: Target, write: Callable[[str], object]) -> None:
        self.target = target
        self.write = write
        self.destinations: set[str] = set()
        self._connection = connection
        self._subscriptions: dict[str, Subscription] = {}
        self._transaction: Transaction | None = None
        self._changed = threading.Condition()
        self._unsettled: dict[str, Message] = {}
        self._come = 0

    @property
    def names(self) -> list[str]:
        """The commands, in alphabetical order."""
        return sorted(name.removeprefix("do_") for name in dir(self) if name.startswith("do_"))

    def do(self, line: str) -> bool:
        """Run a line.

        Returns:
            False after ``quit``.

        Raises:
            Mistake: the line is not valid.
            StompError: the command failed.
        """
        name, _, rest = line.strip().partition(" ")
        if not name or name.startswith("#"):
            return True
        if name in ("quit", "exit"):
            return False
        command = getattr(self, f"do_{name}", None)
        if command is None:
            raise Mistake(f"no command {name!r}; there are {', '.join(self.names)}")
        try:
            command(rest.strip())
        except (ValueError, OSError) as error:
            if isinstance(error, StompError):
                raise
            raise Mistake(str(error)) from None
        return True

    # Hooks of the connection.

    def on_message(self, message: Message) -> None:
        """Show the message, and remember it until it is settled."""
        self.write(forms.pretty(message))
        with self._changed:
            if message.subscription is not None and message.subscription.ack != "auto":
                self._unsettled[message.id] = message
                if len(self._unsettled) > _NOT_SETTLED:
                    del self._unsettled[next(iter(self._unsettled))]
            self._come += 1
            self._changed.notify_all()

    def on_error(self, frame: Frame) -> None:
        """Show an ERROR frame of the broker."""
        self.write(f"the broker: {frame.headers.get('message', '')} {frame.body.decode(errors='replace')}".rstrip())

    def on_reconnecting(self, attempt: int, delay: float) -> None:  # noqa: ARG002 (the hook's signature)
        """Report each connection loss once."""
        if attempt == 1:
            self.write("connection lost; connecting again …")

    # Commands.

    def do_subscribe(self, text: str) -> None:
        """subscribe [-H name:value] DESTINATION [auto|client|client-individual]"""
        headers, text = _headers(text)
        destination, ack = _words(text, self.do_subscribe, 1, 2)
        ack = ack or "auto"
        if ack not in _ACKS:
            raise Mistake(f"the ack mode is one of {', '.join(_ACKS)}, not {ack!r}")
        if destination in self._subscriptions:
            raise Mistake(f"{destination} is subscribed to already")
        subscription = self._connection.subscribe(destination, ack=ack, headers=headers, confirm=True)  # type: ignore[arg-type]
        self._subscriptions[destination] = subscription
        self.destinations.add(destination)

    def do_unsubscribe(self, text: str) -> None:
        """unsubscribe DESTINATION"""
        (destination,) = _words(text, self.do_unsubscribe, 1, 1)
        if destination not in self._subscriptions:
            raise Mistake(f"there is no subscription to {destination}")
        self._subscriptions.pop(destination).unsubscribe(confirm=True)

    def do_send(self, text: str) -> None:
        """send [-H name:value] DESTINATION TEXT"""
        headers, text = _headers(text)
        destination, _, body = text.partition(" ")
        if not destination:
            raise Mistake(_usage(self.do_send))
        self._send(destination, body, headers)

    def do_sendfile(self, text: str) -> None:
        """sendfile [-H name:value] DESTINATION FILE"""
        headers, text = _headers(text)
        destination, file = _words(text, self.do_sendfile, 2, 2)
        self._send(destination, Path(file).expanduser().read_bytes(), headers)

    def do_request(self, text: str) -> None:
        """request [-H name:value] DESTINATION TEXT: send, and show the answer"""
        headers, text = _headers(text)
        destination, _, body = text.partition(" ")
        if not destination:
            raise Mistake(_usage(self.do_request))
        answer = self._connection.request(destination, body, headers=headers, timeout=self.target.timeout)
        self.write(forms.pretty(answer))

    def do_browse(self, text: str) -> None:
        """browse QUEUE [COUNT]: show waiting messages, remove none"""
        queue, count = _words(text, self.do_browse, 1, 2)
        self.destinations.add(queue)
        for message in self._connection.browse(queue, limit=int(count) if count else None, timeout=self.target.timeout):
            self.write(forms.pretty(message))

    def do_ack(self, text: str) -> None:
        """ack MESSAGE-ID"""
        self._taken(text, self.do_ack).ack(self._transaction)

    def do_nack(self, text: str) -> None:
        """nack MESSAGE-ID"""
        self._taken(text, self.do_nack).nack(self._transaction)

    def do_begin(self, text: str) -> None:
        """begin: start a transaction of all later sends and acks"""
        _words(text, self.do_begin, 0, 0)
        if self._transaction is not None:
            raise Mistake("a transaction is open: commit or abort it first")
        self._transaction = self._connection.transaction().begin()

    def do_commit(self, text: str) -> None:
        """commit"""
        _words(text, self.do_commit, 0, 0)
        self._end_transaction().commit()

    def do_abort(self, text: str) -> None:
        """abort"""
        _words(text, self.do_abort, 0, 0)
        self._end_transaction().abort()

    def do_wait(self, text: str) -> None:
        """wait [COUNT]: wait until COUNT messages have arrived since the last wait"""
        (count,) = _words(text, self.do_wait, 0, 1)
        deadline = Deadline(self.target.timeout)
        with self._changed:
            wanted = int(count or 1)
            while self._come < wanted:
                if not in_pieces(self._changed.wait, deadline.remaining()):
                    raise TimedOut(
                        f"wait: expected {wanted:,} messages within {deadline.timeout:g} s, got {self._come:,}"
                    )
            self._come -= wanted

    def do_stats(self, text: str) -> None:
        """stats: show the statistics of the connection"""
        _words(text, self.do_stats, 0, 0)
        session, statistics = self._connection.session, self._connection.statistics()
        self.write(f"{session.server or 'a broker without a name'}, STOMP {session.version}, session {session.id}")
        for name in ("messages_received", "messages_sent", "pending", "unconfirmed", "reconnects", "listener_errors"):
            self.write(f"  {name.replace('_', ' '):18} {getattr(statistics, name):,}")

    def do_help(self, text: str) -> None:
        """help"""
        _words(text, self.do_help, 0, 0)
        for name in self.names:
            self.write(f"  {_usage(getattr(self, f'do_{name}'))}")
        self.write("  quit")

    # Helpers.

    def _send(self, destination: str, body: str | bytes, headers: dict[str, str]) -> None:
        self.destinations.add(destination)
        if self._transaction is not None:
            self._transaction.send(destination, body, headers)
        else:
            self._connection.send(destination, body, headers, confirm=True)

    def _taken(self, text: str, command: Callable[[str], None]) -> Message:
        (id,) = _words(text, command, 1, 1)
        with self._changed:
            message = self._unsettled.pop(id, None)
        if message is None:
            raise Mistake(f"no message {id!r} is waiting to be settled")
        return message

    def _end_transaction(self) -> Transaction:
        transaction, self._transaction = self._transaction, None
        if transaction is None:
            raise Mistake("no transaction is open: begin one")
        return transaction


def _usage(command: Callable[[str], None]) -> str:
    return (inspect.getdoc(command) or "").partition("\n")[0]


def _words(text: str, command: Callable[[str], None], least: int, most: int) -> list[str]:
    """Return the words of a line, padded with empty strings."""
    words = text.split()
    if not least <= len(words) <= most:
        raise Mistake(_usage(command))
    return words + [""] * (most - len(words))


def _headers(text: str) -> tuple[dict[str, str], str]:
    """Return the headers at the beginning of a text, and the rest of the text."""
    headers: dict[str, str] = {}
    while match := _HEADER.match(text):
        headers.setdefault(match[1], match[2])
        text = text[match.end() :]
    return headers, text
