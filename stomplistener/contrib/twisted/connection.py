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
        timeout: seconds that a call waits when you pass no ``timeout`` to it; None waits forever.
        reactor: the reactor; None takes the global one.
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
        """The underlying connection, whose dispatcher thread calls its listeners.

        Use it for state and statistics, too.
        """
        return self._loop.connection

    def connect(self, timeout: float | None = DEFAULT) -> Deferred[None]:
        """Connect; errors as for :meth:`stomplistener.Connection.connect`. Cancelling ends the attempt.

        Args:
            timeout: seconds for all attempts together.
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
        """End gracefully: running listeners may end and acknowledge. After ``timeout``, the connection ends at once.

        Args:
            timeout: seconds for the listeners and the broker's answer together.
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
        """Send a message: see :meth:`stomplistener.Connection.send`.

        With ``confirm``, the Deferred fires with the receipt.

        Without a connection, the call waits. After cancelling, the message is not sent or resent. A message that was
        already written may arrive.
        """
        return Deferred.fromCoroutine(self._loop.send(destination, body, headers, confirm=confirm, **options))

    def request(self, destination: str, body: Body = b"", **options: Any) -> Deferred[Message]:
        """Send a message and wait for its reply: see :meth:`stomplistener.Connection.request`."""
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
        """Subscribe, and call the listener in the reactor thread.

        The Deferred fires when the subscription is confirmed.

        Args:
            destination: the destination, in the syntax of the broker.
            listener: takes a message. The message is acknowledged when the listener returns, or when the Deferred that
                it returned fires. The message is rejected when the listener raises or the Deferred fails.
            concurrency: the number of messages that the listener handles at a time. Further messages wait until a
                Deferred fires.
            ack: the ack mode. With ``auto``, messages are not settled.
            options: as for :meth:`stomplistener.Connection.consume`.
        """
        messages = LoopMessages(self._loop, destination, ack=ack, **options)
        subscription = TwistedSubscription(self._loop, messages, listener, self._subscriptions)
        return Deferred.fromCoroutine(subscription.begin(concurrency))

    def transaction(self, function: Callable[[LoopTransaction], Awaitable[object]]) -> Deferred[None]:
        """Call a coroutine function with a transaction. Commit when the function returns, abort when it raises."""
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
