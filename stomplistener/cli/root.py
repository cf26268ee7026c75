"""The command ``stomplistener``, with what all its commands share: help, exit codes, quiet ends of pipes."""

from __future__ import annotations

import io
import logging
import os
import sys
from typing import Any

import click

from stomplistener import __version__
from stomplistener.cli.bench import bench
from stomplistener.cli.broker import broker
from stomplistener.cli.completion import completion
from stomplistener.cli.listen import listen
from stomplistener.cli.ping import ping
from stomplistener.cli.send import send
from stomplistener.cli.top import top
from stomplistener.cli.worker import worker
from stomplistener.errors import StompError
from stomplistener.worker import logs
from stomplistener.worker.exits import exit_of

_INTERRUPTED = 130


class Root(click.Group):
    """A group whose failures are one line on stderr and an exit code, never a traceback for what is no bug."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        for stream in (sys.stdout, sys.stderr):
            # What a terminal's encoding lacks is escaped: a stranger's message must not end the command.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            leave_pipe()
            ctx.exit(0)
        except KeyboardInterrupt:
            ctx.exit(_INTERRUPTED)
        except StompError as error:
            click.echo(f"stomplistener: {error}", err=True)
            ctx.exit(exit_of(error))
        return result

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """In the order in which they were added: the first one to need comes first."""
        return list(self.commands)


def leave_pipe() -> None:
    """Nobody reads our output any more: what is still to be written at the end of the process goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("-v", "--verbose", count=True, help="Log to stderr what the library does; -vv with every frame.")
@click.version_option(__version__, "-V", "--version", prog_name="stomplistener")
def cli(verbose: int) -> None:
    """Listen to STOMP brokers, send to them, find out what is wrong with them, and run workers.

    \b
    Which broker: --url, else --profile, else the environment's STOMP_URL,
    else the default profile of the file that "listen --help" describes.

    \b
      stomplistener ping tcp://localhost:61613      does it answer? if not, why?
      export STOMP_URL=tcp://user@mq1:61613 STOMP_PASSCODE=...
      stomplistener listen /queue/orders            follow a queue
      stomplistener send /queue/orders '{"id": 1}'  send, and wait for the receipt
      stomplistener worker shop.handlers:app        run an application of listeners

    \b
    Exit codes:
      0    done; also when the reader of a pipe went away
      1    the broker refused, or the work failed
      2    wrong use: an option, a broker URI, a missing package
      3    no connection, or none any more
      4    out of time
      130  interrupted by Ctrl-C (past 128: a signal's number + 128)
    """
    if verbose:
        logs.configure("text", "DEBUG" if verbose > 1 else "INFO")
    else:
        # Failures are told by what is raised; Python would print the library's warnings besides.
        logging.getLogger("stomplistener").addHandler(logging.NullHandler())


for command in (ping, listen, send, bench, top, broker, worker, completion):
    cli.add_command(command)
