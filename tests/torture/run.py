"""Producers and consumers against real brokers, while everything between and behind them breaks at random.

    make torture                                  1,000 faults over all brokers
    make torture TORTURE="--faults 40 --brokers rabbitmq --seed 7"

The order of faults follows from the seed, which is printed first. A run fails if a confirmed message is missing, a call
took longer than its deadline, a client is not live at the end, or a thread is left over. The table goes to the file
that ``--publish`` names, too.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import logging
import random
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

from faults import AT_THE_BROKER, ON_THE_WIRE, Fault
from ledger import Ledger, Outages, Result

from stomplistener import Connection, ConnectionLost, Frame, Message, StompError
from stomplistener.testing import Broker, FaultProxy
from stomplistener.testing.containers import BrokerContainer, brokers, engine_available

CALL_DEADLINE = 60.0
PROGRESS_DEADLINE = 90.0
PACE = 0.002
DEAD_LETTERS = ("/queue/DLQ", "/queue/ActiveMQ.DLQ")


class Torture:
    """One broker, tortured."""

    def __init__(self, name: str, target: str, container: BrokerContainer | None, seed: int) -> None:
        self.result = Result(name, seed)
        self._target = target
        self._container = container
        self._dice = random.Random(f"{seed}/{name}")
        self._ledger = Ledger()
        self._stop = threading.Event()
        self._destination = f"/queue/torture-{seed}-{time.time_ns()}"

    def run(self, faults: int, seconds: float) -> Result:
        start = time.monotonic()
        with FaultProxy(self._target) as proxy, contextlib.ExitStack() as stack:
            uri = f"failover:({proxy.uri}?connectionTimeout=10000)?initialReconnectDelay=5&maxReconnectDelay=250"
            producers = [stack.enter_context(self._connection(uri, f"producer-{n}")) for n in range(2)]
            consumers = [stack.enter_context(self._connection(uri, f"consumer-{n}")) for n in range(2)]
            for consumer in consumers:
                consumer.subscribe(self._destination, self._receive, ack="client-individual", settle=True, confirm=True)
            # A broker that counts a lost connection as a failed delivery gives a message up after some of them.
            for dead in DEAD_LETTERS:
                consumers[0].subscribe(dead, self._bury, ack="client-individual", settle=True, confirm=True)
            threads = [threading.Thread(target=self._produce, args=(c, n)) for n, c in enumerate(producers)]
            for thread in threads:
                thread.start()
            try:
                self._torture(proxy, faults, start + seconds)
            finally:
                self._stop.set()
                for thread in threads:
                    thread.join(CALL_DEADLINE + 10)
            if any(thread.is_alive() for thread in threads):
                self.result.problems.append("a producer is stuck")
            self._balance(producers[0])
        return self._conclude(time.monotonic() - start)

    @contextlib.contextmanager
    def _connection(self, uri: str, name: str) -> Iterator[Connection]:
        connection = Connection(uri, host="/", heartbeat=(1.0, 1.0), name=name, timeout=CALL_DEADLINE)
        outages = Outages()
        connection.add_listener(outages)
        with connection:
            yield connection
        self.result.outages += outages.seconds

    # The load

    def _produce(self, connection: Connection, number: int) -> None:
        """Confirmed sends of both kinds, and now and then a transaction."""
        dice = random.Random(number)
        for count in range(10**9):
            if self._stop.is_set():
                return
            id = f"{number}-{count}"
            start = time.monotonic()
            try:
                self._send(connection, id, dice.random())
            except ConnectionLost as lost:
                # A COMMIT in doubt is no promise, and is never repeated.
                if not lost.outcome_unknown:
                    self.result.problems.append(f"{id}: {lost}")
            except StompError as error:
                # Not confirmed, so nothing is owed; with this much time for each call it should not come to that.
                self.result.problems.append(f"{id}: {type(error).__name__}: {error}")
            self._ledger.timed(time.monotonic() - start)
            time.sleep(PACE)

    def _send(self, connection: Connection, id: str, kind: float) -> None:
        headers = {"persistent": "true", "run": self._destination}
        if kind < 0.5:
            future = connection.send_async(self._destination, id, headers)
            future.add_done_callback(lambda done: self._note(done, id))
        elif kind < 0.95:
            connection.send(self._destination, id, headers, confirm=True)
            self._ledger.confirm(id)
        else:
            connection.transaction(retry=1000).run(lambda t: t.send(self._destination, id, headers))
            self._ledger.confirm(id)

    def _note(self, done: Future[Frame], id: str) -> None:
        if done.exception() is None:
            self._ledger.confirm(id)

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
        done: collections.Counter[str] = collections.Counter()
        for number in range(faults):
            if time.monotonic() > end:
                break
            fault = self._dice.choices(kinds, weights)[0]
            fault.run(proxy, self._container, self._dice)
            done[fault.name] += 1
            if not self._ledger.wait_progress(3, PROGRESS_DEADLINE):
                self.result.problems.append(
                    f"no progress for {PROGRESS_DEADLINE} s after fault {number + 1}, {fault.name}"
                )
                break
            show(f"{self.result.broker}: {number + 1} faults, {self._ledger.confirmed} confirmed")
        self.result.faults = dict(done)

    # The end

    def _balance(self, connection: Connection) -> None:
        """Everything confirmed must arrive, and the client must be live."""
        connection.send(self._destination, "live", confirm=True)
        self._ledger.confirm("live")
        if not self._ledger.wait_balanced(30) and self._container is not None:
            # Artemis may keep a message that was being delivered when its consumer vanished, until it is restarted.
            self._container.restart()
            self._ledger.wait_balanced(60)

    def _conclude(self, seconds: float) -> Result:
        result, ledger = self.result, self._ledger
        result.seconds = seconds
        result.confirmed, result.duplicates = ledger.confirmed, ledger.duplicates
        result.missing, result.longest_call = len(ledger.missing()), ledger.longest_call
        if result.missing:
            result.problems.append(f"missing: {sorted(ledger.missing())[:10]}")
        if result.longest_call > CALL_DEADLINE + 5:
            result.problems.append(f"a call took {result.longest_call:.0f} s")
        ours = [thread.name for thread in threading.enumerate() if thread.name.startswith(("producer-", "consumer-"))]
        if ours:
            result.problems.append(f"threads left: {ours}")
        return result


def show(line: str) -> None:
    if sys.stdout.isatty():
        print(f"\r{line:<78}", end="", flush=True)


def table(results: list[Result], seed: int) -> str:
    """The results as a Markdown table, and the faults of each kind."""
    lines = [
        f"Seed {seed}; {sum(sum(result.faults.values()) for result in results)} faults.",
        "",
        "| broker | faults | confirmed | missing | dead letters | duplicates "
        "| outage p50 | p99 | max | longest call | took |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        p50, p99, most = r.outage
        lines.append(
            f"| {r.broker} | {sum(r.faults.values())} | {r.confirmed} | {r.missing} | {r.dead_letters} "
            f"| {r.duplicates} "
            f"| {p50 * 1000:.0f} ms | {p99:.1f} s | {most:.1f} s | {r.longest_call:.1f} s | {r.seconds:.0f} s |"
        )
    kinds = [fault.name for fault in ON_THE_WIRE + AT_THE_BROKER]
    lines += ["", "| fault | " + " | ".join(r.broker for r in results) + " |", "|---|" + "---|" * len(results)]
    lines += [f"| {kind} | " + " | ".join(str(r.faults.get(kind, 0)) for r in results) + " |" for kind in kinds]
    return "\n".join(lines)


def torture(names: list[str], faults: int, seconds: float, seed: int, compose: Path | None) -> list[Result]:
    results = []
    if "embedded" in names:
        with Broker() as broker:
            results.append(Torture("embedded", broker.uri, None, seed).run(faults, seconds))
    real = [name for name in names if name != "embedded"]
    containers = brokers(compose) if real else {}
    for name in real:
        container = containers[name]
        try:
            container.start()
            results.append(Torture(name, container.uri, container, seed).run(faults, seconds))
        finally:
            container.remove_if_created()
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--faults", type=int, default=250, help="faults for each broker")
    parser.add_argument("--seconds", type=float, default=3600.0, help="stop a broker's run after so many seconds")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--brokers", default="activemq,artemis,apollo,rabbitmq", help="or embedded")
    parser.add_argument("--compose", type=Path, help="another compose file than the one of this tree")
    parser.add_argument("--publish", type=Path, help="write the table to this file")
    arguments = parser.parse_args()
    names = arguments.brokers.split(",")
    if names != ["embedded"] and (why := engine_available()) is not None:
        print(why)
        return 1
    logging.getLogger("stomplistener").setLevel(logging.CRITICAL)
    print(f"seed {arguments.seed}", flush=True)
    results = torture(names, arguments.faults, arguments.seconds, arguments.seed, arguments.compose)
    text = table(results, arguments.seed)
    print(text)
    problems = [f"{result.broker}: {problem}" for result in results for problem in result.problems]
    for problem in problems:
        print(problem)
    if arguments.publish and not problems:
        arguments.publish.write_text(text + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
