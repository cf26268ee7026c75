"""The headers of Apollo for the options that STOMP leaves open."""

from __future__ import annotations

from stomplistener.brokers.profile import Profile, Spelling

_APOLLO = "Apollo 1.7.1 STOMP Protocol Manual"

PROFILE = Profile(
    name="apollo",
    title="Apollo",
    server="apache-apollo/",
    options={
        "durable": Spelling({"persistent": "true"}, f"{_APOLLO}, Topic Durable Subscriptions"),
        "prefetch": Spelling({"credit": "{count},0"}, f"{_APOLLO}, Subscription Flow Control"),
        "selector": Spelling({"selector": "{condition}"}, f"{_APOLLO}, Message Selectors"),
        "browse": Spelling({"browser": "true"}, f"{_APOLLO}, Browsing Subscriptions"),
        "persistent": Spelling({"persistent": "true"}, f"{_APOLLO}, Reliable Messaging"),
        "expires": Spelling({"expires": "{at}"}, f"{_APOLLO}, Message Expiration"),
        "priority": Spelling(None, _APOLLO, "its queues keep the order of arrival"),
        "delay": Spelling(None, _APOLLO, "it delivers at once"),
        "duplicate_id": Spelling(None, _APOLLO, "it stores every message"),
    },
    named_by_id=True,
    forget=({"persistent": "true"},),
)
