"""One connection under an uneven load for a long time: it lives, and nothing grows.

    make soak SOAK="30"                30 minutes
    python tests/soak/soak.py 2         two minutes

Four threads subscribe and unsubscribe, together more than 700 times a minute; others send, make requests that time out,
and let commits run into their deadline; a listener fails and is retried; every few seconds the network is cut. The
embedded broker runs in a process of its own, so that its memory is not counted.

Each line of the table is one moment: threads and descriptors of this process, and the bytes that lines of the library
hold (tracemalloc). The run fails if one of them grows from the second quarter of the run to the last, if a thread
stands still, or if the connection does not send and receive at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import logging
import os
import random
import subprocess
import sys
import threading
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import stomplistener
from stomplistener import Connection, Message, StompError
from stomplistener.testing import FaultProxy

LIBRARY = Path(stomplistener.__file__).parent
SUBSCRIBERS = 4
CYCLES_A_MINUTE = 700
STANDSTILL = 60.0
"""Seconds without a step after which a thread is held to stand still; every call has a deadline of five."""
ALLOWED = {"threads": 3.0, "descriptors": 3.0, "bytes": 64 * 1024.0}
"""What the least of the last quarter may exceed that of the second by; what is under way at a moment comes and goes."""


@dataclass
class Moment:
    """One line of the table; the counts are since the start."""

    seconds: float
    threads: int
    descriptors: int
    bytes: int
    cycles: int
    reconnects: int
    retries: int
    timed_out: int

    def __str__(self) -> str:
        return (
            f"| {self.seconds:.0f} s | {self.threads} | {self.descriptors} | {self.bytes / 1024:,.0f} KiB "
            f"| {self.cycles:,} | {self.reconnects:,} | {self.retries:,} | {self.timed_out:,} |"
        )


HEAD = (
    "| after | threads | descriptors | the library holds | subscribed, ended | reconnects | retries | timed out |\n"
    "|---:|---:|---:|---:|---:|---:|---:|---:|"
)


@dataclass
class Counts:
    """What the threads have done; each name is counted by ``itertools.count``, which is atomic."""

    cycles: Iterator[int] = field(default_factory=itertools.count)
    retries: Iterator[int] = field(default_factory=itertools.count)
    timed_out: Iterator[int] = field(default_factory=itertools.count)
    latest: dict[str, int] = field(default_factory=dict)

    def count(self, name: str) -> None:
        self.latest[name] = next(getattr(self, name)) + 1


class Soak:
    """The connection, its load, and what is measured of both."""

    def __init__(self, uri: str, proxy: FaultProxy, seed: int) -> None:
        self._proxy = proxy
        self._dice = random.Random(seed)
        self._counts = Counts()
        self._stop = threading.Event()
        self._steps: dict[str, float] = {}
        self.problems: list[str] = []
        self.moments: list[Moment] = []
        options = "initialReconnectDelay=5&maxReconnectDelay=200"
        self._connection = Connection(f"failover:({uri})?{options}", heartbeat=(1.0, 1.0), timeout=5, name="stomp-soak")

    # The load

    def _work(self) -> dict[str, Callable[[], None]]:
        work = {f"subscriber-{number}": self._subscribe for number in range(SUBSCRIBERS)}
        return work | {
            "sender": self._send,
            "requester": self._request,
            "transactions": self._transact,
            "failing": self._publish_failing,
            "cutter": self._cut,
        }

    def _subscribe(self) -> None:
        workers = self._dice.choice((1, 1, 1, 2))
        destination = f"/queue/soak-{self._dice.randrange(20)}"
        subscription = self._connection.subscribe(
            destination,
            lambda message: None,
            ack="client-individual",
            settle=True,
            workers=workers,
            confirm=self._dice.random() < 0.3,
        )
        self._connection.send(destination, "x")
        subscription.unsubscribe()
        self._counts.count("cycles")
        self._stop.wait(0.1)

    def _send(self) -> None:
        for future in [self._connection.send_async("/queue/soak-sent", "x" * 500) for _ in range(50)]:
            future.result(5)
        self._connection.send("/queue/soak-sent", "x", {"shade": "red"}, confirm=True)
        self._stop.wait(0.05)

    def _request(self) -> None:
        self._counts.count("timed_out")
        with contextlib.suppress(StompError):
            self._connection.request("/queue/soak-nobody", "x", timeout=0.02)
        self._connection.request_async("/queue/soak-nobody", "x").cancel()
        self._stop.wait(0.05)

    def _transact(self) -> None:
        transaction = self._connection.transaction().begin()
        transaction.send("/queue/soak-sent", "x")
        self._counts.count("timed_out")
        with contextlib.suppress(StompError):
            transaction.commit(timeout=0.0)
        with contextlib.suppress(ValueError), self._connection.transaction() as aborted:
            aborted.send("/queue/soak-sent", "x")
            raise ValueError
        self._stop.wait(0.05)

    def _publish_failing(self) -> None:
        self._connection.send("/queue/soak-failing", "x", confirm=True)
        self._stop.wait(0.1)

    def _fail(self, message: Message) -> None:
        self._counts.count("retries")
        raise ValueError("of the soak")

    def _cut(self) -> None:
        self._stop.wait(self._dice.uniform(2.0, 5.0))
        self._proxy.cut(reset=self._dice.random() < 0.5)

    def _run(self, name: str, step: Callable[[], None]) -> None:
        while not self._stop.is_set():
            self._steps[name] = time.monotonic()
            try:
                step()
            except StompError:
                # The connection is cut all the time; what counts is that the call came back.
                self._stop.wait(0.01)
            except Exception as error:
                self.problems.append(f"{name}: {''.join(traceback.format_exception(error))}")
                return

    # The run

    def run(self, minutes: float, every: float) -> None:
        connection = self._connection.connect()
        for number in range(3):
            connection.subscribe(
                "/queue/soak-failing",
                self._fail,
                ack="client-individual",
                settle=True,
                retries=3,
                retry_delay=(0.0, 0.05, 0.3)[number],
                error_destination="/queue/soak-errors",
            )
        # What is sent is also taken, or the broker's memory would end the run.
        for destination in ("/queue/soak-sent", "/queue/soak-errors", "/queue/soak-nobody", "/queue/DLQ"):
            connection.subscribe(destination, lambda message: None)
        threads = [
            threading.Thread(target=self._run, args=each, daemon=True, name=f"load-{each[0]}")
            for each in self._work().items()
        ]
        for thread in threads:
            thread.start()
        self._measure(minutes * 60, every)
        self._stop.set()
        for thread in threads:
            thread.join(STANDSTILL)
            if thread.is_alive():
                self.problems.append(f"{thread.name} has not ended")
        self._end()

    def _measure(self, seconds: float, every: float) -> None:
        start = time.monotonic()
        print(HEAD, flush=True)
        while time.monotonic() < start + seconds and not self.problems:
            self._stop.wait(every)
            moment = self._look(time.monotonic() - start)
            self.moments.append(moment)
            print(moment, flush=True)
            late = [name for name, when in self._steps.items() if time.monotonic() - when > STANDSTILL]
            if late:
                self.problems.append(f"stand still: {late}")

    def _look(self, seconds: float) -> Moment:
        gc.collect()
        snapshot = tracemalloc.take_snapshot().filter_traces(
            (tracemalloc.Filter(True, str(LIBRARY / "*")), tracemalloc.Filter(False, str(LIBRARY / "testing" / "*")))
        )
        counted = {name: self._counts.latest.get(name, 0) for name in ("cycles", "retries", "timed_out")}
        return Moment(
            seconds=seconds,
            threads=threading.active_count(),
            descriptors=len(os.listdir("/proc/self/fd")),
            bytes=sum(each.size for each in snapshot.statistics("filename")),
            reconnects=self._connection.statistics().reconnects,
            **counted,
        )

    def _end(self) -> None:
        """The connection still sends and receives, and leaves nothing."""
        came = threading.Event()
        try:
            self._connection.subscribe("/queue/soak-end", lambda message: came.set(), confirm=True)
            self._connection.send("/queue/soak-end", "x", confirm=True)
        except StompError as error:
            self.problems.append(f"at the end: {error}")
        if not came.wait(5):
            self.problems.append("nothing is received at the end")
        self._connection.disconnect()
        end = time.monotonic() + 5
        while left := [thread.name for thread in threading.enumerate() if thread.name.startswith("stomp")]:
            if time.monotonic() > end:
                self.problems.append(f"threads left: {left}")
                return
            time.sleep(0.01)

    def judge(self) -> None:
        """Compare the last quarter of the run with the second, when everything had been used once."""
        quarter = len(self.moments) // 4
        if not quarter:
            self.problems.append("too short a run to see growth")
            return
        for name, allowed in ALLOWED.items():
            values = [getattr(moment, name) for moment in self.moments]
            before, after = min(values[quarter : 2 * quarter]), min(values[-quarter:])
            if after - before > allowed:
                self.problems.append(f"{name} grew from {before:,.0f} to {after:,.0f}")
        last = self.moments[-1]
        if last.cycles / last.seconds * 60 < CYCLES_A_MINUTE:
            self.problems.append(f"{last.cycles / last.seconds * 60:.0f} cycles a minute, not {CYCLES_A_MINUTE}")


@contextlib.contextmanager
def broker_process() -> Iterator[str]:
    """The URI of an embedded broker in another process."""
    command = [sys.executable, "-m", "stomplistener.testing", "--port", "0"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("minutes", type=float, nargs="?", default=30.0)
    parser.add_argument("--every", type=float, help="seconds between two lines; a fortieth of the run")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    every = arguments.every or max(1.0, arguments.minutes * 60 / 40)
    logging.getLogger("stomplistener").setLevel(logging.CRITICAL)
    print(f"seed {arguments.seed}\n", flush=True)
    tracemalloc.start()
    with broker_process() as target, FaultProxy(target) as proxy:
        soak = Soak(proxy.uri, proxy, arguments.seed)
        soak.run(arguments.minutes, every)
    soak.judge()
    print()
    for problem in soak.problems:
        print(problem)
    print("failed" if soak.problems else "nothing grew, nothing stood still")
    return 1 if soak.problems else 0


if __name__ == "__main__":
    sys.exit(main())
