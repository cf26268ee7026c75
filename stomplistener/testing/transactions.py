"""A transaction: the effects of SEND, ACK and NACK, held back until COMMIT carries them out or ABORT drops them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from stomplistener.testing.messages import Delivery


class Transaction:
    """One transaction. Call under the broker's lock."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._actions: list[Callable[[], None]] = []
        self._deliveries: list[Delivery] = []

    def add(self, action: Callable[[], None]) -> None:
        """Add an action for COMMIT."""
        self._actions.append(action)

    def hold(self, deliveries: Iterable[Delivery]) -> None:
        """Keep deliveries from being settled a second time until the transaction ends."""
        for delivery in deliveries:
            delivery.transaction = self
            self._deliveries.append(delivery)

    def commit(self) -> None:
        """Carry out all actions in the order of their frames."""
        self._release()
        for action in self._actions:
            action()

    def abort(self) -> None:
        """Drop all actions. Settled messages are unacknowledged again, or go back if their subscription has ended."""
        self._release()
        for delivery in self._deliveries:
            if not delivery.subscription.is_active:
                delivery.subscription.give_back([delivery])

    def _release(self) -> None:
        for delivery in self._deliveries:
            delivery.transaction = None
