"""What each broker does: the table that the tests of conformance assert, and that the page in the docs is made from."""

from __future__ import annotations

from typing import NamedTuple

BROKERS = {
    "activemq": "ActiveMQ Classic 5.18.3",
    "artemis": "Artemis 2.44.0",
    "apollo": "Apollo 1.7.1",
    "rabbitmq": "RabbitMQ 3.10",
}
SPOKEN = ("1.0", "1.1", "1.2")


SOMETIMES = "not always"
"""An outcome that a single test may or may not see."""


class Expectation(NamedTuple):
    """What happens, and why it is not what one would expect."""

    outcome: str
    reason: str = ""


FEATURES = {
    "server header": "CONNECTED says what the broker is",
    "login refused": "a wrong passcode is refused",
    "virtual host": "a `host` header that names no virtual host is refused",
    "text": "a text arrives as it was sent",
    "json": "a JSON document arrives as it was sent",
    "binary": "bytes with NULs arrive as they were sent",
    "empty": "an empty body arrives empty",
    "large": "a body of 8 MiB arrives as it was sent",
    "large over WebSocket": "a body of 1 MiB arrives over WebSocket",
    "binary over WebSocket": "bytes that are not UTF-8 arrive as they were sent over WebSocket",
    "unicode headers": "names and values of headers in other scripts",
    "header escapes": "colon, backslash and end of line in the value of a header",
    "auto": "ack mode `auto`: delivered once, never again",
    "client": "ack mode `client`: an ACK covers what came before it",
    "client-individual": "ack mode `client-individual`: an ACK covers one message",
    "NACK": "where a rejected message goes",
    "rejected for good": "where a message goes if it is rejected each time, with `requeue:false`",
    "lost again and again": "where a message goes that three lost connections did not acknowledge",
    "redelivery": "an unacknowledged message comes again after the connection's end",
    "redelivered": "such a message has `redelivered:true`",
    "unsubscribed": "after UNSUBSCRIBE an unacknowledged message goes to another consumer; the connection lives on",
    "left in mode auto": "ack mode `auto`: UNSUBSCRIBE in the middle of a backlog loses nothing and repeats nothing",
    "competing": "two consumers of a queue share its messages",
    "topic": "each subscriber of a topic gets each message",
    "wildcard": "one subscription to many topics",
    "one name": "a queue and a topic of the same name are independent",
    "deep wildcard": "the sign for any number of levels, at the end of a topic",
    "commit": "sends of a transaction arrive at its COMMIT",
    "order of a transaction": "they arrive in the order that they were sent in",
    "abort": "sends of an aborted transaction never arrive",
    "transacted ACK": "an ACK in an aborted transaction has no effect",
    "receipts": "every frame that asks for a receipt gets one",
    "heart-beats": "the broker sends and wants heartbeats as agreed",
    "heart-beats refused": "no heartbeats where the client wants none",
    "heart-beats missed": "a client that falls silent is cut off",
    "prefetch": "`prefetch=2`: two messages come without an ACK",
    "durable": "`durable=`: kept over a reconnect, deleted by `unsubscribe()`",
    "selector": "`selector=`: only messages that match come",
    "temporary queue": "a subscription to `/temp-queue/name`, answered by another connection",
    "request": "`connection.request()`",
    "persistent:false": "the header `persistent:false` is accepted, on a queue that exists",
    "expires": "`send(expires=)`: not delivered later",
    "expired": "where an expired message goes (as our containers are set up)",
    "priority": "`send(priority=)`: the urgent one first",
    "delay": "`send(delay=)`: delivered later",
    "ERROR": "ERROR ends the connection",
    "ERROR says which frame": "ERROR has the `receipt-id` of the refused frame",
    "same id twice": "a second SUBSCRIBE with an id in use is refused",
    "unknown transaction": "a SEND in a transaction that was never begun is refused",
    "content-length": "MESSAGE has a content-length where SEND had one",
}  # fmt: skip

EVERY = "*"
_NO_1_0 = "STOMP 1.0 has neither client-individual nor NACK; the client raises ProtocolError"
_BEATS = "STOMP 1.0 has no heartbeats"

