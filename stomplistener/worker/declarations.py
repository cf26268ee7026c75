"""What an application declares: a handler with its options, and how a connection is to be made."""

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
"""A handler: takes the message, or its payload, first; returns None, or what goes to the message's ``reply-to``."""

Around = Callable[[Message], AbstractContextManager[object]]
"""Gives the context manager that a message is handled in."""

RetryBy = Literal["worker", "broker"]


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """One handler: what it listens to, by which connection, and how it is called.

    Attributes:
        options: the further arguments of ``Connection.subscribe``.
        call: calls the handler with what its signature asks for, and returns what it returns.
        codecs: how replies are written.
        inbox: remembers messages with ``once``; None for the one of the application that runs.
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
    """How one connection is to be made: its URI, and the further arguments of ``Connection``."""

    uri: str | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
