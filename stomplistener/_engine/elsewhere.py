"""Run listeners in a thread of the application's choice: a GUI's main thread, an event loop, an executor.

The thread of the subscription's queue hands over one message at a time, and waits until the listener has returned. So
order, bounds and settling are the same as for a listener that the queue's thread calls.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from stomplistener._engine.context import Context
from stomplistener._engine.dispatch_queue import Batch, Event
from stomplistener._util.deadline import Deadline
from stomplistener.message import Message
from stomplistener.states import ConnectionState, ErrandState

Caller = Callable[[Event], object]
"""Lets another thread call a function, as ``loop.call_soon_threadsafe`` and ``executor.submit`` do."""

_ENDING = (ConnectionState.CLOSING, ConnectionState.CLOSED)
_current = threading.local()


class Handler(Protocol):
    """Runs listeners and settles their messages."""

    def run(self, items: Batch) -> None: ...
    def is_stale(self, item: Message) -> bool: ...


class _Errand:
    """One message that is handed over. The lock of its connection guards the state."""

    __slots__ = ("context", "state")

    def __init__(self, context: Context) -> None:
        self.context = context
        self.state = ErrandState.GIVEN


class Elsewhere:
    """Handles the items of a queue: another thread runs the listeners of each message.

    Args:
        context: the context of the connection; its lock guards the errands, and its changes end the waits.
        handler: runs the listeners of a message, in the other thread.
        caller: hands a function over to the other thread.
    """

    def __init__(self, context: Context, handler: Handler, caller: Caller) -> None:
        self._context = context
        self._handler = handler
        self._caller = caller

    def run(self, items: Batch) -> None:
        """Handle items in order. Never raises."""
        for item in items:
            if isinstance(item, Message):
                self._give(item)
            else:
                self._handler.run((item,))

    def _give(self, message: Message) -> None:
        """Hand a message over, and wait until its listeners have returned.

        If the connection or subscription ends first, the listeners never run. The application's thread may be gone, or
        may itself wait for the end of the connection.
        """
        context, errand = self._context, _Errand(self._context)

        def is_settled() -> bool:
            if errand.state is ErrandState.GIVEN and self._is_given_up(message):
                errand.state = ErrandState.OVER
            return errand.state in (ErrandState.LEFT, ErrandState.OVER)

        with context.lock:
            if is_settled():
                return
        try:
            self._caller(lambda: self._work(message, errand))
        except BaseException as error:  # an executor that was shut down, a window that is gone
            with context.lock:
                refused = errand.state is ErrandState.GIVEN
                if refused:
                    errand.state = ErrandState.OVER
            if refused:
                context.log.error("call_in raised; %r is not acknowledged", message, exc_info=error)
            # Otherwise the other thread has begun nevertheless.
        context.wait_until(is_settled, Deadline(None))

    def _is_given_up(self, message: Message) -> bool:
        ended = self._context.state in _ENDING or (message.subscription is not None and message.subscription.has_ended)
        return ended or self._handler.is_stale(message)

    def _work(self, message: Message, errand: _Errand) -> None:
        """Run the listeners, in the application's thread, unless the message was given up or has begun already."""
        context = self._context
        with context.lock:
            if errand.state is not ErrandState.GIVEN:
                return
            errand.state = ErrandState.BEGUN
        # A listener may run its event loop, and the loop may call a listener of another subscription inside.
        outer = getattr(_current, "errand", None)
        _current.errand = errand
        try:
            self._handler.run((message,))
        finally:
            _current.errand = outer
            with context.lock:
                errand.state = ErrandState.OVER
                context.changes.notify_all()


def leave(context: Context) -> None:
    """Release the dispatcher that waits for a listener in the calling thread, before this thread waits for the end."""
    errand: _Errand | None = getattr(_current, "errand", None)
    if errand is None or errand.context is not context:
        return
    with context.lock:
        if errand.state is ErrandState.BEGUN:
            errand.state = ErrandState.LEFT
            context.changes.notify_all()
