"""STOMP client for Python programs with threads: listeners that keep receiving after a connection loss."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_HOMES = {
    "AckMode": "options",
    "Backoff": "backoff",
    "BrokerError": "errors",
    "ClosedAfterFork": "errors",
    "ConnectFailed": "errors",
    "ConnectOptions": "options",
    "Connection": "connection",
    "ConnectionLost": "errors",
    "ConnectionState": "states",
    "Consumer": "subscription",
    "Frame": "protocol",
    "InvalidHeader": "errors",
    "InvalidURI": "errors",
    "Limits": "protocol",
    "Listener": "listener",
    "Message": "message",
    "NotConnected": "errors",
    "ProtocolError": "errors",
    "SessionSnapshot": "statistics",
    "Statistics": "statistics",
    "StompError": "errors",
    "Subscription": "subscription",
    "SubscriptionState": "protocol",
    "TimedOut": "errors",
    "Transaction": "transaction",
    "TransactionState": "protocol",
}
"""The module of each name."""

if not TYPE_CHECKING:  # otherwise a type checker would accept any name

    def __getattr__(name: str) -> object:
        # Import each name at its first use: pytest imports this package for its plugin, even in runs without a broker.
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
