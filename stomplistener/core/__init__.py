"""The core of a connection: the session, the state, and the ways in and out of them for its threads.

Threads and what they do here:

- *Application threads*, listeners among them, say things: ``say``, ``confirm``, ``settle``. They wait in
  ``_until_open`` and ``await_answer`` alone.
- The *receiver* begins and ends epochs and brings what was received: ``begin_epoch``, ``received``, ``restored``,
  ``end_epoch``. It alone closes the transport. While listeners are quick it lends the reading, and so ``received``, to
  the *dispatcher* (see ``threads.lending``); one of the two reads at any time.
- The *writer* and the *timer* report through ``broken`` that the connection is of no use any more.

Locks, in the order in which they may be taken: the outbox's writing turn; ``lock``, which guards session, state and the
outbox's queue; the locks of lanes, bound and timer. ``lock`` is never held over I/O, over a listener, or over a wait
for another thread (``changed`` releases it). The condition of an ``Answer`` is never taken under ``lock`` (an
application may hold it, inside ``concurrent.futures.wait``). The short ways out take ``lock`` as ``threads.brief``
says.

The class is made in layers, a module each, of which each knows those before it: ``shared`` (the state), ``saying`` (the
ways out), ``leaving`` (graceful ends), ``epochs`` (one connection after the other), ``receiving`` (the way in). Beside
them, ``shortcut`` has the short ways out.
"""

from __future__ import annotations

from stomplistener.core.answer import Answer
from stomplistener.core.receiving import Receiving
from stomplistener.core.shared import ENDED, Event, Item, weigh
from stomplistener.delivery import Delivery
from stomplistener.listener import Listeners
from stomplistener.options import Config
from stomplistener.requests import Requests
from stomplistener.threads.heartbeater import Heartbeater
from stomplistener.threads.lending import LendingLane
from stomplistener.threads.outbox import Outbox

__all__ = ["ENDED", "Answer", "Core", "Event", "Item"]


class Core(Receiving):
    """See the module's text."""

    def __init__(self, config: Config, listeners: Listeners) -> None:
        super().__init__(config, listeners)
        self.outbox = Outbox(self.lock, self.broken, config.name, self._log_written)
        self.delivery = Delivery(self)
        self.requests = Requests(self)
        self.lane = LendingLane(self.delivery.run, weigh, self.bound, config.name)
        self.lanes = [self.lane]
        self.heartbeater = Heartbeater(self)
