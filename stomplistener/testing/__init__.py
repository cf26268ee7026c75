"""For tests and first steps: an embedded broker, a proxy that breaks connections, a listener that records."""

from stomplistener.testing.broker import Broker

__all__ = ["Broker"]
