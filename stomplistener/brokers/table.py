"""The known brokers, each from its own file, and how to recognize the broker of a connection."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from stomplistener.brokers import activemq, apollo, artemis, rabbitmq, testing
from stomplistener.brokers.profile import Profile

PROFILES: Mapping[str, Profile] = {
    module.PROFILE.name: module.PROFILE for module in (activemq, artemis, apollo, rabbitmq, testing)
}
"""The brokers, by the name for ``Connection(broker=…)``."""


def name_of(server: str) -> str | None:
    """Return the name of the broker with this ``server`` header; None if the header is empty or unknown."""
    profile = by_server(server)
    return profile.name if profile is not None else None


@lru_cache(maxsize=16)
def by_server(server: str) -> Profile | None:
    """Return the broker with this ``server`` header; None if the header is empty or unknown."""
    return next((profile for profile in PROFILES.values() if server.lower().startswith(profile.server)), None)


@lru_cache(maxsize=16)
def unknown(server: str) -> Profile:
    """Return a profile that stands for a broker with this ``server`` header, which is none of ours."""
    says = f"calls itself {server!r}" if server else "does not say what it is"
    advice = f"name it with Connection(..., broker=…), one of {', '.join(PROFILES)}, or give the headers yourself"
    why = f"the broker {says}; {advice}"
    return Profile(name="unknown", title="an unknown broker", server="", options={}, unknown=why)


def refusal_hint(text: str, host: str | None) -> str:
    """Return a hint for the refusal of a CONNECT. Only the text of the refusal tells which broker it is."""
    hinted = _hinted(text)
    if hinted is None:
        return ""
    return f" ({hinted[1]}, here {host!r}: give another with host=, or in the URI's path, %2F for '/')"


def host_to_try(text: str) -> tuple[str, str] | None:
    """Return the virtual host to try after this refusal, and its broker; None if there is none.

    Use this only for a host that was guessed. STOMP 1.2 recommends the name of the broker's machine, but RabbitMQ
    expects the name of one of its virtual hosts.
    """
    hinted = _hinted(text)
    if hinted is None or hinted[0].default_host is None:
        return None
    return hinted[0].default_host, hinted[0].title


def _hinted(text: str) -> tuple[Profile, str] | None:
    """Return the broker that writes such a text, and the meaning of the text."""
    return next(
        ((profile, hint) for profile in PROFILES.values() for words, hint in profile.hints.items() if words in text),
        None,
    )
