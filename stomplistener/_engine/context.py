"""What the parts of one connection share: the lock, the state, the session and the counters.

Threads of a connection, all daemons, each started when it is needed:

- the *receiver* connects, reads, reconnects and closes; it alone opens and closes a transport;
- the *dispatcher* runs listeners and callbacks of futures, in the order of the wire; *workers* do so for subscriptions
  that ask for them. While listeners return at once, the dispatcher reads in the receiver's place
  (``inline_dispatch``);
- the *writer* sends what gathered in a burst;
- the *standby* thread makes connections to other brokers, if the URI asks for them;
- the *timer*, one for the process, sends heartbeats, tries messages again and looks for ``stop()``;
- the *log* thread, one for the process, writes log records while there are some.

All locks of the library, in the order in which they may be taken:

1. ``Engine._life_lock``: beginning and ending a life of the connection; held while the threads of the old life end.
2. ``StandbyConnection._lock``: which thread reads from a standby connection.
3. ``Context.lock``, **the** lock of a connection: state, session, write queue, dispatch queues, flow control, receipts,
   requests, counters. It is held for a few steps at a time: never over I/O, a log call, code of the application, or a
   wait for another thread. Threads that wait for a change of what it guards wait without it (``_util.locks.Changes``).
4. ``Timer._lock``, ``Listeners._lock`` and that of the log: leaves; nothing is called with them held.
5. The locks of a transport and of an ``Interrupt``: leaves, taken with none of the above held, but that an Interrupt
   may shut down a transport.

Who writes is no lock but a state of the write queue (``writer``), so a log handler or a listener never meets it.

The lock is reentrant for one reason: a signal handler runs in the main thread between two steps of whatever runs there,
and may call into the connection whose lock that thread holds. So the steps under the lock are ordered such that each
method may run between any two of another; what counts (``x += n``) calls nothing between reading and writing.
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
from stomplistener.protocol import Frame, Session
from stomplistener.states import CONNECTION_MOVES, ConnectionState, MessageState


class Counters:
    """What ``statistics()`` tells; guarded by the lock."""

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
        """What a call raises that needs a connection when there is none, nor one being made."""
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
        self.log = ConnectionLog(config.name, self)
        listeners.report = self.log.error
        self.length_means_bytes = config.dialect.length_means_bytes(None)
        """Whether the broker in use makes bytes of a text that has a content-length."""
        self.commit_confirms = True
        """Whether its answer to COMMIT says that the messages are stored."""
        self._last_id = 0

    @property
    def broker_name(self) -> str:
        """The broker in use, without secrets; empty where there is none."""
        broker = self.broker
        if broker is None:
            return ""
        if broker.scheme == "unix":
            return f"unix://{broker.path}"
        host = f"[{broker.host}]" if ":" in broker.host else broker.host
        return f"{broker.scheme}://{host}:{broker.port}"

    @property
    def where(self) -> str:
        """The name of the broker in the text of an exception."""
        return self.broker_name or "no broker"

    def new_id(self) -> str:
        """A name for a receipt, subscription or transaction that this connection never gave before."""
        with self.lock:
            self._last_id += 1
            return str(self._last_id)

    def has_issued(self, receipt: Frame) -> bool:
        """Whether the receipt's name is one that ``new_id`` gave: an answer to a request that was given up since."""
        id = receipt.header("receipt-id") or ""
        return id.isdecimal() and id.isascii() and len(id) < 20 and int(id) <= self._last_id

    def assert_locked(self) -> None:
        """State that the calling thread holds the lock."""
        assert is_owned(self.lock), "the lock of the connection is needed here"

    def move(self, state: ConnectionState) -> None:
        """Change the state, with the lock held, and wake every thread that waits for a change.

        Raises:
            IllegalMove: the table of states does not have this move.
        """
        self.assert_locked()
        self.state = CONNECTION_MOVES[self.state, state]
        self.changes.notify_all()
        self.answers.notify_all()

    def fail(self, failure: StompError) -> None:
        """End a connection that never began."""
        with self.lock:
            self.failure = failure
            self.move(ConnectionState.CLOSED)

    def wait_until(self, condition: Callable[[], bool], deadline: Deadline) -> bool:
        """Wait, without the lock, for a change that makes ``condition`` true; it is called with the lock held."""
        return self.changes.wait_for(condition, deadline)

    def is_current(self, epoch: int) -> bool:
        """Whether what came in this epoch may still be acknowledged; exact with the lock held."""
        session = self.session
        return epoch == session.epoch and session.is_open

    def _unsettle(self, message: object) -> None:
        """The transaction that was to settle a message did not, unless the broker does not wait for it."""
        if isinstance(message, Message):
            counts = self.config.dialect.acks_at_once(self.session.connected_frame)
            # Artemis would answer a second ACK by ERROR.
            message.state = MessageState.ACKED if counts else MessageState.UNSETTLED
