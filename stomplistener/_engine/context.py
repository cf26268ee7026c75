"""The state that the parts of one connection share: the lock, the state, the session and the counters.

Threads of a connection, all of them daemons, each started when it is needed:

- the *receiver* connects, reads, reconnects and closes; it alone opens and closes a transport;
- the *dispatcher* runs listeners and callbacks of futures, in the order of the wire. A subscription with ``workers=N``
  has *worker* threads instead. While listeners return at once, the dispatcher also reads (``inline_dispatch``);
- the *writer* writes the frames that gather in a burst;
- the *standby* thread makes connections to other brokers, if the URI asks for them;
- the *timer*, one for the process, sends heartbeats, retries messages and checks for ``stop()``;
- the *log* thread, one for the process, writes the log records that wait.

All locks of the library, in the order in which they may be taken:

1. ``Engine._life_lock``: begins and ends a life of the connection; held while the threads of the old life end.
2. ``StandbyConnection._lock``: decides which thread reads from a standby connection.
3. ``Context.lock``, **the** lock of a connection: state, session, write queue, dispatch queues, flow control, receipts,
   requests, counters. A thread holds this lock for a few steps only: never over I/O, a log call, code of the
   application, or a wait for another thread. A thread that waits for a change of this state waits without the lock
   (``_util.locks.Changes``).
4. ``Timer._lock``, ``Listeners._lock`` and the lock of the log: leaves; a thread that holds one calls nothing.
5. The locks of a transport and of an ``Interrupt``: leaves, taken with none of the locks above held. One exception: an
   Interrupt may shut down a transport.

A state of the write queue (``writer``) decides which thread writes, not a lock. So a log handler or a listener never
waits for the writing thread.

The lock is reentrant for one reason. A signal handler interrupts the main thread between two steps, and may call into
the connection whose lock the main thread holds. So each method must be able to run between any two steps under the
lock. A counter (``x += n``) calls nothing between its read and its write.
"""

from __future__ import annotations

from collections.abc import Callable

from stomplistener._engine.log import ConnectionLog
from stomplistener._util.deadline import Deadline
from stomplistener._util.locks import Changes, ReentrantLock, is_owned
from stomplistener.brokers import refusal_hint
from stomplistener.errors import NotConnected, StompError
from stomplistener.failover import Broker
from stomplistener.listener import Listeners
from stomplistener.message import Message
from stomplistener.options import Config
from stomplistener.protocol import Frame, Session, SubscriptionEntry
from stomplistener.states import CONNECTION_MOVES, ConnectionState, MessageState


class Counters:
    """The counts that ``statistics()`` returns; guarded by the lock."""

    __slots__ = ("bytes_received", "connects", "listener_errors", "messages_received", "messages_sent")

    def __init__(self) -> None:
        self.bytes_received = 0
        self.connects = 0
        self.listener_errors = 0
        self.messages_received = 0
        self.messages_sent = 0


class Context:
    """The state that the parts of one connection work on. See the module's text for its lock."""

    def __init__(self, config: Config, listeners: Listeners) -> None:
        self.config = config
        self.listeners = listeners
        self.lock = ReentrantLock()
        self.changes = Changes(self.lock)
        """Threads that wait for another state of the connection, a subscription or the session."""
        self.answers = Changes(self.lock)
        """Threads that wait for fewer unconfirmed messages, or for all requests to be answered."""
        self.counters = Counters()
        self.state = ConnectionState.NEW
        self.failure: StompError = NotConnected("not connected yet: call connect() first")
        """The exception of a call that needs a connection while the client is neither connected nor connecting."""
        self.last_error: Exception | None = None
        self.broker: Broker | None = None
        self.ready_since = 0.0
        self.last_received = 0.0
        self.session = Session(
            config.versions,
            config.heartbeat,
            new_id=self.new_id,
            subscription_headers=config.dialect.subscription_headers,
            refusal_hint=refusal_hint,
            unsettle=self._unsettle,
        )
        self.closed_with: tuple[SubscriptionEntry, ...] = ()
        """The subscriptions at the last move to CLOSED.

        A thread that waits for CLOSED may subscribe for the next life before this life is cleaned up.
        """
        self.log = ConnectionLog(config.name, self)
        listeners.report = self.log.error
        self.profile = config.dialect.profile(None)
        """What is special about the broker in use."""
        self._last_id = 0

    @property
    def broker_name(self) -> str:
        """The broker in use, without secrets; empty if there is none."""
        broker = self.broker
        if broker is None:
            return ""
        if broker.scheme == "unix":
            return f"unix://{broker.path}"
        host = f"[{broker.host}]" if ":" in broker.host else broker.host
        return f"{broker.scheme}://{host}:{broker.port}"

    @property
    def where(self) -> str:
        """The broker's name for the text of an exception."""
        return self.broker_name or "no broker"

    def new_id(self) -> str:
        """Return a new name for a receipt, subscription or transaction of this connection."""
        with self.lock:
            self._last_id += 1
            return str(self._last_id)

    def has_issued(self, receipt: Frame) -> bool:
        """Whether ``new_id`` gave this receipt's name, so that the RECEIPT answers a request that was given up."""
        id = receipt.header("receipt-id") or ""
        return id.isdecimal() and id.isascii() and len(id) < 20 and int(id) <= self._last_id

    def assert_locked(self) -> None:
        """Assert that the calling thread holds the lock."""
        assert is_owned(self.lock), "the lock of the connection is needed here"

    def move(self, state: ConnectionState) -> None:
        """Change the state, with the lock held, and wake every thread that waits for a change.

        Raises:
            IllegalMove: the table of states does not have this move.
        """
        self.assert_locked()
        self.state = CONNECTION_MOVES[self.state, state]
        if state is ConnectionState.CLOSED:
            self.closed_with = tuple(self.session.subscriptions.values())
        self.changes.notify_all()
        self.answers.notify_all()

    def fail(self, failure: StompError) -> None:
        """End a life whose connection never began."""
        with self.lock:
            self.failure = failure
            self.move(ConnectionState.CLOSED)

    def wait_until(self, condition: Callable[[], bool], deadline: Deadline) -> bool:
        """Wait, without the lock, until ``condition`` is true after a change; it is called with the lock held."""
        return self.changes.wait_for(condition, deadline)

    def is_current(self, epoch: int) -> bool:
        """Whether a message of this epoch may still be acknowledged; exact only with the lock held."""
        session = self.session
        return epoch == session.epoch and session.is_open

    def _unsettle(self, message: object) -> None:
        """Mark a message as unsettled, since its transaction failed, unless the broker settles it before COMMIT."""
        if isinstance(message, Message):
            # Artemis would answer a second ACK with ERROR.
            message.state = MessageState.ACKED if self.profile.acks_at_once else MessageState.UNSETTLED
