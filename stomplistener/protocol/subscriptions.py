"""The subscriptions of a session: their registry, the frames of a replay, and the subscription of a MESSAGE."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from stomplistener.protocol import commands
from stomplistener.protocol.frame import Frame
from stomplistener.protocol.ledger import Ledger, Request, SubscriptionEntry
from stomplistener.states import SubscriptionState

_MOST_ENDED = 32
"""How many ended subscriptions of an epoch are remembered, so that their late messages are recognized."""


class Subscriptions:
    """The registry. A collection is copied before it is iterated: a signal handler may change it meanwhile.

    Attributes:
        entries: all subscriptions of the application, by id, in the order of their creation.
        one_by_one: whether a replay writes each SUBSCRIBE only after the answer to the one before. In this way a replay
            finds a subscription that a broker rejects without naming it.
    """

    __slots__ = ("_ended", "_given", "_ledger", "entries", "one_by_one")

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.entries: dict[str, SubscriptionEntry] = {}
        self.one_by_one = False
        self._ended: dict[str, SubscriptionEntry] = {}
        self._given: dict[str, SubscriptionEntry] = {}

    def holds(self, entry: SubscriptionEntry) -> bool:
        """Whether this entry is registered, rather than another one under its id."""
        return self.entries.get(entry.id) is entry

    def write(self, entry: SubscriptionEntry, headers: Mapping[str, str], version: str, epoch: int) -> Frame:
        """Return the SUBSCRIBE frame. The subscription counts as written in this epoch from now on.

        Args:
            headers: additional headers; the entry's own headers win.

        Raises:
            ProtocolError: the version cannot express the subscription.
        """
        merged = {**headers, **entry.headers}
        if entry.epoch or self._ledger.holds(merged.get("receipt")):
            # The application's receipt is for one SUBSCRIBE only, so a replay does not use it again.
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
        """Forget a subscription, but still recognize its late messages."""
        self._ledger.assumed.pop(entry.receipt, None)
        self._ended[entry.id] = entry
        if len(self._ended) > _MOST_ENDED:
            self._ended.pop(next(iter(tuple(self._ended))), None)
        if entry.state is not SubscriptionState.ENDED:
            entry.move(SubscriptionState.ENDED)
        # Do this last: if an earlier step is interrupted, the subscription stays registered and can be ended again.
        self.entries.pop(entry.id, None)

    def reject(self, entry: SubscriptionEntry, error: Exception) -> None:
        """Forget a subscription that the broker does not have."""
        entry.error = error
        if entry.state is not SubscriptionState.ENDED:
            entry.move(SubscriptionState.REJECTED)
        if self.holds(entry):
            del self.entries[entry.id]

    def blamed(self, *, replaying: bool) -> Request | None:
        """Return the SUBSCRIBE that an ERROR without receipt-id refuses, if elimination finds it now or later.

        Args:
            replaying: whether only frames of the registry were written.
        """
        requests = [request for request in self._ledger.awaited() if request.command == "SUBSCRIBE"]
        if replaying and len(requests) == 1:
            self._ledger.drop(requests[0])
            return requests[0]
        if requests:
            # The next connection writes each SUBSCRIBE alone, until the broker refuses one.
            self.one_by_one = True
        return None

    def postpone(self, entry: SubscriptionEntry, epoch: int, error: Exception) -> None:
        """Leave out a subscription in this epoch, whose version cannot express it; a later version may."""
        entry.error = error
        entry.epoch = epoch
        if entry.state is not SubscriptionState.REJECTED:
            entry.move(SubscriptionState.REJECTED)

    def activate(self, entry: SubscriptionEntry) -> bool:
        """Note that the broker has the subscription, or may have it. Return whether the entry was waiting."""
        if entry.state not in (SubscriptionState.PENDING, SubscriptionState.REPLAYING):
            return False
        entry.move(SubscriptionState.ACTIVE)
        return True

    def assume(self, entries: Iterable[SubscriptionEntry] | None, epoch: int) -> list[SubscriptionEntry]:
        """Activate the unconfirmed subscriptions of this epoch: those in ``entries``, or all."""
        if entries is None:
            entries = self.entries.values()
            for request in self._ledger.awaited():
                subscription = request.subscription if request.command == "SUBSCRIBE" else None
                if subscription is not None and not self.holds(subscription):
                    # The subscription was ended meanwhile. A broker that never answers leaves it to the client to drop
                    # the request.
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
        """Return the subscriptions that a replay has to write now."""
        owed = self._owed(epoch)
        if not self.one_by_one:
            return owed
        return [] if self._waits(epoch) else owed[:1]

    def is_replayed(self, epoch: int) -> bool:
        """Whether each subscription was answered in this epoch, or cannot be expressed in it."""
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
        """End the epoch."""
        self._ended = {}
        self._given = {}
        for entry in tuple(self.entries.values()):
            if entry.state is SubscriptionState.ACTIVE:
                entry.move(SubscriptionState.REPLAYING)

    def find(self, message: Frame) -> SubscriptionEntry | None:
        """Return the subscription that a MESSAGE belongs to, or None."""
        id = message.header("subscription")
        if id is not None:
            entry = self.entries.get(id)
            return self._ended.get(id) or self._given.get(id) if entry is None else entry
        # A broker of STOMP 1.0 may leave out the header, so that only the destination identifies the subscription.
        destination = message.header("destination")
        return next((entry for entry in tuple(self.entries.values()) if entry.destination == destination), None)
