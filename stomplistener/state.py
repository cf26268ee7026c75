"""What an application can know of its connection: one enum, one table."""

from __future__ import annotations

import enum
from collections.abc import Mapping


class ConnectionState(enum.Enum):
    """Where a connection stands.

    SUSPENDED means cut off and being restored: what waits goes on waiting. CLOSED means that nothing goes on by itself;
    ``connect()`` starts anew.
    """

    NEW = "new"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    SUSPENDED = "suspended"
    CLOSING = "closing"
    CLOSED = "closed"


TRANSITIONS: Mapping[ConnectionState, frozenset[ConnectionState]] = {
    ConnectionState.NEW: frozenset({ConnectionState.CONNECTING, ConnectionState.CLOSED}),
    ConnectionState.CONNECTING: frozenset({ConnectionState.CONNECTED, ConnectionState.CLOSED}),
    ConnectionState.CONNECTED: frozenset({ConnectionState.SUSPENDED, ConnectionState.CLOSING, ConnectionState.CLOSED}),
    ConnectionState.SUSPENDED: frozenset({ConnectionState.CONNECTED, ConnectionState.CLOSING, ConnectionState.CLOSED}),
    ConnectionState.CLOSING: frozenset({ConnectionState.CLOSED}),
    ConnectionState.CLOSED: frozenset({ConnectionState.CONNECTING}),
}
