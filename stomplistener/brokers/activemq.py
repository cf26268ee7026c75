"""The headers of ActiveMQ Classic for the options that STOMP leaves open."""

from __future__ import annotations

from stomplistener.brokers.profile import Profile, Spelling

_AMQ = "https://activemq.apache.org/components/classic/documentation/stomp"
_AMQ_DELAY = "https://activemq.apache.org/components/classic/documentation/delay-and-schedule-message-delivery"
_AMQ_BROWSE = "http://timbish.blogspot.com/2012/05, Queue Browsing"

PROFILE = Profile(
    name="activemq",
    title="ActiveMQ Classic",
    server="activemq/",
    options={
        "durable": Spelling(
            {"activemq.subscriptionName": "{name}"},
            f"{_AMQ}, ActiveMQ Extensions to STOMP",
            "STOMP 1.0 can delete it only if the client-id is the name",
        ),
        "prefetch": Spelling({"activemq.prefetchSize": "{count}"}, f"{_AMQ}, ActiveMQ Extensions to STOMP"),
        "selector": Spelling({"selector": "{condition}"}, f"{_AMQ}, ActiveMQ Extensions to STOMP"),
        "browse": Spelling(
            {"browser": "true"}, _AMQ_BROWSE, "shows the first 400 at the most, unless maxBrowsePageSize says otherwise"
        ),
        "persistent": Spelling({"persistent": "true"}, f"{_AMQ}, Message Persistence"),
        "expires": Spelling({"expires": "{at}"}, f"{_AMQ}, Working with Destinations with STOMP"),
        "priority": Spelling(
            {"priority": "{number}"},
            "https://activemq.apache.org/components/classic/documentation/how-can-i-support-priority-queues",
            "obeyed if the queue's policy says prioritizedMessages, otherwise ignored",
        ),
        "delay": Spelling(
            {"AMQ_SCHEDULED_DELAY": "{milliseconds}"},
            _AMQ_DELAY,
            "needs schedulerSupport at the broker, otherwise the message arrives at once",
        ),
        "duplicate_id": Spelling(None, _AMQ, "it detects duplicates by numbers that STOMP does not have"),
    },
    client_id=True,
    length_means_bytes=True,
    settles_in_transactions=True,
    stores_in_turn=True,
    browse_page=400,
    # With the name alone, ActiveMQ answers that the durable consumer is in use.
    forget=({}, {"activemq.subscriptionName": "{name}"}),
)
