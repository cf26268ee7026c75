"""What the loads of a run share: where the broker is, connections, timed calls, and the end."""

from __future__ import annotations

import contextlib
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from books import Book
from calls import Calls
from ledger import Ledger, Outages

from stomplistener import Connection, Message, Subscription
from stomplistener.testing import FaultProxy

T = TypeVar("T")

CALL_DEADLINE = 60.0
PACE = 0.002
OPTIONS = "initialReconnectDelay=5&maxReconnectDelay=250"


class Run:
    """One broker, and everything that goes on around it. Thread-safe.

    Attributes:
        name: the broker's.
        target: its own URI, without the proxy.
        proxy: what stands before the broker, and breaks.
        stop: set when no load begins anything new.
        balanced: set when everything owed has come.
        problems: what makes the run fail.
        added: listeners that every connection of the run gets.
        listening: goes around every listener of the run's messages.
    """

    def __init__(
        self, name: str, target: str, proxy: FaultProxy, calls: Calls, seed: str, context: ssl.SSLContext | None
    ) -> None:
        self.name = name
        self.target = target
        self.proxy = proxy
        self.seed = seed
        self.ledger = Ledger()
        self.books: dict[str, Book] = {}
        self.stop = threading.Event()
        self.balanced = threading.Event()
        self.problems: list[str] = []
        self.outages: list[float] = []
        self.connections: list[Connection] = []
        self.added: list[Callable[[Connection], object]] = []
        self.listening: Callable[[Callable[[Message], None]], Callable[[Message], None]] = lambda listener: listener
        self._calls = calls
        self._context = context
        self._mark = f"{seed.partition('/')[0]}-{time.time_ns()}"
        self._graves: dict[str, Callable[[Message], None]] = {}

    @property
    def uri(self) -> str:
        return self.uri_of(self.proxy)

    def uri_of(self, *proxies: FaultProxy, options: str = OPTIONS) -> str:
        brokers = ",".join(f"{proxy.uri}?connectionTimeout=10000" for proxy in proxies)
        return f"failover:({brokers})?randomize=false&{options}"

    def destination(self, name: str) -> str:
        """Nobody else's, not even that of another run of the same seed."""
        return f"/queue/torture-{self._mark}-{name}"

    def headers(self, destination: str) -> dict[str, str]:
        """Of every message to a destination of the run: found in a dead-letter queue, it still tells where it went."""
        return {"persistent": "true", "run": destination}

    def bury_with(self, destination: str, listener: Callable[[Message], None]) -> None:
        """Let ``listener`` have what a broker moves from this destination to its dead letters."""
        self._graves[destination] = listener

    def bury(self, message: Message) -> bool:
        """Take a message from a dead-letter queue; whether it is of this run."""
        listener = self._graves.get(message.headers.get("run", ""))
        if listener is not None:
            listener(message)
        return listener is not None

    def dice(self, name: object) -> random.Random:
        return random.Random(f"{self.seed}/{name}")

    def new_connection(self, role: str, uri: str | None = None, **options: Any) -> Connection:
        settings: dict[str, Any] = {
            "host": "/",
            "heartbeat": (1.0, 1.0),
            "timeout": CALL_DEADLINE,
            "ssl_context": self._context,
        }
        connection = Connection(uri or self.uri, name=f"{self.name}-{role}", **(settings | options))
        for add in self.added:
            add(connection)
        return connection

    @contextlib.contextmanager
    def connection(self, role: str, uri: str | None = None) -> Iterator[Connection]:
        """Connected; one of those that must be alive at the end."""
        connection, outages = self.new_connection(role, uri), Outages()
        connection.add_listener(outages)
        self.timed("connect", connection.connect)
        self.connections.append(connection)
        try:
            yield connection
        finally:
            self.timed("disconnect", connection.disconnect)
            self.outages += outages.seconds

    def timed(self, what: str, function: Callable[[], T], seconds: float = CALL_DEADLINE) -> T:
        return self._calls.timed(f"{self.name}: {what}", seconds, function)

    def subscribe(
        self, connection: Connection, destination: str, listener: Callable[[Message], None], **options: Any
    ) -> Subscription:
        settings: dict[str, Any] = {"ack": "client-individual", "settle": True, "confirm": True}
        return self.timed(
            "subscribe", lambda: connection.subscribe(destination, self.listening(listener), **(settings | options))
        )

    def watched(self, work: Callable[[], None]) -> Callable[[], None]:
        """What it raises is a problem of the run."""

        def run() -> None:
            try:
                work()
            except Exception as error:
                self.problems.append(f"{type(error).__name__}: {error}")

        return run

    def repeated(self, step: Callable[[], None], pace: float = PACE) -> Callable[[], None]:
        """A step after the other, until the run stops."""

        def loop() -> None:
            while not self.stop.is_set():
                step()
                self.stop.wait(pace)

        return self.watched(loop)
