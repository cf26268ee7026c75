"""stomp.py's exceptions. The ``__cause__`` of each is the exception of :mod:`stomplistener` with the reason."""

from __future__ import annotations

from stomplistener.errors import ConnectFailed, ConnectionLost, NotConnected, StompError, TimedOut


class StompException(Exception):
    """The base of all exceptions of stomp.py."""


class NotConnectedException(StompException):
    """There is no connection."""


class ConnectionClosedException(NotConnectedException):
    """The transaction of the call was lost with its connection.

    In stomp.py, a call in a lost transaction raises NotConnectedException or OSError. Programs catch these exceptions,
    so this class is derived from NotConnectedException.
    """


class ConnectFailedException(StompException):
    """No connection could be made."""


class InterruptedException(StompException):
    """Never raised: an interrupted read continues automatically."""


_KINDS: tuple[tuple[type[Exception], type[StompException]], ...] = (
    (ConnectFailed, NotConnectedException),
    (NotConnected, NotConnectedException),
    (TimedOut, NotConnectedException),
    (ConnectionLost, ConnectionClosedException),
    (StompError, StompException),
    # stomp.py would send the frame, and the broker would refuse it.
    (ValueError, StompException),
)


def translation(error: StompError | ValueError) -> StompException:
    """Return the exception that stomp.py raises for a failed send."""
    kind = next(theirs for ours, theirs in _KINDS if isinstance(error, ours))
    return kind(str(error))
