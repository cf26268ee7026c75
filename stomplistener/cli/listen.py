"""``stomplistener listen``: show the messages of destinations."""

from __future__ import annotations

import os
import select
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import click

from stomplistener import Message, Subscription
from stomplistener.cli.following import Follower, follow
from stomplistener.cli.forms import Form, form_options
from stomplistener.cli.headers import header_option
from stomplistener.cli.target import Target, with_target
from stomplistener.cli.terminal import say
from stomplistener.cli.terminal import show as write
from stomplistener.options import AckMode

MOST_AHEAD = 1000
"""The largest prefetch if ``--count`` limits the number of messages."""


def _watch_pipe(gone: Callable[[], object]) -> None:
    """Call ``gone`` when the reader of the output ends.

    Otherwise the command would notice the end only at the next message.
    """
    with suppress(OSError, ValueError):
        output = sys.stdout.fileno()
        if not hasattr(select, "poll") or not stat.S_ISFIFO(os.fstat(output).st_mode):
            return
        poll = select.poll()
        poll.register(output, select.POLLERR)

        def wait() -> None:
            poll.poll()
            gone()

        threading.Thread(target=wait, name="pipe", daemon=True).start()


@click.command()
@click.argument("destinations", nargs=-1, required=True, metavar="DESTINATION…")
@form_options()
@click.option("-n", "--count", type=click.IntRange(min=1), help="End after this number of messages.")
@click.option("--for", "seconds", metavar="SECONDS", type=click.FloatRange(min=0), help="End after this time.")
@click.option(
    "--idle",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    help="End after this time without a message.",
)
@click.option(
    "--ack",
    type=click.Choice(["client-individual", "client", "auto"]),
    default="client-individual",
    show_default=True,
    help="How messages are acknowledged: each after it was shown, or (auto) by the broker when it sends the message.",
)
@click.option("--keep", is_flag=True, help="Acknowledge nothing; the messages go back to their queue at the end.")
@click.option("--selector", metavar="SQL", help="Only messages whose headers match.")
@click.option("--durable", metavar="NAME", help="The name of a durable subscription to a topic; needs --client-id.")
@click.option("--client-id", metavar="NAME", help="The owner of the durable subscription, for ActiveMQ and Artemis.")
@click.option(
    "--prefetch",
    metavar="N",
    type=click.IntRange(min=1),
    help="Messages that the broker may send ahead of their acknowledgements.  [default: --count, or the broker's]",
)
@header_option("A header for SUBSCRIBE; may be repeated.")
@click.option("-q", "--quiet", is_flag=True, help="Do not report when the command listens.")
@with_target
def listen(
    target: Target,
    destinations: tuple[str, ...],
    show: Form,
    count: int | None,
    seconds: float | None,
    idle: float | None,
    ack: AckMode,
    keep: bool,
    selector: str | None,
    durable: str | None,
    client_id: str | None,
    prefetch: int | None,
    headers: tuple[tuple[str, str], ...],
    quiet: bool,
) -> None:
    """Show messages as they arrive, across connection losses too, until Ctrl-C.

    The command acknowledges each message after it has shown it, which removes it from its queue; --keep acknowledges
    nothing. In a pipe, a message counts as shown when it is written. To take exactly one message, use --count 1 and not
    "| head -1". A line on stderr says when the command listens.

    \b
    Examples:
      stomplistener listen /queue/orders
      stomplistener listen /queue/orders --keep --count 1    look at one, leave it
      stomplistener listen /topic/prices --json | jq .body
      stomplistener listen /queue/a /queue/b --selector "level = 'high'"
      stomplistener listen /queue/orders --body --idle 5 > orders.txt
      stomplistener listen /topic/prices --format '{now} {symbol}: {body}'
      stomplistener listen /topic/prices --durable all --client-id shop

    \b
    The profile file, ~/.config/stomplistener.toml:
      default = "local"
      [profiles.local]
      url = "tcp://localhost:61613"
      [profiles.production]
      url = "failover:(ssl://mq1:61614,ssl://mq2:61614)"
      login = "shop"
      passcode_file = "~/.secrets/shop"     or passcode, or passcode_env
      host = "/shop"                        the virtual host
      heartbeat = [10, 10]                  seconds

    Exit codes: 0 the count is reached, the time is over, or the reader of the pipe has ended; 1 the broker refused; 2
    wrong use; 3 no connection; 4 no answer in time; 130 Ctrl-C, 143 SIGTERM.
    """
    if keep and ack == "auto":
        raise click.UsageError("--keep needs --ack client or client-individual")

    def handle(message: Message) -> None:
        write(show(message))
        # Only messages that were shown are acknowledged.
        if ack != "auto" and not keep:
            message.ack()

    follower = Follower(handle, count=count)
    more = {"client-id": client_id} if client_id is not None else None
    with target.connection(name="listen", headers=more) as connection:

        def subscribe() -> Iterator[Subscription]:
            # With a count, the broker should not deliver messages that will not be shown, since it counts each
            # delivery.
            ahead, profile = prefetch, target.profile(connection)
            if durable is not None and client_id is None and profile is not None and profile.client_id:
                raise click.UsageError(
                    f"{profile.title} keeps a durable subscription for a client-id: give --client-id NAME"
                )
            if ahead is None and count is not None and ack != "auto" and profile is not None:
                ahead = min(count, MOST_AHEAD)
            for destination in destinations:
                subscription = connection.subscribe(
                    destination,
                    ack=ack,
                    selector=selector,
                    durable=durable,
                    prefetch=ahead,
                    headers=dict(headers),
                    confirm=True,
                )
                # Do not unsubscribe: this would delete the durable subscription.
                if durable is None:
                    yield subscription
            if not quiet:
                say(f"listening to {', '.join(destinations)}; Ctrl-C ends it")

        _watch_pipe(follower.end)
        follow(connection, follower, subscribe, seconds=seconds, idle=idle)
