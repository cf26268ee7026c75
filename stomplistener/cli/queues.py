"""Take messages from a queue until it is empty, for the commands move, dump and purge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from stomplistener import Connection, Consumer, Message, ProtocolError
from stomplistener.cli.target import Target

BATCH = 100
"""The number of messages that are settled together."""


class CannotDo(click.ClickException):
    """The broker cannot do what the command needs. The text of the error names it."""

    exit_code = 2


def idle_option(default: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option ``--idle``.

    Commands that end at an empty queue need it, since no broker reports an empty queue.
    """
    return click.option(
        "--idle", metavar="SECONDS", type=click.FloatRange(min=0, min_open=True), default=default, show_default=True,
        help="The queue counts as empty after this time without a message.",
    )  # fmt: skip


where_option = click.option("--where", metavar="SQL", help="Only messages whose headers match; not on RabbitMQ.")


@contextmanager
def taking(
    connection: Connection, target: Target, queue: str, *, where: str | None = None, ahead: int = 2 * BATCH
) -> Iterator[Consumer]:
    """Return a consumer of a queue with single acknowledgements, after the broker has confirmed the subscription.

    Args:
        where: a selector.
        ahead: the prefetch.

    Raises:
        CannotDo: the broker has no selectors.
        BrokerError: the broker refused the subscription.
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
    """Return the next message; None if no message arrived in ``idle`` seconds while the connection was ready."""
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
    """Yield the messages of a queue until it is empty, in lists of messages that have arrived already.

    Args:
        count: the largest number of messages.
        idle: seconds without a message after which the queue counts as empty.
        size: the largest number of messages in a list.
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
