"""The brokers that are known, each from its own file, and how to tell which one answers."""

from __future__ import annotations

from collections.abc import Mapping

from stomplistener.brokers import activemq, apollo, artemis, rabbitmq, testing
from stomplistener.brokers.profile import Profile
from stomplistener.protocol.frame import Frame

PROFILES: Mapping[str, Profile] = {
    module.PROFILE.name: module.PROFILE for module in (activemq, artemis, apollo, rabbitmq, testing)
}
"""By name, as ``Connection(broker=…)`` takes it."""


def profile_of(connected: Frame | None) -> Profile | None:
    """The broker that CONNECTED names; None for one that is not known, or hides."""
    server = (connected.header("server") or "").lower() if connected is not None else ""
    return next((profile for profile in PROFILES.values() if server.startswith(profile.server)), None)


def refusal_hint(text: str, host: str | None) -> str:
    """What to add to the words of a broker that refused CONNECT; it has not said yet what it is."""
    for profile in PROFILES.values():
        for words, hint in profile.hints.items():
            if words in text:
                return f" ({hint}, here {host!r}: give another with host=, or in the URI's path, %2F for '/')"
    return ""
