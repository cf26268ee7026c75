"""The subscriptions of a session: which there are, what a replay owes, and whom a MESSAGE belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from stomplistener.protocol import commands
from stomplistener.protocol.frame import Frame
from stomplistener.protocol.ledger import Ledger, Request, SubscriptionEntry
from stomplistener.states import SubscriptionState

_MOST_ENDED = 32
"""Ended subscriptions of an epoch whose late messages can still be told from those of strangers."""


class Subscriptions:
    """The registry. Whatever is iterated here is copied first: a signal handler may change it meanwhile.

    Attributes:
        entries: all that the application has, in the order of their creation, by id.
        one_by_one: whether a replay writes each only after the one before is answered: how the subscription is found
            that a broker rejects without naming it.
    """

    __slots__ = ("_ended", "_given", "_ledger", "entries", "one_by_one")

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.entries: dict[str, SubscriptionEntry] = {}
        self.one_by_one = False
        self._ended: dict[str, SubscriptionEntry] = {}
        self._given: dict[str, SubscriptionEntry] = {}

    def holds(self, entry: SubscriptionEntry) -> bool:
        """Whether the entry is registered, and not another one under its id."""
        return self.entries.get(entry.id) is entry

    def write(self, entry: SubscriptionEntry, headers: Mapping[str, str], version: str, epoch: int) -> Frame:
        """The SUBSCRIBE frame; from now on it counts as written in this epoch.

        Args:
            headers: what comes under the entry's own.

        Raises:
            ProtocolError: the version cannot express it.
        """
        merged = {**headers, **entry.headers}
        if entry.epoch or self._ledger.holds(merged.get("receipt")):
            # Written once, the application's name for the receipt is used up.
            merged.pop("receipt", None)
        make = partial(commands.subscribe, entry.destination, entry.id, entry.ack, merged, version=version)
        frame = self._ledger.ask(make, "SUBSCRIBE", epoch, merged, subscription=entry)
        entry.epoch = epoch
        entry.receipt = frame.headers["receipt"]
        entry.error = None
        if entry.state is SubscriptionState.REJECTED:
            entry.move(SubscriptionState.REPLAYING)
        return frame

    def expect(self, entry: SubscriptionEntry) -> None:
        """Note a subscription that the broker makes automatically in this epoch."""
        self._given[entry.id] = entry

    def end(self, entry: SubscriptionEntry) -> None:
        """Forget a subscription. Messages that were on their way still find where they belong."""
        self._ledger.assumed.pop(entry.receipt, None)
        self._ended[entry.id] = entry
        if len(self._ended) > _MOST_ENDED:
            self._ended.pop(next(iter(tuple(self._ended))), None)
        if entry.state is not SubscriptionState.ENDED:
            entry.move(SubscriptionState.ENDED)
        # Last: where an interruption leaves it registered, it can be ended again.
        self.entries.pop(entry.id, None)

    def reject(self, entry: SubscriptionEntry, error: Exception) -> None:
        """Forget a subscription that the broker does not have."""
        entry.error = error
        if entry.state is not SubscriptionState.ENDED:
            entry.move(SubscriptionState.REJECTED)
        if self.holds(entry):
            del self.entries[entry.id]

    def blamed(self, *, replaying: bool) -> Request | None:
        """The SUBSCRIBE that an ERROR without receipt-id refuses, if elimination can tell now or on later connections.

        Args:
            replaying: whether nothing but the registry's own frames was written.
        """
        requests = [request for request in self._ledger.awaited() if request.command == "SUBSCRIBE"]
        if replaying and len(requests) == 1:
            self._ledger.drop(requests[0])
            return requests[0]
        if requests:
            # Each is written alone on the next connection, until one is refused.
            self.one_by_one = True
        return None

    def postpone(self, entry: SubscriptionEntry, epoch: int, error: Exception) -> None:
        """Leave a subscription out of this epoch, whose version cannot express it; a later one may."""
        entry.error = error
        entry.epoch = epoch
        if entry.state is not SubscriptionState.REJECTED:
            entry.move(SubscriptionState.REJECTED)

    def activate(self, entry: SubscriptionEntry) -> bool:
        """The broker has it, or so we assume. Returns whether it was waiting for that."""
        if entry.state not in (SubscriptionState.PENDING, SubscriptionState.REPLAYING):
            return False
        entry.move(SubscriptionState.ACTIVE)
        return True

    def assume(self, entries: Iterable[SubscriptionEntry] | None, epoch: int) -> list[SubscriptionEntry]:
        """Activate what was written in this epoch and is not confirmed; of these entries, or of all."""
        if entries is None:
            entries = self.entries.values()
            for request in self._ledger.awaited():
                subscription = request.subscription if request.command == "SUBSCRIBE" else None
                if subscription is not None and not self.holds(subscription):
                    # Unsubscribed meanwhile: a broker that never answers leaves it to us to drop the request.
                    self._ledger.drop(request)
        assumed = []
        for entry in tuple(entries):
            if entry.epoch == epoch and self.holds(entry) and self.activate(entry):
                assumed.append(entry)
                awaited = self._ledger.find(entry.receipt)
                if awaited is not None:
                    self._ledger.assume(awaited)
        return assumed

    def withdraw(self, context: object) -> None:
        """Forget the subscription with this context, which was never written."""
        for entry in tuple(self.entries.values()):
            if entry.context is context:
                self.entries.pop(entry.id, None)

    def due(self, epoch: int) -> list[SubscriptionEntry]:
        """What a replay has to write now."""
        owed = self._owed(epoch)
        if not self.one_by_one:
            return owed
        return [] if self._waits(epoch) else owed[:1]

    def is_replayed(self, epoch: int) -> bool:
        """Whether each was answered in this epoch, or cannot be expressed in it."""
        return not self._owed(epoch) and not self._waits(epoch)

    def _owed(self, epoch: int) -> list[SubscriptionEntry]:
        return [
            entry
            for entry in tuple(self.entries.values())
            if entry.epoch != epoch and entry.state is not SubscriptionState.ENDED
        ]

    def _waits(self, epoch: int) -> bool:
        waiting = (SubscriptionState.PENDING, SubscriptionState.REPLAYING)
        return any(entry.epoch == epoch and entry.state in waiting for entry in tuple(self.entries.values()))

    def lost(self) -> None:
        """The epoch is over."""
        self._ended = {}
        self._given = {}
        for entry in tuple(self.entries.values()):
            if entry.state is SubscriptionState.ACTIVE:
                entry.move(SubscriptionState.REPLAYING)

    def find(self, message: Frame) -> SubscriptionEntry | None:
        """The subscription that a MESSAGE belongs to, or None."""
        id = message.header("subscription")
        if id is not None:
            entry = self.entries.get(id)
            return self._ended.get(id) or self._given.get(id) if entry is None else entry
        # A broker of 1.0 may leave the header out; then only the destination can tell.
        destination = message.header("destination")
        return next((entry for entry in tuple(self.entries.values()) if entry.destination == destination), None)
