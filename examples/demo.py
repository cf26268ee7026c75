"""Lose every connection several times, and lose no message.

One process sends confirmed messages, and another one receives and acknowledges each. Proxies between these processes
and the broker cut every connection again and again, and block the broker once for two seconds. At the end, the demo
checks that all confirmed messages were received.

    python examples/demo.py                                        an embedded broker in a separate process
    python examples/demo.py --broker 'failover:(tcp://mq1:61613)'  any broker; login and passcode in the URI
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any

from stomplistener import Connection, Frame, Listener, Message
from stomplistener.failover import parse
from stomplistener.testing import FaultProxy

CUTS = 5
AWAY = 2.0
PATIENCE = 60.0
BAR = 14


class Reconnects(Listener):
    """Counts the connections that were restored."""

    def __init__(self) -> None:
        self.count = -1

    def on_connected(self, frame: Frame) -> None:
        self.count += 1


def report(**values: object) -> None:
    """Report values to the parent process, as one line of JSON."""
    print(json.dumps(values), flush=True)


def produce(uri: str, destination: str, messages: int) -> None:
    """Send confirmed messages at a steady rate, so that the cuts hit them. Then report the confirmed ids."""
    confirmed: set[int] = set()
    pace = 15.0 / messages

    def note(number: int) -> Callable[[Future[Frame]], None]:
        return lambda future: confirmed.add(number) if future.exception() is None else None

    reconnects = Reconnects()
    connection = Connection(uri, name="producer", heartbeat=(1.0, 1.0))
    connection.add_listener(reconnects)
    with connection:
        futures, start = [], time.monotonic()
        for number in range(messages):
            future = connection.send_async(destination, str(number), {"persistent": "true"}, timeout=PATIENCE)
            future.add_done_callback(note(number))
            futures.append(future)
            if number % 100 == 99:
                report(confirmed=len(confirmed))
                time.sleep(max(0.0, start + number * pace - time.monotonic()))
        wait(futures, PATIENCE)
        connection.disconnect()
    report(confirmed=len(confirmed), reconnects=reconnects.count, ids=sorted(confirmed))


def consume(uri: str, destination: str, messages: int) -> None:
    """Acknowledge each message individually. End when all have arrived, or when none arrives for a minute."""
    seen: set[int] = set()
    received = longest = 0.0
    last = time.monotonic()
    complete = threading.Event()

    def on_message(message: Message) -> None:
        nonlocal received, longest, last
        now = time.monotonic()
        longest, last = max(longest, now - last), now
        received += 1
        seen.add(int(message.text))
        message.ack()
        if received % 100 == 0:
            report(received=len(seen))
        if len(seen) == messages:
            complete.set()

    reconnects = Reconnects()
    connection = Connection(uri, name="consumer", heartbeat=(1.0, 1.0))
    connection.add_listener(reconnects)
    with connection:
        connection.subscribe(destination, on_message, ack="client-individual", confirm=True)
        report(ready=True)
        while not complete.wait(1.0) and time.monotonic() - last < PATIENCE:
            pass
    report(
        received=len(seen),
        duplicates=int(received) - len(seen),
        reconnects=reconnects.count,
        longest=longest,
        ids=sorted(seen),
    )


@dataclass
class Worker:
    """A child process and the last value that it reported for each name."""

    process: subprocess.Popen[str]
    values: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def start(cls, role: str, uri: str, destination: str, messages: int) -> Worker:
        command = [sys.executable, __file__, role, "--broker", uri, "--destination", destination]
        process = subprocess.Popen([*command, "--messages", str(messages)], stdout=subprocess.PIPE, text=True)
        worker = cls(process)
        threading.Thread(target=worker._read, daemon=True).start()
        return worker

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.values.update(json.loads(line))

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None


@contextlib.contextmanager
def embedded_broker() -> Iterator[str]:
    """Run an embedded broker in a separate process, and yield its URI."""
    command = [sys.executable, "-m", "stomplistener.testing", "--port", "0"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def proxied(uri: str) -> Iterator[tuple[str, list[FaultProxy]]]:
    """Put a proxy before each broker, and yield the URI of the proxies in the same order."""
    with contextlib.ExitStack() as stack:
        proxies = []
        for broker in parse(uri).brokers:
            if broker.scheme != "tcp":
                raise SystemExit(f"{broker}: the demo cuts connections of tcp:// only")
            login = f"{broker.login}:{broker.passcode}@" if broker.login is not None else ""
            vhost = f"/{broker.virtual_host}" if broker.virtual_host else ""
            proxy = stack.enter_context(FaultProxy((broker.host, broker.port)))
            proxies.append((proxy, f"tcp://{login}127.0.0.1:{proxy.port}{vhost}"))
        brokers = ",".join(address for _, address in proxies)
        yield f"failover:({brokers})?randomize=false&maxReconnectDelay=200", [proxy for proxy, _ in proxies]


def cut_now_and_then(proxies: list[FaultProxy], done: threading.Event) -> None:
    """Cut all connections several times, and once refuse new connections for a while."""
    for number in range(CUTS):
        if done.wait(2.0):
            return
        away = number == CUTS // 2
        for proxy in proxies:
            if away:
                proxy.refuse()
            proxy.cut()
        if away:
            done.wait(AWAY)
            for proxy in proxies:
                proxy.accept()


def run(uri: str, messages: int) -> int:
    destination = f"/queue/demo-{time.time_ns()}"
    done = threading.Event()
    with proxied(uri) as (behind, proxies):
        consumer = Worker.start("consume", behind, destination, messages)
        while consumer.is_alive and "ready" not in consumer.values:
            time.sleep(0.05)
        producer = Worker.start("produce", behind, destination, messages)
        start = time.monotonic()
        threading.Thread(target=cut_now_and_then, args=(proxies, done), daemon=True).start()
        while producer.is_alive or consumer.is_alive:
            show_progress(producer, consumer, messages)
            time.sleep(0.5)
            if not consumer.is_alive and producer.is_alive and "ids" not in consumer.values:
                producer.process.kill()
        seconds = time.monotonic() - start
        done.set()
    show_progress(producer, consumer, messages)
    print()
    return conclude(producer.values, consumer.values, seconds)


def show_progress(producer: Worker, consumer: Worker, messages: int) -> None:
    confirmed, received = producer.values.get("confirmed", 0), consumer.values.get("received", 0)
    bar = "#" * (BAR * received // messages)
    end = "\r" if sys.stdout.isatty() else "\n"
    print(f"[{bar:<{BAR}}] confirmed {confirmed:>6}  received {received:>6}", end=end, flush=True)


def conclude(sent: dict[str, Any], got: dict[str, Any], seconds: float) -> int:
    if "ids" not in sent or "ids" not in got:
        print("a process ended without its result")
        return 1
    missing = len(set(sent["ids"]) - set(got["ids"]))
    rows = [
        ("confirmed", sent["confirmed"]),
        ("received", got["received"]),
        ("missing", missing),
        ("duplicates", got["duplicates"]),
        ("reconnects", sent["reconnects"] + got["reconnects"]),
        ("longest gap", f"{got['longest']:.2f} s"),
        ("messages a second", f"{got['received'] / seconds:.0f}"),
    ]
    for name, value in rows:
        print(f"{name:<20}{value:>10}")
    return 1 if missing or not sent["confirmed"] else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("role", nargs="?", choices=["run", "produce", "consume"], default="run")
    parser.add_argument("--broker", default="", metavar="URI", help="instead of the embedded broker")
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--destination", default="")
    arguments = parser.parse_args()
    if arguments.role != "run":
        role = produce if arguments.role == "produce" else consume
        role(arguments.broker, arguments.destination, arguments.messages)
        return 0
    with contextlib.nullcontext(arguments.broker) if arguments.broker else embedded_broker() as uri:
        return run(uri, arguments.messages)


if __name__ == "__main__":
    sys.exit(main())
