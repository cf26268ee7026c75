"""The connection for event loops: its calls are coroutines."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, TypeVar

from stomplistener._util.deadline import Deadline
from stomplistener._util.loggers import library_logger
from stomplistener.connection import Body, Connection, StrHeaders
from stomplistener.contrib.loops.framework import Gate, Loop, in_thread
from stomplistener.errors import StompError, TimedOut
from stomplistener.listener import Listener
from stomplistener.message import Message
from stomplistener.options import DEFAULT
from stomplistener.states import SESSION_OPEN, ConnectionState
from stomplistener.transaction import Transaction

T = TypeVar("T")

_log = library_logger(__name__)


class LoopConnection:
    """A connection whose calls are coroutines. Call them only in the thread of the loop.

    Args:
        loop: the event loop of the framework.
        uri: as for :class:`stomplistener.Connection`; give its other arguments by name.
        timeout: seconds that a call waits when you pass no ``timeout`` to it; None waits forever.

    Attributes:
        connection: the underlying threaded connection, for state, statistics and listeners. The dispatcher thread calls
            these listeners.
    """

    def __init__(self, loop: Loop, uri: str, *, timeout: float | None = 30.0, **options: Any) -> None:
        self.connection = Connection(uri, timeout=timeout, **options)
        self.connection.add_listener(_Pulse(self))
        self.loop = loop
        self._timeout = timeout
        self._turn = loop.turn()
        self._ready = Gate(loop)
        self._getting_ready = False

    # Connecting and closing

    async def connect(self, timeout: float | None = DEFAULT) -> None:
        """Connect; errors as for :meth:`stomplistener.Connection.connect`. Cancelling ends the attempt."""
        await self._or_close(partial(self.connection.connect, timeout))

    async def disconnect(self, timeout: float | None = DEFAULT) -> None:
        """End gracefully, as :meth:`stomplistener.Connection.disconnect` does. Cancelling ends the connection at once.

        Messages that handlers have not settled are delivered again. So call ``stop`` first, and let the handlers end.
        """
        await self._or_close(partial(self.connection.disconnect, timeout))

    async def close(self) -> None:
        """End at once."""
        await self.blocking(self.connection.close)

    async def _or_close(self, function: Callable[[], object]) -> None:
        try:
            await self.blocking(function)
        except BaseException:
            await self.close()
            raise

    # Sending

    async def send(
        self,
        destination: str,
        body: Body = b"",
        headers: StrHeaders = None,
        *,
        confirm: bool = False,
        timeout: float | None = DEFAULT,
        **options: Any,
    ) -> None:
        """Send a message, in the order of the calls.

        The call waits while there is no connection or the broker does not read.

        Arguments and errors are those of :meth:`stomplistener.Connection.send`. With ``confirm``, the message is resent
        after every connection loss until the receipt arrives. After cancelling, the message is not sent or resent. A
        message that was already written may arrive.
        """
        deadline = self.deadline(timeout)
        send = self.connection.send_async if confirm else self.connection.send
        await self._within(deadline, self._turn.acquire(), f"SEND to {destination} was not written: earlier sends wait")
        try:
            said = await self.said(partial(send, destination, body, headers, **options), deadline)
        finally:
            self._turn.release()
        if isinstance(said, Future):
            await self.result(said, deadline, f"SEND to {destination} got no receipt, but may have arrived")

    async def request(
        self, destination: str, body: Body = b"", *, timeout: float | None = DEFAULT, **options: Any
    ) -> Message:
        """Send a message and wait for its reply: see :meth:`stomplistener.Connection.request`."""
        deadline = self.deadline(timeout)
        await self.said(self.connection.wait_ready, deadline)
        ask = partial(self.connection.request_async, destination, body, timeout=deadline.remaining(), **options)
        answer = await self.blocking(ask, undo=lambda late: late.cancel())
        return await self.result(answer, deadline, f"request to {destination} was sent, but got no reply")

    async def reply(self, message: Message, body: Body = b"", headers: StrHeaders = None) -> None:
        """Answer a request: see :meth:`stomplistener.Connection.reply`."""
        await self.said(partial(self.connection.reply, message, body, headers), self.deadline())

    # Settling

    async def ack(self, message: Message, transaction: Transaction | None = None) -> bool:
        """Acknowledge a message: see :meth:`stomplistener.Message.ack`.

        The call waits only if the broker does not read.
        """
        return await self._settled(message, partial(message.ack, transaction, timeout=0))

    async def nack(self, message: Message, transaction: Transaction | None = None) -> bool:
        """Reject a message: see :meth:`stomplistener.Message.nack`."""
        return await self._settled(message, partial(message.nack, transaction, timeout=0))

    async def _settled(self, message: Message, settle: Callable[[], bool]) -> bool:
        while not settle():
            session = self.connection.session
            if message.settled or message.epoch != session.epoch or session.state not in SESSION_OPEN:
                return False
            # The broker does not read, so nothing was sent. Try again when the socket accepts data.
            await self.blocking(self.connection.flush)
        return True

    # For messages and transactions

    def deadline(self, timeout: float | None = DEFAULT) -> Deadline:
        return Deadline(self._timeout if timeout is DEFAULT else timeout)

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Let the loop call a function; callable from any thread. If the loop is closed, close the connection."""
        try:
            self.loop.post(function, *args)
        except RuntimeError:
            if self.connection.state is not ConnectionState.CLOSED:
                in_thread(self.connection.close)

    async def said(self, say: Callable[..., T], deadline: Deadline) -> T:
        """Call ``say(timeout=0)`` until it does not have to wait, and return its result."""
        while True:
            try:
                return say(timeout=0)
            except TimedOut as not_now:
                if deadline.expired:
                    raise
                why = str(not_now)
            if not self._getting_ready:
                self._getting_ready = True
                in_thread(partial(self.connection.wait_ready, None)).add_done_callback(
                    lambda _done: self.post(self._may_be_ready)
                )
            await self._within(deadline, self._ready.wait(), why)

    def _may_be_ready(self) -> None:
        self._getting_ready = False
        self._ready.open()

    async def blocking(self, function: Callable[[], T], undo: Callable[[T], object] | None = None) -> T:
        """Run a blocking function in a thread.

        If the caller is cancelled, call ``undo`` with the result of the function.
        """
        future = in_thread(function)
        try:
            return await self.result(future, Deadline(None), "")
        except BaseException:
            if undo is not None:
                future.add_done_callback(lambda done: None if done.exception() else undo(done.result()))
            raise

    async def result(self, future: Future[T], deadline: Deadline, what: str) -> T:
        """Return the result of a future of the library. Cancelling the caller cancels the future."""
        waiter = self.loop.waiter()
        future.add_done_callback(lambda _done: self.post(self.loop.fire, waiter))
        awaited: AbstractContextManager[None] = getattr(future, "awaited", nullcontext)()
        try:
            with awaited:
                await self._within(deadline, waiter, what)
        except BaseException:
            future.cancel()
            raise
        return future.result()

    async def _within(self, deadline: Deadline, awaitable: Awaitable[T], what: str) -> T:
        try:
            return await self.loop.within(deadline.remaining(), awaitable)
        except TimeoutError as late:
            if isinstance(late, StompError):
                raise
            raise TimedOut(f"{what}; waited {deadline.timeout} s") from None


class _Pulse(Listener):
    """Checks at each heartbeat whether the loop is closed, and if so ends the connection."""

    def __init__(self, connection: LoopConnection) -> None:
        self._connection = connection

    def on_heartbeat(self) -> None:
        self._connection.post(lambda: None)
