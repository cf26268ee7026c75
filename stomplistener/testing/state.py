"""The whole state of a broker, under one lock."""

from __future__ import annotations

import ssl
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from stomplistener.protocol import Frame, HeartBeat, Limits
from stomplistener.testing.destinations import Destinations
from stomplistener.testing.faults import Faults
from stomplistener.testing.log import Log
from stomplistener.testing.messages import Stored
from stomplistener.testing.outgoing import Outgoing
from stomplistener.testing.subscriptions import Subscription
from stomplistener.testing.transactions import Transaction
from stomplistener.testing.watch import Watch


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a broker; :class:`stomplistener.testing.Broker` describes each of them."""

    host: str
    port: int
    versions: tuple[str, ...]
    login: str | None
    passcode: str | None = field(repr=False)
    heartbeat: tuple[float, float]
    max_deliveries: int
    prefetch: int
    dead_letters: str
    virtual_hosts: Collection[str] | None
    lenient_errors: bool
    ssl_context: ssl.SSLContext | None
    server_name: str
    limits: Limits


class ConnectionInfo(NamedTuple):
    """A snapshot of a connection. ``number`` counts from 1; ``version`` is None before CONNECTED; times are seconds."""

    number: int
    version: str | None
    login: str | None
    client_id: str | None
    session: str
    heartbeat: HeartBeat


class Peer(Protocol):
    """A connected client, for the rest of the broker. The broker's lock guards all changes."""

    number: int
    session: str
    state: State
    version: str | None
    login: str | None
    client_id: str | None
    subscriptions: dict[str, Subscription]
    transactions: dict[str, Transaction]
    outgoing: Outgoing

    def send(self, frame: Frame) -> None: ...
    def confirm(self, frame: Frame) -> None: ...
    def release_receipts(self) -> None: ...
    def welcomed(self, version: str, heartbeat: HeartBeat) -> None: ...
    def localized(self, message: Stored, version: str | None) -> bytes: ...
    def next_ack_id(self) -> str: ...
    def finish(self) -> None: ...
    def cut_after_writing(self, *, reset: bool) -> None: ...
    def cut(self, *, reset: bool) -> None: ...
    def leave_queues(self) -> None: ...
    def info(self) -> ConnectionInfo: ...


class State:
    """The state of a broker. Threads read and change the state only under ``watch.lock``, and never block there.

    There is no lock order: a thread that holds this lock takes no other.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.watch = Watch()
        self.destinations = Destinations(options.dead_letters)
        self.faults = Faults()
        self.log = Log()
        self.clients: dict[int, Peer] = {}
        self.connection_count = 0

    def wake_writers(self) -> None:
        for client in self.clients.values():
            client.outgoing.wake()
