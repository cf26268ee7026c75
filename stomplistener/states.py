"""Every state that exists, and the moves between states that are legal.

One enum and one table for each thing that has states; ``after`` and ``check_move`` refuse a move that the table does
not have, also under ``python -O``. The pictures in the manual are drawn from these tables.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeVar

S = TypeVar("S", bound=enum.Enum)


class IllegalMove(RuntimeError):
    """A state machine was asked for a move that its table does not have: a bug, please report it."""


class ConnectionState(enum.Enum):
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
    ConnectionState.CONNECTING: frozenset({ConnectionState.CONNECTED, ConnectionState.CLOSED}),
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


class SessionState(enum.Enum):
    """What the wire allows now; what an application can act on is :class:`ConnectionState`."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    REPLAYING = "replaying"
    CONNECTED = "connected"
    DISCONNECTING = "disconnecting"


SESSION_MOVES: Mapping[tuple[SessionState, str], SessionState] = {
    (SessionState.DISCONNECTED, "connect"): SessionState.CONNECTING,
    (SessionState.CONNECTING, "connected"): SessionState.REPLAYING,
    (SessionState.REPLAYING, "restored"): SessionState.CONNECTED,
    (SessionState.CONNECTED, "disconnect"): SessionState.DISCONNECTING,
    (SessionState.DISCONNECTED, "lost"): SessionState.DISCONNECTED,
    (SessionState.CONNECTING, "lost"): SessionState.DISCONNECTED,
    (SessionState.REPLAYING, "lost"): SessionState.DISCONNECTED,
    (SessionState.CONNECTED, "lost"): SessionState.DISCONNECTED,
    (SessionState.DISCONNECTING, "lost"): SessionState.DISCONNECTED,
}


class SubscriptionState(enum.Enum):
    """Where a subscription stands: PENDING until the broker's receipt, REPLAYING the same on a later connection."""

    PENDING = "pending"
    ACTIVE = "active"
    REPLAYING = "replaying"
    REJECTED = "rejected"
    ENDED = "ended"


class TransactionState(enum.Enum):
    """Where a transaction stands; LOST with its connection, IN_DOUBT if its COMMIT was written and not answered."""

    OPEN = "open"
    COMMITTING = "committing"
    COMMITTED = "committed"
    ABORTED = "aborted"
    LOST = "lost"
    IN_DOUBT = "in doubt"


def check_move(moves: Mapping[S, frozenset[S]], old: S, new: S) -> None:
    """Raise IllegalMove unless the table has the move from ``old`` to ``new``."""
    if new not in moves[old]:
        raise IllegalMove(f"{type(old).__name__}: there is no move from {old.name} to {new.name}")
