"""The errors of sockets as texts: the cause, and the remedy."""

from __future__ import annotations

import errno
import os
import socket

# Windows has other numbers for sockets, which os.strerror() does not know.
_WINDOWS_TEXTS: dict[int, str] = getattr(socket, "errorTab", {})

_ADVICE = {
    errno.ECONNREFUSED: "no program listens there: does the broker run, and is this the port of its STOMP?",
    errno.ECONNRESET: "the peer, or a firewall between, broke the connection off",
    errno.ENETUNREACH: "this machine has no route to that network",
    errno.EHOSTUNREACH: "that machine is not reachable from here: is it up, and does a firewall reject?",
    errno.ETIMEDOUT: "that machine did not answer: is it up, and does a firewall drop packets?",
    errno.EADDRNOTAVAIL: "this machine has no free local port, or no address of that kind",
    errno.EMFILE: "this process has too many open files: raise its limit (ulimit -n)",
    errno.ENFILE: "this machine has too many open files",
    errno.EACCES: "this machine does not permit it: a firewall, or the mode of the socket's file?",
    errno.EPERM: "this machine does not permit it: a firewall?",
    errno.ENOENT: "there is no such socket: does the broker run?",
}

# getaddrinfo() has its own error numbers, which overlap with those above.
_LOOK_UP_ADVICE = {
    socket.EAI_NONAME: "is the name spelled correctly, and known to this machine?",
    socket.EAI_AGAIN: "does this machine reach its name server?",
}


def from_code(code: int) -> OSError:
    """Make the exception for an error number, such as from SO_ERROR, of the class that belongs to it."""
    return OSError(code, _WINDOWS_TEXTS.get(code) or os.strerror(code))


def what(error: BaseException) -> str:
    """Describe the error, in the words of the operating system."""
    if isinstance(error, MemoryError):
        return "out of memory"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def advice(error: BaseException) -> str:
    """Advise what to do: a text in brackets after a space, or an empty one."""
    if not isinstance(error, OSError) or error.errno is None:
        return ""
    known = _LOOK_UP_ADVICE if isinstance(error, socket.gaierror) else _ADVICE
    return f" ({known[error.errno]})" if error.errno in known else ""


def told(error: BaseException) -> str:
    """Describe the error, and advise what to do."""
    return what(error) + advice(error)
