"""The connection for Twisted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred

from stomplistener.connection import Body, Connection, StrHeaders
from stomplistener.contrib.loops import LoopConnection, LoopMessages, LoopTransaction
from stomplistener.contrib.twisted.reactor import Reactor
from stomplistener.contrib.twisted.subscription import TwistedSubscription
from stomplistener.message import Message
from stomplistener.options import DEFAULT


class TwistedConnection:
    """A connection whose calls return Deferreds, which can be cancelled.

    Args:
        uri: as for :class:`stomplistener.Connection`; give its other arguments by name.
        timeout: seconds that a call without a ``timeout`` of its own waits; None waits forever.
        reactor: the global one if None.
    """

    def __init__(self, uri: str, *, timeout: float | None = 30.0, reactor: Any = None, **options: Any) -> None:
        if reactor is None:
            from twisted.internet import reactor
        self._reactor = reactor
        self._loop = LoopConnection(Reactor(reactor), uri, timeout=timeout, **options)
        self._subscriptions: set[TwistedSubscription] = set()
        self._trigger: Any = None

    @property
    def connection(self) -> Connection:
        """The underlying connection, for state, statistics and listeners; its dispatcher thread calls them."""
        return self._loop.connection

    def connect(self, timeout: float | None = DEFAULT) -> Deferred[None]:
        """Connect; errors as for :meth:`stomplistener.Connection.connect`. Cancelling ends the attempt.

        Args:
            timeout: seconds to wait for all attempts together.
        """
        return Deferred.fromCoroutine(self._connect(timeout))

    async def _connect(self, timeout: float | None) -> None:
        if self._trigger is None:
            self._trigger = self._reactor.addSystemEventTrigger("before", "shutdown", self._shut_down)
        try:
            await self._loop.connect(timeout)
        except BaseException:
            self._forget_shutdown()
            raise

    def disconnect(self, timeout: float | None = DEFAULT) -> Deferred[None]:
        """End gracefully: running listeners may end and acknowledge; everything ends when the time is over.

        Args:
            timeout: seconds for all of it.
        """
        self._forget_shutdown()
        return Deferred.fromCoroutine(self._disconnect(timeout))

    async def _disconnect(self, timeout: float | None) -> None:
        deadline = self._loop.deadline(timeout)
        for subscription in tuple(self._subscriptions):
            await subscription.finish(deadline)
        await self._loop.disconnect(deadline.remaining())

    def close(self) -> Deferred[None]:
        """End at once."""
        self._forget_shutdown()
        return Deferred.fromCoroutine(self._loop.close())

    def _shut_down(self) -> Deferred[None]:
        self._trigger = None
        return self.disconnect()

    def _forget_shutdown(self) -> None:
        trigger, self._trigger = self._trigger, None
        if trigger is not None:
            self._reactor.removeSystemEventTrigger(trigger)

    def send(
        self, destination: str, body: Body = b"", headers: StrHeaders = None, *, confirm: bool = False, **options: Any
    ) -> Deferred[None]:
        """Send a message: see :meth:`stomplistener.Connection.send`. With ``confirm`` fires with the receipt.

        Without a connection the call waits. After cancelling, the message is not sent or resent; if it was written
        already, it may arrive.
        """
        return Deferred.fromCoroutine(self._loop.send(destination, body, headers, confirm=confirm, **options))

    def request(self, destination: str, body: Body = b"", **options: Any) -> Deferred[Message]:
        """Send a message and wait for the answer to it: see :meth:`stomplistener.Connection.request`."""
        return Deferred.fromCoroutine(self._loop.request(destination, body, **options))

    def reply(self, message: Message, body: Body = b"", headers: StrHeaders = None) -> Deferred[None]:
        """Answer a request: see :meth:`stomplistener.Connection.reply`."""
        return Deferred.fromCoroutine(self._loop.reply(message, body, headers))

    def subscribe(
        self,
        destination: str,
        listener: Callable[[Message], object],
        *,
        concurrency: int = 1,
        ack: str = "client-individual",
        **options: Any,
    ) -> Deferred[TwistedSubscription]:
        """Subscribe, and call the listener in the reactor thread; fires when the broker has confirmed the subscription.

        Args:
            destination: as the broker spells it.
            listener: takes a message. It is acknowledged when the listener has returned, or the Deferred that it
                returned has fired, and rejected when that failed.
            concurrency: how many messages the listener handles at a time; the next one waits for a Deferred.
            ack: ``auto`` settles nothing.
            options: as for :meth:`stomplistener.Connection.consume`.
        """
        messages = LoopMessages(self._loop, destination, ack=ack, **options)
        subscription = TwistedSubscription(self._loop, messages, listener, self._subscriptions)
        return Deferred.fromCoroutine(subscription.begin(concurrency))

    def transaction(self, function: Callable[[LoopTransaction], Awaitable[object]]) -> Deferred[None]:
        """Call a coroutine function with a transaction, and commit when it has returned; abort when it raised."""
        return Deferred.fromCoroutine(self._transact(function))

    async def _transact(self, function: Callable[[LoopTransaction], Awaitable[object]]) -> None:
        transaction = LoopTransaction(self._loop)
        await transaction.begin()
        try:
            await function(transaction)
        except BaseException:
            await transaction.abort()
            raise
        await transaction.commit()
