"""The thread that owns the transport: it alone connects, reads, reconnects and closes. It runs no application code."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from stomplistener.errors import ConnectionLost, StompError
from stomplistener.transport import Transport

_log = logging.getLogger("stomplistener")


class Connector(Protocol):
    """Makes connections: the next one that is ready, or None when there is to be none."""

    def first(self) -> Transport | None: ...

    def again(self) -> Transport | None: ...


class Reader(Protocol):
    """Takes what is received."""

    def wait_for_room(self) -> None: ...

    def received(self, data: bytes) -> None: ...

    def lost(self, transport: Transport, noticed: Exception) -> bool:
        """A connection that was ready has ended; whether to connect again."""

    def ended(self) -> None:
        """The receiver ends."""


class Receiver:
    """From the first attempt to connect to the end of the last connection, in a daemon thread."""

    def __init__(self, connector: Connector, reader: Reader, name: str) -> None:
        self._connector = connector
        self._reader = reader
        self.thread = threading.Thread(target=self._run, name=f"{name}-receiver", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def _run(self) -> None:
        try:
            transport = self._connector.first()
            while transport is not None:
                noticed = read(transport, self._reader.wait_for_room, self._reader.received)
                again = self._reader.lost(transport, noticed)
                transport.close()
                transport = self._connector.again() if again else None
        except Exception:
            _log.exception("the receiver failed: please report this as a bug")
        finally:
            self._reader.ended()


def read(transport: Transport, wait_for_room: Callable[[], None], received: Callable[[bytes], None]) -> Exception:
    """Read until the connection ends, and return why."""
    try:
        while True:
            wait_for_room()
            data = transport.receive()
            if not data:
                return ConnectionLost("the broker closed the connection")
            received(data)
    except (OSError, StompError) as error:
        return error
