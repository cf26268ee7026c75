"""``stomplistener restore``: send the messages that a dump has written."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import IO

import click

from stomplistener import StompError
from stomplistener.cli.composer import count_of
from stomplistener.cli.copies import Copy, from_line
from stomplistener.cli.pace import Pace
from stomplistener.cli.tally import Tally, messages, progress, report
from stomplistener.cli.target import Target, with_target
from stomplistener.cli.terminal import say


class Reader:
    """Reads messages from lines, and reports and counts the lines without a valid message."""

    def __init__(self, source: IO[bytes], first: int) -> None:
        self._source = source
        self._first = first
        self.bad = 0
        self.numbers: list[int] = []

    def __iter__(self) -> Iterator[Copy]:
        for number, line in enumerate(self._source, 1):
            if number < self._first or not line.strip():
                continue
            try:
                copy = from_line(line)
            except ValueError as error:
                self.bad += 1
                say(f"line {number:,} has no valid message and is skipped: {error}")
                continue
            self.numbers.append(number)
            yield copy


@click.command()
@click.argument("queue", required=False)
@click.option("-f", "--file", type=click.File("rb"), default="-", help="Read a file instead of stdin.")
@click.option("--from", "first", metavar="LINE", type=click.IntRange(min=1), default=1, help="Start at this line.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="The highest rate, in messages per second.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing on success.")
@with_target
def restore(target: Target, queue: str | None, file: IO[bytes], first: int, rate: float | None, quiet: bool) -> None:
    """Send the messages of a "stomplistener dump" to a queue, or each to the destination that it came from.

    The command reads stdin. Bodies and headers do not change, except the headers of a delivery, such as message-id. A
    broker drops a message whose time in expires is over. After a failure, the command says from which line to continue.

    \b
    Examples:
      stomplistener restore /queue/orders < orders.jsonl
      stomplistener restore < orders.jsonl
      stomplistener restore /queue/orders --file orders.jsonl --from 1201

    Exit codes: 0 all are confirmed; 1 the broker refused, or a line has no valid message (the others are sent); 2 wrong
    use; 3 no connection; 4 no receipt in time; 130 Ctrl-C.
    """
    reader, tally, pace = Reader(file, first), Tally(), Pace(rate)
    if file.isatty():
        say("reading lines of JSON from the terminal; Ctrl-D ends the input")
    began = time.perf_counter()
    with target.connection(name="restore") as connection:
        try:
            with progress(tally, count_of(file)):
                for copy in reader:
                    pace.keep()
                    destination = queue or copy.destination
                    if not destination:
                        raise click.UsageError(f"line {reader.numbers[-1]:,} has no destination: name a QUEUE")
                    tally.add(
                        connection.send_async(destination, copy.body, copy.headers, auto_content_length=copy.counted)
                    )
                tally.wait(target.timeout)
        except (StompError, KeyboardInterrupt, click.UsageError):
            line = reader.numbers[tally.confirmed] if tally.confirmed < len(reader.numbers) else first
            say(f"confirmed: {messages(tally.confirmed)}; continue with --from {line}")
            raise
    if not quiet:
        report(tally.confirmed, time.perf_counter() - began, queue or "their original destinations", "confirmed")
    if reader.bad:
        click.get_current_context().exit(1)
