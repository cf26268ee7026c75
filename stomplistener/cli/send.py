"""``stomplistener send``: one message, or many."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import IO, Any

import click

from stomplistener import Connection, Frame, StompError, TimedOut
from stomplistener.cli.target import Target, with_target


class Tally:
    """The messages that wait for their receipts, in order, and how many have theirs. One thread sends and collects.

    It looks at the answers from time to time: a callback for each would take a thread's turn for each.
    """

    def __init__(self) -> None:
        self._waiting: deque[Future[Frame]] = deque()
        self.confirmed = 0

    def add(self, answer: Future[Frame]) -> None:
        """One more was sent; raises what went wrong with the first one that was not confirmed."""
        self._waiting.append(answer)
        while self._waiting and self._waiting[0].done():
            self._take(0)

    def wait(self, timeout: float) -> None:
        """Wait until all are confirmed.

        Raises:
            TimedOut: none was for ``timeout`` seconds.
        """
        while self._waiting:
            self._take(timeout)

    def _take(self, timeout: float) -> None:
        answer = self._waiting[0]
        try:
            answer.result(timeout)
        except TimeoutError:
            if answer.done():
                raise
            raise TimedOut(f"no receipt came for {timeout:g} s; the broker may have taken the rest or not") from None
        self._waiting.popleft()
        self.confirmed += 1


class HeaderType(click.ParamType[tuple[str, str]]):
    """``name:value``, as a frame has it."""

    name = "name:value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """A pair of the two."""
        if isinstance(value, tuple):
            return value
        name, colon, rest = value.partition(":")
        if not (name and colon):
            self.fail(f"{value!r} is no header: write name:value", param, ctx)
        return name, rest.strip()


@contextmanager
def progress(tally: Tally, total: int | None) -> Iterator[None]:
    """A bar on stderr that follows the tally, where stderr is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    columns = (TextColumn("confirmed"), BarColumn(), MofNCompleteColumn(), TaskProgressColumn(show_speed=True))
    stopped = threading.Event()
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("lines", total=total)

        def follow() -> None:
            while not stopped.wait(0.1):
                bar.update(task, completed=tally.confirmed)

        follower = threading.Thread(target=follow, name="progress", daemon=True)
        follower.start()
        try:
            yield
        finally:
            stopped.set()
            follower.join()
            bar.update(task, completed=tally.confirmed)


@click.command()
@click.argument("destination")
@click.argument("message", required=False)
@click.option("-f", "--file", type=click.File("rb"), help="Take the body from a file; - is stdin.")
@click.option("-l", "--lines", is_flag=True, help="Send each line of --file, or of stdin, as a message.")
@click.option("-H", "--header", "headers", type=HeaderType(), multiple=True, help="A header; may be repeated.")
@click.option("-t", "--content-type", metavar="TYPE", help="The MIME type of the bodies.")
@click.option("--text", "as_text", is_flag=True, help="Leave content-length out: ActiveMQ then makes a TextMessage.")
@click.option("--no-confirm", is_flag=True, help="Ask for no receipt: faster, and may be lost.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing when all went well.")
@with_target
def send(
    target: Target,
    destination: str,
    message: str | None,
    file: IO[bytes] | None,
    lines: bool,
    headers: tuple[tuple[str, str], ...],
    content_type: str | None,
    as_text: bool,
    no_confirm: bool,
    quiet: bool,
) -> None:
    """Send a message to a destination and wait for the broker's receipt.

    The body is MESSAGE, or --file, or stdin. With --lines each line is a message, sent without waiting for the one
    before; what the broker has not confirmed when a connection is lost is sent again on the next one.

    \b
    Examples:
      stomplistener send /queue/orders '{"id": 1}' -t application/json
      stomplistener send /queue/orders --file order.xml -H persistent:true
      stomplistener send /queue/orders --lines < orders.txt
      grep ERROR app.log | stomplistener send /topic/errors --lines --quiet

    Exit codes: 0 all are confirmed; 1 the broker refused; 2 wrong use; 3 no connection; 4 no receipt in time. After a
    failure with --lines it says which line was the first that is not confirmed.
    """
    if message is not None and (file is not None or lines):
        raise click.UsageError("MESSAGE is the body already: leave out --file and --lines")
    options: dict[str, Any] = {
        "headers": dict(headers),
        "content_type": content_type,
        "auto_content_length": not as_text,
    }
    source = file or sys.stdin.buffer
    began = time.perf_counter()
    with target.connection(name="send") as connection:
        if lines:
            count = _send_lines(
                connection, destination, source, options, confirm=not no_confirm, timeout=target.timeout
            )
        else:
            body: bytes | str = message if message is not None else source.read()
            connection.send(destination, body, confirm=not no_confirm, **options)
            count = 1
    if not quiet:
        _report(count, time.perf_counter() - began, destination, "sent" if no_confirm else "confirmed")


def _report(count: int, seconds: float, destination: str, done: str) -> None:
    messages = "1 message" if count == 1 else f"{count:,} messages"
    rate = f", {count / seconds:,.0f}/s" if count > 1 else ""
    click.echo(f"{messages} to {destination} {done} in {seconds:.2f} s{rate}", err=True)


def _bodies(source: IO[bytes]) -> Iterator[bytes]:
    for line in source:
        yield line.removesuffix(b"\n").removesuffix(b"\r")


def _total(source: IO[bytes]) -> int | None:
    """How many lines a file has; None where it can be read only once."""
    if not source.seekable():
        return None
    start = source.tell()
    count = sum(1 for _ in source)
    source.seek(start)
    return count


def _send_lines(
    connection: Connection,
    destination: str,
    source: IO[bytes],
    options: dict[str, Any],
    *,
    confirm: bool,
    timeout: float,
) -> int:
    """Send each line; how many they were. What fails is told, and raised."""
    if not confirm:
        sent = 0
        for body in _bodies(source):
            connection.send(destination, body, **options)
            sent += 1
        return sent
    tally = Tally()
    try:
        with progress(tally, _total(source)):
            for body in _bodies(source):
                tally.add(connection.send_async(destination, body, **options))
            tally.wait(timeout)
    except StompError:
        first = tally.confirmed + 1
        click.echo(f"{tally.confirmed:,} messages are confirmed; the first that is not is line {first:,}", err=True)
        raise
    return tally.confirmed
