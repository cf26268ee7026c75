"""Queues, SEND, SUBSCRIBE and MESSAGE, in hand-written bytes."""

from __future__ import annotations

import time

import pytest
from broker_support import Raw, bodies, connected

from stomplistener.testing import Broker


@pytest.mark.parametrize(
    ("version", "subscribe", "message"),
    [
        (b"1.0", b"", b"MESSAGE\nmessage-id:m1\n"),
        (b"1.0", b"id:s\n", b"MESSAGE\nsubscription:s\nmessage-id:m1\n"),
        (b"1.1", b"id:s\n", b"MESSAGE\nsubscription:s\nmessage-id:m1\n"),
        (b"1.2", b"id:s\n", b"MESSAGE\nsubscription:s\nmessage-id:m1\n"),
        (b"1.2", b"id:s\nack:client\n", b"MESSAGE\nsubscription:s\nmessage-id:m1\nack:1-1\n"),
        (b"1.1", b"id:s\nack:client\n", b"MESSAGE\nsubscription:s\nmessage-id:m1\n"),
    ],
)
def test_a_message_in_each_version(version: bytes, subscribe: bytes, message: bytes) -> None:
    with Broker() as broker, connected(broker, version) as client:
        client.send(b"SUBSCRIBE\n%bdestination:/queue/a\nreceipt:1\n\n\0" % subscribe)
        client.expect(b"RECEIPT\nreceipt-id:1\n\n\0")
        client.send(b"SEND\ndestination:/queue/a\nfoo:bar\nreceipt:2\n\nhello\0")
        client.expect(
            message + b"destination:/queue/a\ncontent-length:5\nfoo:bar\n\nhello\0", b"RECEIPT\nreceipt-id:2\n\n\0"
        )


def test_a_destination_without_a_prefix_is_a_queue() -> None:
    with Broker() as broker, connected(broker) as client:
        client.send(b"SEND\ndestination:plain\nreceipt:1\n\nx\0")
        client.expect(b"RECEIPT\nreceipt-id:1\n\n\0")
        assert bodies(broker, "plain") == [b"x"]


@pytest.mark.parametrize(
    ("version", "sent", "received"),
    [
        (b"1.0", rb"k:a:b\c", rb"k:a:b\c"),
        (b"1.1", rb"k\c1:a\cb\\\n", rb"k\c1:a\cb\\\n"),
        (b"1.2", rb"k\c1:a\cb\\\n\r", rb"k\c1:a\cb\\\n\r"),
        (b"1.2", b"k:a:b", rb"k:a\cb"),
        (b"1.2", "ключ:значение".encode(), "ключ:значение".encode()),
        (b"1.2", b"k:first\nk:second", b"k:first\nk:second"),
        (b"1.2", b"message-id:mine\nack:mine\nsubscription:mine\nredelivered:true\nk:v", b"k:v"),
    ],
)
def test_headers_pass_through_as_each_version_writes_them(version: bytes, sent: bytes, received: bytes) -> None:
    with Broker() as broker, connected(broker, version) as client:
        client.send(b"SUBSCRIBE\nid:s\ndestination:/queue/a\n\n\0SEND\ndestination:/queue/a\n%b\n\n\0" % sent)
        client.expect(
            b"MESSAGE\nsubscription:s\nmessage-id:m1\ndestination:/queue/a\ncontent-length:0\n%b\n\n\0" % received
        )


def test_headers_that_the_reader_has_no_way_to_write_are_left_out() -> None:
    with Broker() as broker, connected(broker, b"1.2") as sender, connected(broker, b"1.0") as reader:
        sender.send(b"SEND\ndestination:/queue/a\nbad:a\\nb\ngood:yes\n\nx\0")
        reader.send(b"SUBSCRIBE\ndestination:/queue/a\n\n\0")
        reader.expect(b"MESSAGE\nmessage-id:m1\ndestination:/queue/a\ncontent-length:1\ngood:yes\n\nx\0")


def test_a_large_body_with_nuls() -> None:
    body = bytes(range(256)) * 8192
    with Broker() as broker, connected(broker) as client:
        client.send(b"SUBSCRIBE\nid:s\ndestination:/queue/a\n\n\0")
        client.send(b"SEND\ndestination:/queue/a\ncontent-length:%d\n\n%b\0\n\n" % (len(body), body))
        client.expect(b"MESSAGE\nsubscription:s\nmessage-id:m1\ndestination:/queue/a\ncontent-length:2097152\n\n")
        assert client.read(len(body) + 1) == body + b"\0"
        client.sync()


def test_consumers_compete_in_turn() -> None:
    with Broker() as broker, connected(broker) as first, connected(broker) as second:
        for client in first, second:
            client.send(b"SUBSCRIBE\nid:s\ndestination:/queue/a\nreceipt:1\n\n\0")
            client.expect(b"RECEIPT\nreceipt-id:1\n\n\0")
        for text in "abcd":
            broker.publish("/queue/a", text.encode())
        for client, expected in (first, [b"a", b"c"]), (second, [b"b", b"d"]):
            assert [client.frame()[-2:-1] for _ in expected] == expected
            client.sync()


