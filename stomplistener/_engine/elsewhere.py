"""Listeners in a thread of the application's choice: a GUI's main thread, an event loop, an executor.

The thread of the subscription's queue gives one message after the other away, and waits until its listener has ended.
So order, bounds and settling are the same as for a listener that this thread calls itself.
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
    """What runs listeners and settles their messages."""

    def run(self, items: Batch) -> None: ...
    def is_stale(self, item: Message) -> bool: ...


class _Errand:
    """One message that is given away. The lock of its connection guards the state."""

    __slots__ = ("context", "state")

    def __init__(self, context: Context) -> None:
        self.context = context
        self.state = ErrandState.GIVEN


class Elsewhere:
    """Runs the items of a queue by giving the messages to another thread.

    Args:
        context: of the connection; its lock guards the errands, and its changes are waited for.
        handler: what the other thread calls for a message.
        caller: gives a function to the other thread.
    """

    def __init__(self, context: Context, handler: Handler, caller: Caller) -> None:
        self._context = context
        self._handler = handler
        self._caller = caller

    def run(self, items: Batch) -> None:
        """Work off items in order. Never raises."""
        for item in items:
            if isinstance(item, Message):
                self._give(item)
            else:
                self._handler.run((item,))

    def _give(self, message: Message) -> None:
        """Give a message away, and wait until its listeners have ended.

        A message that has not begun when its connection or subscription ends is never begun: the other thread may be
        the one that waits for this end, or be gone.
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
                errand.state = ErrandState.OVER
            if refused:
                context.log.error("call_in raised; %r is not acknowledged", message, exc_info=error)
            return
        context.wait_until(is_settled, Deadline(None))

    def _is_given_up(self, message: Message) -> bool:
        ended = self._context.state in _ENDING or (message.subscription is not None and message.subscription.has_ended)
        return ended or self._handler.is_stale(message)

    def _work(self, message: Message, errand: _Errand) -> None:
        """In the other thread: run the listeners, unless it is too late or was done before."""
        context = self._context
        with context.lock:
            if errand.state is not ErrandState.GIVEN:
                return
            errand.state = ErrandState.BEGUN
        # A listener that lets its event loop run may have a listener of another subscription called inside.
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
    """Let the dispatcher go on that waits for a listener in the calling thread, which is about to wait for the end."""
    errand: _Errand | None = getattr(_current, "errand", None)
    if errand is None or errand.context is not context:
        return
    with context.lock:
        if errand.state is ErrandState.BEGUN:
            errand.state = ErrandState.LEFT
            context.changes.notify_all()
