"""Topics, durable subscriptions and temporary destinations, in hand-written bytes."""

from __future__ import annotations

import pytest
from broker_support import Raw, bodies, connected

from stomplistener.testing import Broker


def subscribe(client: Raw, headers: bytes = b"id:s\ndestination:/topic/t\n") -> None:
    client.send(b"SUBSCRIBE\n%breceipt:sub\n\n\0" % headers)
    client.expect(b"RECEIPT\nreceipt-id:sub\n\n\0")


def test_everybody_gets_what_is_sent_after_subscribing() -> None:
    with Broker() as broker, connected(broker) as first, connected(broker) as second:
        broker.publish("/topic/t", b"early")
        for client in first, second:
            subscribe(client)
        broker.publish("/topic/t", b"x")
        for client in first, second:
            client.expect(b"MESSAGE\nsubscription:s\nmessage-id:m2\ndestination:/topic/t\ncontent-length:1\n\nx\0")
            client.sync()


def test_two_subscriptions_of_one_connection_both_get_it() -> None:
    with Broker() as broker, connected(broker) as client:
        subscribe(client)
        subscribe(client, b"id:u\ndestination:/topic/t\nselector:n > 1\n")
        broker.publish("/topic/t", b"x", {"n": "1"})
        broker.publish("/topic/t", b"y", {"n": "2"})
        assert [b"subscription:u" in client.frame() for _ in range(3)] == [False, False, True]


def test_what_is_unacknowledged_at_the_end_is_gone() -> None:
    with Broker() as broker:
        with connected(broker) as client:
            subscribe(client, b"id:s\ndestination:/topic/t\nack:client\n")
            broker.publish("/topic/t", b"x")
            assert b"ack:1-1" in client.frame()
            assert len(broker.unacknowledged("/topic/t")) == 1
        broker.wait_for(lambda: not broker.connections)
        assert broker.messages("/topic/t") == []


DURABLE = b"id:s\ndestination:/topic/t\nack:client\ndurable:true\n"


@pytest.mark.parametrize("headers", [DURABLE, DURABLE.replace(b"durable:true", b"activemq.subscriptionName:d")])
def test_a_durable_subscription_collects_while_nobody_is_there(headers: bytes) -> None:
    with Broker() as broker:
        with connected(broker, headers=b"client-id:c\n") as client:
            subscribe(client, headers)
            broker.publish("/topic/t", b"held")
            assert client.frame().endswith(b"held\0")
            assert broker.subscriptions[0].durable in ("s", "d")
        broker.wait_for(lambda: not broker.connections)
        broker.publish("/topic/t", b"missed")
        assert bodies(broker, "/topic/t") == [b"held", b"missed"]
        broker.restart()
        with connected(broker, headers=b"client-id:c\n") as client:
            client.send(b"SUBSCRIBE\n%b\n\0" % headers)
            assert b"redelivered:true\n" in client.frame()
            assert client.frame().endswith(b"missed\0")
            client.send(b"UNSUBSCRIBE\n%breceipt:u\n\n\0" % headers)
            client.expect(b"RECEIPT\nreceipt-id:u\n\n\0")
        broker.publish("/topic/t", b"unheard")
        assert bodies(broker, "/topic/t") == []


def test_unsubscribing_without_durable_keeps_a_durable_subscription() -> None:
    with Broker() as broker, connected(broker, headers=b"client-id:c\n") as client:
        subscribe(client, DURABLE)
        client.send(b"UNSUBSCRIBE\nid:s\n\n\0")
        client.sync()
        broker.publish("/topic/t", b"x")
        assert bodies(broker, "/topic/t") == [b"x"]
        client.send(b"UNSUBSCRIBE\nid:s\ndurable:true\n\n\0")
        client.sync()
        assert bodies(broker, "/topic/t") == []


def test_a_durable_subscription_has_one_user_at_a_time() -> None:
    with Broker() as broker, connected(broker) as first, connected(broker) as second:
        subscribe(first, DURABLE)
        second.send(b"SUBSCRIBE\n%b\n\0" % DURABLE)
        second.expect(b"ERROR\nmessage:already subscribed\n")


