"""``stomplistener broker``: run the embedded broker, for first steps and experiments."""

from __future__ import annotations

import queue
from pathlib import Path

import click

from stomplistener.cli.profiles import read_passcode
from stomplistener.worker import signals


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=61613, show_default=True, help="The port; 0 takes a free one."
)
@click.option("--login", metavar="NAME", help="Require this name, and the passcode, from clients.")
@click.option(
    "--passcode-file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file whose first line is the passcode.",
)
@click.option(
    "--version",
    "versions",
    type=click.Choice(["1.0", "1.1", "1.2"]),
    multiple=True,
    help="Accept only these versions of STOMP.",
)
@click.option("--heartbeat", metavar="SECONDS", type=click.FloatRange(min=0), default=10.0, show_default=True)
def broker(
    host: str, port: int, login: str | None, passcode_file: Path | None, versions: tuple[str, ...], heartbeat: float
) -> None:
    """Run a small STOMP broker in the foreground, until Ctrl-C.

    This broker keeps its messages in memory and is not for production: use it to learn, and to try a client. The first
    line of output is its URI.

    \b
    Examples:
      stomplistener broker
      stomplistener broker --port 0 --login shop --passcode-file passcode.txt

    \b
    Then, in another terminal:
      stomplistener listen /queue/a --url tcp://127.0.0.1:61613
      stomplistener send /queue/a hello --url tcp://127.0.0.1:61613

    Exit codes: 0 ended by a signal; 1 the port is taken; 2 wrong use.
    """
    # Imported here, because the other commands do not need it.
    from stomplistener.testing import Broker

    passcode = read_passcode(passcode_file) if passcode_file is not None else None
    embedded = Broker(
        host=host,
        port=port,
        login=login,
        passcode=passcode,
        heartbeat=(heartbeat, heartbeat),
        versions=versions or ("1.0", "1.1", "1.2"),
    )
    stopped: queue.SimpleQueue[int] = queue.SimpleQueue()
    with signals.handled(stopped.put):
        try:
            embedded.start()
        except OSError as error:
            raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
        try:
            at = f"[{host}]" if ":" in host else host
            click.echo(f"tcp://{at}:{embedded.port}")
            click.echo("listening; Ctrl-C ends the broker and drops its messages", err=True)
            stopped.get()
        finally:
            embedded.close()
