"""STOMP client for Python programs with threads: listeners that keep receiving through lost connections."""

from stomplistener.backoff import Backoff
from stomplistener.connection import Connection
from stomplistener.errors import (
    BrokerError,
    ClosedAfterFork,
    ConnectFailed,
    ConnectionLost,
    InvalidHeader,
    InvalidURI,
    NotConnected,
    ProtocolError,
    StompError,
    TimedOut,
)
from stomplistener.listener import Listener
from stomplistener.message import Message
from stomplistener.options import AckMode, ConnectOptions
from stomplistener.protocol import Frame, Limits, SubscriptionState, TransactionState
from stomplistener.states import ConnectionState
from stomplistener.statistics import SessionSnapshot, Statistics
from stomplistener.subscription import Consumer, Subscription
from stomplistener.transaction import Transaction

__version__ = "0.1.0.dev0"

__all__ = [
    "AckMode",
    "Backoff",
    "BrokerError",
    "ClosedAfterFork",
    "ConnectFailed",
    "ConnectOptions",
    "Connection",
    "ConnectionLost",
    "ConnectionState",
    "Consumer",
    "Frame",
    "InvalidHeader",
    "InvalidURI",
    "Limits",
    "Listener",
    "Message",
    "NotConnected",
    "ProtocolError",
    "SessionSnapshot",
    "Statistics",
    "StompError",
    "Subscription",
    "SubscriptionState",
    "TimedOut",
    "Transaction",
    "TransactionState",
    "__version__",
]