EXPECTATIONS: dict[tuple[str, str, str], Expectation] = {
    ("server header", "artemis", "1.0"): Expectation("hidden", "name the broker: Connection(..., broker='artemis')"),
    ("virtual host", "activemq", EVERY): Expectation("ignored", "the broker has one virtual host, under every name"),
    ("virtual host", "artemis", EVERY): Expectation("ignored", "the broker has one virtual host, under every name"),
    ("large over WebSocket", "activemq", EVERY): Expectation(
        "connection ends", "above 64 KiB, whatever its maxFrameSize"
    ),
    ("large over WebSocket", "apollo", EVERY): Expectation("connection ends", "above 64 KiB"),
    ("binary over WebSocket", "activemq", EVERY): Expectation(
        "damaged or lost", "the broker reads every WebSocket message as text"
    ),
    ("binary over WebSocket", "apollo", EVERY): Expectation(
        "damaged or lost", "the broker reads every WebSocket message as text"
    ),
    ("unicode headers", "apollo", "1.0"): Expectation(
        "refused", "the broker cannot parse such a header line in STOMP 1.0"
    ),
    ("header escapes", "activemq", "1.0"): Expectation(
        "decoded", "the broker decodes backslash and n as an end of line; STOMP 1.0 has no escapes"
    ),
    ("header escapes", "rabbitmq", "1.0"): Expectation(
        "escaped", "the broker escapes MESSAGE headers, though STOMP 1.0 has no escapes"
    ),
    ("client-individual", EVERY, "1.0"): Expectation("refused", _NO_1_0),
    ("NACK", EVERY, "1.0"): Expectation("refused", _NO_1_0),
    ("NACK", "activemq", EVERY): Expectation("dead letter at once", "the message is not delivered again"),
    ("NACK", "artemis", EVERY): Expectation("vanishes", "the broker handles a NACK like an ACK"),
    ("NACK", "apollo", EVERY): Expectation("comes again", "after nak_limit rejections the message is a dead letter"),
    ("NACK", "rabbitmq", EVERY): Expectation(
        "dead letter at once",
        "with the requeue:false that the client sends; with requeue:true the message comes again forever",
    ),
    ("rejected for good", EVERY, "1.0"): Expectation("refused", _NO_1_0),
    ("rejected for good", "activemq", EVERY): Expectation(
        "/queue/ActiveMQ.DLQ", "by a policy of our configuration; by default messages that are not persistent vanish"
    ),
    ("rejected for good", "artemis", EVERY): Expectation("vanishes", "the broker handles a NACK like an ACK"),
    ("rejected for good", "apollo", EVERY): Expectation(
        "/queue/DLQ", "after nak_limit rejections; without this limit the message comes again forever"
    ),
    ("rejected for good", "rabbitmq", EVERY): Expectation(
        "/queue/DLQ", "the dead-letter-exchange of a policy; without one the message is dropped"
    ),
    ("lost again and again", EVERY, EVERY): Expectation(
        "comes again", "a lost connection does not count as a rejection"
    ),
    ("lost again and again", "artemis", EVERY): Expectation(
        "/queue/DLQ", "each delivery is an attempt, and max-delivery-attempts is 10 unless it is set"
    ),
    ("redelivered", "apollo", EVERY): Expectation("not said", "unless its add_redeliveries_header is set"),
    ("left in mode auto", "artemis", EVERY): Expectation(
        SOMETIMES, "messages on their way at that moment may go to the next consumer, too"
    ),
    ("left in mode auto", "apollo", EVERY): Expectation(
        SOMETIMES, "messages on their way at that moment may go to the next consumer, too"
    ),
    ("left in mode auto", "rabbitmq", EVERY): Expectation(
        "some are lost",
        "messages that the broker has written count as consumed, but the plugin drops them; use client-individual",
    ),
    ("one name", "artemis", EVERY): Expectation(
        "the topic gets nothing", "both are one address: the queue gets the messages of the topic; give them two names"
    ),
    ("persistent:false", "rabbitmq", EVERY): Expectation(
        "refused", "the header asks for a queue that is not durable; leave it out"
    ),
    ("deep wildcard", "activemq", EVERY): Expectation(">", "the sign of OpenWire"),
    ("deep wildcard", "artemis", EVERY): Expectation("#", "the sign for any words in its wildcard syntax"),
    ("deep wildcard", "apollo", EVERY): Expectation("**", "its any_descendant_wildcard"),
    ("deep wildcard", "rabbitmq", EVERY): Expectation("#", "a topic is a routing key of amq.topic"),
    ("order of a transaction", "apollo", EVERY): Expectation(
        SOMETIMES, "in a new queue about one transaction in thirty arrives out of order"
    ),
    ("transacted ACK", "artemis", EVERY): Expectation("counts at once", "its STOMP has no ACK in transactions"),
    ("heart-beats", EVERY, "1.0"): Expectation("none", _BEATS),
    ("heart-beats", "apollo", "1.0"): Expectation("yes", "the broker offers heartbeats in STOMP 1.0, too"),
    ("heart-beats missed", EVERY, "1.0"): Expectation("stays", _BEATS),
    ("heart-beats missed", "apollo", EVERY): Expectation(
        "stays", "for more than 10 s, because the broker asks for no shorter interval"
    ),
    ("unsubscribed", "rabbitmq", EVERY): Expectation(
        "at the connection's end", "an unread message stays with the connection: a small prefetch= bounds how many"
    ),
    ("selector", "rabbitmq", EVERY): Expectation(
        "refused", "the broker has no selectors; the client raises ProtocolError"
    ),
    ("temporary queue", "artemis", EVERY): Expectation(
        "shared by all connections", "the broker makes an ordinary queue of it; request() uses a unique name"
    ),
    ("temporary queue", "rabbitmq", EVERY): Expectation(
        "refused", "the broker subscribes the sender of reply-to automatically; request() takes that into account"
    ),
    ("expired", "activemq", EVERY): Expectation("/queue/ActiveMQ.DLQ", "its shared dead-letter queue"),
    ("expired", "artemis", EVERY): Expectation("/queue/ExpiryQueue", "the expiry-address of its address settings"),
    ("expired", "apollo", EVERY): Expectation(
        "/queue/DLQ", "the queue's dlq_expired; without it the message is dropped"
    ),
    ("expired", "rabbitmq", EVERY): Expectation(
        "/queue/DLQ", "the dead-letter-exchange of a policy; without one the message is dropped"
    ),
    ("priority", "activemq", EVERY): Expectation("ignored", "unless the queue's policy says prioritizedMessages"),
    ("priority", "rabbitmq", EVERY): Expectation("ignored", "unless the queue was declared with x-max-priority"),
    ("priority", "apollo", EVERY): Expectation(
        "refused", "the broker has no priorities; the client raises ProtocolError"
    ),
    ("delay", "apollo", EVERY): Expectation("refused", "the broker has no delays; the client raises ProtocolError"),
    ("delay", "rabbitmq", EVERY): Expectation("refused", "without a plugin; the client raises ProtocolError"),
    ("ERROR", "activemq", EVERY): Expectation("stays", "against the specification"),
    ("ERROR", "rabbitmq", EVERY): Expectation("stays", "against the specification"),
    ("ERROR", "artemis", "1.0"): Expectation("stays", "against the specification"),
    ("ERROR", "artemis", "1.1"): Expectation("stays", "against the specification"),
    ("ERROR says which frame", "apollo", EVERY): Expectation("no", "only the text of the ERROR names the frame"),
    ("ERROR says which frame", "rabbitmq", EVERY): Expectation("no", "only the text of the ERROR names the frame"),
    ("same id twice", "activemq", EVERY): Expectation("accepted", "the two consumers cannot be told apart"),
    ("unknown transaction", "artemis", EVERY): Expectation("accepted", "a transaction begins with its first use"),
    ("unknown transaction", "apollo", EVERY): Expectation("no answer", "neither RECEIPT nor ERROR"),
}


def expected(feature: str, broker: str, version: str) -> Expectation:
    """What the table says: the special before the general; nothing there means that it works."""
    assert feature in FEATURES, feature
    for key in (feature, broker, version), (feature, EVERY, version), (feature, broker, EVERY), (feature, EVERY, EVERY):
        if key in EXPECTATIONS:
            return EXPECTATIONS[key]
    return Expectation("yes")
