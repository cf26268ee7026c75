"""What the threads of a connection share: session and state under one lock, and the lines between the threads."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial

from stomplistener.brokers import refusal_hint
from stomplistener.core.shortcut import Shortcut
from stomplistener.delivery import Delivery
from stomplistener.errors import BrokerError, NotConnected, StompError
from stomplistener.failover import Broker
from stomplistener.listener import Listeners
from stomplistener.message import Message
from stomplistener.options import Config
from stomplistener.protocol import Decoder, Limits, Session
from stomplistener.requests import Requests
from stomplistener.states import CONNECTION_MOVES, ConnectionState, check_move
from stomplistener.statistics import SessionSnapshot, Statistics
from stomplistener.threads.dispatcher import Bound, Lane
from stomplistener.threads.gathering import Gathering
from stomplistener.threads.heartbeater import Heartbeater
from stomplistener.threads.lending import LendingLane
from stomplistener.threads.outbox import Outbox
from stomplistener.transport import Transport

Event = Callable[[], object]
Item = Message | Event

NO_LIMITS = Limits(**dict.fromkeys(Limits._fields, sys.maxsize))
"""For reading our own frames back."""

ENDED = "the connection was ended by disconnect(); connect() starts anew"


class Shared:
    """The state that all parts of a core work on."""

    outbox: Outbox
    delivery: Delivery
    requests: Requests
    heartbeater: Heartbeater
    lane: LendingLane[Item]

    def __init__(self, config: Config, listeners: Listeners) -> None:
        self.config = config
        self.listeners = listeners
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.state = ConnectionState.NEW
        self.failure: StompError = NotConnected("not connected yet: call connect() first")
        self.session = Session(
            config.versions,
            config.heartbeat,
            subscription_headers=config.dialect.subscription_headers,
            refusal_hint=refusal_hint,
        )
        self.bound = Bound(config.limits.max_pending_messages, config.limits.max_pending_bytes)
        self.lanes: list[Lane[Item]] = []
        self.broker: Broker | None = None
        self.last_received = 0.0
        self.ready_since = 0.0
        self.bytes_received = self.messages_received = self.messages_sent = self.connects = 0
        self.listener_errors = self.rejections = 0
        self.last_failure: Exception | None = None
        self._transport: Transport | None = None
        self._decoder = Decoder(limits=config.limits)
        self._frame_began: float | None = None
        self._broken_by: Exception | None = None
        self._last_error: BrokerError | None = None
        # The last one of this connection that names no frame, and when it came.
        self._unexplained: tuple[float, BrokerError] | None = None
        self._max_unconfirmed = config.limits.max_unconfirmed_messages
        self._max_unconfirmed_bytes = config.max_unconfirmed_bytes
        self.shortcut: Shortcut | None = None
        """The short ways out; None while nobody, or not everybody, may say something."""
        self._window_waiters = self._answer_waiters = 0
        self._length_means_bytes = config.dialect.length_means_bytes(None)
        self._beats_heard = 0.0
        self._gathering = Gathering()
        self._reads_since = 0.0
        self._secrets: tuple[str, ...] = ()

    # The state

    def move(self, state: ConnectionState) -> None:
        """Change the state, with the lock held, and wake everybody who waits for it."""
        check_move(CONNECTION_MOVES, self.state, state)
        self.state = state
        if state is ConnectionState.CONNECTED:
            self._length_means_bytes = self.config.dialect.length_means_bytes(self.session.connected_frame)
        usual = state is ConnectionState.CONNECTED and not self.config.track_messages
        self.shortcut = Shortcut(self, long_texts=self._length_means_bytes) if usual else None
        self.outbox.templates = self.shortcut.templates if self.shortcut is not None else None
        self.changed.notify_all()

    def give_up(self, failure: StompError) -> None:
        """End for good, from any thread: nothing is said any more, and whoever waits raises ``failure``."""
        with self.lock:
            if self.state is not ConnectionState.CLOSED:
                self.failure = failure
                self.move(ConnectionState.CLOSED)
            transport = self._transport
        if transport is not None:
            transport.shutdown()
        self.bound.interrupt()
        self.delivery.cancel_retries()

    def broken(self, reason: Exception) -> None:
        """The connection is of no use any more: make the receiver notice. Any thread, blocks for nothing."""
        with self.lock:
            if self._broken_by is None:
                self._broken_by = reason
            transport = self._transport
        if transport is not None:
            transport.shutdown()
        self.bound.interrupt()

    # What is asked of each SEND

    def counted(self, body: object, wanted: bool | None) -> bool:
        """Whether a SEND gets a content-length; a text goes without where the broker would make bytes of it."""
        if wanted is not None:
            return wanted
        return not (self._length_means_bytes and isinstance(body, str) and "\0" not in body)

    def window_is_full(self) -> bool:
        session = self.session
        return session.unconfirmed >= self._max_unconfirmed or session.unconfirmed_bytes >= self._max_unconfirmed_bytes

    # Snapshots

    def statistics(self) -> Statistics:
        with self.lock:
            return Statistics(
                messages_received=self.messages_received,
                messages_sent=self.messages_sent + self.outbox.written_alone,
                bytes_received=self.bytes_received,
                bytes_sent=self.outbox.bytes_written,
                pending=self.bound.messages,
                pending_bytes=self.bound.bytes,
                unconfirmed=self.session.unconfirmed,
                unconfirmed_bytes=self.session.unconfirmed_bytes,
                reconnects=max(0, self.connects - 1),
                listener_errors=self.listener_errors,
                last_received=self.last_received,
                last_sent=self.outbox.last_write,
            )

    def session_snapshot(self) -> SessionSnapshot:
        with self.lock:
            session = self.session
            headers = session.connected_frame.headers if session.connected_frame else {}
            return SessionSnapshot(
                state=session.state,
                epoch=session.epoch,
                version=session.version,
                server=headers.get("server", ""),
                id=headers.get("session", ""),
                heartbeat=session.heartbeat,
                subscriptions=tuple(session.subscriptions),
                transactions=tuple(session.transactions),
            )

    # Lanes and listeners

    def new_lane(self, name: str, workers: int, notify: Event | None = None) -> Lane[Item]:
        lane: Lane[Item] = Lane(self.delivery.run, weigh, self.bound, name, workers, notify)
        with self.lock:
            # The first one is the main lane, which is there for good.
            main, others = self.lanes[:1], self.lanes[1:]
            self.lanes = [*main, *(each for each in others if not each.is_over), lane]
        return lane

    def is_current(self, epoch: int) -> bool:
        """Whether what came in this epoch may still be acknowledged."""
        session = self.session
        return epoch == session.epoch and session.is_open

    def call(self, event: Event) -> None:
        """Let the dispatcher call something, behind all that it has to do already."""
        self.lane.put([event])

    def tell(self, hook: str, *args: object) -> None:
        """Let the dispatcher call a hook of the connection's listeners."""
        if self.listeners.hear(hook):
            self.call(partial(self.listeners.call, hook, *args))

    def count_listener_error(self) -> None:
        with self.lock:
            self.listener_errors += 1

    def _hear(self, items: list[Item], hook: str, *args: object) -> None:
        if self.listeners.hear(hook):
            items.append(partial(self.listeners.call, hook, *args))


def weigh(batch: Sequence[Item]) -> tuple[int, int]:
    """What a batch counts for: each item as one message, an event too, and the bytes of messages."""
    return len(batch), sum([item.frame.size for item in batch if type(item) is Message])
