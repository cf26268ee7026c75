"""``stomplistener request``: send a request and show its reply."""

from __future__ import annotations

import click

from stomplistener.cli.composer import Composer, with_composer
from stomplistener.cli.forms import Form, form_options
from stomplistener.cli.target import Target, with_target
from stomplistener.cli.terminal import show as write


@click.command()
@click.argument("destination")
@click.argument("message", required=False)
@with_composer
@form_options("--answer-json")
@with_target
def request(target: Target, destination: str, composer: Composer, show: Form) -> None:
    """Send a message, wait for its reply, and show the reply.

    The reply arrives on a temporary queue of this connection, which the message names in its reply-to. The body is
    MESSAGE, --file or stdin. --timeout is the time to wait for the reply.

    \b
    Examples:
      stomplistener request /queue/prices '{"item": "pizza"}' --json --body
      stomplistener request /queue/prices pizza --timeout 2

    Exit codes: 0 the reply came; 1 the broker refused; 2 wrong use; 3 no connection, or it was lost; 4 no reply in
    time; 130 Ctrl-C.
    """
    body, options = composer.compose(composer.body(), 1)
    with target.connection(name="request") as connection:
        write(show(connection.request(destination, body, timeout=target.timeout, **options)))
