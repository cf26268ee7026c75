"""Taking messages from a queue until it is empty, for the commands that move, dump and purge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from stomplistener import Connection, Consumer, Message, ProtocolError
from stomplistener.cli.target import Target

BATCH = 100
"""Messages that are settled together."""


class CannotDo(click.ClickException):
    """The broker cannot do what a command asks for; the message names it."""

    exit_code = 2


def idle_option(default: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option ``--idle`` of commands that end when a queue is empty, which no broker says."""
    return click.option(
        "--idle", metavar="SECONDS", type=click.FloatRange(min=0, min_open=True), default=default, show_default=True,
        help="The queue counts as empty after this time without a message.",
    )  # fmt: skip


where_option = click.option("--where", metavar="SQL", help="Only messages whose headers match; not on RabbitMQ.")


@contextmanager
def taking(
    connection: Connection, target: Target, queue: str, *, where: str | None = None, ahead: int = 2 * BATCH
) -> Iterator[Consumer]:
    """A consumer of a queue whose messages are acknowledged one by one, subscribed as the broker has confirmed.

    Args:
        where: a selector.
        ahead: how many messages the broker may send before they are acknowledged.

    Raises:
        CannotDo: the broker has no selectors.
        BrokerError: it refused.
    """
    profile = target.profile(connection)
    headers: dict[str, str] = {}
    if where is not None:
        try:
            headers = profile.headers("selector", condition=where) if profile else {"selector": where}
        except ProtocolError as error:
            raise CannotDo(str(error)) from None
    prefetch = ahead if profile is not None else None
    with connection.consume(
        queue, headers=headers, prefetch=prefetch, confirm=True, timeout=target.timeout
    ) as consumer:
        yield consumer


def next_of(connection: Connection, consumer: Consumer, target: Target, idle: float) -> Message | None:
    """The next message; None when nothing came for ``idle`` seconds of a living connection."""
    while True:
        message = consumer.receive(idle)
        if message is not None or connection.is_connected:
            return message
        connection.wait_ready(target.timeout)


def batches(
    connection: Connection,
    consumer: Consumer,
    target: Target,
    *,
    count: int | None = None,
    idle: float,
    size: int = BATCH,
) -> Iterator[list[Message]]:
    """The messages of a queue until it is empty, in lists of those that are here already.

    Args:
        count: how many at the most.
        idle: seconds without a message after which the queue counts as empty.
        size: messages in a list, at the most.
    """
    left = count
    while left is None or left > 0:
        first = next_of(connection, consumer, target, idle)
        if first is None:
            return
        batch, most = [first], size if left is None else min(size, left)
        while len(batch) < most and (message := consumer.receive(0)) is not None:
            batch.append(message)
        if left is not None:
            left -= len(batch)
        yield batch
