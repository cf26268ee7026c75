"""``manage.py stomp_outbox``: publish the messages that transactions wrote to the outbox."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS

from stomplistener._util.environment import DEFAULT
from stomplistener._util.loggers import library_logger
from stomplistener.connection import Connection
from stomplistener.contrib.django.conf import stomp_settings
from stomplistener.contrib.django.inbox import purge_inbox
from stomplistener.contrib.django.management.bridge import ClickCommand
from stomplistener.contrib.django.metrics import RelayMetrics
from stomplistener.contrib.django.outbox import purge
from stomplistener.contrib.django.relay import Relay
from stomplistener.errors import StompError
from stomplistener.worker.alive import AliveFile
from stomplistener.worker.command import with_log_options
from stomplistener.worker.exits import exit_of

_log = library_logger("stomplistener.django")


@click.command("stomp_outbox")
@click.option("--database", default=DEFAULT_DB_ALIAS, help="The database of the outbox.")
@click.option("--connection", "name", default=DEFAULT, metavar="NAME", help="Publish the rows for this connection.")
@click.option(
    "--batch", type=click.IntRange(min=1), metavar="ROWS", help="The number of rows that are published together."
)
@click.option("--poll", type=click.FloatRange(min=0), metavar="SECONDS", help="The pause when no row is due.")
@click.option(
    "--alive-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file that is touched while the relay works.",
)
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="The port of the metrics endpoint for Prometheus.")
@click.option("--metrics-host", help="The address of the metrics endpoint; 127.0.0.1 by default.")
@click.option("--once", is_flag=True, help="End when no row is due.")
@click.option(
    "--purge",
    "days",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Delete published rows that are older than this, and end.",
)
@with_log_options
def relay(
    database: str,
    name: str,
    batch: int | None,
    poll: float | None,
    alive_file: Path | None,
    metrics_port: int | None,
    metrics_host: str | None,
    once: bool,
    days: float | None,
) -> None:
    """Publish the outbox."""
    if days is not None:
        click.echo(f"{purge(days * 24 * 3600, database)} rows deleted")
        click.echo(f"{purge_inbox(days * 24 * 3600, database)} rows of the inbox deleted")
        return
    whole = stomp_settings()
    given: dict[str, Any] = {"batch": batch, "poll": poll}
    options = dataclasses.replace(whole.outbox, **{name: each for name, each in given.items() if each is not None})
    try:
        settings = whole.connection(name)
    except ImproperlyConfigured as error:
        raise click.BadParameter(str(error), param_hint="--connection") from None
    connection = settings.make()
    relay = Relay(
        connection,
        options,
        using=database,
        name=name,
        alive=AliveFile(alive_file),
        detects_duplicates=settings.detects_duplicates,
    )
    try:
        if once:
            count = sum(iter(relay.publish_due, 0))
            connection.disconnect()
            click.echo(f"{count} rows tried")
        else:
            run(relay, connection, database, name, metrics_host or "127.0.0.1", metrics_port)
    except StompError as error:
        click.echo(f"stomp_outbox: {error}", err=True)
        click.get_current_context().exit(exit_of(error))


def run(relay: Relay, connection: Connection, database: str, name: str, host: str, port: int | None) -> None:
    """Publish until a signal comes. Serve a metrics endpoint if a port is given."""
    with ExitStack() as stack:
        if port is not None:
            metrics = RelayMetrics(relay, connection, using=database, name=name)
            port = stack.enter_context(metrics.served(host, port))
            _log.info("metrics on http://%s:%d/metrics", host, port)
        relay.run()


class Command(ClickCommand):
    """The command."""

    command = relay
    help = (
        "Publish the rows of the outbox until SIGTERM, SIGINT or SIGHUP, then finish the current batches. Run several "
        "at once only if the database has SELECT ... FOR UPDATE SKIP LOCKED. On SQLite, run only one."
    )
