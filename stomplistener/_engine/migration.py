"""Leave a connection in good order for another broker, and lose nothing. Runs in the standby thread.

New SENDs and BEGINs wait as in an outage. Messages that listeners hold are settled on this connection, since no other
broker knows them. Received messages of ack mode ``auto`` are delivered later.
"""

from __future__ import annotations

from collections.abc import Callable

from stomplistener._engine.context import Context
from stomplistener._engine.receipts import Receipt
from stomplistener._engine.sender import Sender
from stomplistener._engine.settlement import Settlement
from stomplistener._engine.writer import Writer
from stomplistener._util.deadline import Deadline
from stomplistener.errors import StompError
from stomplistener.protocol import Frame, Session, SessionState
from stomplistener.states import ConnectionState, SettlementState, SubscriptionState


class Migration:
    """Leaves one connection for a standby connection."""

    def __init__(
        self,
        context: Context,
        writer: Writer,
        sender: Sender,
        settlement: Settlement,
        new_receipt: Callable[[], Receipt],
        broken: Callable[[BaseException], None],
    ) -> None:
        self._context = context
        self._writer = writer
        self._sender = sender
        self._settlement = settlement
        self._new_receipt = new_receipt
        self._broken = broken

    def leave(self, deadline: Deadline) -> bool:
        """Leave this connection. If an answer or a message stays open for too long, return False and stay."""
        context = self._context
        with context.lock:
            if context.state is not ConnectionState.CONNECTED:
                return False
            epoch = context.session.epoch
            context.move(ConnectionState.MIGRATING)
            # In the same step: a graceful end that begins now drains, and must find no other state after its own.
            self._settlement.move(SettlementState.HELD)
        try:
            if not self._is_at_rest(epoch, deadline):
                self._stay(epoch)
                return False
            end_auto_subscriptions(context, self._sender, self._new_receipt, deadline, for_good=False)
            receipt = self._new_receipt()

            def disconnect(session: Session) -> Frame | None:
                return session.disconnect(receipt) if self._is_leaving(epoch) else None

            if self._sender.transmit_now(disconnect, receipt):
                self._sender.await_receipt(receipt, deadline, "DISCONNECT")
        except StompError as error:
            context.log.info("the connection ended while the client moved to another broker: %s", error)
            if self._is_leaving(epoch):
                self._broken(error)
        finally:
            with context.lock:
                if not self._settlement.is_draining:
                    self._settlement.move(SettlementState.RUNNING)
        return True

    def _is_leaving(self, epoch: int) -> bool:
        """Whether the connection of this epoch still exists and is being left for another broker."""
        context = self._context
        return context.state is ConnectionState.MIGRATING and context.session.epoch == epoch

    def _is_at_rest(self, epoch: int, deadline: Deadline) -> bool:
        """Wait until this connection has no open answer and no open message, or has ended."""
        session = self._context.session

        def is_over() -> bool:
            return not self._is_leaving(epoch) or session.state is not SessionState.CONNECTED

        self._writer.flush(deadline)
        answered = self._sender.wait_for_answers(lambda: session.is_idle or is_over(), deadline)
        return answered and (is_over() or self._settlement.wait_settled(deadline))

    def _stay(self, epoch: int) -> None:
        with self._context.lock:
            if self._is_leaving(epoch) and self._context.session.state is SessionState.CONNECTED:
                self._context.move(ConnectionState.CONNECTED)


def end_auto_subscriptions(
    context: Context,
    sender: Sender,
    new_receipt: Callable[[], Receipt],
    deadline: Deadline,
    *,
    for_good: bool,
) -> None:
    """Send UNSUBSCRIBE for each subscription whose messages the broker forgets when it writes them.

    A forgotten message must not arrive after its listener has ended.

    Args:
        for_good: False keeps the subscriptions registered, and the next connection restores them.
    """
    epoch = context.session.epoch
    receipts: list[Receipt] = []
    for entry in tuple(context.session.subscriptions.values()):
        # A subscription that the broker never confirmed delivers nothing, so there is no end to wait for.
        if entry.ack != "auto" or entry.durable is not None or entry.state is not SubscriptionState.ACTIVE:
            continue
        receipt = new_receipt()

        def unsubscribe(session: Session, entry=entry, receipt=receipt) -> Frame | None:  # type: ignore[no-untyped-def]
            # A graceful end that began during a move ends them itself, for good.
            is_overtaken = not for_good and context.state is not ConnectionState.MIGRATING
            if session.epoch != epoch or is_overtaken:
                return None
            frame: Frame | None = session.unsubscribe(entry, confirm=True, context=receipt, keep=not for_good)
            return frame

        if sender.transmit_now(unsubscribe, receipt):
            receipts.append(receipt)
    for receipt in receipts:
        sender.await_receipt(receipt, deadline, "UNSUBSCRIBE")
