"""``stomplistener purge``: empty a queue."""

from __future__ import annotations

import click

from stomplistener.cli.queues import batches, idle_option, taking, where_option
from stomplistener.cli.tally import messages
from stomplistener.cli.target import Target, with_target
from stomplistener.cli.terminal import say


@click.command()
@click.argument("queue")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("-n", "--count", type=click.IntRange(min=1), help="Drop at most this number of messages.")
@where_option
@idle_option(2.0)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing on success.")
@with_target
def purge(
    target: Target, queue: str, yes: bool, count: int | None, where: str | None, idle: float, quiet: bool
) -> None:
    """Drop all messages of a queue, and end. The command asks for confirmation first.

    Messages that another consumer holds stay. "stomplistener dump QUEUE --take" keeps a copy in a file.

    \b
    Examples:
      stomplistener purge /queue/test
      stomplistener purge /queue/test --yes --where "type = 'probe'"

    Exit codes: 0 the queue is empty, or the count is reached; 1 the broker refused, or the answer was no; 2 wrong use;
    3 no connection; 4 no answer in time; 130 Ctrl-C.
    """
    if not yes:
        which = f"up to {count:,} messages" if count is not None else "all messages"
        which += f" where {where}" if where is not None else ""
        click.confirm(f"Drop {which} of {queue} on {target.uri}?", abort=True, err=True)
    dropped = 0
    with target.connection(name="purge") as connection:
        try:
            with taking(connection, target, queue, where=where) as consumer:
                for batch in batches(connection, consumer, target, count=count, idle=idle):
                    dropped += sum(message.ack() for message in batch)
        finally:
            if not quiet:
                say(f"{messages(dropped)} of {queue} dropped")
