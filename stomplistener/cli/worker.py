"""``stomplistener worker``: run an application of listeners."""

from __future__ import annotations

import re
from pathlib import Path

import click

from stomplistener.errors import InvalidURI
from stomplistener.failover import parse
from stomplistener.worker import RunOptions, execute, load, logs
from stomplistener.worker.loading import LoadError

_NAMED = re.compile(r"([A-Za-z][\w-]*)=(.+)")


def _uris(urls: tuple[str, ...]) -> dict[str, str]:
    """The URIs by connection; one without a name is the default's."""
    uris = {}
    for url in urls:
        named = _NAMED.fullmatch(url)
        name, uri = named.groups() if named else ("default", url)
        parse(uri)
        uris[name] = uri
    return uris


@click.command()
@click.argument("target", metavar="MODULE:APP")
@click.option(
    "-u",
    "--url",
    "urls",
    metavar="[NAME=]URI",
    multiple=True,
    help="The broker of a connection, in place of what the program says. May be repeated, once for each name.",
)
@click.option(
    "-P",
    "--processes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many run side by side; from 2 on they are supervised.",
)
@click.option(
    "--grace",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="How long running handlers may take to end after a signal.",
)
@click.option(
    "--alive-file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Touched every second while all connections live.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Answer Prometheus there; the second process on the port after it, and so on.",
)
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="0.0.0.0 for every address.")
@click.option("--tracing", is_flag=True, help="Make each message a span of OpenTelemetry.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
    show_default=True,
)
@click.option("--reload", is_flag=True, help="Start anew when a Python file changes; for development.")
@click.option(
    "--reload-path",
    "reload_paths",
    metavar="DIR",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Watch this directory instead of the working directory. May be repeated.",
)
def worker(
    target: str,
    urls: tuple[str, ...],
    processes: int,
    grace: float,
    alive_file: Path | None,
    metrics_port: int | None,
    metrics_host: str,
    tracing: bool,
    log_format: str,
    log_level: str,
    reload: bool,
    reload_paths: tuple[Path, ...],
) -> None:
    """Run the listeners that MODULE:APP declares, until SIGTERM, SIGINT or SIGHUP.

    Then no further message is begun, running handlers may end within --grace, and what was not finished goes back to
    its queue. A second signal ends it at once.

    \b
    handlers.py:
      from stomplistener.worker import Application
      app = Application()
      @app.listener("/queue/orders", workers=4, retries=3, error_destination="/queue/failed")
      def book(order):
          print(order.json())
    \b
    Examples:
      stomplistener worker handlers:app --url tcp://localhost:61613
      stomplistener worker handlers:app --url tcp://mq1:61613 --url billing=ssl://mq2:61614
      stomplistener worker handlers:app --processes 4 --alive-file /run/alive --log-format json
      stomplistener worker handlers:app --reload

    Brokers come from --url, else from the program, else from STOMP_URL (STOMP_URL_BILLING for a connection "billing").

    Exit codes: 0 ended gracefully; 1 the application failed or a subscription was refused; 2 wrong use; 3 a connection
    could not be made or was lost for good; 4 handlers had not ended within --grace; 128 + n ended at once by signal n.
    """
    logs.configure(log_format, log_level)
    options = RunOptions(
        uris=_uris(urls),
        processes=processes,
        grace=grace,
        alive_file=alive_file,
        metrics_port=metrics_port,
        metrics_host=metrics_host,
        tracing=tracing,
        reload=reload,
        reload_paths=reload_paths or (Path(),),
    )
    try:
        code = execute(lambda: load(target), options)
    except (LoadError, InvalidURI) as error:
        raise click.UsageError(str(error)) from None
    click.get_current_context().exit(int(code))
