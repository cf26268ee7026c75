"""The client for Twisted, built on the threaded connection: Deferreds, and listeners in the reactor thread.

::

    connection = TwistedConnection("tcp://localhost:61613")
    await connection.connect()
    await connection.subscribe("/queue/orders", handle)            # handle(message) may return a Deferred
    await connection.send("/queue/orders", "pizza", confirm=True)

When the reactor shuts down, it waits for a graceful end of the connection. Call every method in the reactor thread.
"""

from stomplistener.contrib.loops import LoopTransaction
from stomplistener.contrib.twisted.connection import TwistedConnection
from stomplistener.contrib.twisted.subscription import TwistedSubscription

__all__ = ["LoopTransaction", "TwistedConnection", "TwistedSubscription"]
