"""Every exception of the library, in one tree.

::

    StompError
    ├── ProtocolError       a frame breaks the specification, ours or the broker's
    ├── BrokerError         the broker answered ERROR
    ├── ConnectFailed       no broker could be reached, or each refused
    ├── NotConnected        the call needs a connection, and there is none
    │   └── ClosedAfterFork the connection belongs to the parent process
    ├── ConnectionLost      the connection that an operation depends on is gone
    ├── TimedOut            a deadline passed                        (also TimeoutError)
    ├── InvalidURI          the text is not a broker URI                (also ValueError)
    └── InvalidHeader       a header cannot be sent in this version  (also ValueError)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stomplistener._util.text import SHOWN_BYTES, shorten

if TYPE_CHECKING:
    from stomplistener.protocol.frame import Frame


class StompError(Exception):
    """Base of all exceptions of the library. Can be pickled and copied."""

    def __reduce__(self) -> tuple[object, ...]:
        # By default, an exception is rebuilt from its args, that is from its text alone. Most exceptions of the library
        # need more than the text.
        return _made_again, (type(self), self.args, vars(self))


def _made_again(kind: type[StompError], args: tuple[object, ...], attributes: dict[str, object]) -> StompError:
    error = kind.__new__(kind, *args)
    super(StompError, error).__init__(*args)
    vars(error).update(attributes)
    return error


class ProtocolError(StompError):
    """A frame breaks the STOMP specification or a limit.

    Attributes:
        offence: the violated rule, without the bytes: frames that violate the same rule have the same offence.
        frame: the frame, if the bytes were readable as one.
        data: the offending bytes, shortened.
        frames: the good frames before the bad bytes in the same chunk.
    """

    def __init__(self, message: str, *, frame: Frame | None = None, data: bytes | None = None) -> None:
        super().__init__(message if data is None else f"{message}: {shorten(data)}")
        self.offence = message
        self.frame = frame
        self.data = None if data is None else data[:SHOWN_BYTES]
        self.frames: list[Frame] = []


class BrokerError(StompError):
    """The broker answered with an ERROR frame, kept as ``frame``."""

    def __init__(self, message: str, *, frame: Frame) -> None:
        super().__init__(message)
        self.frame = frame


class ConnectFailed(StompError):
    """No connection could be made.

    Attributes:
        attempts: ``(broker, exception)`` for each broker of the last pass, without secrets.
    """

    def __init__(self, message: str, attempts: Sequence[tuple[str, Exception]] = ()) -> None:
        super().__init__(message)
        self.attempts = tuple(attempts)


class NotConnected(StompError):
    """The call needs a connection, but the client is neither connected nor connecting."""


class ClosedAfterFork(NotConnected):
    """The process was forked, and this connection belongs to the parent: call ``connect()`` to make a new one."""


class ConnectionLost(StompError):
    """The connection that the operation depends on is gone, and the operation cannot be repeated safely.

    Attributes:
        outcome_unknown: True if the operation may have taken effect: it was written, but no answer arrived.
    """

    def __init__(self, message: str, *, outcome_unknown: bool = False) -> None:
        super().__init__(message)
        self.outcome_unknown = outcome_unknown


class TimedOut(StompError, TimeoutError):
    """A deadline passed before the operation was complete."""


class InvalidURI(StompError, ValueError):
    """The text is not a broker URI. The exception has the position, and may propose the nearest valid name."""


class InvalidHeader(StompError, ValueError):
    """A header cannot be sent: the STOMP version in use cannot express it."""
