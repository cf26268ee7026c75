"""The counts and the state of a connection."""

from __future__ import annotations

from stomplistener._util.record import Record
from stomplistener.protocol import HeartBeat, SessionState


class Statistics(Record):
    """A snapshot of counts since the connection object was made, across all reconnects.

    Attributes:
        messages_received: MESSAGE frames.
        messages_sent: SEND frames of the application; a resent frame counts once.
        bytes_received: the number of bytes read.
        bytes_sent: the number of bytes written.
        pending: received messages and events whose listeners have not returned yet.
        pending_bytes: the bytes of pending messages, headers and bodies.
        unconfirmed: the number of confirmed sends whose receipt has not arrived.
        unconfirmed_bytes: the size of the bodies of unconfirmed sends in bytes.
        reconnects: the number of restored connections.
        listener_errors: the number of exceptions that listeners raised on messages.
        last_received: ``time.monotonic()`` of the last byte read; 0 before the first.
        last_sent: ``time.monotonic()`` of the last byte written; 0 before the first.
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
    """The negotiated values and the subscriptions at one moment.

    Attributes:
        state: the state of the protocol on the wire.
        epoch: the number of connections that were begun.
        version: the STOMP version; None before the first CONNECTED.
        server: the ``server`` header of CONNECTED; empty if the broker does not send it.
        id: the ``session`` header of CONNECTED; empty if the broker does not send it.
        heartbeat: seconds between the heartbeats that the client sends and expects; 0 for none.
        subscriptions: the ids of the subscriptions, in order of creation.
        transactions: the ids of the open transactions.
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
