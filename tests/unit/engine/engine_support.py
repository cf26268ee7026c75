"""What the parts of the engine are given in these tests: a context without a connection, transports, threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from stomplistener import Connection, Limits, Message
from stomplistener._engine.context import Context
from stomplistener._engine.flow_control import FlowControl
from stomplistener.listener import Listeners
from stomplistener.options import Config
from stomplistener.protocol import Frame

DEADLINE_SECONDS = 10.0


def make_config(uri: str = "tcp://localhost:1", **arguments: Any) -> Config:
    """The checked arguments of a connection that is never made."""
    return Connection(uri, **arguments)._config


def make_context(uri: str = "tcp://localhost:1", **arguments: Any) -> Context:
    """What the parts of one connection share."""
    return Context(make_config(uri, **arguments), Listeners())


def make_flow(**limits: int) -> tuple[Context, FlowControl]:
    """A context and its flow control with these limits."""
    context = make_context(limits=Limits(**limits))
    return context, FlowControl(context)


def make_message(body: bytes = b"", subscription: Any = None, epoch: int = 0, **headers: str) -> Message:
    """A message that came with these headers."""
    named = {"destination": "/queue/a", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Message(Frame("MESSAGE", named, body), subscription, epoch, None)  # type: ignore[arg-type]


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for what another thread does."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.001)


class Running:
    """A function in a thread of its own, and what came of it."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function
        self._result: object = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:
            self._error = error

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def result(self) -> Any:
        """Wait for the end."""
        self._thread.join(DEADLINE_SECONDS)
        assert self.is_over, "the thread did not end"
        if self._error is not None:
            raise self._error
        return self._result


class FakeTransport:
    """Takes bytes, or as many as it is told, or raises.

    Attributes:
        sent: what each call brought.
        takes: bytes that each ``send`` accepts.
        nowait: what ``send_nowait`` answers, or raises.
    """

    frame_per_send = False

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.takes = 1 << 30
        self.nowait: bool | BaseException = True
        self.error: BaseException | None = None
        self.gate: threading.Event | None = None
        self.entered = threading.Event()

    def send(self, data: Any) -> int:
        self.entered.set()
        if self.gate is not None:
            assert self.gate.wait(DEADLINE_SECONDS)
        if self.error is not None:
            raise self.error
        part = bytes(data)[: self.takes]
        self.sent.append(part)
        return len(part)

    def send_nowait(self, data: Any) -> bool:
        if isinstance(self.nowait, BaseException):
            raise self.nowait
        if self.nowait:
            self.sent.append(bytes(data))
        return self.nowait

    @property
    def data(self) -> bytes:
        return b"".join(self.sent)
