"""``stomplistener browse``: show the messages in a queue."""

from __future__ import annotations

from collections.abc import Iterator

import click

from stomplistener import Connection, Message, ProtocolError
from stomplistener.cli.forms import Form, form_options
from stomplistener.cli.queues import CannotDo, idle_option, where_option
from stomplistener.cli.target import Target, with_target
from stomplistener.cli.terminal import say
from stomplistener.cli.terminal import show as write


@click.command()
@click.argument("queue")
@form_options()
@click.option("-n", "--count", type=click.IntRange(min=1), help="End after this number of messages.")
@where_option
@idle_option(1.0)
@with_target
def browse(target: Target, queue: str, show: Form, count: int | None, where: str | None, idle: float) -> None:
    """Show the messages that wait in a queue, without removing them, and end.

    Apollo can show its queues, and ActiveMQ Classic the first 400 messages of each. Artemis and RabbitMQ cannot show a
    queue. With these brokers, use "listen --keep" or "dump", which receive the messages and give them back. The broker
    counts a delivery for each.

    \b
    Examples:
      stomplistener browse /queue/orders
      stomplistener browse /queue/orders --count 10 --where "priority > 5"
      stomplistener browse /queue/DLQ --format '{id} {original-destination}'
      stomplistener browse /queue/orders --json | jq -r .headers.type | sort

    Exit codes: 0 all are shown; 1 the broker refused; 2 wrong use, or the broker cannot browse; 3 no connection, or it
    was lost while browsing; 4 no answer in time; 130 Ctrl-C.
    """
    with target.connection(name="browse") as connection:
        shown = 0
        for message in open_browser(connection, target, queue, where=where, count=count, idle=idle):
            write(show(message))
            shown += 1
        profile = target.profile(connection)
        if profile is not None and profile.browse_page is not None and shown >= profile.browse_page and shown != count:
            say(f"{profile.title} {profile.options['browse'].note}: there may be more")


def open_browser(
    connection: Connection, target: Target, queue: str, *, where: str | None, count: int | None, idle: float
) -> Iterator[Message]:
    """Return the messages of a queue. Raises CannotDo if the broker cannot show them."""
    try:
        return connection.browse(queue, selector=where, limit=count, idle=idle, timeout=target.timeout)
    except ProtocolError as error:
        raise CannotDo(str(error)) from None
