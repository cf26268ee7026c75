"""The life of one connection after the other, as the receiver lives it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from stomplistener.core.answer import Answer
from stomplistener.core.leaving import Leaving
from stomplistener.core.shared import ENDED, NO_LIMITS
from stomplistener.errors import BrokerError, ConnectionLost, InvalidHeader, NotConnected, ProtocolError, StompError
from stomplistener.failover import Broker
from stomplistener.listener import call_all
from stomplistener.options import ConnectOptions
from stomplistener.protocol import Decoder, Frame, Outcome, Request, SubscriptionEntry, encode
from stomplistener.states import ConnectionState
from stomplistener.threads.spare import Spare
from stomplistener.transport import Transport

_log = logging.getLogger("stomplistener")


class Epochs(Leaving):
    """What begins and what ends with a connection."""

    def begin_epoch(self, broker: Broker, transport: Transport, options: ConnectOptions) -> None:
        """Say CONNECT on a new transport."""
        with self.lock:
            self._check_usable()
            self._begin(broker, transport, Decoder(limits=self.config.limits, secrets=options.secrets))
            self.last_received = time.monotonic()
            self._secrets = options.secrets
            frame = self.session.connect(options.host, options.login, options.passcode, options.headers)
            self._put(frame)
        self.tell("on_send", frame)
        self.outbox.write()

    def adopt_epoch(self, spare: Spare) -> None:
        """Go on with a connection on which CONNECT was said and answered already."""
        with self.lock:
            self._check_usable()
            self._begin(spare.broker, spare.transport, spare.decoder)
            self.last_received = spare.last_received
            self._secrets = spare.secrets
            self.session.connect(host="")
            self.session.receive(spare.connected)
        self.heartbeater.start(self.session.heartbeat)

    def _begin(self, broker: Broker, transport: Transport, decoder: Decoder) -> None:
        self.broker = broker
        self._transport = transport
        self._decoder = decoder
        self._broken_by = self._last_error = self._unexplained = None
        self._frame_began = None
        self.outbox.open(transport)
        self.bound.open()

    def replay(self) -> None:
        """Say SUBSCRIBE for what this epoch owes."""
        with self.lock:
            replay = self.session.replay()
            unsaid = self._put_owed(replay.frames)
        for entry in replay.rejected:
            self._rejected(entry)
        self._give_back(unsaid)
        for frame in replay.frames:
            self.tell("on_send", frame)
        self.outbox.write()

    def restored(self) -> None:
        """Open the session to everybody, behind the SENDs that it owes."""
        with self.lock:
            self._check_usable()
            if self._broken_by is not None:
                raise self._broken_by
            unsaid = self._put_owed(self.session.restored())
            self.delivery.draining = False
            self.move(ConnectionState.CONNECTED)
            self.connects += 1
            self.ready_since = time.monotonic()
            connected = self.session.connected_frame
        self._give_back(unsaid)
        self.tell("on_connected", connected)
        if not self.outbox.is_empty:
            self.outbox.wake()

    def _put_owed(self, frames: Sequence[Frame]) -> list[tuple[Frame, Request | None, StompError]]:
        """Say what an older connection owes. What this version of STOMP cannot write must not keep back the others."""
        unsaid: list[tuple[Frame, Request | None, StompError]] = []
        for frame in frames:
            try:
                self.outbox.put(encode(frame, self.session.version))
            except (InvalidHeader, ProtocolError) as error:
                unsaid.append((frame, self.session.retract(frame, error), error))
        return unsaid

    def _give_back(self, unsaid: Sequence[tuple[Frame, Request | None, StompError]]) -> None:
        for frame, request, error in unsaid:
            if request is not None and request.subscription is not None:
                self._rejected(request.subscription)
            elif request is not None and isinstance(request.context, Answer):
                request.context.settle(error)
            else:
                _log.error("%s: %s cannot be sent on this connection: %s", self.config.name, frame.info, error)

    def end_epoch(self, transport: Transport) -> list[tuple[Request, Outcome]]:
        """The connection is over: nothing of it may be said any more. Returns what nobody will answer."""
        transport.shutdown()
        self.heartbeater.stop()
        with self.outbox.ending() as unsent:
            self._transport = None
            version = self.session.version
            frames = Decoder(version, NO_LIMITS).feed(b"".join(unsent)) if unsent and version else []
            return self.session.lost(frames)

    def lost(self, reason: Exception, unanswered: Sequence[tuple[Request, Outcome]]) -> bool:
        """Tell everybody that a connection that was ready is over. False if it is not to be restored."""
        with self.lock:
            moving = self.state is ConnectionState.SUSPENDED
            restore = moving or (self.state is ConnectionState.CONNECTED and self.config.restores)
            if restore and not moving:
                self.move(ConnectionState.SUSPENDED)
            elif self.state is ConnectionState.CLOSING:
                # The broker may hang up as soon as it has answered DISCONNECT: that is the end that was asked for.
                self.failure = NotConnected(ENDED)
                self.move(ConnectionState.CLOSED)
            elif not restore and self.state is not ConnectionState.CLOSED:
                self.failure = ConnectionLost(f"the connection to {self._where()} was lost: {reason}")
                self.move(ConnectionState.CLOSED)
            self.changed.notify_all()
        self.fail(unanswered)
        self.requests.lost()
        self.delivery.cancel_retries()
        for lane in self.lanes:
            lane.discard(self.delivery.is_stale)
        self.tell("on_disconnected")
        return restore

    def fail(self, unanswered: Sequence[tuple[Request, Outcome]]) -> None:
        """Answer in the broker's place, as the loss of the connection means for each."""
        for request, outcome in unanswered:
            if not isinstance(request.context, Answer):
                continue
            if outcome is Outcome.DONE:
                request.context.settle(Frame("RECEIPT", {"receipt-id": request.receipt}))
            else:
                request.context.settle(
                    ConnectionLost(
                        f"{request.command}: the connection to {self._where()} was lost before the broker answered: "
                        f"{outcome.value}",
                        outcome_unknown=outcome is Outcome.IN_DOUBT,
                    )
                )

    def abandon_unconfirmed(self) -> None:
        """Fail what would be sent again after a reconnect that will not come."""
        with self.lock:
            requests = self.session.abandon()
        tracked = sum(request.context is None for request in requests)
        if tracked:
            _log.error("%s: %d message(s) kept by trackMessages had no receipt at the end", self.config.name, tracked)
        for request in requests:
            if isinstance(request.context, Answer):
                request.context.settle(
                    ConnectionLost(
                        f"SEND: the connection was closed before the broker's receipt came: {self.failure}",
                        outcome_unknown=request.issued,
                    )
                )

    def _rejected(self, entry: SubscriptionEntry) -> None:
        subscription: Any = entry.context
        self.rejections += 1
        _log.error("%s: subscription %s to %s: %s", self.config.name, entry.id, entry.destination, entry.error)
        with self.lock:
            self.changed.notify_all()
        if subscription.lane is not self.lane:
            subscription.lane.stop()
        if isinstance(entry.error, BrokerError):
            self.call(partial(call_all, subscription.hook("on_error"), entry.error.frame))

    def reason(self, noticed: Exception) -> Exception:
        """Why the connection ended: what another thread reported goes before what the receiver saw of it."""
        return self._broken_by or self._last_error or noticed

    # What the heartbeater needs

    @property
    def last_write(self) -> float:
        return self.outbox.last_write

    def beat(self) -> None:
        self.outbox.beat()

    def has_unread(self) -> bool:
        transport = self._transport
        return transport is not None and transport.unread()

    def heartbeat_missed(self, silence: float) -> None:
        self.tell("on_heartbeat_timeout")
        self.broken(ConnectionLost(f"{self._where()} sent nothing for {silence:.1f} s, not even a heart-beat"))
