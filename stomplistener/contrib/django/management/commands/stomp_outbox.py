"""``manage.py stomp_outbox``: publish what transactions wrote to the outbox."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click
from django.db import DEFAULT_DB_ALIAS

from stomplistener.contrib.django.conf import stomp_settings
from stomplistener.contrib.django.management.bridge import ClickCommand
from stomplistener.contrib.django.outbox import purge
from stomplistener.contrib.django.relay import Relay
from stomplistener.errors import StompError
from stomplistener.worker.alive import AliveFile
from stomplistener.worker.application import DEFAULT
from stomplistener.worker.command import with_log_options
from stomplistener.worker.exits import exit_of


@click.command("stomp_outbox")
@click.option("--database", default=DEFAULT_DB_ALIAS, help="The database whose outbox it is.")
@click.option("--batch", type=click.IntRange(min=1), metavar="ROWS", help="How many rows are published together.")
@click.option("--poll", type=click.FloatRange(min=0), metavar="SECONDS", help="The pause when nothing is due.")
@click.option("--alive-file", type=click.Path(dir_okay=False, path_type=Path), help="Touched while all is well.")
@click.option("--once", is_flag=True, help="End when nothing is due any more.")
@click.option("--purge", "days", type=click.FloatRange(min=0), metavar="DAYS", help="Delete what is older, and end.")
@with_log_options
def relay(
    database: str, batch: int | None, poll: float | None, alive_file: Path | None, once: bool, days: float | None
) -> None:
    """Publish the outbox."""
    if days is not None:
        click.echo(f"{purge(days * 24 * 3600, database)} rows deleted")
        return
    whole = stomp_settings()
    given: dict[str, Any] = {"batch": batch, "poll": poll}
    options = dataclasses.replace(whole.outbox, **{name: each for name, each in given.items() if each is not None})
    connection = whole.connections[DEFAULT].make()
    relay = Relay(connection, options, using=database, alive=AliveFile(alive_file))
    if not once:
        relay.run()
        return
    try:
        count = sum(iter(relay.publish_due, 0))
        connection.disconnect()
    except StompError as error:
        click.echo(f"stomp_outbox: {error}", err=True)
        click.get_current_context().exit(exit_of(error))
    click.echo(f"{count} rows tried")


class Command(ClickCommand):
    """The command."""

    command = relay
    help = (
        "Publish the rows of the outbox, until SIGTERM, SIGINT or SIGHUP; what is under way then is finished. Several "
        "may run at once where the database has SELECT ... FOR UPDATE SKIP LOCKED; on SQLite only one."
    )
