"""An application's connections and subscriptions, from their making to their graceful end."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from stomplistener._util.deadline import Deadline
from stomplistener.connection import Connection
from stomplistener.errors import NotConnected, StompError
from stomplistener.failover import parse
from stomplistener.message import Message
from stomplistener.policy import TryAgain
from stomplistener.protocol import SubscriptionState
from stomplistener.subscription import Subscription

if TYPE_CHECKING:
    from stomplistener.worker.application import Around, ConnectionPlan, Declaration

_NEVER = 86400.0
"""Seconds that no end of a worker takes."""

JITTER_SECONDS = 1.0
"""Up to so much a worker waits longer before each pass of a reconnect, unless its URI has a ``reconnectDelayJitter``.

The workers of a broker that was restarted lost their connections at the same instant, and would all come back at the
same instant.
"""

_log = logging.getLogger("stomplistener.worker")


class StopRequest:
    """How any thread asks a process to stop; asking before anybody listens is remembered."""

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
        """Have ``hear`` called, in the thread that asks."""
        with self._lock:
            self._hear, asked = hear, self._asked
        if asked:
            hear()


class Running:
    """One life of an application. ``close`` is called by one thread, once; all else may be called by any."""

    def __init__(self, name: str) -> None:
        self.connections: dict[str, Connection] = {}
        self.subscriptions: list[Subscription] = []
        self.ending = threading.Event()
        self._name = name
        self._listening: set[str] = set()
        self._lock = threading.Lock()
        self._busy = 0

    def add_connection(self, name: str, plan: ConnectionPlan) -> None:
        assert plan.uri is not None
        options = {"name": f"{self._name}-{name}"} | dict(plan.options)
        self.connections[name] = Connection(parse(plan.uri, {"reconnect_delay_jitter": JITTER_SECONDS}), **options)

    def subscribe(self, declaration: Declaration, arounds: Sequence[Around]) -> None:
        """Declare a subscription; it becomes active when its connection is made."""
        connection = self.connections[declaration.connection]
        listener = self._within(arounds, declaration)
        self.subscriptions.append(connection.subscribe(declaration.destination, listener, **declaration.options))
        self._listening.add(declaration.connection)

    def _within(self, arounds: Sequence[Around], declaration: Declaration) -> Callable[[Message], None]:
        handler = declaration.handler

        @functools.wraps(handler)
        def handle(message: Message) -> None:
            with self._lock:
                self._busy += 1
            try:
                with ExitStack() as stack:
                    for around in arounds:
                        stack.enter_context(around(message))
                    handler(message)
            except TryAgain as postponed:
                if self.ending.is_set():
                    # Not here: the broker has it back when the connection ends, which may not have begun to yet.
                    postponed.delay = _NEVER
                raise
            finally:
                with self._lock:
                    self._busy -= 1

        return handle

    @property
    def busy(self) -> int:
        """How many handlers run now."""
        return self._busy

    @property
    def is_live(self) -> bool:
        """Whether every connection is ready."""
        return all(connection.is_connected for connection in self.connections.values())

    def check(self) -> None:
        """Raise if the broker refuses a subscription: a worker that does not listen must not look as if it did.

        Raises:
            StompError: the reason.
        """
        for subscription in self.subscriptions:
            if subscription.state is SubscriptionState.REJECTED:
                subscription.wait_active(0)

    def connect(self, deadline: Deadline) -> None:
        """Connect all, one after the other, and wait for the subscriptions.

        Raises:
            StompError: one could not be made, or a subscription was refused.
        """
        for connection in self.connections.values():
            connection.connect(timeout=deadline.remaining())
        for subscription in self.subscriptions:
            subscription.wait_active(deadline.remaining())

    def close(self, deadline: Deadline) -> None:
        """Let running handlers end, settle their messages, disconnect.

        Connections without listeners go last: until then the handlers of the others may need them to send.
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

    def keep(self, name: str) -> StompError:
        """Connect one connection, wait until it is closed for good, and return why. For a thread of its own."""
        connection = self.connections[name]
        try:
            connection.connect(timeout=None)
            _log.info("connected %s", name, extra={"connection": name, "server": connection.session.server})
            connection.run_forever()
        except StompError as error:
            return error
        return NotConnected(f"connection {name} was closed")
