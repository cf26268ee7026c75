"""Translate the options of one connection into the headers of the broker in use."""

from __future__ import annotations

from collections.abc import Mapping

from stomplistener._util import arguments
from stomplistener.brokers.profile import Profile
from stomplistener.brokers.table import PROFILES, by_server, unknown
from stomplistener.errors import ProtocolError
from stomplistener.protocol.frame import Frame
from stomplistener.protocol.ledger import SubscriptionEntry


class IfPossible(int):
    """A number for an option that a broker may ignore: a default value, not a request."""


class Dialect:
    """Translates the options of one connection into the headers of the broker in use.

    Args:
        broker: the name of a profile that applies whatever CONNECTED says; None: CONNECTED selects it.
        client_id: the connection's ``client-id``; None if it has none.
        duplicate_header: the header for ``duplicate_id`` on every broker; None: the broker's profile has it.
    """

    def __init__(
        self, broker: str | None = None, client_id: str | None = None, duplicate_header: str | None = None
    ) -> None:
        if broker is not None and broker not in PROFILES:
            raise ValueError(f"there is no broker {broker!r}; known are {', '.join(PROFILES)}")
        self._fixed = PROFILES[broker] if broker is not None else None
        self._client_id = client_id
        self._duplicate_header = duplicate_header

    @property
    def name(self) -> str | None:
        """The profile that was named; None if CONNECTED selects it."""
        return self._fixed.name if self._fixed is not None else None

    @property
    def is_fixed(self) -> bool:
        """Whether the broker is known before CONNECTED."""
        return self._fixed is not None

    def profile(self, connected: Frame | None) -> Profile:
        """Return the profile of the broker; if it is not known, one that stands for an unknown broker."""
        if self._fixed is not None:
            return self._fixed
        server = "" if connected is None else connected.header("server") or ""
        return by_server(server) or unknown(server)

    def subscription_headers(self, connected: Frame, entry: SubscriptionEntry) -> Mapping[str, str]:
        """Return the headers of SUBSCRIBE for the options of a subscription; the application's headers win.

        Raises:
            ProtocolError: the broker does not support an option, or a requirement of the option is missing.
        """
        headers: dict[str, str] = {}
        profile = self.profile(connected)
        if entry.selector is not None:
            headers |= profile.headers("selector", condition=entry.selector)
        if entry.prefetch is not None and not (isinstance(entry.prefetch, IfPossible) and profile.unknown):
            # Artemis sends a message as long as the window is not used up: a window of one byte is one message.
            window = 1 if entry.prefetch == 1 else entry.prefetch * 1024
            headers |= profile.headers("prefetch", count=entry.prefetch, window=window)
        if entry.durable is not None:
            headers |= self._durable(profile, entry, entry.durable)
        return headers

    def _durable(self, profile: Profile, entry: SubscriptionEntry, name: str) -> Mapping[str, str]:
        headers = profile.headers("durable", name=name)
        if profile.client_id and self._client_id is None:
            raise ProtocolError(
                f"{profile.title} keeps the durable subscription {name!r} for a client-id, and this connection has "
                "none: Connection(..., headers={'client-id': …})"
            )
        if profile.named_by_id and entry.id != name:
            raise ProtocolError(
                f"{profile.title} takes the id of a durable subscription as its name: leave id out, or make it {name!r}"
            )
        return headers

    def forget_headers(self, connected: Frame, entry: SubscriptionEntry) -> list[dict[str, str]]:
        """Return the headers of each UNSUBSCRIBE that ends a subscription, and deletes a durable one.

        Raises:
            ProtocolError: the version in use cannot delete the durable subscription.
        """
        if entry.durable is None:
            return [{}]
        profile = self.profile(connected)
        profile.check_known("durable")
        if profile.name == "activemq" and connected.header("version") in (None, "1.0"):
            self._check_deletable(profile, entry.durable)
        return [
            {key: template.format(name=entry.durable) for key, template in headers.items()}
            for headers in profile.forget
        ]

    def _check_deletable(self, profile: Profile, name: str) -> None:
        if self._client_id != name:
            raise ProtocolError(
                f"{profile.title} takes the name of a durable subscription as the client-id when STOMP 1.0 deletes it: "
                f"{name!r} belongs to {self._client_id!r}. Use STOMP 1.1 or 1.2, or disconnect() to keep it"
            )

    def send_headers(
        self,
        profile: Profile,
        now: float,
        *,
        persistent: bool | None = None,
        expires: float | None = None,
        priority: int | None = None,
        delay: float | None = None,
        duplicate_id: str | None = None,
    ) -> dict[str, str]:
        """Return the headers of SEND for its options.

        Args:
            profile: the broker.
            now: seconds since 1970, by a clock that should agree with the broker's clock.

        Raises:
            ValueError: a value is out of range.
            ProtocolError: the broker does not support an option.
        """
        headers: dict[str, str] = {}
        # Without the header, a message is not persistent on any broker. RabbitMQ 3.10 takes persistent:false as the
        # declaration of another queue than the existing one, and answers ERROR.
        if persistent is not None and arguments.flag("persistent", persistent):
            headers |= profile.headers("persistent")
        if expires is not None:
            wait = _milliseconds("expires", expires)
            at = round(now * 1000) + wait
            headers |= profile.headers("expires", milliseconds=wait, at=at)
        if priority is not None:
            if arguments.count("priority", priority, 0) not in range(10):
                raise ValueError(f"priority must be 0 to 9, not {priority!r}")
            headers |= profile.headers("priority", number=priority)
        if delay is not None:
            headers |= profile.headers("delay", milliseconds=_milliseconds("delay", delay))
        if duplicate_id is not None:
            headers |= self._duplicate_header_of(profile, duplicate_id)
        return headers

    def _duplicate_header_of(self, profile: Profile, id: str) -> dict[str, str]:
        id = arguments.text("duplicate_id", id)
        if not id:
            raise ValueError("duplicate_id must not be empty: every message without one is another")
        if self._duplicate_header is not None:
            return {self._duplicate_header: id}
        return profile.headers("duplicate_id", id=id)


def _milliseconds(option: str, seconds: float) -> int:
    if not (arguments.seconds(option, seconds) or 0) > 0:
        raise ValueError(f"{option} must be more than 0 seconds, not {seconds!r}")
    return max(1, round(seconds * 1000))
