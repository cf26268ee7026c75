"""Programs as the manual of stomp.py has them, to be run unchanged: only the import is another one."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import stomplistener.compat.stomp as stomp
from stomplistener.testing import Broker

QUEUE = "/queue/test"


class Heard(stomp.ConnectionListener):
    """Notes what happens, and lets a test wait for it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self._changed = threading.Condition()

    def note(self, name: str, detail: Any = None) -> None:
        with self._changed:
            self.calls.append((name, detail))
            self._changed.notify_all()

    def of(self, name: str) -> list[Any]:
        return [detail for each, detail in list(self.calls) if each == name]

    @property
    def bodies(self) -> list[Any]:
        return [frame.body for frame in self.of("message")]

    def wait(self, name: str, times: int = 1, timeout: float = 15.0) -> list[Any]:
        with self._changed:
            came = self._changed.wait_for(lambda: len(self.of(name)) >= times, timeout)
        assert came, f"not {times} times {name} within {timeout} s: {self.calls}"
        return self.of(name)

    def on_connecting(self, host_and_port: tuple[str, int]) -> None:
        self.note("connecting", host_and_port)

    def on_connected(self, frame: Any) -> None:
        self.note("connected", frame)

    def on_disconnecting(self) -> None:
        self.note("disconnecting")

    def on_disconnected(self) -> None:
        self.note("disconnected")

    def on_before_message(self, frame: Any) -> None:
        self.note("before_message", frame)

    def on_message(self, frame: Any) -> None:
        self.note("message", frame)

    def on_receipt(self, frame: Any) -> None:
        self.note("receipt", frame.headers["receipt-id"])

    def on_error(self, frame: Any) -> None:
        self.note("error", frame)

    def on_receiver_loop_completed(self, frame: Any) -> None:
        self.note("receiver_loop_completed", frame)


class Reconnecting(Heard):
    """The recipe of stomp.py's manual: a listener that connects and subscribes again."""

    def __init__(self, conn: Any, connect_and_subscribe: Callable[[Any], object]) -> None:
        super().__init__()
        self.conn = conn
        self.connect_and_subscribe = connect_and_subscribe

    def on_disconnected(self) -> None:
        super().on_disconnected()
        self.connect_and_subscribe(self.conn)
        self.note("recovered")


def connect_and_subscribe(conn: Any) -> None:
    conn.connect("admin", "password", wait=True)
    conn.subscribe(destination=QUEUE, id=1, ack="auto")


def hosts(broker: Broker) -> list[tuple[str, int]]:
    return [("127.0.0.1", broker.port)]


class Library:
    """The library that a program of the tests is written for: stomp.py itself, or this one in its place.

    Args:
        module: the package that the program imports.
        arguments: more arguments for its connections.
    """

    def __init__(self, module: str, **arguments: Any) -> None:
        self.module = module
        self.arguments = arguments
        self.stomp: Any = importlib.import_module(module)

    def connection(self, broker: Broker | int, kind: str = "Connection12", **arguments: Any) -> Any:
        """A connection to a broker, or to a port of this machine."""
        place = [("127.0.0.1", broker if isinstance(broker, int) else broker.port)]
        given = {"reconnect_sleep_initial": 0.01, **self.arguments, **arguments}
        return getattr(self.stomp, kind)(place, **given)

    @property
    def is_ours(self) -> bool:
        return self.module != "stomp"


COMPAT = "stomplistener.compat.stomp"
LOSING, RESTORING = Library(COMPAT, restore=False), Library(COMPAT, restore=True)
OURS = [pytest.param(LOSING, id="losing"), pytest.param(RESTORING, id="restoring")]
ALL = [pytest.param(Library("stomp"), id="stomp.py"), *OURS]


def within(seconds: float, program: Callable[[], object]) -> None:
    """Run a program in a thread, and fail if it is not done in time, or raises."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            program()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"not done within {seconds} s"
    if raised:
        raise raised[0]


def until(condition: Callable[[], Any], seconds: float = 15.0) -> None:
    """Ask again and again for what only the program knows; ``Broker.wait_for`` asks when the broker has changed."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)
