"""Count how often a message was delivered, by the broker's own counter if it has one, otherwise by ours.

Our counter knows the messages of this connection. The counter identifies a message by a key that stays the same in each
delivery. The key is the sender's outbox-id or, without one, the broker's message-id. RabbitMQ gives a new message-id
each time: there the key is a digest of the message.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from stomplistener.brokers import Profile
from stomplistener.message import DELIVERY_COUNTS, Message

MOST_REMEMBERED = 10_000
"""The number of messages whose deliveries are counted; the one that was counted longest ago is forgotten first."""

_CHANGING = frozenset(("message-id", "ack", "subscription", "redelivered")) | DELIVERY_COUNTS


class Deliveries:
    """Counts the deliveries of the messages of one connection, across all reconnects.

    Not thread-safe: the caller holds the lock of the connection.
    """

    def __init__(self) -> None:
        self._counts: OrderedDict[str, int] = OrderedDict()

    def number(self, message: Message, profile: Profile) -> int:
        """Return the number of this delivery, from 1. A retry without a new delivery is not counted."""
        if message.attempts or message.postponed:
            return 0
        told = profile.delivery_number(message.headers)
        if told is not None:
            return told
        key = message_key(message, named=not profile.renames_redelivered)
        number = self._counts.pop(key, 0) + 1
        self._counts[key] = number
        if len(self._counts) > MOST_REMEMBERED:
            self._counts.popitem(last=False)
        return number


def message_key(message: Message, *, named: bool) -> str:
    """Return a key that stays the same when a broker delivers a message again.

    Args:
        named: whether the message-id stays the same.
    """
    headers = message.headers
    if "outbox-id" in headers:
        return f"outbox:{headers['outbox-id']}"
    if named and "message-id" in headers:
        return f"id:{headers['message-id']}"
    digest = hashlib.sha256(message.body)
    for name, value in sorted(headers.items()):
        if name not in _CHANGING:
            digest.update(f"\n{name}:{value}".encode(errors="surrogateescape"))
    return f"digest:{digest.hexdigest()}"
