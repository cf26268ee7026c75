"""Begin and end each connection of a client, in the receiver thread.

An *epoch* is the number of a connection. When a connection ends, no more frames of it are written. A message remembers
its epoch and can be settled in that epoch only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from stomplistener._engine.context import Context
from stomplistener._engine.dispatch_queue import DispatchQueue, Event
from stomplistener._engine.flow_control import FlowControl
from stomplistener._engine.heartbeater import Heartbeater
from stomplistener._engine.inbound import Inbound
from stomplistener._engine.login import LoggedIn
from stomplistener._engine.receipts import Answer
from stomplistener._engine.request_reply import RequestReply
from stomplistener._engine.sender import Sender
from stomplistener._engine.settlement import Settlement
from stomplistener._engine.writer import Writer, unsent_frames
from stomplistener._util.deadline import Deadline
from stomplistener._util.text import counted
from stomplistener.errors import (
    BrokerError,
    ConnectionLost,
    InvalidHeader,
    NotConnected,
    ProtocolError,
    TimedOut,
)
from stomplistener.listener import call_all
from stomplistener.protocol import Frame, Outcome, Request, SubscriptionEntry, encode
from stomplistener.states import ConnectionState, SettlementState
from stomplistener.transport import Transport

ENDED = "the connection was ended by disconnect(); connect() starts again"

REPLAY_SILENCE_SECONDS = 5.0
"""How long the receipt of a subscription may be missing on a live connection before the subscription is active.

