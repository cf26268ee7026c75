"""The exit codes of the processes of this package. The command line documents the same numbers."""

from __future__ import annotations

import enum

from stomplistener._util.environment import PasscodeError
from stomplistener.errors import ConnectFailed, ConnectionLost, InvalidURI, NotConnected, TimedOut
from stomplistener.transport import MissingExtra


class WrongUse(ValueError):
    """An argument of the command does not fit the application."""


class Exit(enum.IntEnum):
    """An exit code. As in shells, 128 + n means that signal n ended the process."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NO_CONNECTION = 3
    TIMED_OUT = 4


def exit_of(error: BaseException) -> Exit:
    """Return the exit code for the exception that ended the process."""
    if isinstance(error, (InvalidURI, MissingExtra, PasscodeError, WrongUse)):
        return Exit.USAGE
    if isinstance(error, (ConnectFailed, ConnectionLost, NotConnected)):
        return Exit.NO_CONNECTION
    if isinstance(error, TimedOut):
        return Exit.TIMED_OUT
    return Exit.FAILED
