"""Send and receive bytes, blocking. This layer alone uses sockets, and knows nothing of STOMP.

``connect`` makes a ``Transport`` to an ``Endpoint``. An ``Interrupt`` ends the attempt from another thread.
"""

from stomplistener.transport.base import Endpoint, EndpointOptions, Guided, Owing, Transport
from stomplistener.transport.connect import connect
from stomplistener.transport.extras import MissingExtra
from stomplistener.transport.foreign import foreign_protocol
from stomplistener.transport.interrupt import ConnectInterrupted, Interrupt

__all__ = [
    "ConnectInterrupted",
    "Endpoint",
    "EndpointOptions",
    "Guided",
    "Interrupt",
    "MissingExtra",
    "Owing",
    "Transport",
    "connect",
    "foreign_protocol",
]
