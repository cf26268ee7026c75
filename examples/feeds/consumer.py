"""The durable consumer of one account, which writes every message to the disk before it acknowledges the message."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

import formats
from accounts import Account, Feed
from board import Board
from recorder import Entry, Recorder
from stomplistener import Frame, Listener, Message
from stomplistener.contrib.asyncio import AsyncConnection, AsyncMessages

BATCH = 100
"""The largest number of messages in one transaction of the database."""
PREFETCH = 500
GOODBYE = 5.0
"""Seconds to wait for the broker at the end."""
SHOWN = 5
"""The number of messages of a batch that the page shows."""
GAPS = 12
"""The number of gaps that the page shows."""


class _Watch(Listener):
    """Reports the state of the connection to the board. Threads of the connection call its hooks."""

    def __init__(self, account: Account, connection: AsyncConnection, board: Board) -> None:
        self._account, self._connection, self._board = account, connection, board

    def _set(self, state: str, detail: str = "") -> None:
        self._connection.post(self._board.set_account, self._account.name, state, detail)

    def on_connected(self, frame: Frame) -> None:
        self._set("connected", self._connection.connection.session.broker or "")

    def on_connection_lost(self, error: Exception) -> None:
        self._set("lost", str(error))

    def on_reconnecting(self, attempt: int, delay: float) -> None:
        self._set("reconnecting", f"attempt {attempt}, in {delay:.1f} s")


def entry_of(feed: Feed, message: Message, received: float) -> Entry:
    """Return the record of a message."""
    content, error = formats.read(feed.format, message.headers, message.body)
    number = _whole(message.headers.get(feed.sequence)) if feed.sequence is not None else None
    timestamp = _whole(message.headers.get("timestamp"))
    sent = timestamp / 1000 if timestamp is not None else received
    return Entry(message.id or "", received, sent, number, *content, error)


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


async def follow(account: Account, recorder: Recorder, board: Board) -> None:
    """Record the feeds of an account until it is cancelled.

    Raises:
        ConnectFailed: the broker refused the login.
        BrokerError: the broker refused a subscription.
        sqlite3.Error: the record cannot be written. The broker delivers unacknowledged messages again.
    """
    connection = AsyncConnection(
        account.uri,
        login=account.login,
        passcode=account.passcode,
        headers={"client-id": account.client_id},
        heartbeat=(15.0, 15.0),
        # Wait without a timeout, because a broker may be down for hours.
        timeout=None,
        name=account.name,
    )
    connection.connection.add_listener(_Watch(account, connection, board))
    board.set_account(account.name, "connecting", ", ".join(account.brokers))
    try:
        await connection.connect()
        async with asyncio.TaskGroup() as group:
            for feed in account.feeds:
                group.create_task(_record(connection, feed, recorder, board))
    finally:
        await connection.disconnect(GOODBYE)


async def _record(connection: AsyncConnection, feed: Feed, recorder: Recorder, board: Board) -> None:
    async with connection.consume(feed.destination, durable=feed.name, prefetch=PREFETCH) as stream:
        while batch := await _batch(stream):
            kept = asyncio.create_task(_keep(connection, batch, feed, recorder, board))
            try:
                await asyncio.shield(kept)
            except asyncio.CancelledError:
                # Acknowledge the messages of the current write before the end.
                await kept
                raise


async def _keep(
    connection: AsyncConnection, batch: Sequence[Message], feed: Feed, recorder: Recorder, board: Board
) -> None:
    received = time.time()
    entries = [entry_of(feed, message, received) for message in batch]
    recorded = await asyncio.to_thread(recorder.record, feed, entries)
    for message in batch:
        # False if the connection was lost meanwhile. The message is then delivered again, and the recorder recognizes
        # it.
        await connection.ack(message)
    latest = [_shown(feed, entry) for entry in recorded.entries[-SHOWN:]]
    count = len(recorded.entries)
    board.publish("recorded", {"feed": feed.name, "count": count, "received": received, "latest": latest})
    if recorded.gaps or recorded.filled:
        board.publish("gaps", await asyncio.to_thread(recorder.gaps, GAPS))


def _shown(feed: Feed, entry: Entry) -> dict[str, object]:
    fields = ("received", "kind", "summary", "error")
    return {"feed": feed.name, **{name: getattr(entry, name) for name in fields}}


async def _batch(stream: AsyncMessages) -> Sequence[Message]:
    """Return the next message and those that have arrived already; an empty list at the end."""
    first = await stream.receive()
    if first is None:
        return ()
    batch = [first]
    with suppress(TimeoutError):
        async with asyncio.timeout(0):
            while len(batch) < BATCH and (message := await stream.receive()) is not None:
                batch.append(message)
    return batch
