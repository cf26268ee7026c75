"""All states, and the legal moves between them.

Each thing with states has one enum and one table. A table gives the new state for a legal move and raises for any
other, also under ``python -O``. The diagrams in the manual are drawn from these tables.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from typing import TypeVar


class State(enum.Enum):
    """A state. The members are hashed by identity, as objects.

    ``Enum`` would compute the hash in Python. A written frame needs two look-ups in a table, and so two hashes.
    """

    __hash__ = object.__hash__


S = TypeVar("S", bound=State)


class IllegalMove(RuntimeError):
    """A state machine was asked for a move that is not in its table. Please report this as a bug."""


class Moves(dict[tuple[S, S], S]):
    """The legal moves between states: ``moves[old, new]`` is the new state.

    Args:
        moves: the possible next states for each state.
    """

    def __init__(self, moves: Mapping[S, Collection[S]]) -> None:
        super().__init__({(old, new): new for old, targets in moves.items() for new in targets})

    def __missing__(self, move: tuple[S, S]) -> S:
        old, new = move
        raise IllegalMove(f"{type(old).__name__}: there is no move from {old.name} to {new.name}")


class ConnectionState(State):
    """The state of a connection for the application.

    SUSPENDED: the connection was lost, and the client reconnects. Waiting calls go on waiting.
    MIGRATING: the client leaves this broker for a preferred one (``priorityBackup``). Open transactions may end on this
    broker; new frames wait for the other one.
    CLOSED: the client does nothing automatically; ``connect()`` starts again.
    """

    NEW = "new"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    SUSPENDED = "suspended"
    MIGRATING = "migrating"
    CLOSING = "closing"
    CLOSED = "closed"


CONNECTION_MOVES = Moves(
    {
        ConnectionState.NEW: {ConnectionState.CONNECTING, ConnectionState.CLOSED},
        # CLOSING is possible here: listeners may hold messages of a connection that still restores its subscriptions.
        ConnectionState.CONNECTING: {ConnectionState.CONNECTED, ConnectionState.CLOSING, ConnectionState.CLOSED},
        ConnectionState.CONNECTED: {
            ConnectionState.SUSPENDED,
            ConnectionState.MIGRATING,
            ConnectionState.CLOSING,
            ConnectionState.CLOSED,
        },
        ConnectionState.SUSPENDED: {ConnectionState.CONNECTED, ConnectionState.CLOSING, ConnectionState.CLOSED},
        ConnectionState.MIGRATING: {
            ConnectionState.CONNECTED,
            ConnectionState.SUSPENDED,
            ConnectionState.CLOSING,
            ConnectionState.CLOSED,
        },
        ConnectionState.CLOSING: {ConnectionState.CLOSED},
        ConnectionState.CLOSED: {ConnectionState.CONNECTING},
    }
)


class SessionState(State):
    """The state of the protocol on the wire; :class:`ConnectionState` is the state for the application."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    REPLAYING = "replaying"
    CONNECTED = "connected"
    DISCONNECTING = "disconnecting"


SESSION_OPEN = (SessionState.REPLAYING, SessionState.CONNECTED)
"""The states in which a session may write, and in which the broker waits for acknowledgements."""

SESSION_MOVES: Mapping[tuple[SessionState, str], SessionState] = {
    (SessionState.DISCONNECTED, "connect"): SessionState.CONNECTING,
    (SessionState.CONNECTING, "connected"): SessionState.REPLAYING,
    (SessionState.REPLAYING, "restored"): SessionState.CONNECTED,
    (SessionState.REPLAYING, "disconnect"): SessionState.DISCONNECTING,
    (SessionState.CONNECTED, "disconnect"): SessionState.DISCONNECTING,
    (SessionState.DISCONNECTED, "lost"): SessionState.DISCONNECTED,
    (SessionState.CONNECTING, "lost"): SessionState.DISCONNECTED,
    (SessionState.REPLAYING, "lost"): SessionState.DISCONNECTED,
    (SessionState.CONNECTED, "lost"): SessionState.DISCONNECTED,
    (SessionState.DISCONNECTING, "lost"): SessionState.DISCONNECTED,
}


class SubscriptionState(State):
    """The state of a subscription.

    PENDING: the broker has not confirmed the subscription yet. REPLAYING: the connection was lost, and the broker has
    not confirmed the subscription on the new one yet. REJECTED: the broker rejected the subscription permanently. Or
    this connection's STOMP version cannot express it, but the next connection's version may.
    """

    PENDING = "pending"
    ACTIVE = "active"
    REPLAYING = "replaying"
    REJECTED = "rejected"
    ENDED = "ended"


