"""The loads of a run: single messages, transactions, requests. Each keeps its book."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from functools import partial

from books import Requests, Transactions
from common import CALL_DEADLINE, Run

from stomplistener import Connection, ConnectionLost, Message, StompError, TimedOut

DEAD_LETTERS = ("/queue/DLQ", "/queue/ActiveMQ.DLQ")
Work = Callable[[], None]


class Load:
    """Something that goes on during the whole run."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._numbers = itertools.count()

    @classmethod
    def fits(cls, run: Run) -> bool:
        """Whether the broker of this run can be loaded so."""
        return True

    def open(self, stack: contextlib.ExitStack) -> list[Work]:
        """Connect and subscribe; returns what is to be run, each in a thread of its own, until the run stops."""
        raise NotImplementedError

    def settled(self, timeout: float) -> None:
        """Wait, no longer than so many seconds, for what is still under way."""


class Messages(Load):
    """Sends of each kind by two connections; two others receive."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.destination = run.destination("messages")
        self.dead_letters = 0

    def open(self, stack: contextlib.ExitStack) -> list[Work]:
        run = self.run
        producers = [stack.enter_context(run.connection(f"producer-{n}")) for n in range(2)]
        listening, asking = (stack.enter_context(run.connection(f"consumer-{n}")) for n in range(2))
        run.subscribe(listening, self.destination, self._receive, retries=3, retry_delay=0.05)
        run.bury_with(self.destination, self._receive)
        # A broker that counts a lost connection as a failed delivery gives a message up after some of them.
        for destination in DEAD_LETTERS:
            run.subscribe(listening, destination, self._bury, retries=3, retry_delay=0.05)
        work = [run.watched(partial(self._produce, *each)) for each in enumerate(producers)]
        return [*work, run.watched(partial(self._consume, asking))]

    def settled(self, timeout: float) -> None:
        if not self.run.ledger.wait_answered(CALL_DEADLINE):
            self.run.problems.append("futures without a result")
        self.run.ledger.wait_balanced(timeout)

    @property
    def _headers(self) -> dict[str, str]:
        return self.run.headers(self.destination)

    def _produce(self, number: int, connection: Connection) -> None:
        dice = self.run.dice(number)
        kinds = (self._send_async, self._send_confirmed, partial(self._send_in_a_hurry, dice), self._send_committed)

        def step() -> None:
            id = f"{number}-{next(self._numbers)}"
            try:
                dice.choices(kinds, (45, 40, 10, 5))[0](connection, id)
            except StompError as error:
                if "was given up" in str(error):
                    # With a fault a second a good message may look like one that ends its connections.
                    return
                # Not confirmed, so nothing is owed; with this much time for each call it should not come to that.
                self.run.problems.append(f"{id}: {type(error).__name__}: {error}")

        self.run.repeated(step)()

    def _send_async(self, connection: Connection, id: str) -> None:
        future = self.run.timed("send_async", lambda: connection.send_async(self.destination, id, self._headers))
        self.run.ledger.expect(future, id)

    def _send_confirmed(self, connection: Connection, id: str) -> None:
        self.run.timed("send", lambda: connection.send(self.destination, id, self._headers, confirm=True))
        self.run.ledger.confirm(id)

    def _send_in_a_hurry(self, dice: object, connection: Connection, id: str) -> None:
        """With a deadline that often passes first: then it may raise, but it must come back."""
        seconds = self.run.dice(id).uniform(0.02, 1.0)

        def send() -> None:
            connection.send(self.destination, id, self._headers, confirm=True, timeout=seconds)

        with contextlib.suppress(TimedOut, ConnectionLost):
            self.run.timed(f"send within {seconds:.2f} s", send, seconds)
            self.run.ledger.confirm(id)

    def _send_committed(self, connection: Connection, id: str) -> None:
        """As ``Transaction.run`` does it, with each of its calls timed."""
        run = self.run
        while not run.stop.is_set():
            transaction = connection.transaction()
            try:
                run.timed("BEGIN", transaction.begin)
                run.timed("SEND", lambda t=transaction: t.send(self.destination, id, self._headers))  # type: ignore[misc]
                run.timed("COMMIT", transaction.commit)
            except ConnectionLost as lost:
                if not lost.outcome_unknown:
                    continue
            else:
                run.ledger.commit(id)
            # A COMMIT in doubt is no promise, and is never repeated.
            return

    def _consume(self, connection: Connection) -> None:
        run = self.run
        with connection.consume(self.destination) as consumer:
            # Longer than the producers: what RabbitMQ gave to a consumer stays with its connection when that one ends.
            while not run.balanced.is_set():
                message = run.timed("receive", lambda: consumer.receive(0.5), 0.5)
                if message is not None:
                    self._receive(message)
                    run.timed("ack", message.ack)

    def _receive(self, message: Message) -> None:
        self.run.ledger.receive(message.text)

    def _bury(self, message: Message) -> None:
        self.dead_letters += self.run.bury(message)


class TransactionsOfSeveral(Load):
    """Transactions of several messages; some are aborted."""

    def open(self, stack: contextlib.ExitStack) -> list[Work]:
        run = self.run
        self._book = run.books["transactions whole"] = Transactions()
        self._destination = run.destination("transactions")
        sender, receiver = (stack.enter_context(run.connection(f"transactions-{n}")) for n in range(2))
        run.subscribe(receiver, self._destination, self._receive, retries=3, retry_delay=0.05)
        run.bury_with(self._destination, self._receive)
        dice = run.dice("transactions")
        return [run.repeated(lambda: self._transact(sender, aborts=dice.random() < 0.2), 0.01)]

    def _receive(self, message: Message) -> None:
        self._book.receive(message.text)

    def _transact(self, connection: Connection, *, aborts: bool) -> None:
        run, id = self.run, f"t{next(self._numbers)}"
        transaction = connection.transaction()
        try:
            run.timed("BEGIN", transaction.begin)
            for part in range(Transactions.PARTS):
                text = f"{id}/{part}"
                run.timed(
                    "SEND",
                    lambda text=text: transaction.send(self._destination, text, run.headers(self._destination)),  # type: ignore[misc]
                )
            run.timed("end of a transaction", transaction.abort if aborts else transaction.commit)
        except (ConnectionLost, TimedOut) as error:
            unknown = isinstance(error, TimedOut) or error.outcome_unknown
            self._book.end(id, "in doubt" if unknown else "aborted")
        else:
            self._book.end(id, "aborted" if aborts else "committed")

    def settled(self, timeout: float) -> None:
        self._book.wait_balanced(timeout)


class Asking(Load):
    """Requests and replies, each way through the broker that breaks."""

    def open(self, stack: contextlib.ExitStack) -> list[Work]:
        run = self.run
        self._book = run.books["requests answered"] = Requests()
        self._destination = run.destination("questions")
        asking, answering = (stack.enter_context(run.connection(f"requests-{n}")) for n in range(2))
        run.subscribe(
            answering, self._destination, lambda message: self._answer(answering, message), retries=3, retry_delay=0.05
        )
        return [run.repeated(lambda: self._ask(asking), 0.02)]

    def _answer(self, connection: Connection, message: Message) -> None:
        # The temporary queue of an asker that was cut off is gone: its caller has been told, and asks again.
        with contextlib.suppress(StompError):
            connection.reply(message, f"re: {message.text}", timeout=5)

    def _ask(self, connection: Connection) -> None:
        question = f"question {next(self._numbers)}"

        def ask() -> Message:
            return connection.request(self._destination, question, timeout=5)

        try:
            self._book.answer(question, self.run.timed("request", ask, 5).text)
        except StompError:
            self._book.give_up()
