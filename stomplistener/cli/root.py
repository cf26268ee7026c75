"""The command ``stomplistener``, and the common behaviour of its commands: help, exit codes, closed pipes."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from stomplistener import __version__
from stomplistener.cli.bench import bench
from stomplistener.cli.broker import broker
from stomplistener.cli.browse import browse
from stomplistener.cli.completion import completion
from stomplistener.cli.dump import dump
from stomplistener.cli.listen import listen
from stomplistener.cli.move import move
from stomplistener.cli.ping import ping
from stomplistener.cli.purge import purge
from stomplistener.cli.reply import reply
from stomplistener.cli.request import request
from stomplistener.cli.restore import restore
from stomplistener.cli.send import send
from stomplistener.cli.shell import shell
from stomplistener.cli.target import environment_name
from stomplistener.cli.top import top
from stomplistener.cli.worker import worker
from stomplistener.errors import StompError
from stomplistener.worker import logs
from stomplistener.worker.exits import exit_of

_INTERRUPTED = 130


class Root(click.Group):
    """A group of commands that reports a failure as one line on stderr and an exit code. Only bugs show a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and report a failure."""
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        for stream in (sys.stdout, sys.stderr):
            # Escape characters that the terminal's encoding lacks: a message from elsewhere must not end the command.
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
        except click.Abort as abort:
            # The answer to a question was no, or there was no answer.
            if not isinstance(abort.__context__, KeyboardInterrupt):
                raise
            ctx.exit(_INTERRUPTED)
        except StompError as error:
            click.echo(f"stomplistener: {error}", err=True)
            ctx.exit(exit_of(error))
        return result

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command, and its option ``-v``: users write it before or after the name of the command.

        Each of its options can be set by a variable ``STOMPLISTENER_COMMAND_OPTION``.
        """
        super().add_command(cmd, name)
        cmd.params.append(_verbose_option())
        for option in cmd.params:
            if isinstance(option, click.Option):
                option.envvar = [environment_name(option.opts[-1], cmd.name or ""), *_listed(option.envvar)]

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """Return the commands in the order in which they were added: users need the first command first."""
        return list(self.commands)


def leave_pipe() -> None:
    """Discard further output, because its reader has ended."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _listed(names: str | Sequence[str] | None) -> Sequence[str]:
    return [names] if isinstance(names, str) else names or ()


def _log(ctx: click.Context, _param: click.Parameter, verbose: int) -> None:
    if verbose:
        level = "DEBUG" if verbose > 1 else "INFO"
        logs.configure("text", level)
        # Configure the log for all commands. A worker configures its log again by its own options.
        default = {"log_level": level.lower()}
        ctx.default_map = {**(ctx.default_map or {}), **default, "worker": default}


def _verbose_option() -> click.Option:
    # Eager, because other options may already log.
    return click.Option(
        ["-v", "--verbose"],
        count=True,
        is_eager=True,
        envvar=environment_name("--verbose"),
        expose_value=False,
        callback=_log,
        help="Log the work of the library to stderr; -vv shows every frame.",
    )


_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=Root, context_settings=_SETTINGS, params=[_verbose_option()])
@click.version_option(__version__, "-V", "--version", prog_name="stomplistener")
def cli() -> None:
    """Listen to STOMP brokers, send to them, find out what is wrong with them, and run workers.

    \b
    Which broker: --url, otherwise --profile, otherwise the variable STOMP_URL,
    otherwise the default profile of the file that "listen --help" describes.

    \b
      stomplistener ping tcp://localhost:61613     test a broker, explain failures
      export STOMP_URL=tcp://user@mq1:61613 STOMP_PASSCODE=...
      stomplistener listen /queue/orders           follow a queue
      stomplistener send /queue/orders '{"id": 1}' send, wait for the receipt
      stomplistener browse /queue/orders           show a queue, remove nothing
      stomplistener move /queue/DLQ                put dead letters back
      stomplistener worker shop.handlers:app       run an application's listeners

    \b
    Every option can come from the environment:
      STOMPLISTENER_TIMEOUT=3          for all commands
      STOMPLISTENER_LISTEN_COUNT=10    for a single command

    \b
    Exit codes:
      0    done; also when the reader of a pipe has ended
      1    the broker refused, or the work failed
      2    wrong use: an option, a broker URI, a missing package
      3    no connection, or the connection was lost
      4    out of time
      130  interrupted by Ctrl-C (128 + n: ended by signal n)
    """
    # Exceptions report the failures. Without this, Python would print the library's warnings, too.
    logging.getLogger("stomplistener").addHandler(logging.NullHandler())


for command in (
    *(ping, listen, send, browse, move, purge, dump, restore),
    *(request, reply, shell, bench, top, broker, worker, completion),
):
    cli.add_command(command)
