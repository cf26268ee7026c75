"""``stomplistener send``: send one message or many."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable

import click

from stomplistener import Connection, StompError
from stomplistener.cli.composer import Composer, count_of, lines_of, with_composer
from stomplistener.cli.pace import Pace
from stomplistener.cli.tally import Tally, progress, report
from stomplistener.cli.target import Target, with_target
from stomplistener.cli.terminal import say


@click.command()
@click.argument("destination")
@click.argument("message", required=False)
@with_composer
@click.option("-l", "--lines", is_flag=True, help="Send each line of --file, or of stdin, as a message.")
@click.option("--repeat", type=click.IntRange(min=1), help="Send the message this number of times.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="The highest rate, in messages per second.")
@click.option("--no-confirm", is_flag=True, help="Request no receipt: faster, but messages may be lost.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing on success.")
@with_target
def send(
    target: Target,
    destination: str,
    composer: Composer,
    lines: bool,
    repeat: int | None,
    rate: float | None,
    no_confirm: bool,
    quiet: bool,
) -> None:
    """Send a message to a destination and wait for the broker's receipt.

    The body is MESSAGE, --file or stdin; text is sent as text. With --lines each line is a message, sent without
    waiting for the one before. After a connection loss, unconfirmed messages are sent again on the next connection.

    In MESSAGE and in headers {n} is the number of the message, {uuid} a unique name and {now} the time.

    \b
    Examples:
      stomplistener send /queue/orders '{"id": 1}' --json
      stomplistener send /queue/orders 'order {n}' -H 'id:{uuid}' --repeat 100
      stomplistener send /queue/orders --file order.xml -H persistent:true
      stomplistener send /queue/orders --lines < orders.txt
      grep ERROR app.log | stomplistener send /topic/errors --lines --quiet

    Exit codes: 0 all are confirmed; 1 the broker refused; 2 wrong use; 3 no connection; 4 no receipt in time. After a
    failure the command names the first message that is not confirmed.
    """
    if lines and (composer.message is not None or repeat is not None):
        raise click.UsageError("--lines sends each line of its input once: leave out MESSAGE and --repeat")
    bodies: Iterable[bytes]
    if lines:
        source = composer.source(lines=True)
        bodies, total = lines_of(source), count_of(source)
    else:
        total = repeat or 1
        bodies = itertools.repeat(composer.body(), total)
    began = time.perf_counter()
    with target.connection(name="send") as connection:
        sender = _send_unconfirmed if no_confirm else _send_confirmed
        count = sender(connection, destination, composer, bodies, Pace(rate), total, target.timeout)
    if not quiet:
        report(count, time.perf_counter() - began, destination, "sent" if no_confirm else "confirmed")


def _send_unconfirmed(
    connection: Connection,
    destination: str,
    composer: Composer,
    bodies: Iterable[bytes],
    pace: Pace,
    _total: int | None,
    _timeout: float,
) -> int:
    sent = 0
    for data in bodies:
        pace.keep()
        body, options = composer.compose(data, sent + 1)
        connection.send(destination, body, **options)
        sent += 1
    return sent


def _send_confirmed(
    connection: Connection,
    destination: str,
    composer: Composer,
    bodies: Iterable[bytes],
    pace: Pace,
    total: int | None,
    timeout: float,
) -> int:
    """Send each message, and return their number. A failure is reported and raised."""
    tally = Tally()
    try:
        with progress(tally, total):
            for number, data in enumerate(bodies, 1):
                pace.keep()
                body, options = composer.compose(data, number)
                tally.add(connection.send_async(destination, body, **options))
            tally.wait(timeout)
    except (StompError, click.UsageError, KeyboardInterrupt):
        if total != 1:
            first = tally.confirmed + 1
            say(f"{tally.confirmed:,} messages are confirmed; the first that is not is line {first:,}")
        raise
    return tally.confirmed
