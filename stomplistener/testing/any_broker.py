"""What brokers have in common, whether embedded or in a container."""

from __future__ import annotations

from typing import Protocol


class AnyBroker(Protocol):
    """A broker for tests: an embedded :class:`~stomplistener.testing.Broker`, or a real one in a container.

    A test for any broker cannot use the queues and faults of the embedded broker. It looks with a client, and breaks
    connections with a :class:`~stomplistener.testing.FaultProxy`.
    """

    @property
    def name(self) -> str:
        """``embedded``, or the name of the service in the compose file."""

    @property
    def uri(self) -> str:
        """What a client connects to, with login and virtual host if the broker needs them."""

    def start(self) -> object:
        """Start it again after ``stop()``, on the same port; returns when it answers."""

    def stop(self) -> None:
        """End it, and with it all connections; messages that were sent persistent are kept."""

    def restart(self) -> None:
        """``stop()`` and ``start()``."""
