"""All that a broker knows, under one lock."""

from __future__ import annotations

import ssl
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stomplistener.protocol import Limits
from stomplistener.testing.destinations import Destinations
from stomplistener.testing.faults import Faults
from stomplistener.testing.log import Log
from stomplistener.testing.watch import Watch

if TYPE_CHECKING:
    from stomplistener.testing.client import Client


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a broker was made with; :class:`stomplistener.testing.Broker` says what each means."""

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


class State:
    """Everything is read and changed under ``watch.lock``, the broker's only lock, and nothing blocks under it.

    Lock order: none, since whoever holds it takes no other.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.watch = Watch()
        self.destinations = Destinations(options.dead_letters)
        self.faults = Faults()
        self.log = Log()
        self.clients: dict[int, Client] = {}
        self.connection_count = 0

    def wake_writers(self) -> None:
        for client in self.clients.values():
            client.outgoing.wake()
