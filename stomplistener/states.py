"""Every state that exists, and the moves between states that are legal.

One enum and one table for each thing that has states. A table gives the new state for a legal move and raises for any
other, also under ``python -O``. The pictures in the manual are drawn from these tables.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from typing import TypeVar


class State(enum.Enum):
    """A state. Members are one object each, so they are hashed as objects: ``Enum`` does it in Python, at each look
    into a table, of which a written frame needs two.
    """

    __hash__ = object.__hash__


S = TypeVar("S", bound=State)


class IllegalMove(RuntimeError):
    """A state machine was asked for a move that its table does not have: a bug, please report it."""


class Moves(dict[tuple[S, S], S]):
    """The legal moves between states: ``moves[old, new]`` is the new state.

    Args:
        moves: where one may go from each state.
    """

    def __init__(self, moves: Mapping[S, Collection[S]]) -> None:
        super().__init__({(old, new): new for old, targets in moves.items() for new in targets})

    def __missing__(self, move: tuple[S, S]) -> S:
        old, new = move
        raise IllegalMove(f"{type(old).__name__}: there is no move from {old.name} to {new.name}")


class ConnectionState(State):
    """What an application can know of its connection.

    SUSPENDED: the connection is lost and is being restored. Calls that wait go on waiting.
    MIGRATING: the client leaves this broker for a preferred one (``priorityBackup``). Open transactions may end here,
    everything new waits for the other broker.
    CLOSED: nothing goes on automatically; ``connect()`` starts again.
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
        # To CLOSING where listeners may hold messages of a connection whose subscriptions are still being restored.
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
    """What the wire allows now; what an application can act on is :class:`ConnectionState`."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    REPLAYING = "replaying"
    CONNECTED = "connected"
    DISCONNECTING = "disconnecting"


SESSION_OPEN = (SessionState.REPLAYING, SessionState.CONNECTED)
"""States in which a session may write, and in which the broker waits for acknowledgements."""

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
    """Where a subscription stands.

    PENDING: the broker has not confirmed it yet.
    REPLAYING: its connection was lost; the broker has not confirmed it on the current connection yet.
    REJECTED: the broker rejected it permanently; or this connection's version cannot express it, and the next one may.
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
    """Where a transaction stands.

    COMMITTING: its COMMIT was handed out, and a receipt of the COMMIT or of one of its SENDs is awaited.
    LOST: its connection ended before its COMMIT was handed out.
    IN_DOUBT: its connection ended, or its caller stopped waiting, while it was COMMITTING.
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
        # Back to OPEN where the COMMIT could not be written after all.
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
    """What happens to the frames on their way to the socket.

    DETACHED: there is no transport, frames wait. WRITING: one thread writes what it took. FAILED: a write failed, and
    the receiver has not ended the connection yet.
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
    """What the writer thread does: ABSENT before its first use, AWAKE from when it was told until all is written.

    LINGERING and NAPPING: what waits is not urgent, so the thread is to let more gather for a moment, and does so.
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
    """Whether the threads of a dispatch queue go on: STOPPED ones end when the queue is empty."""

    RUNNING = "running"
    STOPPED = "stopped"


class SettlementState(State):
    """Which messages are begun: RUNNING all, HELD none that has to be acknowledged, DRAINING none any more."""

    RUNNING = "running"
    HELD = "held"
    DRAINING = "draining"


class ErrandState(State):
    """A message in another thread: GIVEN to it, BEGUN by it, OVER; LEFT if its dispatcher does not wait for it."""

    GIVEN = "given"
    BEGUN = "begun"
    LEFT = "left"
    OVER = "over"


class MessageState(State):
    """What was sent to the broker about a message: nothing yet, ACK, NACK, or one of them in a transaction."""

    UNSETTLED = "unsettled"
    ACKED = "acked"
    NACKED = "nacked"
    IN_TRANSACTION = "in transaction"


class StandbyState(State):
    """Whether a connection in reserve can be used: TAKEN and DEAD ones are looked at no more."""

    ALIVE = "alive"
    TAKEN = "taken"
    DEAD = "dead"