def test_prefetch_bounds_what_one_consumer_holds() -> None:
    with Broker(prefetch=2) as broker, connected(broker) as client:
        for text in "abcd":
            broker.publish("/queue/a", text.encode())
        client.send(b"SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client-individual\n\n\0")
        assert [client.frame()[-2:-1] for _ in "ab"] == [b"a", b"b"]
        client.sync()
        assert bodies(broker, "/queue/a") == [b"c", b"d"]
        client.send(b"ACK\nid:1-2\n\n\0")
        assert client.frame()[-2:-1] == b"c"
        client.sync()


@pytest.mark.parametrize("name", [b"prefetch", b"prefetch-count", b"activemq.prefetchSize"])
def test_a_subscription_may_ask_for_its_prefetch(name: bytes) -> None:
    with Broker() as broker, connected(broker) as client:
        for text in "ab":
            broker.publish("/queue/a", text.encode())
        client.send(b"SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client\n%b:1\n\n\0" % name)
        assert client.frame()[-2:-1] == b"a"
        client.sync()
        assert broker.subscriptions[0].prefetch == 1


def test_what_a_lost_connection_held_comes_again_in_its_place() -> None:
    with Broker() as broker, connected(broker) as keeper:
        with connected(broker) as client:
            client.send(b"SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client-individual\nprefetch:3\n\n\0")
            client.sync()
            for text in "abcde":
                broker.publish("/queue/a", text.encode())
            assert [client.frame()[-2:-1] for _ in "abc"] == [b"a", b"b", b"c"]
            client.send(b"ACK\nid:2-2\n\n\0")
            assert client.frame()[-2:-1] == b"d"
            assert [message.text for message in broker.unacknowledged("/queue/a")] == ["a", "c", "d"]
        broker.wait_for(lambda: bodies(broker, "/queue/a") == [b"a", b"c", b"d", b"e"])
        assert [message.deliveries for message in broker.messages("/queue/a")] == [1, 1, 1, 0]
        keeper.send(b"SUBSCRIBE\nid:k\ndestination:/queue/a\n\n\0")
        head = b"MESSAGE\nsubscription:k\nmessage-id:"
        again = b"redelivered:true\ndelivery-count:2\n"
        tail = b"destination:/queue/a\ncontent-length:1\n\n"
        keeper.expect(*(b"%bm%d\n%b%b%c\0" % (head, n, again, tail, b"abcd"[n - 2]) for n in (2, 4, 5)))
        keeper.expect(b"%bm6\n%be\0" % (head, tail))


def test_unsubscribing_gives_back_what_is_unacknowledged() -> None:
    with Broker() as broker, connected(broker) as client:
        broker.publish("/queue/a", b"x")
        client.send(b"SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client\n\n\0")
        assert client.frame().endswith(b"\n\nx\0")
        client.send(b"UNSUBSCRIBE\nid:s\nreceipt:1\n\n\0")
        client.expect(b"RECEIPT\nreceipt-id:1\n\n\0")
        assert bodies(broker, "/queue/a") == [b"x"]
        assert broker.subscriptions == []


def test_1_0_unsubscribes_by_destination() -> None:
    with Broker() as broker, connected(broker, b"1.0") as client:
        client.send(b"SUBSCRIBE\ndestination:/queue/a\n\n\0UNSUBSCRIBE\ndestination:/queue/a\nreceipt:1\n\n\0")
        client.expect(b"RECEIPT\nreceipt-id:1\n\n\0")
        assert broker.subscriptions == []


def test_a_slow_reader_leaves_messages_in_the_queue_for_others() -> None:
    body = b"x" * 100_000
    with Broker() as broker, connected(broker) as slow:
        slow.send(b"SUBSCRIBE\nid:s\ndestination:/queue/a\n\n\0")
        slow.sync()
        for _ in range(400):
            broker.publish("/queue/a", body)
        broker.wait_for(lambda: broker.depth("/queue/a") > 100)
        with connected(broker) as quick:
            quick.send(b"SUBSCRIBE\nid:q\ndestination:/queue/a\n\n\0")
            quick.expect(b"MESSAGE\nsubscription:q\n")
            while broker.depth("/queue/a"):
                assert slow.socket.recv(1 << 20)


