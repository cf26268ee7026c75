"""``manage.py stomp_worker``: run the listeners of all installed apps."""

from __future__ import annotations

import click

from stomplistener.contrib.django.listening import load
from stomplistener.contrib.django.management.bridge import ClickCommand
from stomplistener.worker import RunOptions
from stomplistener.worker.command import run_and_exit, with_run_options


@click.command("stomp_worker")
@with_run_options
def worker(options: RunOptions) -> None:
    """Run the listeners."""
    run_and_exit(load, options, source="the listeners.py of any installed app")


class Command(ClickCommand):
    """The command."""

    command = worker
    help = (
        "Run the handlers in listeners.py of each installed app, until SIGTERM, SIGINT or SIGHUP. After the signal, no "
        "further message is begun, running handlers may end within --grace, and unfinished messages go back to their "
        "queue. Brokers come from --url, otherwise from the setting STOMPLISTENER, otherwise from STOMP_URL."
    )