SUBSCRIPTION_MOVES = Moves(
    {
        SubscriptionState.PENDING: {SubscriptionState.ACTIVE, SubscriptionState.REJECTED, SubscriptionState.ENDED},
        SubscriptionState.ACTIVE: {SubscriptionState.REPLAYING, SubscriptionState.REJECTED, SubscriptionState.ENDED},
        SubscriptionState.REPLAYING: {SubscriptionState.ACTIVE, SubscriptionState.REJECTED, SubscriptionState.ENDED},
        SubscriptionState.REJECTED: {SubscriptionState.REPLAYING, SubscriptionState.ENDED},
        SubscriptionState.ENDED: (),
    }
)


class TransactionState(State):
    """The state of a transaction.

    COMMITTING: COMMIT was handed out, and the receipt of the COMMIT or of one of the SENDs is awaited. LOST: the
    connection ended before COMMIT was handed out. IN_DOUBT: in state COMMITTING, the connection ended or the caller
    stopped waiting.
    """

    OPEN = "open"
    COMMITTING = "committing"
    COMMITTED = "committed"
    ABORTED = "aborted"
    LOST = "lost"
    IN_DOUBT = "in doubt"


TRANSACTION_MOVES = Moves(
    {
        TransactionState.OPEN: {TransactionState.COMMITTING, TransactionState.ABORTED, TransactionState.LOST},
        # The transaction is OPEN again if the COMMIT could not be written.
        TransactionState.COMMITTING: {
            TransactionState.OPEN,
            TransactionState.COMMITTED,
            TransactionState.ABORTED,
            TransactionState.IN_DOUBT,
        },
        TransactionState.COMMITTED: (),
        TransactionState.ABORTED: (),
        TransactionState.LOST: (),
        TransactionState.IN_DOUBT: (),
    }
)


class WriteState(State):
    """The state of the frames on their way to the socket.

    DETACHED: there is no transport, and frames wait. WRITING: one thread writes the frames that it took. FAILED: a
    write failed, and the receiver has not ended the connection yet.
    """

    DETACHED = "detached"
    IDLE = "idle"
    WRITING = "writing"
    FAILED = "failed"


WRITE_MOVES = Moves(
    {
        WriteState.DETACHED: {WriteState.IDLE},
        WriteState.IDLE: {WriteState.WRITING, WriteState.FAILED, WriteState.DETACHED},
        WriteState.WRITING: {WriteState.IDLE, WriteState.FAILED, WriteState.DETACHED},
        WriteState.FAILED: {WriteState.DETACHED},
    }
)


class WriterState(State):
    """The state of the writer thread.

    ABSENT: not started yet. AWAKE: from its wake-up until all frames are written. LINGERING: no urgent frame waits, so
    the thread is about to let more gather. NAPPING: the thread lets frames gather.
    """

    ABSENT = "absent"
    ASLEEP = "asleep"
    LINGERING = "lingering"
    NAPPING = "napping"
    AWAKE = "awake"


WRITER_MOVES = Moves(
    {
        WriterState.ABSENT: {WriterState.LINGERING, WriterState.AWAKE},
        WriterState.ASLEEP: {WriterState.LINGERING, WriterState.AWAKE, WriterState.ABSENT},
        WriterState.LINGERING: {WriterState.NAPPING, WriterState.AWAKE, WriterState.ABSENT},
        WriterState.NAPPING: {WriterState.AWAKE, WriterState.ABSENT},
        WriterState.AWAKE: {WriterState.ASLEEP, WriterState.ABSENT},
    }
)


class QueueState(State):
    """The state of a dispatch queue. When a queue is STOPPED, its threads end as soon as the queue is empty."""

    RUNNING = "running"
    STOPPED = "stopped"


class SettlementState(State):
    """The messages whose listeners may begin.

    RUNNING: all. HELD: only those of ack mode ``auto``; the others wait. DRAINING: only those of ack mode ``auto``; the
    broker delivers the others again.
    """

    RUNNING = "running"
    HELD = "held"
    DRAINING = "draining"


class ErrandState(State):
    """The state of a message that was handed to another thread.

    GIVEN: the listener has not begun. BEGUN: the listener runs. OVER: the listener has returned, or never runs. LEFT:
    the listener runs, but the dispatcher does not wait any more.
    """

    GIVEN = "given"
    BEGUN = "begun"
    LEFT = "left"
    OVER = "over"


class MessageState(State):
    """The client's answer to the broker about a message: none yet, ACK, NACK, or one of them in a transaction."""

    UNSETTLED = "unsettled"
    ACKED = "acked"
    NACKED = "nacked"
    IN_TRANSACTION = "in transaction"


class StandbyState(State):
    """The state of a standby connection. TAKEN and DEAD connections are not checked any more."""

    ALIVE = "alive"
    TAKEN = "taken"
    DEAD = "dead"
