"""End the lost connections that a program has replaced with new connections.

In stomp.py, a lost connection stays lost. In this library, a lost connection would be restored beside the new one, and
receive messages whose acknowledgements the program sends on the new connection. A connection counts as replaced if the
program registers its listener with another connection, and subscribes there to the same destination of the same
brokers.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

_lock = threading.Lock()
_lost: weakref.WeakSet[Any] = weakref.WeakSet()


def note_loss(transport: Any) -> None:
    """Note that a connection was lost. Until the program uses it, it may have been replaced."""
    with _lock:
        _lost.add(transport)


def note_use(transport: Any) -> None:
    """Note that the program uses a connection again."""
    with _lock:
        _lost.discard(transport)


def give_way(transport: Any, destination: str) -> None:
    """End the connections that a new connection replaces.

    Args:
        transport: the transport of the new connection.
        destination: the destination to which the new connection subscribes.
    """
    with _lock:
        lost = [each for each in _lost if each is not transport]
    for each in lost:
        if each.is_replaced_by(transport, destination):
            note_use(each)
