"""Producers and consumers against real brokers, while everything between and behind them breaks at random.

    make torture                                    1,000 faults, on four brokers at once
    make torture TORTURE="--minutes 5"              as many as this time allows
    make torture TORTURE="--faults 40 --brokers rabbitmq --seed 7"

The faults and their order follow from the seed, which is printed first: the same seed, the same faults. A run fails if
a confirmed message is missing, a call comes back after its deadline, a connection is not live at the end, or a thread
is left over. ``--publish`` writes the table to a file, which the manual shows.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import logging
import random
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from calls import Calls
from faults import AT_THE_BROKER, ON_THE_WIRE, Fault
from ledger import Ledger, Outages
from report import Result, table

from stomplistener import Connection, ConnectionLost, Message, StompError, TimedOut
from stomplistener.testing import Broker, FaultProxy
from stomplistener.testing.containers import BrokerContainer, brokers, engine_available

T = TypeVar("T")

CALL_DEADLINE = 60.0
PROGRESS_DEADLINE = 90.0
PACE = 0.002
TO_THE_END = 40.0
"""Seconds that a run with ``--minutes`` keeps for the last fault, for what is under way, and for clearing up."""

DEAD_LETTERS = ("/queue/DLQ", "/queue/ActiveMQ.DLQ")


class Torture:
    """One broker, tortured."""

    def __init__(self, name: str, target: str, container: BrokerContainer | None, seed: int) -> None:
        self.result = Result(name)
        self._target = target
        self._container = container
        self._seed = f"{seed}/{name}"
        self._ledger = Ledger()
        self._calls = Calls()
        self._stop = threading.Event()
        self._balanced = threading.Event()
        self._connections: list[Connection] = []
        self._destination = f"/queue/torture-{seed}-{time.time_ns()}"

    def start(self, faults: int, end: float) -> threading.Thread:
        """Bring so many faults upon the broker, or as many as there is time for until ``end``."""
        thread = threading.Thread(target=self._watched, args=(partial(self._run, faults, end),))
        thread.start()
        return thread

    def _run(self, faults: int, end: float) -> None:
        start = time.monotonic()
        with self._calls, FaultProxy(self._target) as proxy, contextlib.ExitStack() as stack:
            uri = f"failover:({proxy.uri}?connectionTimeout=10000)?initialReconnectDelay=5&maxReconnectDelay=250"
            producers = [stack.enter_context(self._connection(uri, f"producer-{n}")) for n in range(2)]
            listening, asking = (stack.enter_context(self._connection(uri, f"consumer-{n}")) for n in range(2))
            # A broker that counts a lost connection as a failed delivery gives a message up after some of them.
            for destination, listener in ((self._destination, self._receive), *((d, self._bury) for d in DEAD_LETTERS)):
                self._subscribe(listening, destination, listener)
            work = [partial(self._produce, *each) for each in enumerate(producers)] + [partial(self._consume, asking)]
            threads = [threading.Thread(target=self._watched, args=(each,)) for each in work]
            for thread in threads:
                thread.start()
            try:
                self._torture(proxy, faults, end)
                self._balance(producers[0])
                self._look_for_life()
            finally:
                self._stop.set()
                self._balanced.set()
                for thread in threads:
                    thread.join(CALL_DEADLINE)
        self._conclude(time.monotonic() - start)

    @contextlib.contextmanager
    def _connection(self, uri: str, role: str) -> Iterator[Connection]:
        name = f"{self.result.broker}-{role}"
        connection = Connection(uri, host="/", heartbeat=(1.0, 1.0), name=name, timeout=CALL_DEADLINE)
        outages = Outages()
        connection.add_listener(outages)
        self._timed("connect", connection.connect)
        self._connections.append(connection)
        try:
            yield connection
        finally:
            self._timed("disconnect", connection.disconnect)
            self.result.outages += outages.seconds

    def _timed(self, what: str, function: Callable[[], T], seconds: float = CALL_DEADLINE) -> T:
        return self._calls.timed(f"{self.result.broker}: {what}", seconds, function)

    def _subscribe(self, connection: Connection, destination: str, listener: Callable[[Message], None]) -> None:
        def subscribe() -> object:
            return connection.subscribe(destination, listener, ack="client-individual", settle=True, confirm=True)

        self._timed("subscribe", subscribe)

    # The load

    def _watched(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self.result.problems.append(f"{type(error).__name__}: {error}")

    def _produce(self, number: int, connection: Connection) -> None:
        """Sends of each kind, one after the other."""
        dice = random.Random(f"{self._seed}/{number}")
        kinds = (self._send_async, self._send_confirmed, self._send_in_a_hurry, self._send_in_a_transaction)
        for count in range(10**9):
            if self._stop.is_set():
                return
            id = f"{number}-{count}"
            try:
                dice.choices(kinds, (45, 40, 10, 5))[0](connection, id, dice)
            except StompError as error:
                # Not confirmed, so nothing is owed; with this much time for each call it should not come to that.
                self.result.problems.append(f"{id}: {type(error).__name__}: {error}")
            time.sleep(PACE)

    @property
    def _headers(self) -> dict[str, str]:
        return {"persistent": "true", "run": self._destination}

    def _send_async(self, connection: Connection, id: str, _dice: random.Random) -> None:
        future = self._timed("send_async", lambda: connection.send_async(self._destination, id, self._headers))
        self._ledger.expect(future, id)

    def _send_confirmed(self, connection: Connection, id: str, _dice: random.Random) -> None:
        self._timed("send", lambda: connection.send(self._destination, id, self._headers, confirm=True))
        self._ledger.confirm(id)

    def _send_in_a_hurry(self, connection: Connection, id: str, dice: random.Random) -> None:
        """With a deadline that often passes first: then it may raise, but it must come back."""
        seconds = dice.uniform(0.02, 1.0)

        def send() -> None:
            connection.send(self._destination, id, self._headers, confirm=True, timeout=seconds)

        try:
            self._timed(f"send within {seconds:.2f} s", send, seconds)
        except (TimedOut, ConnectionLost):
            return
        self._ledger.confirm(id)

    def _send_in_a_transaction(self, connection: Connection, id: str, _dice: random.Random) -> None:
        """As ``Transaction.run`` does it, with each of its calls timed."""
        while not self._stop.is_set():
            transaction = connection.transaction()
            try:
                self._timed("BEGIN", transaction.begin)
                self._timed("SEND", lambda t=transaction: t.send(self._destination, id, self._headers))  # type: ignore[misc]
                self._timed("COMMIT", transaction.commit)
            except ConnectionLost as lost:
                if not lost.outcome_unknown:
                    continue
            else:
                self._ledger.commit(id)
            # A COMMIT in doubt is no promise, and is never repeated.
            return

    def _consume(self, connection: Connection) -> None:
        with connection.consume(self._destination) as consumer:
            # Longer than the producers: what RabbitMQ gave to a consumer stays with its connection when that one ends.
            while not self._balanced.is_set():
                message = self._timed("receive", lambda: consumer.receive(0.5), 0.5)
                if message is not None:
                    self._receive(message)
                    self._timed("ack", message.ack)

    def _receive(self, message: Message) -> None:
        self._ledger.receive(message.text)

    def _bury(self, message: Message) -> None:
        if message.headers.get("run") == self._destination:
            self._ledger.receive(message.text)
            self.result.dead_letters += 1

    # The faults

    def _torture(self, proxy: FaultProxy, faults: int, end: float) -> None:
        kinds: tuple[Fault, ...] = ON_THE_WIRE + (AT_THE_BROKER if self._container is not None else ())
        weights = [kind.weight for kind in kinds]
        dice = random.Random(self._seed)
        done: collections.Counter[str] = collections.Counter()
        for number in range(faults):
            if time.monotonic() > end:
                break
            fault = dice.choices(kinds, weights)[0]
            self._ledger.moment = f"fault {number + 1}, {fault.name}"
            fault.run(proxy, self._container, dice)
            done[fault.name] += 1
            self.result.faults = dict(done)
            if not self._ledger.wait_progress(3, PROGRESS_DEADLINE):
                self.result.problems.append(f"no progress for {PROGRESS_DEADLINE} s after {self._ledger.moment}")
                break
        # What is armed and has not happened must not come upon the end.
        proxy.heal()

    # The end

    def _balance(self, connection: Connection) -> None:
        """Everything confirmed must arrive, and no future stay without its result."""
        self._stop.set()
        if not self._ledger.wait_answered(CALL_DEADLINE):
            self.result.problems.append("futures without a result")
        if not self._ledger.wait_balanced(20) and self._container is not None:
            # Artemis may keep a message that was being delivered when its consumer vanished, until it is restarted.
            late = len(self._ledger.missing())
            self._container.restart()
            self._ledger.wait_balanced(60)
            self.result.late = late - len(self._ledger.missing())

    def _look_for_life(self) -> None:
        """Each connection must still send, and receive what it sent."""
        live = 0
        for number, connection in enumerate(self._connections):
            destination, came = f"{self._destination}-live-{number}", threading.Event()
            with contextlib.suppress(StompError):
                self._subscribe(connection, destination, lambda _message, came=came: came.set())  # type: ignore[misc]
                self._timed("send", lambda c=connection, d=destination: c.send(d, "live", confirm=True))  # type: ignore[misc]
                live += came.wait(CALL_DEADLINE)
        self.result.live = live, len(self._connections)

    def _conclude(self, seconds: float) -> None:
        result, ledger, calls = self.result, self._ledger, self._calls
        result.seconds = seconds
        result.confirmed, result.duplicates = ledger.confirmed, ledger.duplicates
        missing = {id: moment for id, moment in ledger.missing().items() if not self._is_unwritten(id, moment)}
        result.missing, result.unwritten = len(missing), len(ledger.missing()) - len(missing)
        result.calls, result.latest_call = calls.count, calls.latest
        ours = [thread.name for thread in threading.enumerate() if thread.name.startswith(f"{result.broker}-")]
        result.stuck = len(calls.stuck) + len(ours)
        if result.missing:
            some = list(missing.items())[:10]
            result.problems.append("missing: " + "; ".join(f"{id} (confirmed at {moment})" for id, moment in some))
        if result.live[0] < result.live[1] or not result.live[1]:
            result.problems.append("a connection is dead at the end")
        if ours:
            result.problems.append(f"threads left: {ours}")
        result.problems += calls.stuck

    def _is_unwritten(self, id: str, moment: str) -> bool:
        """Apollo confirms a SEND before it writes it (``test_apollo_receipts.py``): a SIGKILL may come between."""
        killed = moment.endswith("container killed")
        return self.result.broker == "apollo" and killed and id not in self._ledger.committed


def torture(names: Sequence[str], faults: int, end: float, seed: int, compose: Path | None) -> list[Result]:
    """All brokers at once, each in a thread."""
    runs: list[Torture] = []
    with contextlib.ExitStack() as stack:
        if "embedded" in names:
            runs.append(Torture("embedded", stack.enter_context(Broker()).uri, None, seed))
        real = [name for name in names if name != "embedded"]
        known = brokers(compose) if real else {}
        for name in real:
            stack.callback(known[name].remove_if_created)
            known[name].start(wait=False)
        for name in real:
            known[name].wait_ready(120)
            runs.append(Torture(name, known[name].uri, known[name], seed))
        for thread in [run.start(faults, end) for run in runs]:
            thread.join()
    return [run.result for run in runs]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--faults", type=int, help="for each broker; 250, or what there is time for")
    parser.add_argument("--minutes", type=float, help="for all of it; without, as long as it takes")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--brokers", default="activemq,artemis,apollo,rabbitmq", help="or embedded")
    parser.add_argument("--compose", type=Path, help="another compose file than the one of this tree")
    parser.add_argument("--publish", type=Path, help="write the table to this file")
    arguments = parser.parse_args()
    start, names = time.monotonic(), arguments.brokers.split(",")
    if names != ["embedded"] and (why := engine_available()) is not None:
        print(why)
        return 1
    logging.getLogger("stomplistener").setLevel(logging.CRITICAL)
    print(f"seed {arguments.seed}", flush=True)
    end = start + arguments.minutes * 60 - TO_THE_END if arguments.minutes else float("inf")
    faults = arguments.faults or (10**9 if arguments.minutes else 250)
    results = torture(names, faults, end, arguments.seed, arguments.compose)
    text = table(results, _command(arguments))
    print(text)
    problems = [f"{result.broker}: {problem}" for result in results for problem in result.problems]
    for problem in problems:
        print(problem)
    if arguments.publish and not problems:
        arguments.publish.write_text(text + "\n")
    return 1 if problems else 0


def _command(arguments: argparse.Namespace) -> str:
    """What repeats this run."""
    given = {name: getattr(arguments, name) for name in ("faults", "minutes", "seed")}
    words = [f"--{name} {value}" for name, value in given.items() if value is not None]
    if arguments.brokers != "activemq,artemis,apollo,rabbitmq":
        words.append(f"--brokers {shlex.quote(arguments.brokers)}")
    return f'make torture TORTURE="{" ".join(words)}"'


if __name__ == "__main__":
    sys.exit(main())
