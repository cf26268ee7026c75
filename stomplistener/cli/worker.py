"""``stomplistener worker``: run an application of listeners."""

from __future__ import annotations

import click

from stomplistener.cli.target import environment_name
from stomplistener.worker import RunOptions, load
from stomplistener.worker.command import run_and_exit, with_run_options


@click.command()
@click.argument("target", metavar="MODULE:APP")
@with_run_options
def worker(target: str, options: RunOptions) -> None:
    """Run the listeners that MODULE:APP declares, until SIGTERM, SIGINT or SIGHUP.

    After the signal, the worker begins no further message. Running handlers may end within --grace, and unfinished
    messages go back to their queue. A second signal ends the worker at once.

    \b
    handlers.py:
      from stomplistener.worker import Application
      app = Application()
      @app.listener("/queue/orders", retries=3, error_destination="/queue/failed")
      def book(order):
          print(order.json())

    \b
    Examples:
      stomplistener worker handlers:app --url tcp://localhost:61613
      stomplistener worker handlers:app --url billing=ssl://mq2:61614
      stomplistener worker handlers:app --processes 4 --log-format json
      stomplistener worker handlers:app --reload

    Brokers come from --url, otherwise from the program, otherwise from STOMP_URL (STOMP_URL_BILLING for a connection
    "billing").

    Exit codes: 0 ended gracefully; 1 the application failed or a subscription was refused; 2 wrong use; 3 a connection
    could not be made or was lost for good; 4 handlers had not ended within --grace; 128 + n ended at once by signal n.
    """
    run_and_exit(lambda: load(target), options)


for option in worker.params:
    if option.name == "uris":
        # The variable has the same name as for all other commands, although the option is a separate one here.
        option.envvar = environment_name("--url")
