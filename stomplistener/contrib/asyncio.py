"""The client for asyncio, built on the threaded connection.

::

    async with AsyncConnection("tcp://localhost:61613") as connection:
        await connection.send("/queue/orders", "pizza", confirm=True)
        async with connection.consume("/queue/orders") as messages:
            async for message in messages:
                print(message.text)
                await connection.ack(message)

Use all attributes and methods except ``connection`` only in the thread of the event loop in which you create the
object.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from stomplistener.connection import StrHeaders
from stomplistener.contrib.loops import LoopConnection, LoopMessages, LoopTransaction, Turn
from stomplistener.message import Message
from stomplistener.options import DEFAULT

__all__ = ["AsyncConnection", "AsyncMessages", "AsyncTransaction"]

T = TypeVar("T")


class _EventLoop:
    """The asyncio event loop, as an implementation of ``loops.Loop``."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def post(self, function: Callable[..., object], *args: object) -> None:
        self._loop.call_soon_threadsafe(function, *args)

    def waiter(self) -> asyncio.Future[None]:
        return self._loop.create_future()

    def fire(self, waiter: asyncio.Future[None]) -> None:
        if not waiter.done():
            waiter.set_result(None)

    async def within(self, seconds: float | None, awaitable: Awaitable[T]) -> T:
        async with asyncio.timeout(seconds):
            return await awaitable

    def turn(self) -> Turn:
        return asyncio.Lock()


class AsyncConnection(LoopConnection):
    """A connection for ``async with``: connects, and disconnects gracefully. Create the object in a coroutine.

    Args:
        uri: as for :class:`stomplistener.Connection`; give its other arguments by name.
        timeout: seconds that a call waits when you pass no ``timeout`` to it; None waits forever. ``asyncio.timeout``
            works, too.
    """

    def __init__(self, uri: str, *, timeout: float | None = 30.0, **options: Any) -> None:
        super().__init__(_EventLoop(), uri, timeout=timeout, **options)

    def consume(
        self, destination: str, *, ack: str = "client-individual", headers: StrHeaders = None, **options: Any
    ) -> AsyncMessages:
        """Return messages for ``async with``, which subscribes; see :meth:`stomplistener.Connection.consume`."""
        return AsyncMessages(self, destination, ack=ack, headers=headers, **options)

    def transaction(self, headers: StrHeaders = None) -> AsyncTransaction:
        """Return a transaction for ``async with``: it commits at the end, or aborts on an exception."""
        return AsyncTransaction(self, headers)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.disconnect()


class AsyncMessages(LoopMessages):
    """The messages of one subscription, for ``async with`` and ``async for``; several tasks may share them.

    The iteration continues after a reconnect, and stops after ``stop()`` or when the connection is closed and will not
    reconnect. The broker then delivers unacknowledged messages to other consumers.
    """

    async def handle(self, handler: Callable[[Message], Awaitable[object]], concurrency: int = 1) -> None:
        """Pass each message to a coroutine function, until ``stop()``. Handlers that are running then finish.

        Args:
            handler: the coroutine function. The message is acknowledged when the handler returns, rejected when the
                handler raises, and delivered again when the handler is cancelled.
            concurrency: how many handlers run at a time. With more than one, messages are handled out of order.
        """
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(self.work_off(handler))

    async def __aenter__(self) -> Self:
        await self.subscribe(DEFAULT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.unsubscribe()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        if (message := await self.receive()) is None:
            raise StopAsyncIteration
        return message


class AsyncTransaction(LoopTransaction):
    """A transaction for ``async with``: see :class:`stomplistener.Transaction`."""

    async def __aenter__(self) -> Self:
        await self.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.commit()
        else:
            await self.abort()
