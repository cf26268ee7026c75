"""A subscription for Twisted."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.python.failure import Failure

from stomplistener._util.deadline import Deadline
from stomplistener._util.loggers import library_logger
from stomplistener.contrib.loops import Gate, LoopConnection, LoopMessages
from stomplistener.message import Message
from stomplistener.options import DEFAULT

_log = library_logger(__name__)


class TwistedSubscription:
    """A subscription whose listener is called in the reactor thread."""

    def __init__(
        self,
        connection: LoopConnection,
        messages: LoopMessages,
        listener: Callable[[Message], object],
        registry: set[TwistedSubscription],
    ) -> None:
        self._connection = connection
        self._messages = messages
        self._listener = listener
        self._registry = registry
        self._ended = Gate(connection.loop)

    async def begin(self, concurrency: int) -> TwistedSubscription:
        await self._messages.subscribe()
        self._registry.add(self)
        work = [Deferred.fromCoroutine(self._messages.work_off(self._call)) for _ in range(concurrency)]
        gatherResults(work, consumeErrors=True).addErrback(self._failed).addCallback(self._end)
        return self

    def _call(self, message: Message) -> Deferred[object]:
        return maybeDeferred(self._listener, message)

    def _failed(self, failure: Failure) -> None:
        _log.error("the subscription has ended: %s", failure.getErrorMessage())

    def _end(self, _result: object) -> None:
        self._registry.discard(self)
        self._ended.open()

    async def finish(self, deadline: Deadline) -> None:
        """Stop calling the listener, and let running calls end."""
        self._messages.stop()
        try:
            if self in self._registry:
                await self._connection.loop.within(deadline.remaining(), self._ended.wait())
        except TimeoutError:
            _log.warning("a listener did not end within %s s; the broker delivers its message again", deadline.timeout)

    def unsubscribe(self, timeout: float | None = DEFAULT) -> Deferred[None]:
        """End the subscription.

        Running listeners may end, and the broker delivers other messages to other consumers.
        """
        return Deferred.fromCoroutine(self._unsubscribe(timeout))

    async def _unsubscribe(self, timeout: float | None) -> None:
        await self.finish(self._connection.deadline(timeout))
        await self._messages.unsubscribe()
