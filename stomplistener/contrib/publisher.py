"""A connection for sending in each process of a web server: made at the first use, ended gracefully with the process.

A web server imports the application, may fork, and starts threads that serve requests. Nothing here connects before the
first request that sends. A connection that was made before a fork belongs to the parent: the child makes its own.
"""

from __future__ import annotations

import atexit
from typing import Any

from stomplistener.connection import Connection
from stomplistener.options import DEFAULT
from stomplistener.states import ConnectionState

__all__ = ["Publisher"]

GOODBYE = 5.0
"""Seconds that the end of a process waits for its broker: confirmed sends have been waited for already."""


class Publisher:
    """One connection of this process, for all its threads. Thread-safe.

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
        """Return the connection, and connect if this process has none. After a loss its calls wait for the next one.

        Args:
            timeout: seconds to wait for it; by default the connection's own timeout.

        Raises:
            ConnectFailed: it could not be made; the next use tries again.
            TimedOut: it could not be made within the time.
        """
        connection = self._connection
        state = connection.state
        if state is ConnectionState.NEW:
            # Once for a process and for those that it forks, which inherit it.
            atexit.register(self.close, GOODBYE)
        if state in (ConnectionState.NEW, ConnectionState.CONNECTING, ConnectionState.CLOSED):
            connection.connect(timeout)
        return connection

    def close(self, timeout: float | None = DEFAULT) -> None:
        """Disconnect gracefully; the next use connects again. A process that ends by ``os._exit`` must call it.

        Args:
            timeout: seconds to wait for receipts and for the broker's answer to DISCONNECT.
        """
        self._connection.disconnect(timeout)
