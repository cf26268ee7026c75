"""How often a message has been delivered: by the broker's own counter where it has one, otherwise by ours.

Ours knows the messages that this connection began, by what stays the same when a broker delivers a message again: the
outbox-id of a sender, else the broker's message-id, else (RabbitMQ gives a new id each time) a digest of the message.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from stomplistener.brokers import Dialect
from stomplistener.message import DELIVERY_COUNTS, Message
from stomplistener.protocol import Frame

MOST_REMEMBERED = 10_000
"""Messages whose deliveries are counted; the one that was counted longest ago is forgotten first."""

_CHANGING = frozenset(("message-id", "ack", "subscription", "redelivered")) | DELIVERY_COUNTS


class Deliveries:
    """Counts deliveries of the messages of one connection, over all reconnects.

    Not thread-safe: the caller holds the lock of the connection.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._counts: OrderedDict[str, int] = OrderedDict()

    def number(self, message: Message, connected: Frame | None) -> int:
        """The number of this delivery, from 1. A retry without a new delivery is not counted again."""
        if message.attempts or message.postponed:
            return 0
        told = self._dialect.delivery_number(message.headers, connected)
        if told is not None:
            return told
        key = message_key(message, named=not self._dialect.renames_redelivered(connected))
        number = self._counts.pop(key, 0) + 1
        self._counts[key] = number
        if len(self._counts) > MOST_REMEMBERED:
            self._counts.popitem(last=False)
        return number


def message_key(message: Message, *, named: bool) -> str:
    """What stays the same when a broker delivers a message again.

    Args:
        named: whether the message-id does.
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
