"""``stomplistener move``: move messages from one queue to another without losing any."""

from __future__ import annotations

import time
from collections.abc import Callable

import click

from stomplistener import Connection, ConnectionLost, Message
from stomplistener.brokers import Profile
from stomplistener.cli.copies import ORIGIN, copy_of, origin_of
from stomplistener.cli.pace import Pace
from stomplistener.cli.queues import BATCH, batches, idle_option, taking, where_option
from stomplistener.cli.tally import messages, report
from stomplistener.cli.target import Target, with_target
from stomplistener.cli.terminal import say


class Mover:
    """Sends messages to another destination, then removes them from their queue, so that none is ever lost.

    One thread uses it.

    Args:
        connection: the connection that receives and sends the messages.
        profile: the profile of its broker.
        destination: the destination to move to; None for the original destination of each dead letter.
        timeout: seconds to wait for the broker's answer.
    """

    def __init__(
        self, connection: Connection, profile: Profile | None, destination: str | None, timeout: float
    ) -> None:
        self._connection = connection
        self._profile = profile
        self._destination = destination
        self._timeout = timeout
        self.moved = 0
        self.left = 0
        # The receipt of COMMIT confirms both SEND and ACK only if the broker makes ACK part of the transaction.
        in_transaction = profile is not None and profile.settles_in_transactions
        self._settle: Callable[[list[Message]], None] = self._in_transaction if in_transaction else self._confirmed

    def move(self, batch: list[Message]) -> None:
        """Move messages. Without a destination, messages whose headers do not name an origin stay in the queue.

        Raises:
            ConnectionLost: the connection was lost. Each message is in one of the two places, or in both.
            BrokerError: the broker refused.
        """
        movable = [message for message in batch if self._goal(message) is not None]
        self.left += len(batch) - len(movable)
        if movable:
            self._settle(movable)

    def _goal(self, message: Message) -> str | None:
        return self._destination or origin_of(message, self._profile)

    def _parts(self, message: Message) -> tuple[str, bytes, dict[str, str], bool]:
        goal = self._goal(message)
        assert goal is not None
        _, body, headers, counted = copy_of(message.destination, message.body, message.headers)
        if self._destination is None:
            # The message is back, and is no longer a dead letter.
            origins = {ORIGIN, *(self._profile.origin if self._profile else ())}
            headers = {name: value for name, value in headers.items() if name not in origins}
        return goal, body, headers, counted

    def _in_transaction(self, batch: list[Message]) -> None:
        with self._connection.transaction() as transaction:
            for message in batch:
                goal, body, headers, counted = self._parts(message)
                transaction.send(goal, body, headers, auto_content_length=counted)
                if not transaction.ack(message):
                    # The message arrived on an older connection, and arrives again on this one, so abort the
                    # transaction.
                    raise ConnectionLost(
                        "the connection was lost while messages were moved; none is lost; run the command again"
                    )
        self.moved += len(batch)

    def _confirmed(self, batch: list[Message]) -> None:
        answers = []
        for message in batch:
            goal, body, headers, counted = self._parts(message)
            answers.append(self._connection.send_async(goal, body, headers, auto_content_length=counted))
        for message, answer in zip(batch, answers, strict=True):
            answer.result(self._timeout)
            if not message.ack():
                raise ConnectionLost(
                    "the connection was lost while messages were moved; none is lost, but some may be in both places"
                )
            self.moved += 1


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="[DST]", required=False)
@click.option("-n", "--count", type=click.IntRange(min=1), help="Move at most this number of messages.")
@where_option
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="The highest rate, in messages per second.")
@idle_option(2.0)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing on success.")
@with_target
def move(
    target: Target,
    source: str,
    destination: str | None,
    count: int | None,
    where: str | None,
    rate: float | None,
    idle: float,
    quiet: bool,
) -> None:
    """Move all messages of a queue to another destination, then end.

    Without DST, each dead letter goes back to the queue that its headers name; without this header, the dead letter
    stays. Bodies and headers do not change, except the headers of a delivery, such as message-id.

    No message is lost if you kill the command or the connection is lost. On ActiveMQ Classic, messages move in
    transactions. On other brokers, the command acknowledges a message after the broker has confirmed the copy. If you
    kill the command in between, the message stays in both places.

    \b
    Examples:
      stomplistener move /queue/orders /queue/orders.old
      stomplistener move /queue/ActiveMQ.DLQ     back to their queues
      stomplistener move /queue/DLQ /queue/orders --count 10 --rate 2
      stomplistener move /queue/a /queue/b --where "region = 'eu'"

    Exit codes: 0 the queue is empty, or the count is reached; 1 the broker refused; 2 wrong use; 3 no connection;
    4 no answer in time; 130 Ctrl-C.
    """
    if source == destination:
        raise click.UsageError("SRC and DST are the same queue; its messages would move forever")
    pace, began = Pace(rate), time.perf_counter()
    size = BATCH if rate is None else max(1, min(BATCH, int(rate / 4)))
    with target.connection(name="move") as connection:
        mover = Mover(connection, target.profile(connection), destination, target.timeout)
        try:
            with taking(connection, target, source, where=where) as consumer:
                for batch in batches(connection, consumer, target, count=count, idle=idle, size=size):
                    pace.keep(len(batch))
                    mover.move(batch)
        finally:
            if not quiet or mover.left:
                report(mover.moved, time.perf_counter() - began, destination or "their original destinations", "moved")
            if mover.left:
                say(f"{messages(mover.left)} without a header for the origin left in {source}; give a DST to move them")
