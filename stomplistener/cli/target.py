"""Which broker a command is about, and as whom: the options that most commands share."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from stomplistener import Connection
from stomplistener.cli import profiles
from stomplistener.cli.profiles import Profile, read_passcode
from stomplistener.failover import BrokerURI, parse


@dataclass(frozen=True, kw_only=True)
class Target:
    """One broker, or several of a failover, and how to log in there. Shows no secret."""

    url: str = field(repr=False)
    login: str | None = None
    passcode: str | None = field(default=None, repr=False)
    host: str | None = None
    heartbeat: tuple[float, float] = (10.0, 10.0)
    timeout: float = 10.0

    @property
    def uri(self) -> BrokerURI:
        """The URL, read; InvalidURI if it is none."""
        return parse(self.url)

    def connection(self, **options: Any) -> Connection:
        """A connection to it, not connected yet."""
        own: dict[str, Any] = {"heartbeat": self.heartbeat, "timeout": self.timeout}
        return Connection(self.url, self.login, self.passcode, self.host, **own | options)


def _complete_profile(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    try:
        named = profiles.read(None).named
    except click.UsageError:
        return []
    return [
        CompletionItem(name, help=str(parse(each.url))) for name, each in named.items() if name.startswith(incomplete)
    ]


_OPTIONS = (
    click.option("-u", "--url", metavar="URI", help="The broker: tcp://host:61613, ssl://, failover:(…)."),
    click.option(
        "-p", "--profile", metavar="NAME", envvar="STOMP_PROFILE", shell_complete=_complete_profile,
        help="A broker of the profile file.",
    ),
    click.option(
        "--config", metavar="FILE", envvar="STOMP_CONFIG", type=click.Path(dir_okay=False, path_type=Path),
        help="The profile file, instead of ~/.config/stomplistener.toml.",
    ),
    click.option("--login", metavar="NAME", help="The user's name. Or STOMP_LOGIN."),
    click.option(
        "--passcode-file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
        help="A file whose first line is the passcode. Or STOMP_PASSCODE.",
    ),
    click.option("--ask-passcode", is_flag=True, help="Ask for the passcode, without showing it."),
    click.option("--host", metavar="NAME", help="The virtual host, such as / for RabbitMQ."),
    click.option(
        "--timeout", metavar="SECONDS", type=click.FloatRange(min=0, min_open=True), default=10.0, show_default=True,
        help="How long to wait for each answer.",
    ),
)  # fmt: skip


def with_target(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the shared options, and call it with ``target=``. A parameter ``uri`` of its own goes first."""

    @functools.wraps(command)
    def wrapped(*args: Any, **values: Any) -> Any:
        names = ("url", "profile", "config", "login", "passcode_file", "ask_passcode", "host", "timeout")
        given = {name: values.pop(name) for name in names}
        given["url"] = values.pop("uri", None) or given["url"]
        return command(*args, target=choose(**given), **values)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def choose(
    *,
    url: str | None,
    profile: str | None,
    config: Path | None,
    login: str | None,
    passcode_file: Path | None,
    ask_passcode: bool,
    host: str | None,
    timeout: float,
) -> Target:
    """The broker that options, environment and profile file name, in this order.

    Raises:
        UsageError: they name none, or contradict each other.
    """
    if (
        url is not None
        and profile is not None
        and click.get_current_context().get_parameter_source("profile") is click.core.ParameterSource.COMMANDLINE
    ):
        raise click.UsageError("give --url or --profile, not both")
    chosen = _profile(url, profile, config)
    passcode = chosen.secret or os.environ.get("STOMP_PASSCODE")
    if passcode_file is not None:
        passcode = read_passcode(passcode_file)
    elif ask_passcode:
        passcode = click.prompt("passcode", hide_input=True, err=True)
    return Target(
        url=chosen.url,
        login=login or chosen.login or os.environ.get("STOMP_LOGIN"),
        passcode=passcode,
        host=host or chosen.host,
        heartbeat=chosen.heartbeat or (10.0, 10.0),
        timeout=timeout,
    )


def _profile(url: str | None, name: str | None, config: Path | None) -> Profile:
    if url is not None:
        return Profile(url=url)
    if name is not None:
        return profiles.read(config).get(name)
    if url := os.environ.get("STOMP_URL"):
        return Profile(url=url)
    known = profiles.read(config)
    if known.default is not None:
        return known.get(known.default)
    raise click.UsageError(
        "which broker? Give --url tcp://host:61613, or set STOMP_URL, "
        f"or write a default profile into {known.path} (see: stomplistener listen --help)"
    )