Spring's simple broker never sends these receipts. A slow broker loses no subscription: SUBSCRIBE was already written.
"""

TRIAL_FACTOR = 20
"""A connection without the suspected message must live this many times longer than the last connection with it."""

TRIAL_SECONDS = (0.1, 2.0)
"""The shortest and the longest trial of a connection in seconds; all senders wait until the trial is over."""

LAST_WRITE_SECONDS = 1.0
"""How long the client waits at the end of a connection for a thread that still writes to the broken transport."""

Unsendable = tuple[Frame, Request | None, Exception]


class ConnectionCycle:
    """Begins and ends the connections of one client. See the module's text.

    Attributes:
        rejections: how many subscriptions were rejected for good so far.
    """

    def __init__(
        self,
        context: Context,
        flow: FlowControl,
        writer: Writer,
        sender: Sender,
        inbound: Inbound,
        settlement: Settlement,
        requests: RequestReply,
        queues: Callable[[], Sequence[DispatchQueue]],
        call: Callable[[Event], None],
    ) -> None:
        self._context = context
        self._flow = flow
        self._writer = writer
        self._sender = sender
        self._inbound = inbound
        self._settlement = settlement
        self._requests = requests
        self._queues = queues
        self._call = call
        self._transport: Transport | None = None
        self._broken_by: Exception | None = None
        self._heartbeater: Heartbeater | None = None
        self._lost_at = 0.0
        self._lived = 0.0
        self._is_announced = False
        """Whether on_connected was called: then on_disconnected must follow."""
        self.rejections = 0
        self.rejected_at_start: list[Exception] = []
        """Why subscriptions were rejected before the first connection was ready; ``connect()`` raises the first
        reason."""

    def begin_life(self) -> None:
        """Begin a life."""
        self.rejected_at_start = []
        self._lost_at = 0.0
        # Messages arrive before the first connection of this life is ready, so settling must be possible from now on.
        self._settlement.move(SettlementState.RUNNING)

    def notify(self, hook: str, *args: object) -> None:
        """Let the dispatcher call a hook of the connection's listeners."""
        listeners = self._context.listeners
        if listeners.hear(hook):
            self._call(partial(listeners.call, hook, *args))

    # A connection begins

    def begin(self, logged_in: LoggedIn, is_wanted: Callable[[], bool], deadline: Deadline) -> Transport:
        """Take over a connection that is logged in: restore the subscriptions, then let all threads use it.

        Args:
            logged_in: the new connection.
            is_wanted: whether the life that made the connection goes on; called with the lock held.
            deadline: limits the wait for the broker's answers.

        Raises:
            OSError, StompError: the connection ended, or the broker was too slow. The session then has the state of a
                lost connection.
        """
        self._attach(logged_in, is_wanted)
        try:
            self._watch(logged_in)
            self._replay(logged_in.transport, deadline)
            self._try_out(logged_in.transport, deadline)
            while not self._open(is_wanted):
                self._replay(logged_in.transport, deadline)
        except BaseException as error:
            # Any end may be the broker's, except for one that a deadline or a broken rule of the protocol explains.
            ended = isinstance(error, (BrokerError, ConnectionLost, OSError)) and not isinstance(error, TimedOut)
            self.fail(self._end(logged_in.transport, explained=not ended))
            self._settlement.lost()
            raise
        return logged_in.transport

    def _attach(self, logged_in: LoggedIn, is_wanted: Callable[[], bool]) -> None:
        context, session = self._context, self._context.session
        with context.lock:
            _check(is_wanted)
            context.broker = logged_in.broker
            context.last_received = logged_in.last_received
            self._transport = logged_in.transport
            self._broken_by = None
            self._inbound.attach(logged_in.transport, logged_in.decoder, logged_in.secrets)
            # Before the session shows that the broker is known.
            context.profile = context.config.dialect.profile(logged_in.connected)
            session.adopt(logged_in.connect, logged_in.connected)
            self._writer.attach(logged_in.transport)
            self._flow.open()

    def _watch(self, logged_in: LoggedIn) -> None:
        self._heartbeater = Heartbeater(self, self._context.session.heartbeat, self._context.session.epoch)
        if logged_in.early:
            self._inbound.dispatch(logged_in.early)

    def _replay(self, transport: Transport, deadline: Deadline) -> None:
        session = self._context.session
        self._send_subscriptions(transport, deadline)
        patience = deadline.sooner(REPLAY_SILENCE_SECONDS)
        # A graceful end may send DISCONNECT in the middle of the replay, and so end the replay.
        while session.is_open and not session.is_replayed:
            silence = self._receive(transport, deadline, patience)
            if silence:
                self._assume_active()
            self._send_subscriptions(transport, deadline)

    def _try_out(self, transport: Transport, deadline: Deadline) -> None:
        """Let the connection live for a while without the message that seems to end connections; see ``Session``."""
        if not self._context.session.is_on_trial:
            return
        shortest, longest = TRIAL_SECONDS
        seconds = min(max(TRIAL_FACTOR * self._lived, shortest), longest)
        patience = deadline.sooner(min(seconds, (deadline.remaining() or longest) / 2))
        while self._context.session.is_open and not self._receive(transport, deadline, patience):
            pass

    def _send_subscriptions(self, transport: Transport, deadline: Deadline) -> None:
        context = self._context
        with context.lock:
            if not context.session.is_open:
                return
            replay = context.session.replay()
            unsendable = self._append(replay.frames)
        for entry in replay.rejected:
            self.rejected(entry)
        self._give_back(unsendable)
        for frame in replay.frames:
            self.notify("on_send", frame)
        transport.settimeout(deadline.remaining())
        self._writer.write_all()

    def _receive(self, transport: Transport, deadline: Deadline, patience: Deadline) -> bool:
        """Read once. True if the broker was silent for so long that the receipts will not arrive at all."""
        what = "the receipts of the subscriptions"
        # The receipts may lie behind any number of messages.
        waiting = object()
        try:
            self._flow.expect(waiting)
            room = self._inbound.wait_for_room(deadline)
        finally:
            self._flow.unexpect(waiting)
        if deadline.expired or not room:
            raise TimedOut(f"the broker did not send {what} within {deadline.timeout:g} s (connectionTimeout)")
        transport.settimeout(max(patience.remaining() or 0.0, 0.001))
        try:
            ended = self._inbound.read()
        except TimeoutError:
            return True
        if ended is not None:
            raise self.reason(ended)
        return patience.expired

    def _assume_active(self) -> None:
        with self._context.lock:
            entries = self._context.session.assume_active()
            self._context.changes.notify_all()
        if entries:
            names = ", ".join(sorted(entry.destination for entry in entries))
            self._context.log.warning(
                "the broker sends no receipt for SUBSCRIBE to %s; the subscriptions count as active", names
            )

    def _open(self, is_wanted: Callable[[], bool]) -> bool:
        """Let all threads send, behind the SENDs that are resent; False if a subscription must be replayed first.

        If a graceful end has begun meanwhile, the connection is not announced to the listeners. The graceful end still
        needs the connection for the SENDs that the client keeps, and for the messages that listeners hold.
        """
        context = self._context
        resent: list[Frame] = []
        unsendable: list[Unsendable] = []
        if self._transport is not None:
            # Before the state says that the connection is open: a transport of the application may raise.
            self._transport.settimeout(None)
        with context.lock:
            _check(is_wanted)
            if self._broken_by is not None:
                raise self._broken_by
            ending = context.state is ConnectionState.CLOSING
            # A graceful end that has already sent DISCONNECT needs the connection no more.
            if context.session.is_open or not ending:
                if not context.session.is_replayed:
                    # This subscription was made after the replay: only another replay writes it.
                    return False
                resent = context.session.restored()
                unsendable = self._append(resent)
            context.changes.notify_all()
            if not ending:
                self._settlement.move(SettlementState.RUNNING)
                context.move(ConnectionState.CONNECTED)
                context.counters.connects += 1
                context.ready_since = time.monotonic()
                self._is_announced = True
        self._give_back(unsendable)
        for frame in resent:
            self.notify("on_send", frame)
        if not ending:
            self._log_return(len(resent))
            self.notify("on_connected", context.session.connected_frame)
        self._settlement.restored()
        self._writer.wake()
        return True

    def _log_return(self, resent: int) -> None:
        context = self._context
        if context.counters.connects == 1 or not self._lost_at:
            context.log.info("connected to %s", context.where)
        else:
            context.log.info(
                "connected again to %s after %.1f s: %s replayed, %s resent",
                context.where,
                time.monotonic() - self._lost_at,
                counted(len(context.session.subscriptions), "subscription"),
                counted(resent, "message"),
            )
        self._lost_at = 0.0

    def _append(self, frames: Sequence[Frame]) -> list[Unsendable]:
        """Line up frames of the session. A frame that this STOMP version cannot express is returned."""
        session = self._context.session
        unsendable: list[Unsendable] = []
        for frame in frames:
            try:
                self._writer.append(encode(frame, session.version))
            except (InvalidHeader, ProtocolError, TypeError, ValueError) as error:
                unsendable.append((frame, session.retract(frame, error), error))
        return unsendable

    def _give_back(self, unsendable: Sequence[Unsendable]) -> None:
        for frame, request, error in unsendable:
            if request is not None and request.subscription is not None:
                self.rejected(request.subscription)
            elif request is not None and isinstance(request.context, Answer):
                request.context.complete(error)
            else:
                self._context.log.error("%s cannot be sent on this connection: %s", frame.heading, error)

    # A connection ends

    def broken(self, reason: BaseException, epoch: int | None = None) -> None:
        """Break the connection, so that the reading thread ends it. Any thread may call this; it does not wait.

        Args:
            epoch: break the connection only if it has this epoch; None: break any connection.
        """
        error = reason if isinstance(reason, Exception) else ConnectionLost(f"{type(reason).__name__}: {reason}")
        with self._context.lock:
            if epoch is not None and epoch != self._context.session.epoch:
                return
            if self._broken_by is None:
                self._broken_by = error
            transport = self._transport
        try:
            if transport is not None:
                _shut_down(transport)
        finally:
            self._flow.interrupt()

    def reason(self, noticed: Exception) -> Exception:
        """Return why the connection ended: an ERROR, or the report of another thread, or ``noticed``, in this order."""
        return self._inbound.last_error or self._broken_by or noticed

    def lost(self, transport: Transport, noticed: Exception) -> bool:
        """End a connection that was open. Return whether the client reconnects."""
        context = self._context
        if self._transport is not transport:
            # This transport belongs to an old life, whose thread was held up in code of the application.
            return False
        reason = self.reason(noticed)
        unconfirmed = context.session.unconfirmed
        closing = context.state in (ConnectionState.CLOSING, ConnectionState.CLOSED)
        self._lived = lived = time.monotonic() - context.ready_since
        explained = self._broken_by is not None and not isinstance(self._broken_by, BrokerError)
        unanswered, restore, moving = self._end_open(transport, reason, explained)
        if not closing and not moving:
            self._lost_at = time.monotonic()
            context.log.warning(
                "the connection to %s was lost after %.1f s: %s; %s unconfirmed%s",
                context.where,
                lived,
                reason,
                counted(unconfirmed, "message"),
                "" if restore else "; it is not restored",
            )
            self.notify("on_connection_lost", reason)
        self.fail(unanswered)
        self._requests.lost()
        self._settlement.lost()
        self._settlement.discard_stale(self._queues())
        if self._is_announced:
            self._is_announced = False
            self.notify("on_disconnected")
        return restore

    def _end_open(
        self, transport: Transport, reason: Exception, explained: bool
    ) -> tuple[list[tuple[Request, Outcome]], bool, bool]:
        """End the epoch and change the state in one step: no thread sees only one of the two changes."""
        context = self._context
        self._stop_using(transport)
        with context.lock:
            unanswered = self._lose(explained)
            moving = context.state is ConnectionState.MIGRATING
            restore = moving or (context.state is ConnectionState.CONNECTED and context.config.restores)
            if restore:
                context.move(ConnectionState.SUSPENDED)
            elif context.state is ConnectionState.CLOSING:
                # The broker may close the connection as soon as it has answered DISCONNECT. The end of the connection
                # is then no loss.
                context.failure = NotConnected(ENDED)
                context.move(ConnectionState.CLOSED)
            elif context.state is not ConnectionState.CLOSED:
                context.failure = ConnectionLost(f"the connection to {context.where} was lost: {reason}")
                context.move(ConnectionState.CLOSED)
            if (not moving and context.state is not ConnectionState.CLOSED) or isinstance(
                context.failure, ConnectionLost
            ):
                context.last_error = reason
            self._sender.notify_window()
        return unanswered, restore, moving

    def _end(self, transport: Transport, *, explained: bool) -> list[tuple[Request, Outcome]]:
        """End the epoch of a connection that was never open to the application."""
        if self._transport is not transport:
            return []
        context = self._context
        self._stop_using(transport)
        with context.lock:
            unanswered = self._lose(explained)
            if context.state is ConnectionState.CLOSING:
                context.failure = NotConnected(ENDED)
                context.move(ConnectionState.CLOSED)
            return unanswered

    def _stop_using(self, transport: Transport) -> None:
        heartbeater, self._heartbeater = self._heartbeater, None
        if heartbeater is not None:
            heartbeater.stop()
        _shut_down(transport)
        # A thread inside a write finds the transport broken. A thread that a signal handler interrupted in a write may
        # not return soon, so this wait is short.
        self._writer.wait_not_writing(Deadline(LAST_WRITE_SECONDS))

    def _lose(self, explained: bool) -> list[tuple[Request, Outcome]]:
        session = self._context.session
        unsent, begun = self._writer.detach()
        self._transport = None
        return session.lost(unsent_frames(unsent, session.version), explained=explained, begun=begun)

    def fail(self, unanswered: Sequence[tuple[Request, Outcome]]) -> None:
        """Complete each unanswered request with the outcome that the connection loss means for it."""
        receipt = Frame("RECEIPT")
        for request, outcome in unanswered:
            if not isinstance(request.context, Answer):
                continue
            if outcome is Outcome.DONE:
                request.context.complete(receipt)
            else:
                request.context.complete(request.error or self._outcome(request, outcome))

    def _outcome(self, request: Request, outcome: Outcome) -> ConnectionLost:
        what = f"{request.command}: the connection to {self._context.where} was lost before the broker's answer"
        then = {
            Outcome.NOT_CONFIRMED: "the broker may deliver the message again",
            Outcome.LOST: "the transaction had no effect",
            Outcome.IN_DOUBT: "it is in doubt: the broker may have carried it out or not",
        }.get(outcome, "it is not sent again")
        return ConnectionLost(f"{what}; {then}", outcome_unknown=outcome is Outcome.IN_DOUBT)

    def rejected(self, entry: SubscriptionEntry) -> None:
        """Report that the broker rejected a subscription. Call without the lock."""
        context = self._context
        subscription: Any = entry.context
        if entry.error is not None and context.state is ConnectionState.CONNECTING:
            self.rejected_at_start.append(entry.error)
        context.log.error("subscription %s to %s was rejected: %s", entry.id, entry.destination, entry.error)
        with context.lock:
            context.changes.notify_all()
            # A later connection may be able to express a subscription that stays registered.
            is_final = context.session.subscriptions.get(entry.id) is not entry
            self.rejections += is_final
        if is_final and subscription.queue is not self._queues()[0]:
            subscription.queue.stop()
        if isinstance(entry.error, BrokerError):
            hooks = subscription.hook("on_error")
            self._call(partial(call_all, hooks, entry.error.frame, report=context.log.error))

    def abandon(self) -> None:
        """In the child of a fork, free the parent's socket without sending anything. Takes no lock."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abandon()

    def stop(self) -> None:
        """Break the transport and every wait of the receiver. Any thread may call this; it does not wait."""
        transport = self._transport
        try:
            if transport is not None:
                _shut_down(transport)
        finally:
            self._flow.interrupt()
            self._settlement.lost()

    # Methods for the heartbeater

    @property
    def last_write(self) -> float:
        return self._writer.last_write

    @property
    def last_received(self) -> float:
        return self._context.last_received

    @last_received.setter
    def last_received(self, now: float) -> None:
        self._context.last_received = now

    def beat(self) -> None:
        self._writer.beat()

    def has_unread(self) -> bool:
        return self._inbound.has_unread()

    def overdue(self, now: float) -> tuple[float, ProtocolError | None]:
        return self._inbound.overdue(now)

    def heartbeat_missed(self, silence: float, epoch: int) -> None:
        if epoch == self._context.session.epoch:
            self.notify("on_heartbeat_timeout")
        silent = ConnectionLost(f"{self._context.where} sent nothing for {silence:.1f} s, not even a heartbeat")
        self.broken(silent, epoch)


def _check(is_wanted: Callable[[], bool]) -> None:
    if not is_wanted():
        raise NotConnected("the connection was closed meanwhile")


def _shut_down(transport: Transport) -> None:
    try:
        transport.shutdown()
    except BaseException as error:
        # A transport of the application may raise any exception, and the receiver closes the transport nevertheless.
        # In the main thread the exception may come from a signal handler: the caller has to see it.
        if not isinstance(error, Exception) and threading.current_thread() is threading.main_thread():
            raise
