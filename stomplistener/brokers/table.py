"""The brokers that are known, each from its own file, and how to tell which one answers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from stomplistener.brokers import activemq, apollo, artemis, rabbitmq, testing
from stomplistener.brokers.profile import Profile
from stomplistener.protocol.frame import Frame

PROFILES: Mapping[str, Profile] = {
    module.PROFILE.name: module.PROFILE for module in (activemq, artemis, apollo, rabbitmq, testing)
}
"""By name, as ``Connection(broker=…)`` takes it."""


def profile_of(connected: Frame | None) -> Profile | None:
    """The broker that CONNECTED names; None for one that is not known, or hides."""
    return by_server(connected.header("server") or "") if connected is not None else None


def name_of(server: str) -> str | None:
    """The name of the broker whose ``server`` header this is; None for one that is not known, or hides."""
    profile = by_server(server)
    return profile.name if profile is not None else None


@lru_cache(maxsize=16)
def by_server(server: str) -> Profile | None:
    """The broker whose ``server`` header this is; None for one that is not known, or hides."""
    return next((profile for profile in PROFILES.values() if server.lower().startswith(profile.server)), None)


def refusal_hint(text: str, host: str | None) -> str:
    """What to add to the words of a broker that refused CONNECT; it has not said yet what it is."""
    hinted = _hinted(text)
    if hinted is None:
        return ""
    return f" ({hinted[1]}, here {host!r}: give another with host=, or in the URI's path, %2F for '/')"


def host_to_try(text: str) -> tuple[str, str] | None:
    """The virtual host that is worth a try, and whose it is, after a refusal in these words; None where there is none.

    For a host that was only a guess: STOMP 1.2 advises the name of the broker's machine, which RabbitMQ looks for among
    its virtual hosts.
    """
    hinted = _hinted(text)
    if hinted is None or hinted[0].default_host is None:
        return None
    return hinted[0].default_host, hinted[0].title


def _hinted(text: str) -> tuple[Profile, str] | None:
    """The broker that writes such a text, and what the text means."""
    return next(
        ((profile, hint) for profile in PROFILES.values() for words, hint in profile.hints.items() if words in text),
        None,
    )
