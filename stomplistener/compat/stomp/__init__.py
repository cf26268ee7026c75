"""stomp.py's public names and signatures on a :class:`stomplistener.Connection`.

With ``import stomplistener.compat.stomp as stomp``, a program that was written for stomp.py runs, and its connection
and subscriptions are restored after every loss. *Come from stomp.py* in the manual lists the differences.
"""

from stomplistener.compat.stomp import (
    adapter,
    colours,
    connect,
    constants,
    exception,
    listener,
    log,
    protocol,
    transport,
    utils,
)
from stomplistener.compat.stomp.adapter.ws import WSStompConnection
from stomplistener.compat.stomp.arguments import restore_by_default
from stomplistener.compat.stomp.connect import StompConnection10, StompConnection11, StompConnection12
from stomplistener.compat.stomp.listener import (
    ConnectionListener,
    PrintingListener,
    StatsListener,
    TestListener,
    WaitingListener,
)

__all__ = [
    "Connection",
    "Connection10",
    "Connection11",
    "Connection12",
    "ConnectionListener",
    "PrintingListener",
    "StatsListener",
    "StompConnection10",
    "StompConnection11",
    "StompConnection12",
    "TestListener",
    "WSConnection",
    "WSStompConnection",
    "WaitingListener",
    "adapter",
    "colours",
    "connect",
    "constants",
    "exception",
    "listener",
    "log",
    "logging",
    "protocol",
    "restore",
    "transport",
    "tuple_version",
    "utils",
]

restore = restore_by_default()
"""Whether lost connections are restored: the default of connections that are made from now on.

The environment variable ``STOMPLISTENER_COMPAT_RESTORE=0`` makes this False. The argument ``restore`` of a connection
overrides this default. Without restoring, a lost connection stays lost until the program connects again, as in
stomp.py.
"""

__version__ = "9.0.0"
"""The version of stomp.py that this package imitates, and with which programs compare."""

Connection10 = StompConnection10
Connection11 = StompConnection11
Connection12 = StompConnection12
Connection = StompConnection11
WSConnection = WSStompConnection

logging = log
"""The old name of ``log``, up to stomp.py 8."""


def tuple_version() -> tuple[int, ...]:
    """Return the version of stomp.py that this package imitates, as numbers."""
    return tuple(int(number) for number in __version__.split("."))
