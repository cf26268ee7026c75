"""``flask stomp``: run the application's listeners, or check whether its brokers answer."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from stomplistener.connection import Connection
from stomplistener.contrib.flask.site import current_site
from stomplistener.errors import StompError
from stomplistener.worker import RunOptions
from stomplistener.worker.command import run_and_exit, with_run_options
from stomplistener.worker.exits import exit_of

stomp_commands = AppGroup("stomp", help="Listen to STOMP brokers.")


@stomp_commands.command()
@with_run_options
def worker(options: RunOptions) -> None:
    """Run the application's listeners, until SIGTERM, SIGINT or SIGHUP.

    After the signal, the worker begins no further message. Running listeners may end within --grace, and unfinished
    messages go back to their queue. A second signal ends the worker at once.

    Brokers come from --url, otherwise from the configuration.

    Exit codes: 0 ended gracefully; 1 a subscription was refused; 2 wrong use; 3 a connection could not be made or was
    lost for good; 4 listeners had not ended within --grace; 128 + n ended at once by signal n.
    """
    run_and_exit(current_site().worker, options, source="the application")


@stomp_commands.command()
@click.option("--timeout", metavar="SECONDS", type=click.FloatRange(min=0), default=10.0, show_default=True)
def ping(timeout: float) -> None:
    """Connect as the application does, and show the broker that answers. Sends no message.

    Exit codes: 0 every broker answers; 3 a broker cannot be reached or refuses the login; 4 a broker does not answer in
    time.
    """
    for name, each in current_site().configs.items():
        connection = Connection(each.uri, **each.options)
        try:
            connection.connect(timeout)
        except StompError as error:
            click.echo(f"{name}: {error}", err=True)
            click.get_current_context().exit(exit_of(error))
        session = connection.session
        click.echo(f"{name}: {session.server or 'a broker without a name'} answers in STOMP {session.version}")
        connection.disconnect(timeout)
