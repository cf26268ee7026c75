"""The headers of the embedded broker of stomplistener.testing for the options that STOMP leaves open."""

from __future__ import annotations

from stomplistener.brokers.profile import Profile, Spelling

_TESTING = "stomplistener.testing.Broker"

PROFILE = Profile(
    name="testing",
    title="The embedded broker",
    server="stomplistener-testing/",
    options={
        "durable": Spelling({"durable-subscription-name": "{name}"}, _TESTING),
        "prefetch": Spelling({"prefetch": "{count}"}, _TESTING),
        "selector": Spelling({"selector": "{condition}"}, _TESTING),
        "browse": Spelling({"browser": "true"}, _TESTING),
        "persistent": Spelling({"persistent": "true"}, _TESTING, "it keeps nothing over its end"),
        "expires": Spelling({"expires": "{at}"}, _TESTING),
        "priority": Spelling({"priority": "{number}"}, _TESTING, "ignored"),
        "delay": Spelling(None, _TESTING, "it delivers at once"),
        "duplicate_id": Spelling({"duplicate-id": "{id}"}, _TESTING, "knows every id of each destination"),
    },
    settles_in_transactions=True,
    forget=({"durable-subscription-name": "{name}"},),
)