@pytest.mark.parametrize("kind", [b"queue", b"topic"])
def test_request_and_reply_over_a_temporary_destination(kind: bytes) -> None:
    with Broker() as broker, connected(broker) as asking, connected(broker) as answering:
        subscribe(asking, b"id:r\ndestination:/temp-%b/r\n" % kind)
        subscribe(answering, b"id:w\ndestination:/queue/work\n")
        asking.send(b"SEND\ndestination:/queue/work\nreply-to:/temp-%b/r\n\nquestion\0" % kind)
        reply_to = b"/remote-temp-%b/session-1.r" % kind
        answering.expect(
            b"MESSAGE\nsubscription:w\nmessage-id:m1\ndestination:/queue/work\ncontent-length:8\n",
            b"reply-to:%b\n\nquestion\0" % reply_to,
        )
        answering.send(b"SEND\ndestination:%b\n\nanswer\0" % reply_to)
        asking.expect(
            b"MESSAGE\nsubscription:r\nmessage-id:m2\ndestination:/temp-%b/r\ncontent-length:6\n\nanswer\0" % kind
        )


def test_the_owner_knows_its_temporary_destination_by_its_own_name() -> None:
    with Broker() as broker, connected(broker) as client:
        subscribe(client, b"id:r\ndestination:/temp-queue/r\n")
        client.send(b"SEND\ndestination:/temp-queue/r\nreply-to:/temp-queue/r\n\nx\0")
        client.expect(
            b"MESSAGE\nsubscription:r\nmessage-id:m1\ndestination:/temp-queue/r\ncontent-length:1\n"
            b"reply-to:/temp-queue/r\n\nx\0"
        )


def test_nobody_else_may_subscribe_to_a_temporary_destination() -> None:
    with Broker() as broker, connected(broker) as first, connected(broker) as second:
        subscribe(first, b"id:r\ndestination:/temp-queue/r\n")
        second.send(b"SUBSCRIBE\nid:r\ndestination:/remote-temp-queue/session-1.r\n\n\0")
        second.expect(b"ERROR\nmessage:not your destination\n")
        assert len(broker.subscriptions) == 1


def test_a_temporary_destination_goes_with_its_connection() -> None:
    with Broker() as broker, connected(broker) as other:
        with connected(broker) as client:
            client.send(b"SEND\ndestination:/temp-queue/r\n\nx\0")
            client.sync()
            assert "/remote-temp-queue/session-2.r" in broker.destinations
        broker.wait_for(lambda: len(broker.connections) == 1)
        assert "/remote-temp-queue/session-2.r" not in broker.destinations
        other.send(b"SEND\ndestination:/remote-temp-queue/session-2.r\n\nx\0")
        other.expect(b"ERROR\nmessage:no such destination\n")


def test_what_was_published_to_a_topic_that_nobody_heard() -> None:
    with Broker() as broker, connected(broker) as client:
        client.send(b"SEND\ndestination:/topic/t\nx:1\nreceipt:r\n\nfirst\0")
        client.expect(b"RECEIPT\nreceipt-id:r\n\n\0")
        broker.publish("/topic/t", b"second")
        broker.publish("/queue/q", b"other")
        assert broker.messages("/topic/t") == []
        assert [(each.body, each.headers.get("x")) for each in broker.published("/topic/t")] == [
            (b"first", "1"),
            (b"second", None),
        ]
        broker.clear("/topic/t")
        assert broker.published("/topic/t") == []
        assert [each.body for each in broker.published("/queue/q")] == [b"other"]


def test_what_was_published_stays_when_it_was_consumed() -> None:
    with Broker() as broker, connected(broker) as client:
        subscribe(client, b"id:s\ndestination:/queue/q\n")
        broker.publish("/queue/q", b"taken")
        client.frame()
        broker.wait_for(lambda: not broker.messages("/queue/q"))
        assert [(each.body, each.deliveries) for each in broker.published("/queue/q")] == [(b"taken", 0)]
