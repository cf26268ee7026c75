"""``stomplistener bench``: measure rates and latencies between this machine and a broker."""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import click

from stomplistener import Connection, Message, StompError, TimedOut
from stomplistener._util.pieces import in_pieces
from stomplistener.cli import terminal
from stomplistener.cli.histogram import BLOCKS, PLAIN, histogram
from stomplistener.cli.target import Target, with_target

SILENCE = 1.0
"""Seconds without a message after which a queue counts as empty."""
BATCH = 500
"""The number of messages after which to wait for all receipts: less than the limit of unconfirmed messages."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A measured rate: ``count`` messages of ``size`` bytes in ``seconds``."""

    name: str
    count: int
    size: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.count / self.seconds


@dataclass(frozen=True, kw_only=True)
class Latencies:
    """Measured latencies in seconds."""

    name: str
    seconds: list[float]

    def at(self, percent: float) -> float:
        """Return this percentile, in seconds."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class Receiver:
    """Counts messages as they arrive. One subscription calls it, and one thread waits."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    def on_message(self, _message: Message) -> None:
        """Count a message."""
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    def wait(self, count: int, timeout: float) -> None:
        """Wait for this number of messages. Raises TimedOut if none arrives for ``timeout`` seconds."""
        with self._changed:
            while self._count < count:
                if not in_pieces(self._changed.wait, timeout):
                    raise TimedOut(
                        f"received {self._count:,} of {count:,} messages, and no further one within {timeout:g} s"
                    )


class Bench:
    """Measures with a separate queue, which is empty after each measurement. One thread uses it.

    Args:
        messages: the number of messages for a rate.
        samples: the number of samples for a latency.
        body: the body of each message.
        timeout: seconds to wait for the next message or receipt.
    """

    def __init__(
        self, connection: Connection, destination: str, *, messages: int, samples: int, body: bytes, timeout: float
    ) -> None:
        self._connection = connection
        self._destination = destination
        self._messages = messages
        self._samples = samples
        self._body = body
        self._timeout = timeout

    def rates(self) -> list[Rate]:
        """Measure the rates of confirmed SENDs without waits in between, of their delivery, and of plain SENDs."""
        confirmed = self._rate("send, confirmed", self._send_confirmed)
        received = self._rate("receive", self._receive)
        unconfirmed = self._rate("send, unconfirmed", self._send_unconfirmed)
        self._receive()
        return [confirmed, unconfirmed, received]

    def latencies(self) -> list[Latencies]:
        """Measure the latencies from a SEND to its receipt and to the listener, one message after the other."""
        receiver = Receiver()
        subscription = self._connection.subscribe(self._destination, receiver, confirm=True)
        receipts, deliveries = [], []
        for number in range(self._samples):
            began = time.perf_counter()
            self._connection.send(self._destination, self._body)
            receiver.wait(2 * number + 1, self._timeout)
            sent = time.perf_counter()
            self._connection.send(self._destination, self._body, confirm=True)
            receipts.append(time.perf_counter() - sent)
            deliveries.append(sent - began)
            receiver.wait(2 * number + 2, self._timeout)
        subscription.unsubscribe(confirm=True)
        return [
            Latencies(name="SEND to receipt", seconds=receipts),
            Latencies(name="SEND to listener", seconds=deliveries),
        ]

    def _rate(self, name: str, work: Callable[[], object]) -> Rate:
        began = time.perf_counter()
        work()
        return Rate(name=name, count=self._messages, size=len(self._body), seconds=time.perf_counter() - began)

    def _send_confirmed(self) -> None:
        for start in range(0, self._messages, BATCH):
            count = min(BATCH, self._messages - start)
            answers = [self._connection.send_async(self._destination, self._body) for _ in range(count)]
            for answer in answers:
                answer.result(self._timeout)

    def _send_unconfirmed(self) -> None:
        for _ in range(self._messages - 1):
            self._connection.send(self._destination, self._body)
        # The receipt of the last message shows that the broker has processed all messages before it.
        self._connection.send(self._destination, self._body, confirm=True)

    def _receive(self) -> None:
        receiver = Receiver()
        subscription = self._connection.subscribe(self._destination, receiver, confirm=True)
        receiver.wait(self._messages, self._timeout)
        subscription.unsubscribe(confirm=True)


@click.command()
@click.argument("uri", required=False)
@click.option(
    "-n",
    "--messages",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="The number of messages for each rate.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=500,
    show_default=True,
    help="The number of samples for each latency.",
)
@click.option("--size", metavar="BYTES", type=click.IntRange(min=0), default=1024, show_default=True)
@click.option("--destination", help="A queue to use. [default: a new name]")
@click.option("--json", "as_json", is_flag=True, help="Print all numbers as one JSON object.")
@with_target
def bench(target: Target, messages: int, samples: int, size: int, destination: str | None, as_json: bool) -> None:
    """Measure the rates of sending and receiving between here and a broker, and the latencies with their distribution.

    The command fills a new queue and empties it again.

    \b
    Examples:
      stomplistener bench tcp://localhost:61613
      stomplistener bench --profile production --messages 50000 --size 200

    Exit codes: 0 measured; 1 the broker refused; 2 wrong use; 3 no connection; 4 a message or receipt came too late.
    """
    queue = destination or f"/queue/stomplistener-bench-{secrets.token_hex(4)}"
    connection = target.connection(name="bench").connect()
    try:
        work = Bench(
            connection,
            queue,
            messages=messages,
            samples=samples,
            body=os.urandom((size + 1) // 2).hex()[:size].encode(),
            timeout=target.timeout,
        )
        latencies, rates = work.latencies(), work.rates()
    except BaseException:
        connection.close()
        _empty(target, queue)
        raise
    connection.disconnect()
    if as_json:
        click.echo(_json(rates, latencies))
    else:
        _show(rates, latencies)


def _empty(target: Target, queue: str) -> None:
    """Remove the messages that an interrupted run left in its queue. A second Ctrl-C ends this, too."""
    terminal.say(f"emptying {queue} …")
    with suppress(StompError), target.connection(name="bench-end") as connection:
        with connection.consume(queue, ack="auto") as consumer:
            while consumer.receive(SILENCE) is not None:
                pass


def _json(rates: list[Rate], latencies: list[Latencies]) -> str:
    return json.dumps(
        {
            "rates": {rate.name: rate.per_second for rate in rates},
            "latencies": {
                each.name: {f"p{percent}": each.at(percent) for percent in (50, 95, 99)} for each in latencies
            },
        }
    )


def _show(rates: list[Rate], latencies: list[Latencies]) -> None:
    from rich.table import Table

    console = terminal.console()
    table = Table("rate", "messages/s", "MB/s", title=f"{rates[0].count:,} messages of {rates[0].size:,} bytes")
    for column in table.columns[1:]:
        column.justify = "right"
    for rate in rates:
        table.add_row(rate.name, f"{rate.per_second:,.0f}", f"{rate.per_second * rate.size / 1e6:,.1f}")
    console.print(table)
    for each in latencies:
        marks = "  ".join(f"p{percent} {each.at(percent) * 1000:.2f} ms" for percent in (50, 95, 99))
        console.print(f"\n{each.name}: {marks}", highlight=False)
        blocks = terminal.encodes(BLOCKS)
        for low, high, count, bar in histogram(each.seconds, bars=BLOCKS if blocks else PLAIN):
            dash = "–" if blocks else "-"
            console.print(f"  {low * 1000:8.2f} {dash} {high * 1000:8.2f} ms {count:6,} {bar}", highlight=False)
