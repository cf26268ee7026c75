"""``stomplistener reply``: answer requests with a shell command."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import click

from stomplistener import Connection, Message, Subscription
from stomplistener.cli.following import Follower, follow
from stomplistener.cli.target import Target, with_target
from stomplistener.cli.terminal import say


@click.command()
@click.argument("queue")
@click.option("-c", "--command", metavar="CMD", required=True, help="The shell command for each message.")
@click.option("-n", "--count", type=click.IntRange(min=1), help="End after this number of messages.")
@click.option(
    "--idle",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    help="End after this time without a message.",
)
@click.option("-t", "--content-type", metavar="TYPE", help="The MIME type of the replies.")
@click.option("-q", "--quiet", is_flag=True, help="Do not report when the command listens.")
@with_target
def reply(
    target: Target,
    queue: str,
    command: str,
    count: int | None,
    idle: float | None,
    content_type: str | None,
    quiet: bool,
) -> None:
    """Answer requests from a queue, until Ctrl-C. CMD reads the body from stdin, and its output is the reply.

    CMD gets the headers of the message as JSON in the variable STOMP_HEADERS. If CMD ends with a status other than 0,
    the reply has that status in its header exit-status. A request is acknowledged after its reply was sent. If you kill
    this command before, the broker delivers the request again.

    \b
    Examples:
      stomplistener reply /queue/upper --command 'tr a-z A-Z'
      stomplistener reply /queue/prices --command ./price.py -t application/json

    Exit codes: 0 the count is reached, or --idle is over; 1 the broker refused; 2 wrong use; 3 no connection;
    4 no answer in time; 130 Ctrl-C, 143 SIGTERM.
    """
    with target.connection(name="reply") as connection:
        follower = Follower(lambda message: _answer(connection, message, command, content_type), count=count)

        def subscribe() -> Iterator[Subscription]:
            # Take one message at a time, so that the others go to a free consumer.
            ahead = 1 if target.profile(connection) is not None else None
            yield connection.subscribe(queue, ack="client-individual", prefetch=ahead, confirm=True)
            if not quiet:
                say(f"answering requests from {queue}; Ctrl-C ends this command")

        follow(connection, follower, subscribe, seconds=None, idle=idle)


def _answer(connection: Connection, message: Message, command: str, content_type: str | None) -> None:
    environment = {**os.environ, "STOMP_HEADERS": json.dumps(dict(message.headers))}
    # The command gets its own process group: Ctrl-C ends only this program, and the running command may finish.
    done = subprocess.run(
        command, shell=True, input=message.body, stdout=subprocess.PIPE, env=environment, check=False, process_group=0
    )
    if done.returncode:
        say(f"{command}: exit status {done.returncode}")
    headers = {"exit-status": str(done.returncode)} if done.returncode else {}
    if content_type is not None:
        headers["content-type"] = content_type
    if message.reply_to is None:
        say(f"message {message.id} has no reply-to; the command ran, and its output is dropped")
    else:
        connection.reply(message, _text(done.stdout), headers)
    message.ack()


def _text(output: bytes) -> bytes | str:
    """Return text as str, for brokers that distinguish text from bytes."""
    try:
        return output if b"\0" in output else output.decode()
    except UnicodeDecodeError:
        return output
