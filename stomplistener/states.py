"""Every state that exists, and the moves between states that are legal.

One enum and one table for each thing that has states; ``moved`` refuses a move that the table does not
have, also under ``python -O``. The pictures in the manual are drawn from these tables.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeVar


class State(enum.Enum):
    """A state. Members are one object each, so they are hashed as objects: ``Enum`` does it in Python, at each look
    into a table, of which a written frame needs two.
    """

    __hash__ = object.__hash__


S = TypeVar("S", bound=State)


class IllegalMove(RuntimeError):
    """A state machine was asked for a move that its table does not have: a bug, please report it."""


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


CONNECTION_MOVES: Mapping[ConnectionState, frozenset[ConnectionState]] = {
    ConnectionState.NEW: frozenset({ConnectionState.CONNECTING, ConnectionState.CLOSED}),
    # To CLOSING where listeners may hold messages of a connection whose subscriptions are still being restored.
    ConnectionState.CONNECTING: frozenset({ConnectionState.CONNECTED, ConnectionState.CLOSING, ConnectionState.CLOSED}),
    ConnectionState.CONNECTED: frozenset(
        {ConnectionState.SUSPENDED, ConnectionState.MIGRATING, ConnectionState.CLOSING, ConnectionState.CLOSED}
    ),
    ConnectionState.SUSPENDED: frozenset({ConnectionState.CONNECTED, ConnectionState.CLOSING, ConnectionState.CLOSED}),
    ConnectionState.MIGRATING: frozenset(
        {ConnectionState.CONNECTED, ConnectionState.SUSPENDED, ConnectionState.CLOSING, ConnectionState.CLOSED}
    ),
    ConnectionState.CLOSING: frozenset({ConnectionState.CLOSED}),
    ConnectionState.CLOSED: frozenset({ConnectionState.CONNECTING}),
}


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
    REPLAYING: a connection was lost since; the broker has not confirmed it on the connection of today yet.
    REJECTED: the broker rejected it, for good; or this connection's version cannot express it, and the next one may.
    """

    PENDING = "pending"
    ACTIVE = "active"
    REPLAYING = "replaying"
    REJECTED = "rejected"
    ENDED = "ended"


SUBSCRIPTION_MOVES: Mapping[SubscriptionState, frozenset[SubscriptionState]] = {
    SubscriptionState.PENDING: frozenset(
        {SubscriptionState.ACTIVE, SubscriptionState.REJECTED, SubscriptionState.ENDED}
    ),
    SubscriptionState.ACTIVE: frozenset(
        {SubscriptionState.REPLAYING, SubscriptionState.REJECTED, SubscriptionState.ENDED}
    ),
    SubscriptionState.REPLAYING: frozenset(
        {SubscriptionState.ACTIVE, SubscriptionState.REJECTED, SubscriptionState.ENDED}
    ),
    SubscriptionState.REJECTED: frozenset({SubscriptionState.REPLAYING, SubscriptionState.ENDED}),
    SubscriptionState.ENDED: frozenset(),
}


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


TRANSACTION_MOVES: Mapping[TransactionState, frozenset[TransactionState]] = {
    TransactionState.OPEN: frozenset({TransactionState.COMMITTING, TransactionState.ABORTED, TransactionState.LOST}),
    # Back to OPEN where the COMMIT could not be written after all.
    TransactionState.COMMITTING: frozenset(
        {TransactionState.OPEN, TransactionState.COMMITTED, TransactionState.ABORTED, TransactionState.IN_DOUBT}
    ),
    TransactionState.COMMITTED: frozenset(),
    TransactionState.ABORTED: frozenset(),
    TransactionState.LOST: frozenset(),
    TransactionState.IN_DOUBT: frozenset(),
}


class WriteState(State):
    """What happens to the frames on their way to the socket.

    DETACHED: there is no transport, frames wait. WRITING: one thread writes what it took. FAILED: a write failed, and
    the receiver has not ended the connection yet.
    """

    DETACHED = "detached"
    IDLE = "idle"
    WRITING = "writing"
    FAILED = "failed"


WRITE_MOVES: Mapping[WriteState, frozenset[WriteState]] = {
    WriteState.DETACHED: frozenset({WriteState.IDLE}),
    WriteState.IDLE: frozenset({WriteState.WRITING, WriteState.FAILED, WriteState.DETACHED}),
    WriteState.WRITING: frozenset({WriteState.IDLE, WriteState.FAILED, WriteState.DETACHED}),
    WriteState.FAILED: frozenset({WriteState.DETACHED}),
}


class WriterState(State):
    """What the writer thread does: ABSENT before its first use, AWAKE from when it was told until all is written.

    LINGERING and NAPPING: what waits is not urgent, so the thread is to let more gather for a moment, and does so.
    """

    ABSENT = "absent"
    ASLEEP = "asleep"
    LINGERING = "lingering"
    NAPPING = "napping"
    AWAKE = "awake"


WRITER_MOVES: Mapping[WriterState, frozenset[WriterState]] = {
    WriterState.ABSENT: frozenset({WriterState.LINGERING, WriterState.AWAKE}),
    WriterState.ASLEEP: frozenset({WriterState.LINGERING, WriterState.AWAKE, WriterState.ABSENT}),
    WriterState.LINGERING: frozenset({WriterState.NAPPING, WriterState.AWAKE, WriterState.ABSENT}),
    WriterState.NAPPING: frozenset({WriterState.AWAKE, WriterState.ABSENT}),
    WriterState.AWAKE: frozenset({WriterState.ASLEEP, WriterState.ABSENT}),
}


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


def moved(moves: Mapping[S, frozenset[S]], old: S, new: S) -> S:
    """The new state; raises IllegalMove unless the table has the move from ``old`` to ``new``."""
    if new not in moves[old]:
        raise IllegalMove(f"{type(old).__name__}: there is no move from {old.name} to {new.name}")
    return new
