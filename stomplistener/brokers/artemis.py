"""The headers of ActiveMQ Artemis for the options that STOMP leaves open."""

from __future__ import annotations

from stomplistener.brokers.profile import Profile, Spelling

_ARTEMIS = "https://activemq.apache.org/components/artemis/documentation/latest/stomp.html"
_ARTEMIS_DUPLICATES = "https://activemq.apache.org/components/artemis/documentation/latest/duplicate-detection.html"

PROFILE = Profile(
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
        "browse": Spelling(None, _ARTEMIS, "it ignores the header browser and hands the messages out to be consumed"),
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
    # Artemis has no temporary queues over STOMP. The queue of a subscription to a topic ends with its connection.
    reply_to="/topic/{name}",
    origin={"_AMQ_ORIG_ADDRESS": "{value}"},
    acks_at_once=True,
    # The message-id of Artemis contains the number of the consumer.
    renames_redelivered=True,
)
