"""The options for the broker and the login that most commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from stomplistener import Connection
from stomplistener._util import environment
from stomplistener.brokers import PROFILES
from stomplistener.brokers import Profile as BrokerProfile
from stomplistener.brokers.table import by_server
from stomplistener.cli import profiles
from stomplistener.cli.profiles import Profile, read_passcode
from stomplistener.cli.terminal import say
from stomplistener.failover import BrokerURI, parse
from stomplistener.protocol import VERSIONS


@dataclass(frozen=True, kw_only=True)
class Target:
    """One broker, or several of a failover URI, and the login. The repr shows no secret."""

    url: str = field(repr=False)
    login: str | None = None
    passcode: str | None = field(default=None, repr=False)
    host: str | None = None
    heartbeat: tuple[float, float] = (10.0, 10.0)
    timeout: float = 10.0
    version: str | None = None
    broker: str | None = None

    @property
    def uri(self) -> BrokerURI:
        """The parsed URL. Raises InvalidURI if the URL is malformed."""
        return parse(self.url)

    @property
    def versions(self) -> tuple[str, ...]:
        """The STOMP versions to offer."""
        return (self.version,) if self.version is not None else tuple(VERSIONS)

    def profile(self, connection: Connection) -> BrokerProfile | None:
        """Return the profile of the broker that a connection uses; None for an unknown broker."""
        if self.broker is not None:
            return PROFILES[self.broker]
        return by_server(connection.session.server)

    def connection(self, **options: Any) -> Connection:
        """Return a connection to the broker that is not connected yet."""
        own: dict[str, Any] = {
            "heartbeat": self.heartbeat,
            "timeout": self.timeout,
            "versions": self.versions,
            "broker": self.broker,
        }
        return Connection(self.url, self.login, self.passcode, self.host, **own | options)


def _complete_profile(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    try:
        named = profiles.read(None).named
    except click.UsageError:
        return []
    return [
        CompletionItem(name, help=str(parse(each.url))) for name, each in named.items() if name.startswith(incomplete)
    ]


def _option(*names: str, **settings: Any) -> Callable[[Any], Any]:
    """Return an option that many commands share, and that one environment variable sets for all of them."""
    own = settings.pop("envvar", ())
    return click.option(*names, envvar=[environment_name(names[-1]), *own], **settings)


def environment_name(option: str, command: str = "") -> str:
    """Return the environment variable that sets an option of one command, or of all commands if none is named."""
    words = ("stomplistener", command, option.removeprefix("--"))
    return "_".join(filter(None, words)).replace("-", "_").upper()


_OPTIONS = (
    _option("-u", "--url", metavar="URI", help="The broker: tcp://host:61613, ssl://, failover:(…). Or STOMP_URL."),
    _option(
        "-p", "--profile", metavar="NAME", envvar=["STOMP_PROFILE"], shell_complete=_complete_profile,
        help="The name of a profile in the profile file.",
    ),
    _option(
        "--config", metavar="FILE", envvar=["STOMP_CONFIG"], type=click.Path(dir_okay=False, path_type=Path),
        help="The profile file, instead of ~/.config/stomplistener.toml.",
    ),
    _option("--login", metavar="NAME", help="The name to log in with. Or STOMP_LOGIN."),
    _option(
        "--passcode-file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
        help="A file whose first line is the passcode. Or STOMP_PASSCODE_FILE, or STOMP_PASSCODE itself.",
    ),
    _option("--ask-passcode", is_flag=True, help="Prompt for the passcode, without showing it."),
    _option("--host", metavar="NAME", help="The virtual host, such as / for RabbitMQ."),
    _option("--stomp-version", type=click.Choice(list(VERSIONS)), help="Offer only this version of STOMP."),
    _option(
        "--broker", type=click.Choice([name for name in PROFILES if name != "testing"]),
        help="The kind of broker, if it does not send its name.",
    ),
    _option(
        "--timeout", metavar="SECONDS", type=click.FloatRange(min=0, min_open=True), default=10.0, show_default=True,
        help="The time to wait for each answer.",
    ),
)  # fmt: skip
_NAMES = (
    *("url", "profile", "config", "login", "passcode_file", "ask_passcode", "host"),
    *("stomp_version", "broker", "timeout"),
)


def with_target(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the shared options to a command, and call it with ``target=``.

    A ``uri`` parameter of the command comes first.
    """

    @functools.wraps(command)
    def wrapped(*args: Any, **values: Any) -> Any:
        given = {name: values.pop(name) for name in _NAMES}
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
    stomp_version: str | None,
    broker: str | None,
    timeout: float,
) -> Target:
    """Return the broker that the options, the environment or the profile file name, in this order.

    Raises:
        UsageError: they name no broker, or contradict each other.
    """
    if url is not None and profile is not None and _is_typed("profile"):
        if _is_typed("url", "uri"):
            raise click.UsageError("give --url or --profile, not both")
        url = None
    chosen = _profile(url, profile, config)
    own = _credentials()
    passcode = chosen.secret or own.get("passcode")
    if passcode_file is not None:
        passcode = read_passcode(passcode_file)
    elif ask_passcode:
        passcode = click.prompt("passcode", hide_input=True, err=True)
    return Target(
        url=chosen.url,
        login=login or chosen.login or own.get("login"),
        passcode=passcode,
        host=host or chosen.host,
        heartbeat=chosen.heartbeat or (10.0, 10.0),
        timeout=timeout,
        version=stomp_version,
        broker=broker,
    )


def _is_typed(*names: str) -> bool:
    """Whether one of these parameters is on the command line."""
    context = click.get_current_context()
    return any(context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE for name in names)


def _credentials() -> dict[str, str]:
    try:
        return environment.credentials()
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _profile(url: str | None, name: str | None, config: Path | None) -> Profile:
    if url is not None:
        return Profile(url=url)
    if name is not None:
        return profiles.read(config).get(name)
    if url := environment.url(tell=say):
        return Profile(url=url)
    known = profiles.read(config)
    if known.default is not None:
        return known.get(known.default)
    raise click.UsageError(
        "which broker? Give --url tcp://host:61613, or set STOMP_URL, "
        f"or write a default profile into {known.path} (see: stomplistener listen --help)"
    )
