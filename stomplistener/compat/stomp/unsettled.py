"""The messages that were given to listeners and not acknowledged yet, found again by what a program calls them."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from stomplistener.message import Message
from stomplistener.protocol import Frame

_NEEDED = ("ack", "message-id", "subscription")


class Unsettled:
    """So an ``ack(id)`` gets the header that the version in use wants, and goes to no other connection than its own.

    Thread-safe. It holds what the broker holds, too: messages on their way to be acknowledged, without their bodies.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[str, dict[str, Message]] = {}

    def add(self, message: Message, headers: Mapping[str, str]) -> None:
        """Note a message that has just come.

        Args:
            message: its frame is replaced by one that has no more than an acknowledgement needs.
            headers: of that frame.
        """
        if message.subscription is not None and message.subscription.ack == "auto":
            return
        message.frame = Frame("MESSAGE", {key: headers[key] for key in _NEEDED if key in headers})
        name = headers.get("ack") or headers.get("message-id", "")
        with self._lock:
            self._lines.setdefault(headers.get("subscription", ""), {})[name] = message

    def take(self, id: str, subscription: str | None) -> list[Message]:
        """The messages that settling this one settles, itself last; empty if it is unknown or of an older connection.

        Args:
            id: the ``ack`` header of the message, or its message-id.
            subscription: of which subscription; None for any.
        """
        with self._lock:
            lines = self._lines.values() if subscription is None else (self._lines.get(subscription, {}),)
            for line in lines:
                if id in line:
                    return _cut(line, id)
            for line in lines:
                for name, message in line.items():
                    if message.id == id:
                        return _cut(line, name)
        return []

    def put_back(self, messages: list[Message]) -> None:
        """Undo ``take``: their transaction was aborted."""
        with self._lock:
            for message in messages:
                name = message.headers.get("subscription", "")
                self._lines[name] = {_name(message): message, **self._lines.get(name, {})}

    def forget(self, subscription: str | None = None) -> None:
        """Drop what a subscription brought, or everything: its end makes acknowledgements void."""
        with self._lock:
            if subscription is None:
                self._lines.clear()
            else:
                self._lines.pop(subscription, None)


def _name(message: Message) -> str:
    return message.headers.get("ack", message.id)


def _cut(line: dict[str, Message], name: str) -> list[Message]:
    """Take a message out of its line; in ack mode ``client`` those before it, too."""
    subscription = line[name].subscription
    if subscription is None or subscription.ack != "client":
        return [line.pop(name)]
    names = list(line)
    return [line.pop(each) for each in names[: names.index(name) + 1]]
