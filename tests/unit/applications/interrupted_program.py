"""A program whose main thread is interrupted by a signal, hundreds of times, inside calls of the library.

    python interrupted_program.py raise CALL SEED COUNT     the handler raises; CALL is a name of CALLS
    python interrupted_program.py call DEED SEED COUNT      the handler calls the library; DEED is a name of DEEDS

The handler raises at most once for each time that the program arms it, and only inside the ``try`` below: what the
program sees is exactly what an application with a time limit or Ctrl-C sees. It ends with 0 if the connection works at
the end and nothing is left behind.
"""

from __future__ import annotations

import faulthandler
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from stomplistener import Connection, ConnectionState, Message, StompError
from stomplistener.testing import Broker

URI = "failover:({})?initialReconnectDelay=1&maxReconnectDelay=20"
LIMIT = 25.0
LONGEST = 0.002
"""Seconds after which the signal comes at the latest: longer than each call takes, so it hits every place in it."""


class Interrupted(BaseException):
    """What the handler raises."""


class Program:
    """The connection under test, and what its calls need."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.connection = Connection(URI.format(broker.uri), timeout=5, name="tested").connect()
        self.helper = Connection(URI.format(broker.uri), timeout=5, name="helper").connect()
        self.helper.subscribe("/queue/questions", self._answer, confirm=True)
        self.consume()
        self.empty_consumer = self.connection.consume("/queue/empty")
        self.short: Connection | None = None
        threading.Thread(target=self._feed, daemon=True, name="feeder").start()

    def _answer(self, message: Message) -> None:
        self.helper.reply(message, "answer")

    def consume(self) -> None:
        # A small prefetch: what lies in the client must not keep the broker's thread busy.
        self.consumer = self.connection.consume("/queue/consumed", prefetch=20)

    def _feed(self) -> None:
        """Not in the main thread, so that an interrupt never hits the broker."""
        while True:
            if self.broker.depth("/queue/consumed") < 20:
                self.broker.publish("/queue/consumed", "x")
            else:
                time.sleep(0.001)

    def subscribe(self, *, confirm: bool) -> None:
        self.connection.subscribe("/queue/sub", lambda message: None, confirm=confirm).unsubscribe(confirm=confirm)

    def workers(self) -> None:
        self.connection.subscribe("/queue/workers", lambda message: None, workers=2).unsubscribe()

    def acknowledge(self) -> None:
        message = self.consumer.receive(1)
        if message is not None:
            message.ack()

    def transaction(self) -> None:
        with self.connection.transaction() as transaction:
            transaction.send("/queue/t", "a")
            transaction.send("/queue/t", "b")

    def flush(self) -> None:
        self.connection.send("/queue/s", "x")
        self.connection.flush()

    def batch(self) -> None:
        with self.connection.batch():
            for _ in range(3):
                self.connection.send("/queue/b", "x")

    def send_async(self) -> None:
        self.connection.send_async("/queue/a", "x").result(5)

    def listeners(self) -> None:
        self.connection.add_listener(lambda message: None, "mine")
        self.connection.remove_listener("mine")

    def connect(self) -> None:
        self.short = Connection(URI.format(self.broker.uri), timeout=5, name="tested-short")
        self.short.connect()
        self.short.disconnect()

    def with_connection(self) -> None:
        self.short = Connection(URI.format(self.broker.uri), timeout=5, name="tested-short")
        with self.short as connection:
            connection.send("/queue/c", "x")


CALLS: dict[str, Callable[[Program], object]] = {
    "send": lambda p: p.connection.send("/queue/s", "x"),
    "send with headers": lambda p: p.connection.send("/queue/s", "x", {"a": "b"}, content_type="text/plain"),
    "send large": lambda p: p.connection.send("/queue/s", b"x" * 200_000),
    "send confirmed": lambda p: p.connection.send("/queue/s", "x", confirm=True),
    "send_async": Program.send_async,
    "subscribe": lambda p: p.subscribe(confirm=False),
    "subscribe confirmed": lambda p: p.subscribe(confirm=True),
    "workers": Program.workers,
    "ack": Program.acknowledge,
    "transaction": Program.transaction,
    "request": lambda p: p.connection.request("/queue/questions", "question"),
    "receive": lambda p: p.empty_consumer.receive(0.001),
    "statistics": lambda p: (p.connection.statistics(), p.connection.session, p.connection.state),
    "flush": Program.flush,
    "batch": Program.batch,
    "listeners": Program.listeners,
    "connect": Program.connect,
    "with": Program.with_connection,
}


def _stop(program: Program) -> None:
    program.connection.stop()


DEEDS: dict[str, Callable[[Program], object]] = {
    "statistics": lambda p: (p.connection.statistics(), p.connection.state, p.connection.is_connected),
    "send": lambda p: p.connection.send("/queue/h", "from the handler", timeout=1),
    "send confirmed": lambda p: p.connection.send("/queue/h", "from the handler", confirm=True, timeout=1),
    "close": lambda p: p.connection.close(),
    "disconnect": lambda p: p.connection.disconnect(timeout=1),
    "stop": _stop,
}
CALLS_FOR_DEEDS = tuple(name for name in CALLS if name not in ("connect", "with"))


class Alarm:
    """Runs a function in a signal handler of the main thread, once for each ``arm``, a random moment later."""

    def __init__(self, seed: int, handler: Callable[[], object]) -> None:
        self._dice = random.Random(seed)
        self._handler = handler
        self._armed = False
        self._kick = threading.Event()
        self._numbers = 0
        self.seen = threading.Event()
        signal.signal(signal.SIGALRM, self._ring)
        threading.Thread(target=self._kicks, daemon=True, name="kicker").start()

    def arm(self) -> None:
        """From a timer of the system and from another thread by turns: the two interrupt differently."""
        self._armed = True
        self._numbers += 1
        self.seen.clear()
        if self._numbers % 2:
            signal.setitimer(signal.ITIMER_REAL, self._dice.uniform(1e-6, LONGEST))
        else:
            self._kick.set()

    def _kicks(self) -> None:
        while True:
            self._kick.wait()
            self._kick.clear()
            time.sleep(self._dice.uniform(0, LONGEST))
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

    def _ring(self, _number: int, _frame: object) -> None:
        if self._armed:
            self._armed = False
            self.seen.set()
            self._handler()


def raising(program: Program, name: str, seed: int, count: int) -> None:
    """Interrupt one call again and again."""

    def handler() -> None:
        raise Interrupted

    alarm, call, failures = Alarm(seed, handler), CALLS[name], list[str]()
    dropped: list[BaseException | None] = [None]

    def call_until_it_rings() -> None:
        # A function, for Python 3.12 and 3.13 do not protect the jump to the start of a loop in a try.
        while not alarm.seen.is_set():
            try:
                call(program)
            except StompError as error:
                failures.append(repr(error))

    sys.unraisablehook = lambda unraisable: dropped.append(unraisable.exc_value)
    for _ in range(count):
        try:
            alarm.arm()
            call_until_it_rings()
            # Python itself drops what is raised in the callback of a weak reference; nothing else may drop it.
            if not isinstance(dropped.pop(), Interrupted):
                raise SystemExit("the call dropped the exception of the handler")
        except Interrupted:
            pass
        if program.short is not None:
            # No code can close what it made if the exception comes at the first instruction of its close.
            program.short.close()
        if program.connection.state is ConnectionState.CLOSED:
            # Allowed, as long as it says so and can connect again.
            program.connection.connect()
            program.consume()
    print(f"{count} interrupts, {len(failures)} calls failed: {failures[:3]}", flush=True)


def calling(program: Program, name: str, seed: int, count: int) -> None:
    """Call the library in the handler while the main thread is inside each of its calls."""

    def handler() -> None:
        with suppress(StompError):
            DEEDS[name](program)

    alarm = Alarm(seed, handler)
    for number in range(count):
        call = CALLS[CALLS_FOR_DEEDS[number % len(CALLS_FOR_DEEDS)]]
        alarm.arm()
        while not alarm.seen.is_set():
            with suppress(StompError):
                call(program)
        if name in ("close", "disconnect", "stop"):
            if not program.connection.wait(5):
                raise SystemExit(f"{name} in the handler did not end the connection")
            program.connection.connect()
            program.consume()
    print(f"{count} calls in a handler", flush=True)


def check_that_it_works(program: Program) -> None:
    connection, came = program.connection, threading.Event()
    connection.subscribe("/queue/after", lambda message: came.set(), confirm=True)
    connection.send("/queue/after", "x", confirm=True)
    if not came.wait(5):
        raise SystemExit("nothing is received any more")
    connection.flush()
    begin = time.monotonic()
    connection.disconnect(timeout=3)
    program.helper.disconnect(timeout=3)
    if time.monotonic() - begin > 5:
        raise SystemExit(f"disconnect took {time.monotonic() - begin:.1f} s")
    end = time.monotonic() + 5
    while left := [thread.name for thread in threading.enumerate() if thread.name.startswith(("tested", "helper"))]:
        if time.monotonic() > end:
            raise SystemExit(f"threads left: {left}")
        time.sleep(0.01)


def main(mode: str, name: str, seed: str, count: str) -> None:
    # A deadlock shows where it is, and ends the program.
    faulthandler.dump_traceback_later(LIMIT, exit=True)
    # Not its thread is waited for, so that a broker with a hung client cannot hide the client's error.
    broker = Broker().start()
    program = Program(broker)
    {"raise": raising, "call": calling}[mode](program, name, int(seed), int(count))
    check_that_it_works(program)
    print("works", flush=True)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
