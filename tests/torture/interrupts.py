"""The main thread of a program with a time limit: a signal handler raises inside its calls, again and again."""

from __future__ import annotations

import faulthandler
import random
import signal
from collections.abc import Callable
from contextlib import suppress

from common import Run

from stomplistener import Connection, ConnectionLost, ConnectionState, StompError

PAUSE = 0.05
GIVE_UP = 180.0


class Interrupted(BaseException):
    """What the handler raises."""


class Interrupts:
    """Calls of one connection in the main thread, each interrupted within two milliseconds."""

    def __init__(self, seed: int) -> None:
        self.count = 0
        self._dice = random.Random(f"{seed}/interrupts")
        self._armed = False

    def run(self, run: Run) -> None:
        """Go on until the run is to end; its broker lives a little longer. What goes wrong is a problem of the run."""
        signal.signal(signal.SIGALRM, self._ring)
        connection = run.new_connection("main-thread")
        run.timed("connect", connection.connect)
        try:
            while not run.stop.wait(PAUSE):
                # Nothing else ends a main thread that waits for a lock which nobody will free.
                faulthandler.dump_traceback_later(GIVE_UP, exit=True)
                self._interrupt(connection, run.destination("interrupted"))
                self._check(run, connection)
            # No fault disturbs it any more.
            self._send(run, connection, "send at the end")
        finally:
            faulthandler.cancel_dump_traceback_later()
            run.timed("disconnect", connection.disconnect)

    def _ring(self, _number: int, _frame: object) -> None:
        if self._armed:
            self._armed = False
            raise Interrupted

    def _interrupt(self, connection: Connection, destination: str) -> None:
        call = self._dice.choice(CALLS)
        try:
            self._armed = True
            signal.setitimer(signal.ITIMER_REAL, self._dice.uniform(1e-6, 2e-3))
            # Python drops an exception that is raised while it runs the callback of a weak reference.
            while self._armed:
                try:
                    call(connection, destination)
                except StompError:
                    # During an outage a call may end with an error, too; the alarm still comes.
                    continue
        except Interrupted:
            self.count += 1

    def _check(self, run: Run, connection: Connection) -> None:
        if connection.state is ConnectionState.CLOSED:
            run.timed("connect after an interrupt", connection.connect)
        if self.count % 10 == 0:
            # A connection that is cut ten times a second may be gone when the time is over: then the call says so.
            with suppress(ConnectionLost):
                self._send(run, connection, "send after an interrupt")

    def _send(self, run: Run, connection: Connection, what: str) -> None:
        run.timed(what, lambda: connection.send(run.destination("interrupted"), "x", confirm=True))


def _transact(connection: Connection, destination: str) -> None:
    with connection.transaction() as transaction:
        transaction.send(destination, "x")


def _subscribe(connection: Connection, destination: str) -> None:
    connection.subscribe(destination, lambda message: None, ack="client-individual", settle=True).unsubscribe()


def _batch(connection: Connection, destination: str) -> None:
    with connection.batch():
        connection.send(destination, "x")


CALLS: tuple[Callable[[Connection, str], object], ...] = (
    lambda connection, destination: connection.send(destination, "x", timeout=2),
    lambda connection, destination: connection.send(destination, "x", {"a": "b"}, timeout=2),
    lambda connection, destination: connection.send(destination, "x", confirm=True, timeout=2),
    lambda connection, destination: connection.send_async(destination, "x", timeout=2),
    lambda connection, destination: connection.statistics(),
    lambda connection, destination: connection.flush(timeout=2),
    _transact,
    _subscribe,
    _batch,
)
