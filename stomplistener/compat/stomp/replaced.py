"""Lost connections that a program replaces by new ones, and never ends.

In stomp.py they are dead. Here they would come back beside the new ones, and take messages whose acknowledgements go to
the wrong connection. A program that replaces a connection registers its listener with the new one, and subscribes to
the same destination of the same brokers.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

_lock = threading.Lock()
_lost: weakref.WeakSet[Any] = weakref.WeakSet()


def note_loss(transport: Any) -> None:
    """A connection is lost; until the program touches it, it may have been replaced."""
    with _lock:
        _lost.add(transport)


def note_use(transport: Any) -> None:
    """The program goes on with a connection."""
    with _lock:
        _lost.discard(transport)


def give_way(transport: Any, destination: str) -> None:
    """End what a connection replaces.

    Args:
        transport: of the connection, with the listeners of the lost one.
        destination: what it subscribes to.
    """
    with _lock:
        lost = [each for each in _lost if each is not transport]
    for each in lost:
        if each.is_replaced_by(transport, destination):
            note_use(each)
