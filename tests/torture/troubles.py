"""Loads that bring their own trouble: messages that fail, SENDs that are refused, a preferred broker that flaps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from books import Failures, Refusals
from common import CALL_DEADLINE, OPTIONS, Run
from loads import Load, Work

from stomplistener import Connection, Message, StompError
from stomplistener.testing import FaultProxy

SUBSCRIPTIONS = 12
STANDSTILL = 60.0
"""Seconds without any progress after which the next life begins; the end tells what became of what is still owed."""

PATIENCE = 5
"""How many times the deadline of a call a confirmed SEND may take, while connections end one after the other."""

POISON = {
    "embedded": "/remote-temp-queue/gone.x",
    "rabbitmq": "/exchange/never-declared/x",
    "apollo": "/nowhere/x",
}
"""A destination that each broker refuses; Artemis makes any that it is asked for."""


class FailingAtTheStart(Load):
    """Many subscriptions declared before ``connect()``, with a backlog of messages half of which fail."""

    def open(self, stack: contextlib.ExitStack) -> list[Work]:
        run = self.run
        self._book = run.books["failed = forwarded"] = Failures()
        self._errors = run.destination("errors")
        self._queues = [run.destination(f"failing-{number}") for number in range(SUBSCRIPTIONS)]
        for queue in self._queues:
            run.bury_with(queue, self._bury)
        run.bury_with(self._errors, self._bury)
        self._sender = stack.enter_context(run.connection("failing-sender"))
        watcher = stack.enter_context(run.connection("failing-watcher"))
        run.subscribe(watcher, self._errors, lambda message: self._book.forward(message.text), retries=3)
        return [run.watched(self._live)]

    def _live(self) -> None:
        """One life after the other; the last one hears what is still owed at the end."""
        run = self.run
        while not run.stop.is_set():
            self._send_backlog()
            self._listen_until(lambda: not self._book.open() or self._book.idle > STANDSTILL or run.stop.is_set())
        self._listen_until(run.balanced.is_set)

    def _send_backlog(self) -> None:
        life = next(self._numbers)
        for number, queue in enumerate(self._queues):
            for count in range(4):
                self._send(queue, f"{'bad' if count % 2 else 'good'} {life}-{number}-{count}")

    def _listen_until(self, is_over: Callable[[], bool]) -> None:
        """A start in the middle of a backlog, and an end when everything has its fate."""
        run = self.run
        connection = run.new_connection("failing")
        try:
            for queue in self._queues:
                connection.subscribe(
                    queue,
                    self._listen,
                    ack="client-individual",
                    settle=True,
                    retries=1,
                    retry_delay=0.01,
                    error_destination=self._errors,
                )
            run.timed("connect with a backlog", connection.connect)
            while not is_over():
                run.balanced.wait(0.1)
        finally:
            run.timed("disconnect", connection.disconnect)

    def _send(self, queue: str, text: str) -> None:
        self._book.send(text, bad=text.startswith("bad"))
        try:
            self.run.timed("send", lambda: self._sender.send(queue, text, self.run.headers(queue), confirm=True))
        except StompError:
            self._book.forget(text)

    def _listen(self, message: Message) -> None:
        if message.text.startswith("bad"):
            raise ValueError(message.text)
        self._book.handle(message.text)

    def _bury(self, message: Message) -> None:
        self._book.bury(message.text)

    def settled(self, timeout: float) -> None:
        self._book.wait_balanced(timeout)


class Poisoned(Load):
    """Confirmed SENDs, one of which the broker refuses each time; most brokers then close the connection."""

    @classmethod
    def fits(cls, run: Run) -> bool:
        return run.name in POISON

    def open(self, stack: contextlib.ExitStack) -> list[Work]:
        run = self.run
        self._book = run.books["poisoned SENDs refused"] = Refusals()
        self._destination = run.destination("poisoned")
        connection = stack.enter_context(run.connection("poisoned"))
        run.subscribe(connection, self._destination, lambda message: None)
        dice = run.dice("poison")
        return [run.repeated(lambda: self._send(connection, dice.randrange(10)), 0.3)]

    def _send(self, connection: Connection, bad: int) -> None:
        run, futures = self.run, dict[str, Future[Any]]()
        for number in range(10):
            destination = POISON[run.name] if number == bad else self._destination
            send = partial(connection.send_async, destination, "x", {"persistent": "true"})
            futures[f"poisoned-{next(self._numbers)}"] = run.timed("send_async", send)
        for number, (id, future) in enumerate(futures.items()):
            error = self._fate(future)
            if number == bad:
                self._book.poison(error)
            else:
                self._book.innocent(id, error)

    def _fate(self, future: Future[Any]) -> BaseException | None:
        """What it came to. There is no limit of time for that: each loss of the connection begins anew."""
        for _patience in range(PATIENCE):
            with contextlib.suppress(TimeoutError):
                return self.run.timed("receipt", partial(future.exception, CALL_DEADLINE))
        return TimeoutError(f"nothing in {PATIENCE * CALL_DEADLINE} s")


class Flapping(Load):
    """The preferred broker comes and goes; the other one is always there, so sends go on."""

    def open(self, stack: contextlib.ExitStack) -> list[Work]:
        run = self.run
        target = run.target
        self._preferred, steady = (stack.enter_context(FaultProxy(target)) for _ in range(2))
        options = f"{OPTIONS}&priorityBackup=true"
        uri = run.uri_of(self._preferred, steady, options=options)
        sending, receiving = (stack.enter_context(run.connection(f"flapping-{n}", uri)) for n in range(2))
        self._destination = run.destination("flapping")
        run.subscribe(receiving, self._destination, lambda message: run.ledger.receive(message.text))
        run.bury_with(self._destination, lambda message: run.ledger.receive(message.text))
        dice = run.dice("flapping")
        return [
            run.repeated(lambda: self._send(sending), 0.01),
            run.repeated(lambda: self._flap(dice.uniform(0.1, 1.0), dice.uniform(0.2, 2.0)), 0.0),
        ]

    def _send(self, connection: Connection) -> None:
        id = f"flapping-{next(self._numbers)}"
        headers = self.run.headers(self._destination)
        self.run.timed("send", lambda: connection.send(self._destination, id, headers, confirm=True))
        self.run.ledger.confirm(id)

    def _flap(self, away: float, there: float) -> None:
        self._preferred.refuse()
        self._preferred.cut()
        self.run.stop.wait(away)
        self._preferred.accept()
        self.run.stop.wait(there)
