"""``stomplistener dump``: write the messages of a queue as lines of JSON."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import click

from stomplistener import Connection, ConnectionLost, Message, Transaction
from stomplistener.cli.browse import open_browser
from stomplistener.cli.copies import to_line
from stomplistener.cli.queues import batches, idle_option, next_of, taking, where_option
from stomplistener.cli.tally import messages
from stomplistener.cli.target import Target, with_target
from stomplistener.cli.terminal import say

AHEAD = 1_000_000
"""The prefetch: more messages than one dump receives without an acknowledgement."""


@click.command()
@click.argument("queue")
@click.option("--take", is_flag=True, help="Take each message from the queue after its line is written.")
@click.option("-n", "--count", type=click.IntRange(min=1), help="End after this number of messages.")
@where_option
@idle_option(2.0)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing on success.")
@with_target
def dump(
    target: Target, queue: str, take: bool, count: int | None, where: str | None, idle: float, quiet: bool
) -> None:
    """Write all messages of a queue to stdout, one JSON object per line with every header, and end.

    "stomplistener restore" sends the messages again, byte for byte. A body that is not text is written in Base64.

    Without --take the messages stay in the queue. Only Apollo can show whole queues. From other brokers, the command
    receives the messages, acknowledges none, and gives them back at the end. Meanwhile other consumers do not get the
    messages, and the broker counts a delivery for each. With --take the command acknowledges each message after it has
    written the line. If you kill the command, run it again with >>: no message is lost.

    \b
    Examples:
      stomplistener dump /queue/orders > orders.jsonl
      stomplistener dump /queue/ActiveMQ.DLQ --take >> dead.jsonl
      stomplistener dump /queue/a | ssh other stomplistener restore /queue/a

    Exit codes: 0 all are written; 1 the broker refused; 2 wrong use; 3 no connection, or it was lost; 4 no answer in
    time; 130 Ctrl-C.
    """
    written = 0
    with target.connection(name="dump") as connection:
        profile = target.profile(connection)
        _begin_line()
        if take:
            with taking(connection, target, queue, where=where) as consumer:
                for batch in batches(connection, consumer, target, count=count, idle=idle):
                    _write(batch)
                    for message in batch:
                        message.ack()
                    written += len(batch)
        else:
            browsable = profile is not None and profile.options["browse"].headers is not None
            if profile is not None and browsable and profile.browse_page is None:
                shown = open_browser(connection, target, queue, where=where, count=count, idle=idle)
            else:
                name = profile.title if profile is not None else "this broker"
                say(f"{name} does not show whole queues: the messages are received, and given back at the end")
                shown = _given_back(connection, target, queue, where=where, count=count, idle=idle)
            for message in shown:
                _write([message])
                written += 1
    if not quiet:
        say(f"{messages(written)} of {queue} written{' and taken' if take else ''}")


def _begin_line() -> None:
    """Begin a new line if a killed dump left a partial last line."""
    with suppress(OSError, ValueError):
        about = os.fstat(sys.stdout.fileno())
        if stat.S_ISREG(about.st_mode) and about.st_size:
            sys.stdout.write("\n")


def _write(batch: list[Message]) -> None:
    """Write lines to the operating system. The broker may forget a message only after that."""
    sys.stdout.write("".join(f"{to_line(message)}\n" for message in batch))
    sys.stdout.flush()


def _given_back(
    connection: Connection, target: Target, queue: str, *, where: str | None, count: int | None, idle: float
) -> Iterator[Message]:
    """Yield the messages of a queue without acknowledging them.

    Raises:
        ConnectionLost: the connection was lost. The broker would deliver the same messages again.
    """
    profile = target.profile(connection)
    most = AHEAD if count is None else count
    epoch, given = None, 0
    with ExitStack() as stack:
        consumer = stack.enter_context(taking(connection, target, queue, where=where, ahead=most))
        transaction: Transaction | None = None
        if profile is not None and profile.settles_in_transactions:
            # ActiveMQ sends at most about a thousand messages ahead of acknowledgements, whatever the prefetch.
            # Acknowledgements in a transaction let the broker continue, and have no effect when the transaction is
            # aborted.
            transaction = connection.transaction().begin()
            stack.callback(transaction.abort)
        while given < most and (message := next_of(connection, consumer, target, idle)) is not None:
            if epoch not in (None, message.epoch):
                raise ConnectionLost(f"the connection was lost after {given:,} messages; dump again")
            epoch = message.epoch
            if transaction is not None:
                transaction.ack(message)
            given += 1
            yield message
