"""A connection for event loops: the common part of asyncio and Twisted, as coroutines that run in both.

The threads of :class:`stomplistener.Connection` do the work. The loop's thread only makes calls that do not wait: it
sends with ``timeout=0``, and takes messages with ``receive(0)``. Each call that may block runs in a separate thread
until it ends. Threads post their results to the loop.

So a busy loop delays only its own messages, which wait in the bounded queue of the connection. Heartbeats continue. A
cancelled call leaves no thread behind. Only one thread, which all calls share, waits until messages can be sent.
"""

from stomplistener.contrib.loops.connection import LoopConnection
from stomplistener.contrib.loops.framework import Gate, Loop, Turn
from stomplistener.contrib.loops.messages import LoopMessages
from stomplistener.contrib.loops.transaction import LoopTransaction

__all__ = ["Gate", "Loop", "LoopConnection", "LoopMessages", "LoopTransaction", "Turn"]
