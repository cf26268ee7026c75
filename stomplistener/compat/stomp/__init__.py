"""stomp.py's public names and signatures on a :class:`stomplistener.Connection`.

``import stomplistener.compat.stomp as stomp`` runs a program that was written for stomp.py, and restores its
connection and subscriptions after every loss. What differs is a table in the manual, *Come from stomp.py*.
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

False where the environment variable ``STOMPLISTENER_COMPAT_RESTORE`` is 0. A connection can be told otherwise by its
argument ``restore``. Without restoring a lost connection stays lost until the program connects, as in stomp.py.
"""

__version__ = "9.0.0"
"""The version of stomp.py whose names these are: programs compare with it."""

Connection10 = StompConnection10
Connection11 = StompConnection11
Connection12 = StompConnection12
Connection = StompConnection11
WSConnection = WSStompConnection

logging = log
"""The name of ``log`` up to stomp.py 8."""


def tuple_version() -> tuple[int, ...]:
    """The version of stomp.py whose names these are, as numbers."""
    return tuple(int(number) for number in __version__.split("."))
