"""The options of all commands that run a worker: ``stomplistener worker``, ``flask stomp worker``. Needs click."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from stomplistener._util.environment import DEFAULT
from stomplistener.errors import InvalidURI
from stomplistener.failover import parse
from stomplistener.transport import MissingExtra
from stomplistener.worker import logs
from stomplistener.worker.application import Application
from stomplistener.worker.exits import WrongUse
from stomplistener.worker.loading import LoadError
from stomplistener.worker.options import RunOptions
from stomplistener.worker.process import execute

_NAMED = re.compile(r"([A-Za-z][\w-]*)=(.+)")


def _uris(_context: click.Context, _parameter: click.Parameter, urls: tuple[str, ...]) -> dict[str, str]:
    """Return the URIs by connection name. A URI without a name is for the default connection."""
    uris = {}
    for url in urls:
        named = _NAMED.fullmatch(url)
        name, uri = named.groups() if named else (DEFAULT, url)
        try:
            parse(uri)
        except InvalidURI as error:
            raise click.BadParameter(str(error)) from None
        uris[name] = uri
    return uris


def _workers(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, int]:
    """Return the number of threads by destination. A destination may contain an equals sign."""
    workers = {}
    for text in given:
        destination, _, count = text.rpartition("=")
        if not destination or not count.isdecimal() or int(count) < 1:
            raise click.BadParameter(f"{text!r} is not DESTINATION=N, such as /queue/orders=8")
        workers[destination] = int(count)
    return workers


_LOG_OPTIONS = (
    click.option(
        "--log-format", type=click.Choice(["text", "json", "program"]), default="text", show_default=True,
        help="program: keep the logging that the program has set up.",
    ),
    click.option(
        "--log-level", type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False), default="info",
        show_default=True,
    ),
)  # fmt: skip

_OPTIONS = (
    click.option(
        "-u", "--url", "uris", metavar="[NAME=]URI", multiple=True, callback=_uris,
        help="The broker of a connection; overrides the program. May be repeated, once for each name.",
    ),
    click.option(
        "-P", "--processes", type=click.IntRange(min=1), default=1, show_default=True,
        help="The number of processes. Two or more are supervised.",
    ),
    click.option(
        "--grace", metavar="SECONDS", type=click.FloatRange(min=0), default=30.0, show_default=True,
        help="How long running handlers may take to end after a signal.",
    ),
    click.option(
        "--alive-file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
        help="A file that is touched every second while all connections live.",
    ),
    click.option(
        "--metrics-port", type=click.IntRange(0, 65535),
        help="Serve metrics for Prometheus, /healthz and /readyz on this port, for all processes.",
    ),
    click.option("--metrics-host", default="127.0.0.1", show_default=True, help="0.0.0.0 for every address."),
    click.option("--tracing", is_flag=True, help="Make an OpenTelemetry span for each message."),
    click.option(
        "-w", "--workers", metavar="DESTINATION=N", multiple=True, callback=_workers,
        help="Threads for the handler of a destination; overrides the program. May be repeated.",
    ),
    click.option(
        "--max-messages", metavar="N", type=click.IntRange(min=1),
        help="End after N messages; with --processes another process takes over.",
    ),
    click.option(
        "--max-memory", metavar="MIB", type=click.IntRange(min=1),
        help="End when the process holds more memory; with --processes another process takes over.",
    ),
    click.option("--reload", is_flag=True, help="Restart when a Python file changes; for development."),
    click.option(
        "--reload-path", "reload_paths", metavar="DIR", multiple=True, default=(".",),
        type=click.Path(exists=True, path_type=Path),
        help="Watch this directory instead of the working directory. May be repeated.",
    ),
)  # fmt: skip


def with_log_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the logging options to a command, and configure logging by them."""

    @functools.wraps(command)
    def wrapped(*args: Any, log_format: str, log_level: str, **values: Any) -> Any:
        if log_format != "program":
            logs.configure(log_format, log_level)
        return command(*args, **values)

    return _with(_LOG_OPTIONS, wrapped)


def with_run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the worker and logging options to a command, and call it with ``options=``, a RunOptions."""

    @functools.wraps(command)
    def wrapped(*args: Any, **values: Any) -> Any:
        own = {name: values.pop(name) for name in RunOptions.__dataclass_fields__}
        return command(*args, options=RunOptions(**own), **values)

    return _with(_OPTIONS, with_log_options(wrapped))


def _with(options: Sequence[Callable[..., Any]], command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(options):
        command = option(command)
    return command


def run_and_exit(load: Callable[[], Application], options: RunOptions, *, source: str = "") -> NoReturn:
    """End the command with the exit code of ``execute``.

    Args:
        source: where the listeners are declared, if a worker without any is a mistake: it would look healthy.

    Raises:
        UsageError: there is no application, no listener or no broker, or a package is missing.
    """

    def loaded() -> Application:
        application = load()
        if source and not application.declarations:
            raise WrongUse(f"there is nothing to run: no listener is declared in {source}")
        return application

    try:
        code = execute(loaded, options)
    except (LoadError, InvalidURI, MissingExtra, WrongUse) as error:
        raise click.UsageError(str(error)) from None
    click.get_current_context().exit(int(code))
