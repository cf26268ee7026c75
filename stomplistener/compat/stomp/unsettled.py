"""The messages that were given to listeners and not acknowledged yet, found again by what a program calls them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from stomplistener.message import Message
from stomplistener.protocol import Frame


class Unsettled:
    """So an ``ack(id)`` gets the header that the version in use wants, and goes to no other connection than its own.

    Thread-safe. It holds what the broker holds, too: messages on their way to be acknowledged, without their bodies.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[str, dict[str, Message]] = {}

    def add(self, message: Message) -> None:
        """Note a message that has just come."""
        if message.subscription is not None and message.subscription.ack == "auto":
            return
        message.frame = Frame(message.frame.command, message.headers)
        with self._lock:
            self._lines.setdefault(message.headers.get("subscription", ""), {})[_name(message)] = message

    def take(self, id: str, subscription: str | None) -> list[Message]:
        """The messages that settling this one settles, itself last; empty if it is unknown or of an older connection.

        Args:
            id: the ``ack`` header of the message, or its message-id.
            subscription: of which subscription; None for any.
        """
        with self._lock:
            for line in self._candidates(subscription):
                name = id if id in line else next((each for each, message in line.items() if message.id == id), None)
                if name is not None:
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

    def _candidates(self, subscription: str | None) -> Iterator[dict[str, Message]]:
        if subscription is None:
            yield from self._lines.values()
        elif subscription in self._lines:
            yield self._lines[subscription]


def _name(message: Message) -> str:
    return message.headers.get("ack", message.id)


def _cut(line: dict[str, Message], name: str) -> list[Message]:
    """Take a message out of its line; in ack mode ``client`` those before it, too."""
    message = line[name]
    names = [name]
    if message.subscription is not None and message.subscription.ack == "client":
        names = list(line)[: list(line).index(name) + 1]
    return [line.pop(each) for each in names]
