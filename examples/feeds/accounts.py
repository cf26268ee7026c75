"""Read accounts and their feeds from a TOML file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from formats import FORMATS

RECONNECT = "initialReconnectDelay=1000&maxReconnectDelay=60000&reconnectDelayJitter=5000"
"""Wait 1 s before a reconnect, and double the wait up to a minute, with up to 5 s of random jitter. A provider that
restarts loses all its clients at once, and not all of them should reconnect at once."""


@dataclass(frozen=True)
class Feed:
    """A destination to record.

    Attributes:
        name: the name of the feed in the database and on the page, and of its durable subscription.
        destination: the topic.
        format: a key of ``FORMATS``.
        quiet: seconds without a message after which the pause counts as a gap.
        sequence: the header with the provider's own number of the message; None if the feed has none.
        modulus: the number at which the sequence starts again at 0.
    """

    name: str
    destination: str
    format: str
    quiet: float
    sequence: str | None = None
    modulus: int = 0

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"feed {self.name}: format {self.format!r} is not one of {', '.join(FORMATS)}")
        if (self.sequence is None) != (self.modulus == 0):
            raise ValueError(f"feed {self.name}: sequence and modulus need each other")


@dataclass(frozen=True)
class Account:
    """An account at a provider.

    An account has only one connection, because providers allow no second one with the same client-id.
    """

    name: str
    client_id: str
    brokers: tuple[str, ...]
    feeds: tuple[Feed, ...]
    login: str | None
    passcode: str | None

    @property
    def uri(self) -> str:
        """The broker URI, with the options for reconnects."""
        return f"failover:({','.join(self.brokers)})?{RECONNECT}"


def load(path: Path, brokers: Sequence[str] = ()) -> tuple[Account, ...]:
    """Return the accounts in a file.

    Args:
        path: the TOML file.
        brokers: URIs that replace those in the file.

    Raises:
        ValueError: a name occurs twice, a format does not exist, or a broker is missing.
    """
    accounts = tuple(_account(table, brokers) for table in tomllib.loads(path.read_text())["accounts"])
    for names in ([each.client_id for each in accounts], [feed.name for each in accounts for feed in each.feeds]):
        if len(set(names)) < len(names):
            raise ValueError(f"{path}: a name occurs twice: {', '.join(names)}")
    return accounts


def _account(table: dict[str, Any], brokers: Sequence[str]) -> Account:
    chosen = tuple(brokers or table.get("brokers", ()))
    if not chosen:
        raise ValueError(f"account {table['name']}: no broker")
    feeds = tuple(Feed(**feed) for feed in table["feeds"])
    login, passcode = (_secret(table, key) for key in ("login_from", "passcode_from"))
    return Account(table["name"], table["client_id"], chosen, feeds, login, passcode)


def _secret(table: dict[str, Any], key: str) -> str | None:
    """Return a secret from an environment variable, since a file in a repository must not contain secrets."""
    variable = table.get(key)
    if variable is None:
        return None
    if variable not in os.environ:
        raise ValueError(f"account {table['name']}: set the environment variable {variable}")
    return os.environ[variable]
