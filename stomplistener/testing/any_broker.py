"""The common interface of brokers, embedded or in a container."""

from __future__ import annotations

from typing import Protocol


class AnyBroker(Protocol):
    """A broker for tests: an embedded :class:`~stomplistener.testing.Broker`, or a real one in a container.

    A test for any broker cannot use the queues and faults of the embedded broker. Such a test checks the results with a
    client, and breaks connections with a :class:`~stomplistener.testing.FaultProxy`.
    """

    @property
    def name(self) -> str:
        """``embedded``, or the name of the service in the compose file."""

    @property
    def uri(self) -> str:
        """The URI for a client, with login and virtual host if the broker needs them."""

    def start(self) -> object:
        """Start the broker again after ``stop()``, on the same port. Returns when the broker answers."""

    def stop(self) -> None:
        """End the broker and all its connections. The broker keeps persistent messages."""

    def restart(self) -> None:
        """Call ``stop()``, then ``start()``."""
