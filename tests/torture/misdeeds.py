"""What applications do wrong, while the loads of a run go on: each is a thing to do, drawn like a fault."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from books import Silence
from common import Run

from stomplistener import Connection, Listener, Message, StompError

Dice = random.Random


class OwnBaseException(BaseException):
    """What an application derives for itself."""


EXCEPTIONS: tuple[Callable[[], BaseException], ...] = (
    lambda: ValueError("of the application"),
    lambda: SystemExit(3),
    KeyboardInterrupt,
    GeneratorExit,
    asyncio.CancelledError,
    lambda: OwnBaseException("of the application"),
)


# What goes on all the time


class Mischief:
    """Goes around the listeners of a run: raises, sleeps, waits and calls back, now and then."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._book = Silence()
        run.books["exceptions raised on messages"] = self._book
        self._dice = run.dice("mischief")
        self._failed: set[str] = set()

    def install(self) -> None:
        """On every connection that the run makes from now on, and every listener that it gives to one."""
        self._run.listening = self._around
        self._run.added.append(lambda connection: connection.add_listener(Hooks(self._run, self._book)))

    def _around(self, listener: Callable[[Message], None]) -> Callable[[Message], None]:
        def listen(message: Message) -> None:
            chance = self._dice.random()
            # Once for each message: the retries of the subscription must bring it through.
            if chance < 0.03 and message.id not in self._failed and not self._run.stop.is_set():
                self._failed.add(message.id)
                raise self._book.raises(self._dice.choice(EXCEPTIONS)())
            if chance < 0.04:
                time.sleep(self._dice.uniform(0.01, 0.3))
            elif chance < 0.06:
                self._run.connections[0].statistics()
            elif chance < 0.07:
                with contextlib.suppress(StompError):
                    self._run.connections[0].send(self._run.destination("noise"), "x", confirm=True, timeout=2)
            listener(message)

        return listen


class Hooks:
    """A listener of the connection whose hooks raise now and then; and which hears what was reported."""

    def __init__(self, run: Run, book: Silence) -> None:
        self._dice = run.dice("hooks")
        self._book = book

    def _perhaps(self, *_arguments: object) -> None:
        if self._dice.random() < 0.05:
            raise self._dice.choice(EXCEPTIONS)()

    on_connecting = on_connected = on_disconnecting = on_disconnected = on_reconnecting = _perhaps
    on_heartbeat = on_receipt = on_error = on_connection_lost = _perhaps

    def on_listener_error(self, message: Message, exception: BaseException) -> None:
        self._book.report(exception)


class SendingHandler(logging.Handler):
    """A log handler that sends each record over a connection of the run, with a lock of its own taken."""

    def __init__(self, run: Run) -> None:
        super().__init__(logging.INFO)
        self._run = run
        self._own = threading.Lock()
        self._inside = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(self._inside, "yes", False) or not self._run.connections:
            return
        self._inside.yes = True
        try:
            with self._own, contextlib.suppress(StompError):
                connection = self._run.connections[0]
                connection.statistics()
                connection.send(self._run.destination("log"), record.getMessage(), timeout=0.1)
        finally:
            self._inside.yes = False

    def call_with_its_lock(self) -> None:
        """The other order: this thread has the handler's lock, and wants the library's."""
        with self._own, contextlib.suppress(StompError):
            self._run.connections[0].statistics()
            self._run.connections[0].send(self._run.destination("log"), "x", timeout=0.1)


@contextlib.contextmanager
def logging_over(run: Run) -> Iterator[SendingHandler]:
    logger = logging.getLogger("stomplistener")
    handler, level, propagates = SendingHandler(run), logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates


# What is done once


@dataclass(frozen=True)
class Misdeed:
    """One kind; ``run`` raises nothing but what is a problem."""

    name: str
    weight: float
    run: Callable[[Run, Dice], None]


WRONG: tuple[Callable[[Connection], Any], ...] = (
    lambda c: c.send(None, "x"),  # type: ignore[arg-type]
    lambda c: c.send("/queue/x", {"a": 1}),  # type: ignore[arg-type]
    lambda c: c.send("/queue/x", "x", {"shade": None}),  # type: ignore[dict-item]
    lambda c: c.send("/queue/x", "x", {5: "x"}, confirm=True),  # type: ignore[dict-item]
    lambda c: c.send_async(b"/queue/x", "x"),  # type: ignore[arg-type]
    lambda c: c.send("/queue/x", "x", timeout=-1),
    lambda c: c.subscribe("/queue/x", print, ack="client_individual"),  # type: ignore[arg-type]
    lambda c: c.subscribe(5, print),  # type: ignore[arg-type]
    lambda c: c.subscribe("/queue/x", None, id=b"x"),  # type: ignore[arg-type]
    lambda c: c.subscribe("/queue/x", print, headers={"shade": None}),  # type: ignore[dict-item]
    lambda c: c.add_listener(5),
    lambda c: c.transaction(id=5).begin(),  # type: ignore[arg-type]
)


