"""The declarations of an application: handlers with their options, and connections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Concatenate, Literal

from stomplistener.message import Message
from stomplistener.worker.codecs import Codecs
from stomplistener.worker.inbox import Inbox
from stomplistener.worker.replies import Reply

Handler = Callable[Concatenate[Any, ...], Reply]
"""A handler: a function whose first parameter is the message or its payload. The result is None, or the reply."""

Around = Callable[[Message], AbstractContextManager[object]]
"""Makes the context manager inside which a message is handled."""

RetryBy = Literal["worker", "broker"]


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """One handler: its destination, its connection and its options.

    Attributes:
        options: the other arguments of ``Connection.subscribe``.
        call: calls the handler with the arguments that its signature declares, and returns its return value.
        codecs: write the replies.
        inbox: remembers messages with ``once``; None takes the inbox of the running application.
    """

    destination: str
    handler: Handler
    connection: str
    arounds: tuple[Around, ...]
    options: Mapping[str, Any]
    call: Callable[[Message], Any]
    codecs: Codecs
    time_limit: float | None = None
    max_deliveries: int | None = None
    retry_by: RetryBy = "worker"
    once: bool | str = False
    inbox: Inbox | None = None

    @property
    def name(self) -> str:
        """The handler's name, the same in every process."""
        return f"{self.handler.__module__}.{getattr(self.handler, '__qualname__', self.destination)}"


@dataclass(kw_only=True)
class ConnectionPlan:
    """The settings of one connection: its URI and the other arguments of ``Connection``."""

    uri: str | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
