"""A transaction for event loops."""

from __future__ import annotations

from functools import partial
from typing import Any

from stomplistener.connection import Body, StrHeaders
from stomplistener.contrib.loops.connection import LoopConnection
from stomplistener.message import Message


class LoopTransaction:
    """A transaction: see :class:`stomplistener.Transaction`."""

    def __init__(self, connection: LoopConnection, headers: StrHeaders = None) -> None:
        self._connection = connection
        self._transaction = connection.connection.transaction(headers)

    async def begin(self) -> None:
        """Send BEGIN; waits for a connection."""
        await self._connection.said(self._transaction.begin, self._connection.deadline())

    async def send(self, destination: str, body: Body = b"", headers: StrHeaders = None, **options: Any) -> None:
        """Send a message as part of the transaction."""
        send = partial(self._transaction.send, destination, body, headers, **options)
        await self._connection.said(send, self._connection.deadline())

    async def ack(self, message: Message) -> bool:
        """Acknowledge a message when the transaction commits."""
        return await self._connection.ack(message, self._transaction)

    async def nack(self, message: Message) -> bool:
        """Reject a message when the transaction commits."""
        return await self._connection.nack(message, self._transaction)

    async def commit(self) -> None:
        """Send COMMIT and wait for the receipt. Raises as :meth:`stomplistener.Transaction.commit`."""
        deadline, what = self._connection.deadline(), f"COMMIT of transaction {self._transaction.id} got no receipt"
        answer = await self._connection.said(self._transaction.commit_async, deadline)
        await self._connection.result(answer, deadline, what)

    async def abort(self) -> None:
        """Send ABORT."""
        await self._connection.blocking(self._transaction.abort)
