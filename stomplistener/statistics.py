"""What a connection has done so far, and where it stands."""

from __future__ import annotations

from stomplistener._util.record import Record
from stomplistener.protocol import HeartBeat, SessionState


class Statistics(Record):
    """A snapshot of counts since the connection object was made, across all reconnects.

    Attributes:
        messages_received: MESSAGE frames.
        messages_sent: SEND frames of the application; a resent frame counts once.
        bytes_received: everything read, in bytes.
        bytes_sent: everything written, in bytes.
        pending: received messages and events whose listeners have not ended yet.
        pending_bytes: the bytes of those messages, headers and bodies.
        unconfirmed: the number of confirmed sends whose receipt has not arrived.
        unconfirmed_bytes: the bytes of their bodies.
        reconnects: connections restored.
        listener_errors: exceptions that listeners raised on messages.
        last_received: ``time.monotonic()`` of the last byte read; 0 before the first.
        last_sent: the same of the last byte written.
    """

    messages_received: int
    messages_sent: int
    bytes_received: int
    bytes_sent: int
    pending: int
    pending_bytes: int
    unconfirmed: int
    unconfirmed_bytes: int
    reconnects: int
    listener_errors: int
    last_received: float
    last_sent: float


class SessionSnapshot(Record):
    """What was negotiated and what is registered, at one moment.

    Attributes:
        state: the state of the protocol on the wire.
        epoch: how many connections were begun.
        version: the STOMP version, None before the first CONNECTED.
        server: the broker's name for itself, empty if it hides it.
        id: the broker's name for the session, likewise.
        heartbeat: seconds between beats that we send, and that we await; 0 for none.
        subscriptions: ids in order of creation.
        transactions: ids of the open ones.
        broker: the broker in use, ``tcp://mq1:61613``, without secrets; None before the first connection.
    """

    state: SessionState
    epoch: int
    version: str | None
    server: str
    id: str
    heartbeat: HeartBeat
    subscriptions: tuple[str, ...]
    transactions: tuple[str, ...]
    broker: str | None
