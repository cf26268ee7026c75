"""ACK and NACK in every version and mode, in hand-written bytes."""

from __future__ import annotations

import pytest
from broker_support import Raw, bodies, connected

from stomplistener.testing import Broker


def holding(broker: Broker, client: Raw, ack: bytes, messages: bytes = b"abcd") -> None:
    """Have a subscription s hold these messages, m1 and on."""
    client.send(b"SUBSCRIBE\nid:s\ndestination:/queue/a\nack:%b\n\n\0" % ack)
    client.sync()
    for number in messages:
        broker.publish("/queue/a", bytes([number]))
    for number in messages:
        assert client.frame()[-2:-1] == bytes([number])


def held(broker: Broker) -> str:
    return "".join(message.text for message in broker.unacknowledged("/queue/a"))


# Message numbers begin at 2: the first is that of sync().
NAMED = [
    (b"1.0", b"message-id:m%d"),
    (b"1.1", b"message-id:m%d\nsubscription:s"),
    (b"1.2", b"id:1-%d"),
]


def name(version: bytes, form: bytes, place: int) -> bytes:
    return form % (place if version == b"1.2" else place + 1)


@pytest.mark.parametrize(("version", "form"), NAMED)
def test_client_mode_is_cumulative(version: bytes, form: bytes) -> None:
    with Broker() as broker, connected(broker, version) as client:
        holding(broker, client, b"client")
        client.send(b"ACK\n%b\nreceipt:1\n\n\0" % name(version, form, 3))
        client.expect(b"RECEIPT\nreceipt-id:1\n\n\0")
        assert held(broker) == "d"
        assert broker.messages("/queue/a") == []


@pytest.mark.parametrize(("version", "form"), NAMED[1:])
def test_client_individual_mode_is_not(version: bytes, form: bytes) -> None:
    with Broker() as broker, connected(broker, version) as client:
        holding(broker, client, b"client-individual")
        client.send(b"ACK\n%b\nreceipt:1\n\n\0" % name(version, form, 3))
        client.expect(b"RECEIPT\nreceipt-id:1\n\n\0")
        assert held(broker) == "abd"


def test_cumulative_only_within_its_subscription() -> None:
    with Broker() as broker, connected(broker) as client:
        holding(broker, client, b"client", b"ab")
        client.send(b"SUBSCRIBE\nid:t\ndestination:/queue/b\nack:client\n\n\0")
        broker.publish("/queue/b", b"c")
        assert client.frame().endswith(b"c\0")
        client.send(b"ACK\nid:1-3\nreceipt:1\n\n\0")
        client.expect(b"RECEIPT\nreceipt-id:1\n\n\0")
        assert held(broker) == "ab"
        assert broker.unacknowledged("/queue/b") == []


@pytest.mark.parametrize(("version", "form"), NAMED[1:])
def test_nack_delivers_again(version: bytes, form: bytes) -> None:
    with Broker() as broker, connected(broker, version) as client:
        holding(broker, client, b"client-individual", b"ab")
        client.send(b"NACK\n%b\nreceipt:1\n\n\0" % name(version, form, 1))
        ack = b"ack:1-3\n" if version == b"1.2" else b""
        client.expect(
            b"MESSAGE\nsubscription:s\nmessage-id:m2\n%bredelivered:true\ndelivery-count:2\n" % ack,
            b"destination:/queue/a\ncontent-length:1\n\na\0RECEIPT\nreceipt-id:1\n\n\0",
        )
        assert held(broker) == "ba"


def test_nack_is_cumulative_too_in_client_mode() -> None:
    with Broker(max_deliveries=1) as broker, connected(broker) as client:
        holding(broker, client, b"client")
        client.send(b"NACK\nid:1-2\nreceipt:1\n\n\0")
        client.expect(b"RECEIPT\nreceipt-id:1\n\n\0")
        assert bodies(broker, "/queue/DLQ") == [b"a", b"b"]
        assert held(broker) == "cd"


def test_a_message_rejected_too_often_is_a_dead_letter() -> None:
    with Broker(max_deliveries=3, dead_letters="/queue/DLQ.{name}") as broker, connected(broker) as client:
        broker.publish("/queue/a", b"x", {"foo": "bar"})
        client.send(b"SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client-individual\n\n\0")
        for delivery in 1, 2, 3:
            assert b"ack:1-%d\n" % delivery in client.frame()
            client.send(b"NACK\nid:1-%d\n\n\0" % delivery)
        client.sync()
        (dead,) = broker.messages("/queue/DLQ.a")
        assert (dead.body, dead.headers["foo"], dead.headers["original-destination"]) == (b"x", "bar", "/queue/a")
        assert held(broker) == ""


def test_lost_connections_make_no_dead_letters() -> None:
    with Broker(max_deliveries=2) as broker:
        broker.publish("/queue/a", b"x")
        for _ in range(5):
            with connected(broker) as client:
                client.send(b"SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client\n\n\0")
                assert client.frame().endswith(b"x\0")
            broker.wait_for(lambda: broker.depth("/queue/a") == 1)
        assert broker.messages("/queue/a")[0].deliveries == 5


def test_there_is_no_nack_in_1_0() -> None:
    with Broker() as broker, connected(broker, b"1.0") as client:
        client.send(b"NACK\nmessage-id:m1\nreceipt:1\n\n\0")
        client.expect(b"ERROR\nmessage:unknown command\ncontent-type:text/plain\nreceipt-id:1\n")


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize(
    "sent",
    [
        b"ACK\nid:9-9\nreceipt:r\n\n\0",
        b"NACK\nid:9-9\nreceipt:r\n\n\0",
        b"ACK\nid:1-1\n\n\0ACK\nid:1-1\nreceipt:r\n\n\0",
        b"BEGIN\ntransaction:t\n\n\0ACK\nid:1-1\ntransaction:t\n\n\0ACK\nid:1-1\nreceipt:r\n\n\0",
        b"UNSUBSCRIBE\nid:s\n\n\0ACK\nid:1-1\nreceipt:r\n\n\0",
    ],
)
def test_settling_what_is_not_unacknowledged(sent: bytes, lenient: bool) -> None:
    with Broker(lenient_errors=lenient) as broker, connected(broker) as client:
        holding(broker, client, b"client-individual")
        client.send(sent)
        client.expect(b"ERROR\nmessage:unknown message\ncontent-type:text/plain\nreceipt-id:r\n")
        assert client.frame()
        if lenient:
            client.sync()
        else:
            client.expect_end()


def test_what_another_connection_held_is_unknown_to_this_one() -> None:
    with Broker() as broker, connected(broker) as first, connected(broker) as second:
        holding(broker, first, b"client")
        second.send(b"ACK\nid:1-1\n\n\0")
        second.expect(b"ERROR\nmessage:unknown message\n")
        assert held(broker) == "abcd"


@pytest.mark.parametrize("sent", [b"ACK\n\n\0", b"ACK\nmessage-id:m2\n\n\0"])
def test_1_1_needs_message_id_and_subscription(sent: bytes) -> None:
    with Broker() as broker, connected(broker, b"1.1") as client:
        holding(broker, client, b"client")
        client.send(sent)
        client.expect(b"ERROR\nmessage:missing header\n")


def test_an_automatic_acknowledgement_needs_none() -> None:
    with Broker() as broker, connected(broker) as client:
        broker.publish("/queue/a", b"x")
        client.send(b"SUBSCRIBE\nid:s\ndestination:/queue/a\n\n\0")
        assert b"\nack:" not in client.frame()
        assert broker.unacknowledged("/queue/a") == []
