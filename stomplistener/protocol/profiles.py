"""How each broker spells what STOMP leaves open: one table, chosen by the ``server`` header of CONNECTED.

``durable``, ``prefetch``, ``selector``, ``persistent``, ``expires``, ``priority``, ``delay``, ``duplicate_id`` and the
destination of replies mean the same on every broker. Each entry of the table gives the headers that say it there, with
the place in the broker's documentation that it was read in, or the reason why the broker cannot do it. All of it was
tried on the brokers themselves (``tests/integration``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from stomplistener.errors import ProtocolError
from stomplistener.protocol.entries import SubscriptionEntry
from stomplistener.protocol.frame import Frame
from stomplistener.record import Record


class Spelling(NamedTuple):
    """The headers for one option, with ``{…}`` for its value; None where the broker cannot do it.

    Attributes:
        headers: the headers.
        source: where that is documented.
        note: what is different on this broker; why not, where it cannot.
    """

    headers: Mapping[str, str] | None
    source: str
    note: str = ""


class Profile(Record):
    """One broker.

    Attributes:
        name: for ``Connection(broker=…)``.
        title: for people.
        server: how its ``server`` header begins, in lower case.
        options: the spelling of each option, by its name.
        client_id: whether a durable subscription belongs to the connection's ``client-id``, which is needed then.
        named_by_id: whether the subscription's id is the name of a durable subscription.
        forget: the headers of each UNSUBSCRIBE that it takes to delete a durable subscription.
        reply_to: the destination for replies, with ``{name}`` for a name that no other has.
        length_means_bytes: whether it makes a JMS BytesMessage of what has a content-length, a TextMessage of the rest.
        replies_by_itself: whether the broker subscribes the sender to ``reply-to`` without a SUBSCRIBE.
    """

    name: str
    title: str
    server: str
    options: Mapping[str, Spelling]
    client_id: bool = False
    named_by_id: bool = False
    forget: Sequence[Mapping[str, str]] = ({},)
    reply_to: str = "/temp-queue/{name}"
    length_means_bytes: bool = False
    replies_by_itself: bool = False
    hints: Mapping[str, str] = {}

    def headers(self, option: str, **values: object) -> dict[str, str]:
        """The headers that say an option here.

        Raises:
            ProtocolError: the broker cannot do it; the message names it and says why.
        """
        spelling = self.options[option]
        if spelling.headers is None:
            raise ProtocolError(f"{self.title} cannot do {option}: {spelling.note} ({spelling.source})")
        return {key: template.format_map(values) for key, template in spelling.headers.items()}


_AMQ = "https://activemq.apache.org/components/classic/documentation/stomp"
_AMQ_DELAY = "https://activemq.apache.org/components/classic/documentation/delay-and-schedule-message-delivery"
_ARTEMIS = "https://activemq.apache.org/components/artemis/documentation/latest/stomp.html"
_ARTEMIS_DUPLICATES = "https://activemq.apache.org/components/artemis/documentation/latest/duplicate-detection.html"
_APOLLO = "Apollo 1.7.1 STOMP Protocol Manual"
_RABBIT = "https://www.rabbitmq.com/docs/3.13/stomp"
_TESTING = "stomplistener.testing.Broker"

PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            name="activemq",
            title="ActiveMQ Classic",
            server="activemq/",
            options={
                "durable": Spelling(
                    {"activemq.subscriptionName": "{name}"},
                    f"{_AMQ}, ActiveMQ Extensions to STOMP",
                    "STOMP 1.0 can delete it only where the client-id is the name",
                ),
                "prefetch": Spelling({"activemq.prefetchSize": "{count}"}, f"{_AMQ}, ActiveMQ Extensions to STOMP"),
                "selector": Spelling({"selector": "{condition}"}, f"{_AMQ}, ActiveMQ Extensions to STOMP"),
                "persistent": Spelling({"persistent": "true"}, f"{_AMQ}, Message Persistence"),
                "expires": Spelling({"expires": "{at}"}, f"{_AMQ}, Working with Destinations with STOMP"),
                "priority": Spelling(
                    {"priority": "{number}"},
                    "https://activemq.apache.org/components/classic/documentation/how-can-i-support-priority-queues",
                    "obeyed where the queue's policy says prioritizedMessages, ignored elsewhere",
                ),
                "delay": Spelling(
                    {"AMQ_SCHEDULED_DELAY": "{milliseconds}"},
                    _AMQ_DELAY,
                    "needs schedulerSupport at the broker, else the message comes at once",
                ),
                "duplicate_id": Spelling(None, _AMQ, "it detects duplicates by numbers that STOMP does not have"),
            },
            client_id=True,
            length_means_bytes=True,
            # With the name alone it answers that the durable consumer is in use.
            forget=({}, {"activemq.subscriptionName": "{name}"}),
        ),
        Profile(
            name="artemis",
            title="ActiveMQ Artemis",
            server="activemq-artemis/",
            options={
                "durable": Spelling({"durable-subscription-name": "{name}"}, f"{_ARTEMIS}, Durable Subscriptions"),
                "prefetch": Spelling(
                    {"consumer-window-size": "{window}"},
                    f"{_ARTEMIS}, Flow-control",
                    "counts bytes: 1 is one message, more are as many KiB",
                ),
                "selector": Spelling({"selector": "{condition}"}, f"{_ARTEMIS}, Selector/Filter expressions"),
                "persistent": Spelling({"persistent": "true"}, f"{_ARTEMIS}, Sending"),
                "expires": Spelling({"expires": "{at}"}, f"{_ARTEMIS}, Message expiration"),
                "priority": Spelling({"priority": "{number}"}, f"{_ARTEMIS}, Sending"),
                "delay": Spelling({"AMQ_SCHEDULED_DELAY": "{milliseconds}"}, f"{_ARTEMIS}, Scheduling messages"),
                "duplicate_id": Spelling(
                    {"_AMQ_DUPL_ID": "{id}"},
                    _ARTEMIS_DUPLICATES,
                    "knows the last 20,000 ids of each address, unless id-cache-size says otherwise",
                ),
            },
            client_id=True,
            length_means_bytes=True,
            forget=({"durable-subscription-name": "{name}"},),
            # It has no temporary queues over STOMP; the queue of a subscription to a topic goes with its connection.
            reply_to="/topic/{name}",
        ),
        Profile(
            name="apollo",
            title="Apollo",
            server="apache-apollo/",
            options={
                "durable": Spelling({"persistent": "true"}, f"{_APOLLO}, Topic Durable Subscriptions"),
                "prefetch": Spelling({"credit": "{count},0"}, f"{_APOLLO}, Subscription Flow Control"),
                "selector": Spelling({"selector": "{condition}"}, f"{_APOLLO}, Message Selectors"),
                "persistent": Spelling({"persistent": "true"}, f"{_APOLLO}, Reliable Messaging"),
                "expires": Spelling({"expires": "{at}"}, f"{_APOLLO}, Message Expiration"),
                "priority": Spelling(None, _APOLLO, "its queues keep the order of arrival"),
                "delay": Spelling(None, _APOLLO, "it delivers at once"),
                "duplicate_id": Spelling(None, _APOLLO, "it stores every message"),
            },
            named_by_id=True,
            forget=({"persistent": "true"},),
        ),
        Profile(
            name="rabbitmq",
            title="RabbitMQ",
            server="rabbitmq/",
            options={
                "durable": Spelling(
                    {"durable": "true", "auto-delete": "false"}, f"{_RABBIT}, Durable Topic Subscriptions"
                ),
                "prefetch": Spelling({"prefetch-count": "{count}"}, f"{_RABBIT}, Message Acks"),
                "selector": Spelling(
                    None, f"{_RABBIT}, Protocol Extensions", "every message of the queue goes to a consumer"
                ),
                "persistent": Spelling({"persistent": "true"}, f"{_RABBIT}, Message Persistence"),
                "expires": Spelling({"expiration": "{milliseconds}"}, f"{_RABBIT}, Message Properties"),
                "priority": Spelling(
                    {"priority": "{number}"},
                    "https://www.rabbitmq.com/docs/priority",
                    "obeyed where the queue was declared with x-max-priority, ignored elsewhere",
                ),
                "delay": Spelling(None, f"{_RABBIT}, Destinations", "it delivers at once unless a plugin is added"),
                "duplicate_id": Spelling(
                    None,
                    f"{_RABBIT}, Protocol Extensions",
                    "it stores every message unless a plugin is added: Connection(duplicate_header=…) names its header",
                ),
            },
            named_by_id=True,
            forget=({"durable": "true", "auto-delete": "false"},),
            replies_by_itself=True,
            hints={"Virtual host": "RabbitMQ takes the host header as the name of its virtual host"},
        ),
        Profile(
            name="testing",
            title="The embedded broker",
            server="stomplistener-testing/",
            options={
                "durable": Spelling({"durable-subscription-name": "{name}"}, _TESTING),
                "prefetch": Spelling({"prefetch": "{count}"}, _TESTING),
                "selector": Spelling({"selector": "{condition}"}, _TESTING),
                "persistent": Spelling({"persistent": "true"}, _TESTING, "it keeps nothing over its end"),
                "expires": Spelling({"expires": "{at}"}, _TESTING),
                "priority": Spelling({"priority": "{number}"}, _TESTING, "ignored"),
                "delay": Spelling(None, _TESTING, "it delivers at once"),
                "duplicate_id": Spelling({"duplicate-id": "{id}"}, _TESTING, "knows every id of each destination"),
            },
            forget=({"durable-subscription-name": "{name}"},),
        ),
    )
}


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


class Dialect:
    """What one connection needs to say options in the words of whatever broker it is on.

    Args:
        broker: the name of a profile that holds whatever CONNECTED says; None goes by CONNECTED.
        client_id: the connection's ``client-id``; None if it has none.
        duplicate_header: the header for ``duplicate_id``, whatever the broker; None goes by the table.
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
    def is_fixed(self) -> bool:
        """Whether the broker is known without asking it."""
        return self._fixed is not None

    def length_means_bytes(self, connected: Frame | None) -> bool:
        """Whether a text has to go without content-length to stay one; False where the broker is not known."""
        profile = self._fixed or profile_of(connected)
        return profile is not None and profile.length_means_bytes

    def profile(self, connected: Frame | None, what: str) -> Profile:
        """The profile of the broker.

        Raises:
            ProtocolError: it is not known.
        """
        profile = self._fixed or profile_of(connected)
        if profile is None:
            server = connected.header("server") if connected is not None else None
            says = f"calls itself {server!r}" if server else "does not say what it is"
            raise ProtocolError(
                f"{what}: the broker {says}; name it, Connection(..., broker=…), one of {', '.join(PROFILES)}, "
                "or give the headers yourself"
            )
        return profile

    def subscription_headers(self, connected: Frame, entry: SubscriptionEntry) -> Mapping[str, str]:
        """The headers of SUBSCRIBE for the options of a subscription; those that the application gave win.

        Raises:
            ProtocolError: the broker cannot do it, or something is missing for it.
        """
        headers: dict[str, str] = {}
        if entry.selector is not None:
            headers |= self.profile(connected, "selector").headers("selector", condition=entry.selector)
        if entry.prefetch is not None:
            # Artemis sends as long as something is left of the window: one byte is one message.
            window = 1 if entry.prefetch == 1 else entry.prefetch * 1024
            headers |= self.profile(connected, "prefetch").headers("prefetch", count=entry.prefetch, window=window)
        if entry.durable is not None:
            headers |= self._durable(self.profile(connected, "durable"), entry, entry.durable)
        return headers

    def _durable(self, profile: Profile, entry: SubscriptionEntry, name: str) -> Mapping[str, str]:
        if profile.client_id and self._client_id is None:
            raise ProtocolError(
                f"{profile.title} keeps the durable subscription {name!r} for a client-id, and this connection has "
                "none: Connection(..., headers={'client-id': …})"
            )
        if profile.named_by_id and entry.id != name:
            raise ProtocolError(
                f"{profile.title} takes the id of a durable subscription as its name: leave id out, or make it {name!r}"
            )
        return profile.headers("durable", name=name)

    def forget_headers(self, connected: Frame, entry: SubscriptionEntry) -> list[dict[str, str]]:
        """The headers of each UNSUBSCRIBE that ends a subscription, and deletes a durable one.

        Raises:
            ProtocolError: the version in use has no way to delete it.
        """
        if entry.durable is None:
            return [{}]
        profile = self.profile(connected, "durable")
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
        connected: Frame | None,
        now: float,
        *,
        persistent: bool | None = None,
        expires: float | None = None,
        priority: int | None = None,
        delay: float | None = None,
        duplicate_id: str | None = None,
    ) -> dict[str, str]:
        """The headers of SEND for its options.

        Args:
            now: seconds since the epoch, by the clock that the broker should have, too.

        Raises:
            ValueError: a value is out of range.
            ProtocolError: the broker cannot do it.
        """
        headers: dict[str, str] = {}
        # Not kept is the default of all; RabbitMQ 3.10 takes persistent:false for the wish to declare another queue
        # than the one that is there, and answers ERROR.
        if persistent:
            headers |= self.profile(connected, "persistent").headers("persistent")
        if expires is not None:
            wait = _milliseconds("expires", expires)
            at = round(now * 1000) + wait
            headers |= self.profile(connected, "expires").headers("expires", milliseconds=wait, at=at)
        if priority is not None:
            if priority not in range(10):
                raise ValueError(f"priority must be 0 to 9, not {priority!r}")
            headers |= self.profile(connected, "priority").headers("priority", number=priority)
        if delay is not None:
            headers |= self.profile(connected, "delay").headers("delay", milliseconds=_milliseconds("delay", delay))
        if duplicate_id is not None:
            headers |= self._duplicate_header_of(connected, duplicate_id)
        return headers

    def _duplicate_header_of(self, connected: Frame | None, id: str) -> dict[str, str]:
        if not id:
            raise ValueError("duplicate_id must not be empty: every message without one is another")
        if self._duplicate_header is not None:
            return {self._duplicate_header: id}
        return self.profile(connected, "duplicate_id").headers("duplicate_id", id=id)


def _milliseconds(option: str, seconds: float) -> int:
    if not seconds > 0:
        raise ValueError(f"{option} must be more than 0 seconds, not {seconds!r}")
    return max(1, round(seconds * 1000))
