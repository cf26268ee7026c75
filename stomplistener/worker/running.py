"""The connections and subscriptions of a running application, from their creation to their graceful end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from stomplistener._util.deadline import Deadline
from stomplistener._util.loggers import library_logger
from stomplistener.brokers import IfPossible
from stomplistener.connection import Connection
from stomplistener.errors import NotConnected, StompError
from stomplistener.failover import parse
from stomplistener.protocol import SubscriptionState
from stomplistener.subscription import Subscription
from stomplistener.worker.casualties import Casualties
from stomplistener.worker.declarations import Around, ConnectionPlan, Declaration
from stomplistener.worker.handling import ALWAYS_DEAD, Handling, Tasks

JITTER_SECONDS = 1.0
"""The upper limit, in seconds, of the random delay of a reconnect, unless the URI has a ``reconnectDelayJitter``.

When a broker restarts, all its workers lose their connections at the same time. Without the delay, all would reconnect
at the same time.
"""

_log = library_logger("stomplistener.worker")


class StopRequest:
    """Lets any thread stop a process. A request is remembered until a thread listens."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = False
        self._hear: Callable[[], object] | None = None

    def ask(self) -> None:
        with self._lock:
            self._asked, hear = True, self._hear
        if hear is not None:
            hear()

    def listen(self, hear: Callable[[], object]) -> None:
        """Set ``hear`` as the function to call. The requesting thread calls it."""
        with self._lock:
            self._hear, asked = hear, self._asked
        if asked:
            hear()


def subscription_options(declaration: Declaration) -> dict[str, Any]:
    """Return the arguments of ``Connection.subscribe``, with the defaults of a worker."""
    options = dict(declaration.options)
    if not options["settle"]:
        return options
    own = options["dead_letter_on"]
    options["dead_letter_on"] = (*(own if isinstance(own, Iterable) else (own,)), *ALWAYS_DEAD)
    if options["prefetch"] is None:
        options["prefetch"] = IfPossible(_share(options["workers"], declaration.max_deliveries))
    return options


def _share(workers: int, max_deliveries: int | None) -> int:
    """Return the prefetch of a handler. Without a limit, the first of several processes takes all messages."""
    if max_deliveries is not None:
        # If a process dies, a broker that counts deliveries also counts those messages that only waited.
        return workers
    return max(2, 4 * workers)


class Running:
    """One run of an application. Call ``close`` once, from one thread. Any thread may call the other methods."""

    def __init__(self, name: str, tasks: Tasks, casualties: Casualties) -> None:
        self.connections: dict[str, Connection] = {}
        self.subscriptions: list[Subscription] = []
        self.ending = threading.Event()
        self.tasks = tasks
        self._casualties = casualties
        self._name = name
        self._listening: set[str] = set()

    def add_connection(self, name: str, plan: ConnectionPlan) -> None:
        assert plan.uri is not None
        options = {"name": f"{self._name}-{name}"} | dict(plan.options)
        self.connections[name] = Connection(parse(plan.uri, {"reconnect_delay_jitter": JITTER_SECONDS}), **options)

    def subscribe(self, declaration: Declaration, arounds: Sequence[Around]) -> None:
        """Declare a subscription, which becomes active when its connection is made."""
        connection = self.connections[declaration.connection]
        handling = self.handling(declaration, arounds)
        options = subscription_options(declaration)
        subscription = connection.subscribe(declaration.destination, handling.listener(), **options)
        handling.policy = subscription.policy
        self.subscriptions.append(subscription)
        self._listening.add(declaration.connection)

    def handling(self, declaration: Declaration, arounds: Sequence[Around]) -> Handling:
        """Return the object that makes the attempts of a handler."""
        return Handling(
            declaration,
            arounds,
            self.tasks,
            lambda: self.connections[declaration.connection],
            self.ending.is_set,
            self._casualties,
        )

    @property
    def busy(self) -> int:
        """The number of running handlers."""
        return self.tasks.count

    @property
    def is_live(self) -> bool:
        """Whether every connection is ready."""
        return all(connection.is_connected for connection in self.connections.values())

    @property
    def is_subscribed(self) -> bool:
        """Whether the broker has confirmed every subscription."""
        return all(each.state is SubscriptionState.ACTIVE for each in self.subscriptions)

    def check(self) -> None:
        """Raise if the broker refused a subscription, since a worker must not look healthy if it does not listen.

        Raises:
            StompError: the broker refused a subscription.
        """
        for subscription in self.subscriptions:
            if subscription.state is SubscriptionState.REJECTED:
                subscription.wait_active(0)

    def connect(self, deadline: Deadline) -> None:
        """Connect all connections, one after the other, and wait for the subscriptions.

        Raises:
            StompError: a connection could not be made, or a subscription was refused.
        """
        for connection in self.connections.values():
            connection.connect(timeout=deadline.remaining())
        for subscription in self.subscriptions:
            subscription.wait_active(deadline.remaining())

    def close(self, deadline: Deadline) -> None:
        """Let running handlers end, settle their messages, and disconnect.

        Connections without listeners are closed last: running handlers may still send on them.
        """
        self.ending.set()
        names = [self._listening, self.connections.keys() - self._listening]
        for phase in names:
            threads = [threading.Thread(target=self._disconnect, args=(name, deadline)) for name in phase]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def _disconnect(self, name: str, deadline: Deadline) -> None:
        try:
            self.connections[name].disconnect(timeout=deadline.remaining())
        except StompError as error:
            _log.warning("connection %s did not end gracefully: %s", name, error)

    def begin(self, name: str) -> None:
        """Start to connect one connection, without waiting. A later ``close`` also ends an unfinished attempt.

        Raises:
            ConnectFailed: the system cannot start a thread.
        """
        self.connections[name]._begin()

    def wait_closed(self, name: str) -> StompError:
        """Wait until one connection is closed and will not reconnect, and return the reason. Use a separate thread."""
        connection = self.connections[name]
        connection.wait()
        try:
            connection.wait_ready(0)
        except StompError as error:
            return error
        return NotConnected(f"connection {name} was closed")
