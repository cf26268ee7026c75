"""Confirmed messages sent and received while something is done to the brokers, and books that have to balance."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Self

from ledger import Ledger

from stomplistener import Connection, Message
from stomplistener.testing.containers import BrokerContainer

PATIENCE = 90.0
_PACE = 0.002


def failover(brokers: Iterable[BrokerContainer], options: str = "randomize=false") -> str:
    """One URI over all of them, that waits a quarter of a second at most between two passes."""
    uris = ",".join(f"{broker.uri}?connectionTimeout=10000" for broker in brokers)
    return f"failover:({uris})?{options}&maxReconnectDelay=250"


def eventually(condition: Callable[[], object], what: str, timeout: float = PATIENCE) -> None:
    """Wait for what no event announces."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"not within {timeout} s: {what}"
        time.sleep(0.05)


class Load:
    """A sender of confirmed messages and three workers that share their queue, each with a connection of its own.

    ``away`` is how long the last outage took, ``gap`` the longest time without a message in it; in seconds.

    Args:
        uri: where all of them connect to.
        headers: for SEND and SUBSCRIBE, such as the type of the queue.
        kept: the workers leave so many messages in the queue at any time, for the broker to lose.
    """

    def __init__(self, uri: str, headers: Mapping[str, str] | None = None, kept: int = 100) -> None:
        self.queue = f"/queue/load-{uuid.uuid4().hex[:12]}"
        self.ledger = Ledger()
        self.away = 0.0
        self.gap = 0.0
        self.sender = self._connection(uri, "sender")
        self.workers = [self._connection(uri, f"worker-{number}") for number in range(3)]
        self._kept = kept
        self._headers = dict(headers or {})
        self._last = self._longest = 0.0
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._stack = ExitStack()
        self._thread = threading.Thread(target=self._send, name="load", daemon=True)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for connection in self.connections:
                stack.enter_context(connection)
            for worker in self.workers:
                self.work(worker)
            self._thread.start()
            stack.callback(self._end)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def connections(self) -> list[Connection]:
        return [self.sender, *self.workers]

    def work(self, connection: Connection) -> None:
        """Let one more connection share the queue."""
        connection.subscribe(
            self.queue, self._take, ack="client-individual", prefetch=20, headers=self._headers, confirm=True
        )

    def servers(self) -> set[str]:
        """What the brokers call themselves that the connections are on; a connection that is cut off adds ``""``."""
        return {each.session.server if each.is_connected else "" for each in self.connections}

    def goes_on(self, messages: int = 100) -> None:
        """Wait until so many more messages were confirmed, and as many received."""
        came = self.ledger.wait_progress(messages, PATIENCE)
        assert self._failure is None, self._failure
        assert came, f"no {messages} more messages within {PATIENCE} s; connections: {self.connections}"

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Run what takes a broker away and brings it back; then wait until the load goes on."""
        self.goes_on()
        start = time.monotonic()
        self._longest, self._last = 0.0, start
        yield
        self.away = time.monotonic() - start
        self.goes_on()
        self.gap = self._longest

    def balances(self, timeout: float = PATIENCE) -> bool:
        """Stop sending, and wait until every confirmed message is received; whether it is."""
        self._end()
        assert self._failure is None, self._failure
        return self.ledger.wait_balanced(timeout)

    @staticmethod
    def _connection(uri: str, name: str) -> Connection:
        return Connection(uri, heartbeat=(1.0, 1.0), timeout=PATIENCE, name=name)

    def _send(self) -> None:
        number = 0
        try:
            while not self._stop.wait(_PACE):
                number += 1
                self.sender.send(self.queue, str(number), self._headers, persistent=True, confirm=True)
                self.ledger.confirm(str(number))
        except Exception as failure:
            self._failure = failure

    def _take(self, message: Message) -> None:
        while self.ledger.backlog < self._kept and not self._stop.wait(_PACE):
            pass
        now = time.monotonic()
        self._longest, self._last = max(self._longest, now - self._last), now
        self.ledger.receive(message.text)
        message.ack()

    def _end(self) -> None:
        self._stop.set()
        self._thread.join(PATIENCE)
