"""Which broker to try next, and when. Pure: no socket, no thread, no clock; the random source is an argument."""

from __future__ import annotations

from stomplistener.failover.schedule import Attempt, Schedule
from stomplistener.failover.uri import Broker, BrokerOptions, BrokerURI, FailoverOptions, parse

__all__ = ["Attempt", "Broker", "BrokerOptions", "BrokerURI", "FailoverOptions", "Schedule", "parse"]
