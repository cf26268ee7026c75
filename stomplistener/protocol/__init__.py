"""STOMP itself, sans-I/O: no socket, no thread, no clock, no logging. Each part can be used alone."""

from stomplistener.protocol import commands
from stomplistener.protocol.decoder import Decoder
from stomplistener.protocol.encoder import encode
from stomplistener.protocol.frame import HEARTBEAT, Frame, Headers
from stomplistener.protocol.heartbeat import HeartBeat
from stomplistener.protocol.ledger import (
    Abandoned,
    Ledger,
    Outcome,
    Request,
    SubscriptionEntry,
    TransactionEntry,
)
from stomplistener.protocol.limits import Limits
from stomplistener.protocol.session import Replay, Session
from stomplistener.protocol.spec import VERSIONS, Version
from stomplistener.states import SessionState, SubscriptionState, TransactionState

__all__ = [
    "HEARTBEAT",
    "VERSIONS",
    "Abandoned",
    "Decoder",
    "Frame",
    "Headers",
    "HeartBeat",
    "Ledger",
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
