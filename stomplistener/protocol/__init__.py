"""STOMP itself, sans-I/O: no socket, no thread, no clock, no logging. Each part can be used alone."""

from stomplistener.protocol import commands
from stomplistener.protocol.codec import Decoder, encode
from stomplistener.protocol.entries import (
    Outcome,
    Request,
    SubscriptionEntry,
    SubscriptionState,
    TransactionEntry,
    TransactionState,
)
from stomplistener.protocol.frame import HEARTBEAT, Frame, Headers
from stomplistener.protocol.heartbeat import HeartBeat
from stomplistener.protocol.limits import Limits
from stomplistener.protocol.session import Replay, Session, SessionState
from stomplistener.protocol.spec import VERSIONS, Version

__all__ = [
    "HEARTBEAT",
    "VERSIONS",
    "Decoder",
    "Frame",
    "Headers",
    "HeartBeat",
    "Limits",
    "Outcome",
    "Replay",
    "Request",
    "Session",
    "SessionState",
    "SubscriptionEntry",
    "SubscriptionState",
    "TransactionEntry",
    "TransactionState",
    "Version",
    "commands",
    "encode",
]
