"""A connection for sending, one per web server process. The first use connects, and the end of the process disconnects.

A web server imports the application, may fork, and starts threads that serve requests. So the publisher connects only
at the first request that sends. A connection that was made before a fork belongs to the parent, and the child makes its
own.
"""

from __future__ import annotations

import atexit
from typing import Any

from stomplistener.connection import Connection
from stomplistener.options import DEFAULT
from stomplistener.states import ConnectionState

__all__ = ["Publisher"]

GOODBYE = 5.0
"""Seconds that the end of a process waits for the broker's answer to DISCONNECT. Confirmed sends have their receipts by
then."""


class Publisher:
    """One connection per process, for all its threads. Thread-safe.

    Args:
        uri: the broker URI.
        **options: as for ``Connection``.

    Raises:
        InvalidURI: the URI is malformed.
        ValueError: another argument is out of range.
    """

    def __init__(self, uri: str, **options: Any) -> None:
        self._connection = Connection(uri, **options)

    def connection(self, timeout: float | None = DEFAULT) -> Connection:
        """Return the connection, and connect if this process has none.

        After a connection loss, calls wait for the reconnect.

        Args:
            timeout: seconds to wait for the connection; by default the timeout of the connection.

        Raises:
            ConnectFailed: no broker could be reached; the next use tries again.
            TimedOut: no broker could be reached within the timeout.
        """
        connection = self._connection
        state = connection.state
        if state is ConnectionState.NEW:
            # Register once. Forked processes inherit the registration.
            atexit.register(self.close, GOODBYE)
        if state in (ConnectionState.NEW, ConnectionState.CONNECTING, ConnectionState.CLOSED):
            connection.connect(timeout)
        return connection

    def close(self, timeout: float | None = DEFAULT) -> None:
        """Disconnect gracefully; the next use connects again. A process that ends with ``os._exit`` must call it.

        Args:
            timeout: seconds to wait for receipts and for the broker's answer to DISCONNECT.
        """
        self._connection.disconnect(timeout)
