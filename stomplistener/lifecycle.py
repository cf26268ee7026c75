"""How the threads of a connection begin and end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping

from stomplistener._util.deadline import Deadline
from stomplistener.core import ENDED, Core
from stomplistener.errors import NotConnected, StompError
from stomplistener.failover import Schedule
from stomplistener.protocol import SessionState
from stomplistener.states import ConnectionState
from stomplistener.threads.receiver import Receiver
from stomplistener.threads.reconnector import Reconnector
from stomplistener.threads.standby import Standby
from stomplistener.transport import Interrupt, Transport

_log = logging.getLogger("stomplistener")


class Lifecycle:
    """Starts the receiver, and ends it and all that it feeds; also what the receiver reports to."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.wait_for_room, self.gather = core.wait_for_room, core.gather
        self.received, self.may_lend = core.received, core.may_lend
        self._interrupt: Interrupt | None = None
        self._receiver: Receiver | None = None
        self._standby: Standby | None = None
        self._at_once = False
        # Starting and ending exclude each other; never taken with another lock held.
        self._turn = threading.Lock()

    # Beginning and ending: application threads

    def start(self) -> None:
        """Begin to connect, in the background. Nothing happens if that was begun already."""
        core = self._core
        with self._turn:
            if core.state not in (ConnectionState.NEW, ConnectionState.CLOSED):
                return
            self._join(Deadline(core.config.timeout))
            for lane in core.lanes:
                lane.restart()
            core.delivery.draining = self._at_once = False
            self._interrupt = Interrupt()
            schedule = Schedule(core.config.uri)
            self._standby = Standby(core, schedule, self._interrupt) if Standby.is_wanted(core.config) else None
            reconnector = Reconnector(core, schedule, self._interrupt, self._standby)
            self._receiver = Receiver(reconnector, self, core.lane, core.config.name)
            with core.lock:
                core.move(ConnectionState.CONNECTING)
            self._receiver.start()
            if self._standby is not None:
                self._standby.thread.start()

    def close(self) -> None:
        """End everything at once, from any thread; a graceful end that is under way, too."""
        self._at_once = True
        self._end(NotConnected("the connection was closed; connect() starts anew"))

    def _end(self, failure: StompError) -> None:
        core = self._core
        core.give_up(failure)
        with self._turn:
            if self._interrupt is not None:
                self._interrupt.set()
            self._join(Deadline(1.0))
            core.end_subscriptions()

    def disconnect(self, deadline: Deadline, headers: Mapping[str, str] | None = None) -> None:
        """End gracefully: see ``Connection.disconnect``."""
        core = self._core
        failure = NotConnected(ENDED)
        with core.lock:
            under_way = core.state is ConnectionState.CLOSING
            # Not only connected: on the way to another broker the old one can still be said goodbye to.
            graceful = (
                core.state in (ConnectionState.CONNECTED, ConnectionState.SUSPENDED)
                and core.session.state is SessionState.CONNECTED
            )
            if graceful:
                core.move(ConnectionState.CLOSING)
        if under_way:
            self._await_end(deadline, failure)
            return
        if graceful:
            core.tell("on_disconnecting")
            try:
                self._settle_accounts(deadline)
                self._say_goodbye(deadline, headers)
            except StompError as error:
                _log.warning("%s: the connection ended before its graceful end: %s", core.config.name, error)
        self._end(failure)
        if not self._at_once:
            for lane in core.lanes:
                lane.join(deadline)

    def _await_end(self, deadline: Deadline, failure: StompError) -> None:
        """Let the graceful end of another thread come to its own end, unless it waits for this very thread."""
        core = self._core
        if any(lane.is_mine for lane in core.lanes):
            return
        core.wait_until(lambda: core.state is ConnectionState.CLOSED, deadline)
        self._end(failure)

    def _settle_accounts(self, deadline: Deadline) -> None:
        """Take no more messages, let listeners end what they began, and wait for the receipts of confirmed sends."""
        core = self._core
        core.delivery.draining = True
        core.stop_auto(deadline, for_good=True)
        for lane in core.lanes:
            lane.discard(core.delivery.is_stale)
        for lane in core.lanes:
            if not lane.drain(deadline, lambda: self._at_once):
                _log.warning("%s: a listener has not ended within %s s", core.config.name, deadline.timeout)
        core.outbox.flush(deadline.remaining())
        core.wait_for_answers(
            lambda: not core.session.unconfirmed or core.session.state is not SessionState.CONNECTED, deadline
        )

    def _say_goodbye(self, deadline: Deadline, headers: Mapping[str, str] | None) -> None:
        core = self._core
        answer = core.new_answer()
        if core.say_now(lambda session: session.disconnect(answer, headers)):
            core.await_answer(answer, deadline, "DISCONNECT")

    def _join(self, deadline: Deadline) -> None:
        receiver = self._receiver
        if receiver is not None and receiver.thread is not threading.current_thread():
            receiver.thread.join(deadline.remaining())
        if self._standby is not None and self._standby.thread.ident is not None:
            self._standby.thread.join(deadline.remaining())
        for lane in self._core.lanes:
            lane.stop()

    # What the receiver reports

    def lost(self, transport: Transport, noticed: Exception) -> bool:
        core = self._core
        reason = core.reason(noticed)
        unanswered = core.end_epoch(transport)
        return core.lost(reason, unanswered)

    def ended(self) -> None:
        core = self._core
        core.give_up(NotConnected("the connection has ended"))
        core.abandon_unconfirmed()
        core.outbox.stop()
        for lane in core.lanes:
            lane.stop()