def _wrong_arguments(run: Run, dice: Dice) -> None:
    connection = dice.choice(run.connections)
    for call in dice.sample(WRONG, 4):
        try:
            run.timed("a call with a wrong argument", lambda call=call: call(connection))  # type: ignore[misc]
        except (TypeError, ValueError, StompError):
            continue
        run.problems.append(f"wrong argument {WRONG.index(call)} was accepted")


def _abandoned_futures(run: Run, dice: Dice) -> None:
    connection = dice.choice(run.connections)
    with contextlib.suppress(StompError):
        for _ in range(5):
            run.timed("send_async", lambda: connection.send_async(run.destination("noise"), "x"))
            run.timed("request_async", lambda: connection.request_async(run.destination("noise"), "x", timeout=2), 2)
            future = run.timed("send_async", lambda: connection.send_async(run.destination("noise"), "x"))
            future.add_done_callback(_raising)
            future.cancel()


def _raising(_future: object) -> None:
    raise SystemExit(4)


def _unsubscribe_in_a_listener(run: Run, dice: Dice) -> None:
    connection, destination = dice.choice(run.connections), run.destination(f"short-{dice.random()}")
    done = threading.Event()

    def listen(message: Message) -> None:
        subscription.unsubscribe(confirm=dice.random() < 0.5, timeout=5)
        done.set()

    subscription = run.timed(
        "subscribe",
        lambda: connection.subscribe(destination, listen, ack="client-individual", settle=True, workers=2),
    )
    with contextlib.suppress(StompError):
        run.timed("send", lambda: connection.send(destination, "x", confirm=True))
    if not done.wait(60):
        run.problems.append("unsubscribe() in a listener did not return")


def _end_in_a_hook(run: Run, dice: Dice) -> None:
    """A connection of its own that ends in each hook in turn, and connects again from another thread."""
    hook = dice.choice(("on_connected", "on_message", "on_disconnected", "on_receipt"))
    end = dice.choice(("disconnect", "close"))
    called = threading.Event()

    def call(_self: object, *_arguments: object) -> None:
        with contextlib.suppress(StompError):
            getattr(connection, end)()
        called.set()

    connection = run.new_connection("short")
    connection.add_listener(type("Ending", (Listener,), {hook: call})())
    destination = run.destination(f"ending-{dice.random()}")
    try:
        with contextlib.suppress(StompError):
            connection.subscribe(destination)
            run.timed("connect", connection.connect)
        # Nothing keeps such a message over a loss: it is sent until it was heard of.
        for _ in range(1 if hook == "on_disconnected" else 30):
            with contextlib.suppress(StompError):
                run.timed("send", lambda: connection.send(destination, "x", {"receipt": "mine"}, confirm=False))
            if called.wait(0 if hook == "on_disconnected" else 2):
                break
        else:
            if hook != "on_disconnected":
                run.problems.append(f"{hook} was not called")
    finally:
        run.timed("disconnect", connection.disconnect)


def _needless_connects(run: Run, dice: Dice) -> None:
    connection = dice.choice(run.connections)
    for seconds in (0.05, 0.01, 0.5):
        with contextlib.suppress(StompError):
            run.timed("connect", lambda seconds=seconds: connection.connect(timeout=seconds), seconds)  # type: ignore[misc]


def _crowd(run: Run, dice: Dice) -> None:
    """Subscribes and unsubscribes in several threads at once."""
    connection = dice.choice(run.connections)

    def subscribe() -> None:
        with contextlib.suppress(StompError):
            for _ in range(10):
                connection.subscribe(run.destination("crowd"), print, workers=dice.choice((1, 2))).unsubscribe(
                    timeout=5
                )

    threads = [threading.Thread(target=subscribe, name="crowd") for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        run.timed("subscribe and unsubscribe in a crowd", thread.join)


def _impatient(run: Run, dice: Dice) -> None:
    """Calls that time out, and a COMMIT that does."""
    connection = dice.choice(run.connections)
    for seconds in (0.0, 0.001, 0.01):
        with contextlib.suppress(StompError):
            connection.request(run.destination("noise"), "x", timeout=seconds)
        with contextlib.suppress(StompError):
            transaction = connection.transaction().begin()
            transaction.commit(timeout=seconds)
        with contextlib.suppress(StompError):
            connection.flush(timeout=seconds)


MISDEEDS = (
    Misdeed("wrong arguments", 20, _wrong_arguments),
    Misdeed("abandoned futures", 20, _abandoned_futures),
    Misdeed("unsubscribe in a listener", 20, _unsubscribe_in_a_listener),
    Misdeed("end in a hook", 15, _end_in_a_hook),
    Misdeed("needless connect", 10, _needless_connects),
    Misdeed("a crowd that subscribes", 10, _crowd),
    Misdeed("impatient calls", 10, _impatient),
)
