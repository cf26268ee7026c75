"""``stomplistener listen``: follow destinations."""

from __future__ import annotations

import os
import select
import stat
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

import click
from click.exceptions import Exit

from stomplistener import Connection, Listener, Message, StompError
from stomplistener._util.signals import EndingSignals
from stomplistener.cli import bodies
from stomplistener.cli.target import Target, with_target

GOODBYE = 5.0
"""Seconds that the graceful end may take."""


class Follower(Listener):
    """Shows messages and settles them, in the dispatcher thread.

    Args:
        show: gives the text for a message.
        count: how many to show; None for all.
        keep: leave the messages to the broker.
    """

    def __init__(self, show: Callable[[Message], str], *, count: int | None, keep: bool, acknowledge: bool) -> None:
        self._show = show
        self._left = count
        self._keep = keep
        self._acknowledge = acknowledge
        self.shown = 0
        self.ended = threading.Event()
        self.failure: BaseException | None = None

    def on_message(self, message: Message) -> None:
        """Show it, if any more are wanted; only what was shown is acknowledged."""
        if self.ended.is_set():
            return
        try:
            click.echo(self._show(message))
        except Exception as error:  # Told by the command: as a listener's error it would leave the command waiting.
            self.end(error)
            return
        if self._acknowledge and not self._keep:
            message.ack()
        self.shown += 1
        if self.shown == self._left:
            self.ended.set()

    def on_reconnecting(self, attempt: int, delay: float) -> None:  # noqa: ARG002 (the hook's signature)
        """Tell once for each loss."""
        if attempt == 1:
            click.echo("connection lost; connecting again …", err=True)

    def end(self, failure: BaseException | None = None) -> None:
        """Show no more. What fails after the end was reached is no failure of the listening."""
        if not self.ended.is_set():
            self.failure = failure
        self.ended.set()

    def wait(self, timeout: float | None) -> int:
        """Have it go on so many seconds, or until its end; the number of the signal that ended it, or 0."""
        with EndingSignals() as signals:

            def tell() -> None:
                self.ended.wait()
                signals.tell()

            teller = threading.Thread(target=tell, name="end", daemon=True)
            teller.start()
            number = signals.wait(timeout)
            self.end()
            teller.join()
        return number


def _headline(message: Message) -> str:
    about = [message.destination, message.id, message.headers.get("content-type", ""), f"{len(message.body):,} B"]
    if message.redelivered:
        about.append("redelivered")
    return bodies.printable("  ".join(filter(None, about)))


_SHOWN_ELSEWHERE = frozenset("destination message-id content-type content-length subscription ack redelivered".split())  # noqa: SIM905


def pretty(message: Message) -> str:
    """A message for a person: a line about it, its headers, its body."""
    lines = [click.style(_headline(message), bold=True, fg="cyan")]
    for name, value in message.headers.items():
        if name not in _SHOWN_ELSEWHERE:
            lines.append(click.style(bodies.printable(f"{name}: {value}").replace("\n", "\\n"), dim=True))
    return "\n".join([*lines, bodies.pretty(message), ""])


def bare(message: Message) -> str:
    """Nothing but the body, as text where it is text."""
    text = bodies.decoded(message)
    return bodies.content(message).hex() if text is None else text


def _watch_pipe(gone: Callable[[], object]) -> None:
    """Have ``gone`` called when the reader of our output goes away: without a next message nobody would notice."""
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
@click.option("--json", "form", flag_value="json", help="One JSON object a line.")
@click.option("--body", "form", flag_value="body", help="Nothing but the bodies, one a line.")
@click.option("-n", "--count", type=click.IntRange(min=1), help="End after so many messages.")
@click.option("--for", "seconds", metavar="SECONDS", type=click.FloatRange(min=0), help="End after so long.")
@click.option(
    "--ack",
    type=click.Choice(["client-individual", "client", "auto"]),
    default="client-individual",
    show_default=True,
    help="How messages are acknowledged: each when it was shown, or (auto) by the broker when it sends it.",
)
@click.option("--keep", is_flag=True, help="Acknowledge nothing: the messages go back to their queue at the end.")
@click.option("--selector", metavar="SQL", help="Only messages whose headers match.")
@click.option("--durable", metavar="NAME", help="The name of a durable subscription to a topic.")
@with_target
def listen(
    target: Target,
    destinations: tuple[str, ...],
    form: str | None,
    count: int | None,
    seconds: float | None,
    ack: str,
    keep: bool,
    selector: str | None,
    durable: str | None,
) -> None:
    """Show the messages of destinations as they come, over lost connections too, until Ctrl-C.

    A message is acknowledged, and so taken from its queue, when it was shown; --keep only looks. Into a pipe, shown
    means written: to take one message and no more, say --count 1 and not "| head -1".

    \b
    Examples:
      stomplistener listen /queue/orders
      stomplistener listen /queue/orders --keep --count 1           look at the next one, leave it there
      stomplistener listen /topic/prices --json | jq .body
      stomplistener listen /queue/a /queue/b --selector "level = 'high'"
      stomplistener listen /queue/orders --body --for 60 > orders.txt

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

    Exit codes: 0 the count is reached, the time is over, or the reader of the pipe went away; 1 refused;
    2 wrong use; 3 no connection; 4 no answer in time; 130 Ctrl-C, 143 SIGTERM.
    """
    show = {"json": bodies.as_json, "body": bare}.get(form or "", pretty)
    if keep and ack == "auto":
        raise click.UsageError("--keep needs an --ack that leaves the acknowledging to us")
    follower = Follower(show, count=count, keep=keep, acknowledge=ack != "auto")
    with target.connection(name="listen") as connection:
        try:
            connection.add_listener(follower)
            _watch_pipe(follower.end)
            for destination in destinations:
                connection.subscribe(destination, ack=ack, selector=selector, durable=durable, confirm=True)
            threading.Thread(target=_keep, args=(connection, follower), name="keep", daemon=True).start()
            number = follower.wait(seconds)
        finally:
            follower.end()
            connection.disconnect(timeout=GOODBYE)
    if follower.failure is not None:
        raise follower.failure
    if number:
        raise Exit(128 + number)


def _keep(connection: Connection, follower: Follower) -> None:
    """Tell the follower when the connection is closed for good, and why."""
    try:
        connection.run_forever()
    except StompError as error:
        follower.end(error)
    else:
        follower.end()
