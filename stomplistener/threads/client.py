"""What the reconnector and the standby need of the client whose connections they make: the seam to ``core.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from stomplistener.config import Config, ConnectOptions
from stomplistener.errors import StompError
from stomplistener.failover import Broker
from stomplistener.protocol import Outcome, Request, Session
from stomplistener.state import ConnectionState
from stomplistener.threads.deadline import Deadline
from stomplistener.threads.spare import Spare
from stomplistener.transport import Transport


class Client(Protocol):
    """Each method is described in ``core.py``; all are thread-safe."""

    config: Config
    session: Session
    state: ConnectionState
    broker: Broker | None
    ready_since: float
    last_failure: Exception | None
    rejections: int

    def tell(self, hook: str, *args: object) -> None: ...
    def wait_until(self, condition: Callable[[], bool], deadline: Deadline) -> bool: ...
    def begin_epoch(self, broker: Broker, transport: Transport, options: ConnectOptions) -> None: ...
    def adopt_epoch(self, spare: Spare) -> None: ...
    def received(self, data: bytes) -> None: ...
    def replay(self) -> None: ...
    def restored(self) -> None: ...
    def end_epoch(self, transport: Transport) -> list[tuple[Request, Outcome]]: ...
    def fail(self, unanswered: list[tuple[Request, Outcome]]) -> None: ...
    def reason(self, noticed: Exception) -> Exception: ...
    def give_up(self, failure: StompError) -> None: ...
    def move_away(self, deadline: Deadline) -> bool: ...