def test_a_selector_passes_over_what_it_does_not_want() -> None:
    with Broker() as broker, connected(broker) as client:
        client.send(b"SUBSCRIBE\nid:s\ndestination:/queue/a\nselector:kind = 'b' AND size IS NULL\n\n\0")
        for text, kind in ("1", "a"), ("2", "b"), ("3", "a"), ("4", "b"):
            client.send(b"SEND\ndestination:/queue/a\nkind:%b\n\n%b\0" % (kind.encode(), text.encode()))
        assert [client.frame()[-2:-1] for _ in "24"] == [b"2", b"4"]
        client.sync()
        assert bodies(broker, "/queue/a") == [b"1", b"3"]


def test_expired_messages_are_dropped() -> None:
    with Broker() as broker, connected(broker) as client:
        now = time.time() * 1000
        for text, expires in ("old", now - 1000), ("new", now + 60_000), ("forever", 0):
            broker.publish("/queue/a", text, {"expires": str(int(expires))})
        client.send(b"SUBSCRIBE\nid:s\ndestination:/queue/a\n\n\0")
        assert client.frame().endswith(b"\n\nnew\0")
        assert client.frame().endswith(b"\n\nforever\0")


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"SEND\nreceipt:r\n\nx\0", b"missing header"),
        (b"SUBSCRIBE\ndestination:/queue/a\nreceipt:r\n\n\0", b"missing header"),
        (b"SUBSCRIBE\nid:1\nreceipt:r\n\n\0", b"missing header"),
        (b"SUBSCRIBE\nid:1\ndestination:/queue/a\nack:maybe\nreceipt:r\n\n\0", b"unknown ack mode"),
        (b"SUBSCRIBE\nid:1\ndestination:/queue/a\nprefetch:many\nreceipt:r\n\n\0", b"bad header"),
        (b"SUBSCRIBE\nid:1\ndestination:/queue/a\nprefetch:0\nreceipt:r\n\n\0", b"bad header"),
        (b"SUBSCRIBE\nid:1\ndestination:/queue/a\nselector:=\nreceipt:r\n\n\0", b"bad header"),
        (b"UNSUBSCRIBE\nid:1\nreceipt:r\n\n\0", b"no such subscription"),
        (b"UNSUBSCRIBE\nreceipt:r\n\n\0", b"missing header"),
        (b"BEGIN\ntransaction:t\nreceipt:r\n\nbody\0", b"unexpected body"),
        (b"MESSAGE\nreceipt:r\n\n\0", b"not a command of clients"),
    ],
)
@pytest.mark.parametrize("lenient", [False, True])
def test_what_cannot_be_obeyed_gets_an_error_with_its_receipt_id(sent: bytes, message: bytes, lenient: bool) -> None:
    with Broker(lenient_errors=lenient) as broker, connected(broker) as client:
        client.send(sent)
        client.expect(b"ERROR\nmessage:%b\ncontent-type:text/plain\nreceipt-id:r\n" % message)
        assert client.frame()
        if lenient:
            client.sync()
        else:
            client.expect_end()


def test_a_receipt_that_cannot_be_written_back() -> None:
    with Broker() as broker, connected(broker, b"1.1") as client:
        client.send(b"SEND\ndestination:/queue/a\nreceipt:1\r\n\nx\0")
        client.expect(b"ERROR\nmessage:bad header\ncontent-type:text/plain\ncontent-length:")
        assert client.frame()
        client.expect_end()


def test_an_undefined_escape_ends_even_a_lenient_connection() -> None:
    with Broker(lenient_errors=True) as broker, connected(broker) as client:
        client.send(b"SEND\ndestination:/queue/a\nreceipt:1\n\nx\0SEND\ndestination:a\\t\n\n\0")
        client.expect(b"RECEIPT\nreceipt-id:1\n\n\0ERROR\nmessage:malformed frame\n")
        assert client.frame()
        client.expect_end()


def test_the_same_subscription_twice() -> None:
    with Broker() as broker, connected(broker) as client:
        client.send(b"SUBSCRIBE\nid:1\ndestination:/queue/a\n\n\0" * 2)
        client.expect(b"ERROR\nmessage:already subscribed\n")


def test_disconnect_is_confirmed_and_then_the_connection_ends() -> None:
    with Broker() as broker, connected(broker) as client:
        client.send(b"SEND\ndestination:/queue/a\n\nx\0DISCONNECT\nreceipt:bye\n\n\0SEND\ndestination:/queue/a\n\ny\0")
        client.expect(b"RECEIPT\nreceipt-id:bye\n\n\0")
        client.expect_end()
        assert bodies(broker, "/queue/a") == [b"x"]
        assert broker.connections == []


def test_a_client_that_half_closes_still_gets_its_answers() -> None:
    with Broker() as broker, Raw(broker) as client:
        client.send(b"CONNECT\naccept-version:1.2\nhost:a\n\n\0SEND\ndestination:/queue/a\nreceipt:1\n\nx\0")
        client.socket.shutdown(1)
        assert client.frame().startswith(b"CONNECTED")
        client.expect(b"RECEIPT\nreceipt-id:1\n\n\0")
        client.expect_end()
