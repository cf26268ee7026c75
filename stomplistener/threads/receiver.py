"""The thread that owns the transport: it alone connects, reads or lends the reading, reconnects and closes.

It runs no application code.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Protocol

from stomplistener.errors import ConnectionLost, StompError
from stomplistener.threads.lending import PATIENCE, LendingLane
from stomplistener.transport import Guided, Transport

_log = logging.getLogger("stomplistener")


class Connector(Protocol):
    """Makes connections: the next one that is ready, or None when there is to be none."""

    def first(self) -> Transport | None: ...

    def again(self) -> Transport | None: ...


class Reader(Protocol):
    """Takes what is received."""

    def wait_for_room(self) -> None:
        """Block while more is received than may be."""

    def gather(self) -> None:
        """Called before each read: let bytes gather for a moment where that is worth it."""

    def received(self, data: bytes) -> int:
        """Take bytes; how many more are sure to come."""

    def may_lend(self) -> bool:
        """Whether nothing is received but what the dispatcher is to deliver, and nobody waits for anything else."""

    def lost(self, transport: Transport, noticed: Exception) -> bool:
        """A connection that was ready has ended; whether to connect again."""

    def ended(self) -> None:
        """The receiver ends."""


class Receiver:
    """From the first attempt to connect to the end of the last connection, in a daemon thread.

    Args:
        connector: makes the connections.
        reader: takes what they bring.
        lane: whose thread may read by itself, see ``lending``.
        name: for the thread.
    """

    def __init__(self, connector: Connector, reader: Reader, lane: LendingLane[Any], name: str) -> None:
        self._connector = connector
        self._reader = reader
        self._lane = lane
        self.thread = threading.Thread(target=self._run, name=f"{name}-receiver", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def _run(self) -> None:
        try:
            transport = self._connector.first()
            while transport is not None:
                noticed = _Reading(transport, self._reader, self._lane).to_its_end()
                again = self._reader.lost(transport, noticed)
                transport.close()
                transport = self._connector.again() if again else None
        except Exception:
            _log.exception("the receiver failed: please report this as a bug")
        finally:
            self._reader.ended()


class _Reading:
    """Reads one connection: in the receiver, or in the dispatcher as long as that has the loan of it."""

    def __init__(self, transport: Transport, reader: Reader, lane: LendingLane[Any]) -> None:
        self._transport = transport
        self._guided = transport if isinstance(transport, Guided) else None
        self._reader = reader
        self._lane = lane
        self._why: Exception | None = None

    def to_its_end(self) -> Exception:
        """Read until the connection ends, and return why."""
        guided = self._guided
        while self._why is None:
            if guided is not None and self._lane.is_quick and self._reader.may_lend():
                if guided.limit_wait(PATIENCE):
                    self._lane.lend(self._read_lent)
                    guided.limit_wait(None)
                else:
                    guided = None
            else:
                self._reader.wait_for_room()
                self._read()
        if not isinstance(self._why, (OSError, StompError)):
            raise self._why
        return self._why

    def _read_lent(self) -> None:
        if not (self._reader.may_lend() and self._read() and self._why is None):
            self._lane.give_back()

    def _read(self) -> bool:
        """Read once; False if nothing came in the time of a loan. ``_why`` then says whether it was the end."""
        try:
            self._reader.gather()
            data = self._transport.receive()
            if data:
                missing = self._reader.received(data)
                if missing and self._guided is not None:
                    self._guided.expect(missing)
            else:
                self._why = ConnectionLost("the broker closed the connection")
        except BlockingIOError:
            return False
        except Exception as error:
            self._why = error
        return True
