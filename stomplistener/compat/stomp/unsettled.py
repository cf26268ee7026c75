"""The messages that listeners got and that are not acknowledged yet. A program names them by their ids."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Collection, Mapping

from stomplistener.message import Message
from stomplistener.protocol import Frame

_NEEDED = ("ack", "message-id", "subscription")


class Unsettled:
    """Finds the message for an ``ack(id)``, so that ACK has the right header and goes to the right connection.

    The object keeps each unacknowledged message, without its body; the broker keeps these messages, too. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[str, dict[str, Message]] = {}
        self._early: dict[str, set[str]] = {}

    def add(self, message: Message, headers: Mapping[str, str]) -> None:
        """Note a message that has just arrived.

        Args:
            message: the message, whose frame is replaced with one that has only the headers for an acknowledgement.
            headers: the headers of the original frame.
        """
        if message.subscription is not None and message.subscription.ack == "auto":
            return
        message.frame = Frame("MESSAGE", {key: headers[key] for key in _NEEDED if key in headers})
        name = headers.get("ack") or headers.get("message-id", "")
        with self._lock:
            self._lines.setdefault(headers.get("subscription", ""), {})[name] = message

    def take(
        self, id: str, subscription: str | None, in_turn: Collection[str] = (), waits: bool = True
    ) -> list[Message]:
        """Remove and return, in order, the messages that an ACK of this message settles on the broker.

        The list is empty if the message is unknown or from an older connection, or if it waits for its turn.

        Args:
            id: the ``ack`` header of the message, or its message-id.
            subscription: the id of its subscription; None for any.
            in_turn: subscriptions whose messages the program settles one by one, although the broker also settles all
                earlier messages. In these subscriptions, a message waits until all earlier ones are settled.
            waits: whether the message may wait for its turn. Otherwise nothing is settled before the turn of the
                message.
        """
        with self._lock:
            for key in self._lines if subscription is None else (subscription,):
                line = self._lines.get(key, {})
                name = id if id in line else _by_message_id(line, id)
                if name is not None:
                    is_in_turn = in_turn and _id(line[name]) in in_turn
                    return self._cut_in_turn(key, name, waits) if is_in_turn else _cut(line, name)
        return []

    def _cut_in_turn(self, key: str, name: str, waits: bool) -> list[Message]:
        line, early = self._lines[key], self._early.setdefault(key, set())
        if waits or name == next(iter(line)):
            early.add(name)
        settled = list(itertools.takewhile(early.__contains__, line))
        early.difference_update(settled)
        return [line.pop(each) for each in settled]

    def put_back(self, messages: list[Message]) -> None:
        """Undo ``take`` for messages whose transaction was aborted."""
        with self._lock:
            for message in messages:
                name = message.headers.get("subscription", "")
                self._lines[name] = {_name(message): message, **self._lines.get(name, {})}

    def forget(self, subscription: str | None = None) -> None:
        """Drop the messages of a subscription that has ended, or all messages: they can no longer be acknowledged."""
        with self._lock:
            for lines in (self._lines, self._early):
                if subscription is None:
                    lines.clear()
                else:
                    lines.pop(subscription, None)


def _id(message: Message) -> str | None:
    return None if message.subscription is None else message.subscription.id


def _by_message_id(line: Mapping[str, Message], id: str) -> str | None:
    return next((name for name, message in line.items() if message.id == id), None)


def _name(message: Message) -> str:
    return message.headers.get("ack", message.id)


def _cut(line: dict[str, Message], name: str) -> list[Message]:
    """Remove a message from its line and, in ack mode ``client``, all messages before it."""
    subscription = line[name].subscription
    if subscription is None or subscription.ack != "client":
        return [line.pop(name)]
    names = list(line)
    return [line.pop(each) for each in names[: names.index(name) + 1]]
