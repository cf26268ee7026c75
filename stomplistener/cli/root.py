"""The command ``stomplistener``, with what all its commands share: help, exit codes, quiet ends of pipes."""

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
    """A group whose failures are one line on stderr and an exit code, never a traceback for what is not a bug."""

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
        except click.Abort as abort:
            # Of a question: the answer was no, or there was none.
            if not isinstance(abort.__context__, KeyboardInterrupt):
                raise
            ctx.exit(_INTERRUPTED)
        except StompError as error:
            click.echo(f"stomplistener: {error}", err=True)
            ctx.exit(exit_of(error))
        return result

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command, which then takes ``-v``, too: people write it before or after the command.

        Each of its options can be set by a variable ``STOMPLISTENER_COMMAND_OPTION``.
        """
        super().add_command(cmd, name)
        cmd.params.append(_verbose_option())
        for option in cmd.params:
            if isinstance(option, click.Option):
                option.envvar = [environment_name(option.opts[-1], cmd.name or ""), *_listed(option.envvar)]

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """In the order in which they were added: the first one to need comes first."""
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
        # A worker sets up its log again, as its own options say; this is the least of them.
        default = {"log_level": level.lower()}
        ctx.default_map = {**(ctx.default_map or {}), **default, "worker": default}


def _verbose_option() -> click.Option:
    # Eager: what the other options do may have something to log.
    return click.Option(
        ["-v", "--verbose"],
        count=True,
        is_eager=True,
        envvar=environment_name("--verbose"),
        expose_value=False,
        callback=_log,
        help="Log to stderr what the library does; -vv shows every frame.",
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
      stomplistener ping tcp://localhost:61613     does it answer? if not, why?
      export STOMP_URL=tcp://user@mq1:61613 STOMP_PASSCODE=...
      stomplistener listen /queue/orders           follow a queue
      stomplistener send /queue/orders '{"id": 1}' send, wait for the receipt
      stomplistener browse /queue/orders           look at a queue, take nothing
      stomplistener move /queue/DLQ                put dead letters back
      stomplistener worker shop.handlers:app       run an application's listeners

    \b
    Every option can come from the environment:
      STOMPLISTENER_TIMEOUT=3          one that all commands share
      STOMPLISTENER_LISTEN_COUNT=10    one of a single command

    \b
    Exit codes:
      0    done; also when the reader of a pipe has ended
      1    the broker refused, or the work failed
      2    wrong use: an option, a broker URI, a missing package
      3    no connection, or the connection was lost
      4    out of time
      130  interrupted by Ctrl-C (past 128: a signal's number + 128)
    """
    # Failures are told by what is raised; Python would print the library's warnings besides.
    logging.getLogger("stomplistener").addHandler(logging.NullHandler())


for command in (
    *(ping, listen, send, browse, move, purge, dump, restore),
    *(request, reply, shell, bench, top, broker, worker, completion),
):
    cli.add_command(command)
