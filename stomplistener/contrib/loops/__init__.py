"""A connection for event loops: what asyncio and Twisted have in common, as coroutines that suit both.

The threads of :class:`stomplistener.Connection` do the work. The loop's thread only says what can be said without
waiting (``timeout=0``), and asks for messages that are there (``receive(0)``). What may block runs in a thread of its
own for as long as it takes. What threads have to tell is posted to the loop.

So a loop that is busy holds up its own messages alone. They stay in the bounded hand-off of the connection, and heart-
beats go on. What is cancelled leaves no thread behind but the one that waits, for all, until messages can be sent.
"""

from stomplistener.contrib.loops.connection import LoopConnection
from stomplistener.contrib.loops.framework import Gate, Loop, Turn
from stomplistener.contrib.loops.messages import LoopMessages
from stomplistener.contrib.loops.transaction import LoopTransaction

__all__ = ["Gate", "Loop", "LoopConnection", "LoopMessages", "LoopTransaction", "Turn"]
