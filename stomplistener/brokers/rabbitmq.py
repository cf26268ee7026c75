"""The headers of RabbitMQ for the options that STOMP leaves open."""

from __future__ import annotations

from stomplistener.brokers.profile import Declaring, Profile, Spelling

_RABBIT = "https://www.rabbitmq.com/docs/3.13/stomp"

# https://www.rabbitmq.com/docs/3.13/stomp, Queue Properties, and HEADER_ARGUMENTS in the plugin's source.
_DECLARING = Declaring(
    type=frozenset(("x-queue-type", "durable", "auto-delete")),
    limits=frozenset(
        (
            *("exclusive", "x-dead-letter-exchange", "x-dead-letter-routing-key", "x-expires", "x-message-ttl"),
            *("x-max-age", "x-max-length", "x-max-length-bytes", "x-max-priority", "x-overflow"),
            *("x-stream-max-segment-size-bytes", "x-stream-filter-size-bytes"),
        )
    ),
)

PROFILE = Profile(
    name="rabbitmq",
    title="RabbitMQ",
    server="rabbitmq/",
    options={
        "durable": Spelling({"durable": "true", "auto-delete": "false"}, f"{_RABBIT}, Durable Topic Subscriptions"),
        "prefetch": Spelling({"prefetch-count": "{count}"}, f"{_RABBIT}, Message Acks"),
        "selector": Spelling(None, f"{_RABBIT}, Protocol Extensions", "every message of the queue goes to a consumer"),
        "browse": Spelling(
            None,
            f"{_RABBIT}, Protocol Extensions",
            "it ignores the header browser and hands the messages out to be consumed",
        ),
        "persistent": Spelling({"persistent": "true"}, f"{_RABBIT}, Message Persistence"),
        "expires": Spelling({"expiration": "{milliseconds}"}, f"{_RABBIT}, Message Properties"),
        "priority": Spelling(
            {"priority": "{number}"},
            "https://www.rabbitmq.com/docs/priority",
            "obeyed if the queue was declared with x-max-priority, otherwise ignored",
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
    default_host="/",
    replies_by_itself=True,
    # Seen when the broker was killed right after the receipt: the messages of the transaction were gone.
    commit_confirms=False,
    reject={"requeue": "false"},
    # The header of quorum queues (https://www.rabbitmq.com/docs/quorum-queues, Poison Message Handling).
    redeliveries="x-delivery-count",
    renames_redelivered=True,
    declaring=_DECLARING,
    origin={"x-first-death-queue": "/queue/{value}"},
    hints={"Virtual host '": "RabbitMQ takes the host header as the name of its virtual host"},
)
