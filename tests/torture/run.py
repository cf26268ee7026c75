"""Producers and consumers against real brokers, while everything between and behind them breaks at random.

    make torture                                    1,000 faults, on four brokers at once
    make torture TORTURE="--minutes 5"              as many as this time allows
    make torture TORTURE="--faults 40 --brokers rabbitmq --seed 7"
    make torture TORTURE="--mode applications --minutes 2 --seed 7"

Three modes: in ``brokers`` the network and the brokers break; in ``applications`` these are healthy, and the programs
misbehave (listeners that raise anything, log handlers that send, signals, wrong arguments, abandoned futures); in
``both`` both do.

The faults and their order follow from the seed, which is printed first: the same seed, the same faults. A run fails if
a confirmed message is missing, a book does not balance, a call comes back after its deadline, an exception is
reported to nobody, a connection is not live at the end, or a thread is left over. ``--publish`` writes the table to
a file, which the manual shows.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import logging
import os
import random
import shlex
import ssl
import sys
import threading
import time
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from calls import Calls
from common import CALL_DEADLINE, Run
from faults import AT_THE_BROKER, ON_THE_WIRE, Fault
from interrupts import Interrupts
from loads import Asking, Load, Messages, TransactionsOfSeveral
from misdeeds import MISDEEDS, Mischief, logging_over
from report import Result, table
from troubles import FailingAtTheStart, Flapping, Poisoned

from stomplistener import Message, StompError
from stomplistener.testing import Broker, FaultProxy
from stomplistener.testing.containers import BrokerContainer, brokers, engine_available

LOADS: dict[str, type[Load]] = {
    "transactions": TransactionsOfSeveral,
    "requests": Asking,
    "failing": FailingAtTheStart,
    "flapping": Flapping,
    "poisoned": Poisoned,
}
"""What goes on besides the single messages, whose progress paces the faults."""

OF_BROKERS = (Flapping, Poisoned)
"""Those that need a broker, or its network, to do something wrong."""

MODES = ("brokers", "applications", "both")
PROGRESS_DEADLINE = 90.0
TO_THE_END = 40.0
"""Seconds that a run with ``--minutes`` keeps for the last fault, for what is under way, and for clearing up."""


class Torture:
    """One broker, tortured."""

    def __init__(
        self,
        name: str,
        target: str,
        container: BrokerContainer | None,
        seed: int,
        mode: str,
        context: ssl.SSLContext | None,
        loads: Collection[str],
    ) -> None:
        self.result = Result(name)
        self._container = container
        self._mode = mode
        self._calls = Calls()
        self._proxy = FaultProxy(target)
        self.run = Run(name, target, self._proxy, self._calls, f"{seed}/{name}", context)
        self._messages = Messages(self.run)
        self._loads: list[Load] = [self._messages]
        self._loads += [load(self.run) for name, load in LOADS.items() if name in loads and self._has_place(load)]
        self.ready = threading.Event()
        self.main_thread = threading.Event()
        """Set while the main thread has nothing to do with this broker."""
        self.main_thread.set()

    def _has_place(self, load: type[Load]) -> bool:
        """Whether a load makes sense in this mode and with this broker."""
        return not (load in OF_BROKERS and self._mode == "applications") and load.fits(self.run)

    def start(self, faults: int, end: float) -> threading.Thread:
        """Bring so many faults upon the broker, or as many as there is time for until ``end``."""
        thread = threading.Thread(target=self.run.watched(partial(self._run, faults, end)))
        thread.start()
        return thread

    def _run(self, faults: int, end: float) -> None:
        start = time.monotonic()
        try:
            with self._calls, self._proxy, contextlib.ExitStack() as stack:
                if self._mode != "brokers":
                    Mischief(self.run).install()
                work = [each for load in self._loads for each in load.open(stack)]
                if self._mode != "brokers":
                    handler = stack.enter_context(logging_over(self.run))
                    work.append(self.run.repeated(handler.call_with_its_lock, 0.01))
                self.ready.set()
                self._at_work(work, faults, end)
                self.main_thread.wait(2 * CALL_DEADLINE)
        finally:
            self.ready.set()
            self.run.stop.set()
        self.result.seconds = time.monotonic() - start

    def _at_work(self, work: Sequence[object], faults: int, end: float) -> None:
        threads = [threading.Thread(target=each, daemon=True) for each in work]  # type: ignore[arg-type]
        for thread in threads:
            thread.start()
        try:
            self._torture(faults, end)
            self.run.stop.set()
            self._balance()
            self._look_for_life()
        finally:
            self.run.stop.set()
            self.run.balanced.set()
            for thread in threads:
                thread.join(CALL_DEADLINE)

    # The faults, and the misdeeds

    def _torture(self, faults: int, end: float) -> None:
        parts = []
        if self._mode != "applications":
            parts.append(self._break)
        if self._mode != "brokers":
            parts.append(self._misbehave)
        threads = [threading.Thread(target=self.run.watched(partial(part, faults, end))) for part in parts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # What is armed and has not happened must not come upon the end.
        self._proxy.heal()

    def _break(self, faults: int, end: float) -> None:
        kinds: tuple[Fault, ...] = ON_THE_WIRE + (AT_THE_BROKER if self._container is not None else ())
        dice = self.run.dice("faults")
        for number in range(faults):
            if time.monotonic() > end or self.run.problems:
                break
            fault = dice.choices(kinds, [kind.weight for kind in kinds])[0]
            fault_is = f"fault {number + 1}, {fault.name}"
            self.run.ledger.moment = fault_is
            fault.run(self._proxy, self._container, dice)
            self._done(fault.name, fault_is)

    def _misbehave(self, faults: int, end: float) -> None:
        dice = self.run.dice("misdeeds")
        for number in range(faults):
            if time.monotonic() > end or self.run.problems:
                break
            misdeed = dice.choices(MISDEEDS, [kind.weight for kind in MISDEEDS])[0]
            misdeed.run(self.run, dice)
            self._done(misdeed.name, f"misdeed {number + 1}, {misdeed.name}")

    def _done(self, name: str, what: str) -> None:
        self.result.faults = dict(collections.Counter(self.result.faults) + collections.Counter({name: 1}))
        if not self.run.ledger.wait_progress(3, PROGRESS_DEADLINE):
            self.run.problems.append(f"no progress for {PROGRESS_DEADLINE} s after {what}")

    # The end

    def _balance(self) -> None:
        """Everything confirmed must arrive, each book balance, and no future stay without its result."""
        for load in self._loads:
            load.settled(20)
        self._settled(20)
        if (owed := self._owed()) and self._mode != "applications":
            # What comes only now was with a client that kept it to itself.
            self._proxy.cut()
            self._settled(20)
            if kept := owed - self._owed():
                self.run.problems.append(f"{kept} messages came only when the connections were cut at the end")
        if (owed := self._owed()) and self._container is not None:
            # Artemis may keep a message that was being delivered when its consumer vanished, until it is restarted.
            self._container.restart()
            self._settled(60)
            self.result.late = owed - self._owed()

    def _owed(self) -> int:
        """How many messages are still to come."""
        return len(self.run.ledger.missing()) + sum(len(book.open()) for book in self.run.books.values())

    def _settled(self, timeout: float) -> None:
        """Wait until nothing is owed, no longer than so many seconds."""
        end = time.monotonic() + timeout
        self.run.ledger.wait_balanced(timeout)
        for book in self.run.books.values():
            book.wait_balanced(max(0.0, end - time.monotonic()))

    def _look_for_life(self) -> None:
        """Each connection must still send, and receive what it sent."""
        live = 0
        for number, connection in enumerate(self.run.connections):
            destination, came = self.run.destination(f"live-{number}"), threading.Event()

            def listen(message: Message, came: threading.Event = came) -> None:
                came.set()

            try:
                self.run.subscribe(connection, destination, listen)
                self.run.timed("send", lambda c=connection, d=destination: c.send(d, "live", confirm=True))  # type: ignore[misc]
            except StompError as error:
                self.run.problems.append(f"{connection!r} is dead at the end: {type(error).__name__}: {error}")
                continue
            if came.wait(CALL_DEADLINE):
                live += 1
            else:
                self.run.problems.append(f"{connection!r} receives nothing at the end: {connection.statistics()}")
        self.result.live = live, len(self.run.connections)

    def conclude(self) -> None:
        """Fill in the result, when every thread has ended."""
        result, ledger, calls = self.result, self.run.ledger, self._calls
        result.outages = self.run.outages
        result.dead_letters = self._messages.dead_letters
        result.confirmed, result.duplicates = ledger.confirmed, ledger.duplicates
        missing = {id: moment for id, moment in ledger.missing().items() if not self._is_unwritten(id, moment)}
        result.missing, result.unwritten = len(missing), len(ledger.missing()) - len(missing)
        result.books = {name: book.summary() for name, book in self.run.books.items()}
        result.calls, result.latest_call = calls.count, calls.latest
        ours = [thread.name for thread in threading.enumerate() if thread.name.startswith(f"{result.broker}-")]
        result.stuck = len(calls.stuck) + len(ours)
        result.problems = self.run.problems + [each for book in self.run.books.values() for each in book.problems()]
        if result.missing:
            some = list(missing.items())[:10]
            result.problems.append("missing: " + "; ".join(f"{id} (confirmed at {moment})" for id, moment in some))
        if not result.live[1]:
            result.problems.append("no connection was made")
        if ours:
            result.problems.append(f"threads left: {ours}")
        result.problems += calls.stuck

    def _is_unwritten(self, id: str, moment: str) -> bool:
        """Apollo confirms a SEND before it writes it (``test_apollo_receipts.py``): a SIGKILL may come between."""
        killed = moment.endswith("container killed")
        return self.result.broker == "apollo" and killed and id not in self.run.ledger.committed


def torture(arguments: argparse.Namespace, faults: int, end: float) -> list[Result]:
    """All brokers at once, each in a thread; the main thread is interrupted meanwhile, where the mode says so."""
    names, seed, mode = arguments.brokers.split(","), arguments.seed, arguments.mode
    runs: list[Torture] = []
    with contextlib.ExitStack() as stack:
        if "embedded" in names:
            server, context = own_certificate() if arguments.tls else (None, None)
            broker = stack.enter_context(Broker(ssl_context=server))
            runs.append(Torture("embedded", broker.uri, None, seed, mode, context, arguments.loads))
        real = [name for name in names if name != "embedded"]
        known = brokers(arguments.compose) if real else {}
        for name in real:
            stack.callback(known[name].remove_if_created)
            known[name].start(wait=False)
        for name in real:
            known[name].wait_ready(120)
            uri = known[name].uris["ssl"] if arguments.tls else known[name].uri
            secure = real_certificate() if arguments.tls else None
            runs.append(Torture(name, uri, known[name], seed, mode, secure, arguments.loads))
        interrupted = runs[0]
        if mode != "brokers":
            interrupted.main_thread.clear()
        threads = [run.start(faults, end) for run in runs]
        if mode != "brokers":
            interrupted.ready.wait(CALL_DEADLINE)
            interrupts = Interrupts(seed)
            interrupted.run.watched(partial(interrupts.run, interrupted.run))()
            interrupted.main_thread.set()
            print(f"{interrupts.count:,} calls of the main thread were interrupted")
        for thread in threads:
            thread.join()
        for run in runs:
            run.conclude()
    return [run.result for run in runs]


def log_to(file: Path | None) -> None:
    """Let the library log to a file, or to nobody."""
    logger = logging.getLogger("stomplistener")
    if file is None:
        logger.setLevel(logging.CRITICAL)
        return
    handler = logging.FileHandler(file, "w")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False


def load_names(text: str) -> tuple[str, ...]:
    """What ``--loads`` names."""
    if text == "all":
        return tuple(LOADS)
    names = tuple(name for name in text.split(",") if name != "messages")
    if unknown := [name for name in names if name not in LOADS]:
        raise argparse.ArgumentTypeError(f"no such load: {', '.join(unknown)}")
    return names


def own_certificate() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """For a server on this machine, and for its clients."""
    import trustme

    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(server)
    authority.configure_trust(client)
    return server, client


def real_certificate() -> ssl.SSLContext:
    """Of the containers; ``tests/integration/certificates.py`` makes it, and the brokers find it when they start."""
    directory = os.environ.get("STOMPLISTENER_CERTS") or Path(__file__).parents[1] / "integration" / ".certs"
    return ssl.create_default_context(cafile=str(Path(directory) / "ca.pem"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mode", choices=MODES, default="brokers", help="what misbehaves")
    parser.add_argument(
        "--loads",
        type=load_names,
        default="all",
        help=f"what is at work beside single messages: all, messages (nothing else), or some of {','.join(LOADS)}",
    )
    parser.add_argument("--faults", type=int, help="for each broker; 250, or what there is time for")
    parser.add_argument("--minutes", type=float, help="for all of it; without, as long as it takes")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--brokers", default="activemq,artemis,apollo,rabbitmq", help="or embedded")
    parser.add_argument("--tls", action="store_true", help="over TLS")
    parser.add_argument("--compose", type=Path, help="another compose file than the one of this tree")
    parser.add_argument("--log", type=Path, help="write what the library logs to this file, frames among it")
    parser.add_argument("--publish", type=Path, help="write the table to this file")
    arguments = parser.parse_args()
    start, names = time.monotonic(), arguments.brokers.split(",")
    if names != ["embedded"] and (why := engine_available()) is not None:
        print(why)
        return 1
    log_to(arguments.log)
    print(f"seed {arguments.seed}", flush=True)
    end = start + arguments.minutes * 60 - TO_THE_END if arguments.minutes else float("inf")
    faults = arguments.faults or (10**9 if arguments.minutes else 250)
    results = torture(arguments, faults, end)
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
    if arguments.mode != "brokers":
        words.insert(0, f"--mode {arguments.mode}")
    if arguments.loads != tuple(LOADS):
        words.append(f"--loads {','.join(arguments.loads) or 'messages'}")
    if arguments.tls:
        words.append("--tls")
    if arguments.brokers != "activemq,artemis,apollo,rabbitmq":
        words.append(f"--brokers {shlex.quote(arguments.brokers)}")
    return f'make torture TORTURE="{" ".join(words)}"'


if __name__ == "__main__":
    sys.exit(main())
