"""stomp.py's exceptions. Each has the exception of :mod:`stomplistener` that says why as its ``__cause__``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stomplistener.errors import ConnectFailed, ConnectionLost, NotConnected, StompError, TimedOut


class StompException(Exception):
    """Base of them all."""


class ConnectionClosedException(StompException):
    """What the call belongs to was lost with its connection."""


class NotConnectedException(StompException):
    """There is no connection."""


class ConnectFailedException(StompException):
    """No connection could be made."""


class InterruptedException(StompException):
    """Never raised: a read that is interrupted goes on by itself."""


_KINDS: tuple[tuple[type[StompError], type[StompException]], ...] = (
    (ConnectFailed, NotConnectedException),
    (NotConnected, NotConnectedException),
    (TimedOut, NotConnectedException),
    (ConnectionLost, ConnectionClosedException),
    (StompError, StompException),
)


@contextmanager
def translated() -> Iterator[None]:
    """Raise what stomp.py would raise where something is sent."""
    try:
        yield
    except StompError as error:
        kind = next(theirs for ours, theirs in _KINDS if isinstance(error, ours))
        raise kind(str(error)) from error
