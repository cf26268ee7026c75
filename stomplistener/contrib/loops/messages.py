"""The messages of a subscription, for event loops."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from stomplistener._util.loggers import library_logger
from stomplistener.contrib.loops.connection import LoopConnection
from stomplistener.contrib.loops.framework import Gate, in_thread
from stomplistener.errors import StompError
from stomplistener.message import Message
from stomplistener.options import DEFAULT
from stomplistener.subscription import Consumer

_log = library_logger(__name__)


class LoopMessages:
    """The messages of one subscription, also after reconnects. ``options`` are those of ``Connection.consume``."""

    def __init__(self, connection: LoopConnection, destination: str, **options: Any) -> None:
        self._connection = connection
        self._destination = destination
        self._options = options
        self._arrived = Gate(connection.loop)
        self._consumer: Consumer | None = None
        self._stopped = False

    async def subscribe(self, timeout: float | None = DEFAULT) -> None:
        """Subscribe, and wait until the broker has confirmed the subscription.

        Raises as ``Subscription.wait_active``.
        """
        options = {"timeout": timeout, **self._options, "confirm": True}
        consume = partial(self._connection.connection.consume, self._destination, notify=self._told, **options)
        self._stopped = False
        self._consumer = await self._connection.blocking(consume, undo=lambda late: in_thread(late.close))

    async def unsubscribe(self) -> None:
        """End the subscription. The broker delivers messages that were not acknowledged to other consumers."""
        self.stop()
        if self._consumer is not None:
            await self._connection.blocking(self._consumer.close)

    def stop(self) -> None:
        """Return no further message, and end every wait for one. Call this method in the loop's thread."""
        self._stopped = True
        self._arrived.open()

    def _told(self) -> None:
        self._connection.post(self._arrived.open)

    async def receive(self) -> Message | None:
        """Return the next message; None after ``stop``, or when the connection is closed and will not reconnect.

        Raises:
            BrokerError: the broker refused the subscription when it was restored.
        """
        if self._consumer is None:
            raise RuntimeError(f"not subscribed to {self._destination} yet")
        while not self._stopped:
            # In this order, so that messages that arrived before the end are still returned.
            ended = self._consumer.has_ended
            message = self._consumer.receive(0)
            if message is not None or ended:
                return message
            await self._arrived.wait()
        return None

    async def work_off(self, handler: Callable[[Message], Awaitable[object]]) -> None:
        """Pass each message to a handler.

        Acknowledge the message when the handler returns, reject it when it raises.
        """
        while (message := await self.receive()) is not None:
            settle = self._connection.ack
            try:
                await handler(message)
            except Exception:
                _log.exception("the handler of %s raised on %s", self._destination, message.frame.heading)
                settle = self._connection.nack
            try:
                if message.subscription is not None and message.subscription.ack != "auto":
                    await settle(message)
            except StompError as error:
                _log.warning("could not settle %s: %s", message.frame.heading, error)
