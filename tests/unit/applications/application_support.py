"""What the tests of misbehaving applications share. They use the public API alone, and every wait has a deadline."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from client_support import eventually, failover, in_thread, reconnected

from stomplistener import Connection, Message, StompError
from stomplistener.testing import Broker
from stomplistener.transport import connect as connect_transport

HERE = Path(__file__).parent
SOON = 5.0
"""Seconds within which something must have happened that takes milliseconds on an idle machine."""
SLACK = 0.5
"""Seconds that a call may return after its own deadline."""


class OwnBaseException(BaseException):
    """What an application derives for itself, as green threads do for their time-outs."""


EXCEPTIONS: dict[str, Callable[[], BaseException]] = {
    "ValueError": lambda: ValueError("from the application"),
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "CancelledError": asyncio.CancelledError,
    "pytest.fail": lambda: pytest.fail.Exception("from the application"),
    "own": lambda: OwnBaseException("from the application"),
}
every_exception = pytest.mark.parametrize("make", EXCEPTIONS.values(), ids=EXCEPTIONS.keys())


@contextmanager
def connected(uri: str, **options: Any) -> Iterator[Connection]:
    """A connection that is restored quickly, and is closed at the end whatever became of it."""
    options.setdefault("timeout", SOON)
    connection = Connection(failover(uri), **options)
    try:
        in_thread(connection.connect).value(2 * SOON)
        yield connection
    finally:
        in_thread(connection.close).done(SOON)


def be_refused(broker: Broker, connection: Connection) -> None:
    """The broker answers ERROR to a SEND and closes, and the connection is restored."""
    broker.error_next("SEND")
    with suppress(StompError):
        connection.send("/queue/refused", "x", confirm=True)
    reconnected(connection)


def fall_silent(broker: Broker, connection: Connection) -> None:
    """The broker says nothing for longer than heartbeats allow, and the connection is restored."""
    broker.go_silent()
    eventually(lambda: not connection.is_connected, "the loss of a silent broker")
    broker.speak()
    reconnected(connection)


class Raiser:
    """A function that raises a new exception at each of its first calls, and then works."""

    def __init__(self, make: Callable[[], BaseException], times: int = 1) -> None:
        self._make = make
        self._remaining = times
        self._lock = threading.Lock()
        self.calls = 0
        self.threads: list[threading.Thread] = []

    @property
    def is_spent(self) -> bool:
        return self._remaining == 0

    def __call__(self, *_args: object) -> None:
        with self._lock:
            self.calls += 1
            self.threads.append(threading.current_thread())
            raises = self._remaining > 0
            self._remaining -= raises
        if raises:
            raise self._make()


class Keeper:
    """A listener that keeps the texts of the messages, as soon as they come."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.errors: list[BaseException] = []

    def on_message(self, message: Message) -> None:
        self.messages.append(message)

    def on_listener_error(self, message: Message, exception: BaseException) -> None:
        self.errors.append(exception)

    @property
    def texts(self) -> list[str]:
        return [message.text for message in list(self.messages)]

    def expect(self, *texts: str, timeout: float = SOON) -> None:
        """Wait until these came; others may have come, too."""
        eventually(lambda: set(texts) <= set(self.texts), f"{texts} among {self.texts}", timeout)


def still_works(connection: Connection, what: str = "after") -> None:
    """The connection sends, and a new subscription receives."""
    keeper = Keeper()
    destination = f"/queue/still-works-{what}-{time.monotonic_ns()}"

    def check() -> None:
        connection.subscribe(destination, keeper.on_message, confirm=True, timeout=SOON)
        connection.send(destination, what, confirm=True, timeout=SOON)

    in_thread(check).value(3 * SOON)
    keeper.expect(what)


def logged(caplog: pytest.LogCaptureFixture, *words: str, level: int = logging.WARNING) -> Callable[[], bool]:
    """Whether one record of the library from this level on has all of these words; exceptions count as words."""

    def look() -> bool:
        return any(all(word in text for word in words) for text in log_texts(caplog, level))

    return look


def log_texts(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    """The records of the library with the names of their exceptions."""
    return [
        f"{record.getMessage()} {record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ''}"
        for record in list(caplog.records)
        if record.name.startswith("stomplistener") and record.levelno >= level
    ]


def returns_within(seconds: float, call: Callable[[], object]) -> tuple[object, BaseException | None]:
    """Call in a thread of its own; fail if the call takes longer. Returns what it returned and what it raised."""
    thread = in_thread(call)
    thread.join(seconds + SLACK)
    late = thread.is_alive()
    thread.join(2 * SOON)
    how = f"it took {thread.seconds:.1f} s" if not thread.is_alive() else "it has not returned"
    assert not late, f"the call was given {seconds} s: {how}"
    return thread.result, thread.error


class Tampered:
    """A transport whose methods an application has replaced; give ``dial`` to ``Connection(transport=…)``.

    Args:
        replace: makes replacements of methods, by name, for each transport; called with the real one.
    """

    def __init__(self, replace: Callable[[Any], dict[str, Callable[..., Any]]]) -> None:
        self._replace = replace
        self.dialled = 0

    def dial(self, broker: Any, **arguments: Any) -> Any:
        self.dialled += 1
        real = connect_transport(broker, **arguments)
        return _Replaced(real, self._replace(real))


class _Replaced:
    def __init__(self, real: Any, methods: dict[str, Callable[..., Any]]) -> None:
        self._real = real
        self._methods = methods

    def __getattr__(self, name: str) -> Any:
        return self._methods[name] if name in self._methods else getattr(self._real, name)


@dataclass(frozen=True)
class Ended:
    """A program that has ended.

    Attributes:
        seconds: from its start to its end.
        after: seconds from its last word, ``END``, until it had ended.
    """

    code: int
    out: str
    err: str
    seconds: float
    after: float


def run_program(source: str | Path, *arguments: str, timeout: float = 30.0) -> Ended:
    """Run a program, a file or text, to its end; one that hangs shows its stacks and fails the test."""
    command = ["-c", source] if isinstance(source, str) else [str(source)]
    begin = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", *command, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"the program did not end within {timeout} s\n{out[-3000:]}\n{err[-6000:]}", pytrace=False)
    end = time.monotonic()
    words = out.split()
    last = float(words[words.index("END") + 1]) if "END" in words else end
    return Ended(process.returncode, out, err, end - begin, end - last)
