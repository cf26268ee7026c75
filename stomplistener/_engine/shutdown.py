"""The ends of a client: graceful, immediate, or requested by a signal handler."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from stomplistener._engine.connection_cycle import ENDED, ConnectionCycle
from stomplistener._engine.context import Context
from stomplistener._engine.dispatch_queue import DispatchQueue
from stomplistener._engine.elsewhere import leave
from stomplistener._engine.life import Life
from stomplistener._engine.migration import end_auto_subscriptions
from stomplistener._engine.receipts import Receipt
from stomplistener._engine.sender import Sender
from stomplistener._engine.settlement import Settlement
from stomplistener._engine.writer import Writer
from stomplistener._util.deadline import Deadline
from stomplistener._util.timer import timer
from stomplistener.errors import NotConnected, StompError
from stomplistener.protocol import Frame, Session, SessionState
from stomplistener.states import ConnectionState, SettlementState

CLOSED = "the connection was closed; connect() starts again"


class Shutdown:
    """Ends a client.

    Args:
        context: the context of the connection.
        life: returns the current life.
        end: ends a life with a failure, if it is still the current one, and waits a moment for its threads.
        queues: returns all dispatch queues.
    """

    def __init__(
        self,
        context: Context,
        cycle: ConnectionCycle,
        writer: Writer,
        sender: Sender,
        settlement: Settlement,
        new_receipt: Callable[[], Receipt],
        queues: Callable[[], Sequence[DispatchQueue]],
        life: Callable[[], Life | None],
        end: Callable[[Life | None, StompError], None],
    ) -> None:
        self._context = context
        self._cycle = cycle
        self._writer = writer
        self._sender = sender
        self._settlement = settlement
        self._new_receipt = new_receipt
        self._queues = queues
        self._end = end
        self._life = life
        self._at_once = False
        self._stop_asked = False

    def begin_life(self) -> None:
        """Forget the requests to end the last life: a new life begins."""
        self._at_once = self._stop_asked = False

    def disconnect(self, deadline: Deadline, headers: Mapping[str, str] | None = None) -> None:
        """End gracefully; see ``Connection.disconnect``."""
        context, life = self._context, self._life()
        leave(context)
        with context.lock:
            under_way = context.state is ConnectionState.CLOSING
            # A graceful end also works during a move to another broker: the old connection can still be left in good
            # order. A graceful end also works while subscriptions are restored: listeners may hold messages of this
            # connection already.
            graceful = context.session.is_open and not under_way and context.state is not ConnectionState.CLOSED
            is_ready = context.session.is_connected
            if graceful:
                context.move(ConnectionState.CLOSING)
            self._forget_if_over()
        if under_way:
            self._await_end(deadline, life)
            return
        if graceful:
            if is_ready:
                self._cycle.notify("on_disconnecting")
            try:
                self._settle_accounts(deadline)
                self._say_disconnect(deadline, headers)
            except StompError as error:
                context.log.warning("the graceful end did not complete: %s", error)
        # A hook may have begun another life meanwhile, which this call must not end.
        self._end(life, NotConnected(ENDED))
        for queue in self._queues():
            queue.join(deadline, lambda: self._at_once)

    def close(self) -> None:
        """End everything at once, from any thread, even in the middle of a graceful end."""
        life = self._life()
        self._at_once = True
        with self._context.lock:
            self._forget_if_over()
        self._end(life, NotConnected(CLOSED))

    def stop(self) -> None:
        """Request the graceful end. Takes no lock and starts no thread."""
        self._stop_asked = True
        timer().poke()

    def look_for_stop(self) -> None:
        """In the timer thread, start a thread for the graceful end that ``stop`` requested."""
        if not self._stop_asked:
            return
        self._stop_asked = False
        timeout = self._context.config.timeout
        thread = threading.Thread(
            target=lambda: self.disconnect(Deadline(timeout)), name=f"{self._context.config.name}-stop", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            # The system refuses the thread: an abrupt end is better than none.
            self._context.log.error("closing at once: no thread for a graceful end: %s", error)
            if (life := self._life()) is not None:
                life.give_up(NotConnected(CLOSED))

    def _await_end(self, deadline: Deadline, life: Life | None) -> None:
        """Wait for the graceful end in another thread, unless that end waits for the calling thread."""
        context = self._context
        if any(queue.is_mine for queue in self._queues()):
            return
        context.wait_until(lambda: context.state is ConnectionState.CLOSED, deadline)
        self._end(life, NotConnected(ENDED))

    def _settle_accounts(self, deadline: Deadline) -> None:
        """Take no more messages, let running listeners return, and wait for the receipts of confirmed sends."""
        context, session = self._context, self._context.session
        self._settlement.move(SettlementState.DRAINING)
        self._end_unwritten_subscriptions()
        end_auto_subscriptions(context, self._sender, self._new_receipt, deadline, for_good=True)
        self._settlement.discard_stale(self._queues())
        self._drain(deadline)
        if session.state is SessionState.REPLAYING:
            context.wait_until(lambda: session.state is not SessionState.REPLAYING or not self._is_held_back, deadline)
            self._drain(deadline)
        self._writer.flush(deadline)
        self._sender.wait_for_answers(lambda: not session.unconfirmed or not session.is_connected, deadline)

    def _drain(self, deadline: Deadline) -> None:
        context = self._context
        for queue in self._queues():
            drained = queue.drain(deadline, lambda: self._at_once or context.state is ConnectionState.CLOSED)
            if not drained and deadline.expired:
                context.log.warning("a listener has not ended within %s s", deadline.timeout)

    @property
    def _is_held_back(self) -> bool:
        """Whether frames wait until the subscriptions are restored; exact only with the lock held."""
        return bool(self._context.session.unsent) or self._settlement.has_deferred

    def _forget_if_over(self) -> None:
        """Forget the subscriptions that were made since the connection ended, or before it began."""
        if self._context.state in (ConnectionState.NEW, ConnectionState.CLOSED):
            for entry in tuple(self._context.session.subscriptions.values()):
                self._context.session.unsubscribe(entry)

    def _end_unwritten_subscriptions(self) -> None:
        """Forget the subscriptions that the broker does not know on this connection: they need no replay any more."""
        with self._context.lock:
            _forget_unwritten(self._context.session)

    def _say_disconnect(self, deadline: Deadline, headers: Mapping[str, str] | None) -> None:
        context, receipt = self._context, self._new_receipt()

        def note(session: Session) -> Frame | None:
            closing = context.state is ConnectionState.CLOSING and session.is_open
            return session.disconnect(receipt, headers) if closing else None

        if self._sender.transmit_now(note, receipt):
            self._sender.await_receipt(receipt, deadline, "DISCONNECT")


def _forget_unwritten(session: Session) -> None:
    for entry in tuple(session.subscriptions.values()):
        if entry.epoch != session.epoch:
            session.unsubscribe(entry)
