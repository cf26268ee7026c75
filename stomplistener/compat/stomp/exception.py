"""stomp.py's exceptions. Each has the exception of :mod:`stomplistener` that says why as its ``__cause__``."""

from __future__ import annotations

from stomplistener.errors import ConnectFailed, ConnectionLost, NotConnected, StompError, TimedOut


class StompException(Exception):
    """Base of them all."""


class NotConnectedException(StompException):
    """There is no connection."""


class ConnectionClosedException(NotConnectedException):
    """What the call belongs to, a transaction, was lost with its connection.

    In stomp.py such a call raises NotConnectedException or OSError, so programs catch that one.
    """


class ConnectFailedException(StompException):
    """No connection could be made."""


class InterruptedException(StompException):
    """Never raised: a read that is interrupted goes on automatically."""


_KINDS: tuple[tuple[type[StompError], type[StompException]], ...] = (
    (ConnectFailed, NotConnectedException),
    (NotConnected, NotConnectedException),
    (TimedOut, NotConnectedException),
    (ConnectionLost, ConnectionClosedException),
    (StompError, StompException),
)


def translation(error: StompError) -> StompException:
    """The exception that stomp.py raises for a failed send."""
    kind = next(theirs for ours, theirs in _KINDS if isinstance(error, ours))
    return kind(str(error))
