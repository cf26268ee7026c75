"""Profiles: a TOML file that gives names to brokers.

::

    default = "local"                    # the profile to use if no other is named

    [profiles.local]
    url = "tcp://localhost:61613"

    [profiles.production]
    url = "failover:(ssl://mq1:61614,ssl://mq2:61614)"
    login = "shop"
    passcode_file = "~/.secrets/shop"    # or passcode = "...", or passcode_env = "SHOP_PASSCODE"
    host = "/shop"                       # the virtual host
    heartbeat = [10, 10]                 # seconds: to send, to receive
"""

from __future__ import annotations

import difflib
import os
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import click

from stomplistener._util.environment import passcode_of
from stomplistener.cli.terminal import say


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One broker of the file. The keys in the file are the names of these attributes."""

    url: str = field(repr=False)
    login: str | None = None
    passcode: str | None = field(default=None, repr=False)
    passcode_file: str | None = None
    passcode_env: str | None = None
    host: str | None = None
    heartbeat: tuple[float, float] | None = None

    @property
    def secret(self) -> str | None:
        """Return the passcode, from the place that the profile names."""
        if self.passcode_file is not None:
            return read_passcode(Path(self.passcode_file))
        if self.passcode_env is not None:
            return os.environ.get(self.passcode_env)
        return self.passcode


@dataclass(frozen=True)
class Profiles:
    """The profiles of a file."""

    path: Path
    default: str | None = None
    named: dict[str, Profile] = field(default_factory=dict)

    def get(self, name: str) -> Profile:
        """Return the profile of this name. Raises UsageError if there is none."""
        if name not in self.named:
            known = ", ".join(self.named) or "none"
            raise click.UsageError(f"there is no profile {name!r} in {self.path}; known are: {known}")
        return self.named[name]


def default_path() -> Path:
    """Return the default path of the file."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "stomplistener.toml"


def read(path: Path | None) -> Profiles:
    """Read the file. If the default file does not exist, there are no profiles.

    Raises:
        UsageError: the file cannot be read, or has an error. The text quotes no value of the file.
    """
    asked, path = path is not None, path or default_path()
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if asked:
            raise click.UsageError(f"there is no profile file {path}") from None
        return Profiles(path)
    except OSError as error:
        raise click.UsageError(f"the profile file {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.UsageError(f"the profile file {path} is not TOML: {error}") from None
    _check_names(said, ("default", "profiles"), str(path))
    profiles = said.get("profiles", {})
    if not isinstance(profiles, dict):
        raise click.UsageError(f"{path}: profiles are written as tables, [profiles.name]")
    named = {name: _profile(values, f"{path}: profile {name!r}") for name, values in profiles.items()}
    return Profiles(path, said.get("default"), named)


def _profile(values: Any, where: str) -> Profile:
    if isinstance(values, dict) and "uri" in values and "url" not in values:
        say(f"{where}: the key uri is called url now; the old name will be removed")
        values = {("url" if name == "uri" else name): value for name, value in values.items()}
    if not isinstance(values, dict) or not isinstance(values.get("url"), str):
        raise click.UsageError(f"{where} has no url")
    _check_names(values, [each.name for each in fields(Profile)], where)
    values = dict(values)
    if "heartbeat" in values:
        pair = values["heartbeat"]
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(each, (int, float)) for each in pair)):
            raise click.UsageError(f"{where}: heartbeat is two numbers of seconds, as in [10, 10]")
        values["heartbeat"] = (float(pair[0]), float(pair[1]))
    for name, value in values.items():
        if name != "heartbeat" and not isinstance(value, str):
            raise click.UsageError(f"{where}: {name} must be a string")
    return Profile(**values)


def _check_names(values: dict[str, Any], known: Any, where: str) -> None:
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise click.UsageError(f"{where}: unknown key {name!r}; {hint}")


def read_passcode(path: Path) -> str:
    """Return the first line of a file.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        return passcode_of(path)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
