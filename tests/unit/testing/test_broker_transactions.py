"""BEGIN, COMMIT, ABORT, in hand-written bytes."""

from __future__ import annotations

import pytest
from broker_support import Raw, bodies, connected

from stomplistener.testing import Broker

BEGIN = b"BEGIN\ntransaction:t\n\n\0"
SEND = b"SEND\ndestination:/queue/b\ntransaction:t\nreceipt:s\n\nx\0"
SENT = b"RECEIPT\nreceipt-id:s\n\n\0"
COMMIT = b"COMMIT\ntransaction:t\nreceipt:c\n\n\0"
ABORT = b"ABORT\ntransaction:t\nreceipt:c\n\n\0"
ENDED = b"RECEIPT\nreceipt-id:c\n\n\0"


def holding(broker: Broker, client: Raw) -> None:
    """Have the client hold a message of /queue/a as 1-1."""
    broker.publish("/queue/a", b"m")
    client.send(b"SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client-individual\n\n\0")
    assert b"ack:1-1\n" in client.frame()


def test_sends_wait_for_the_commit() -> None:
    with Broker() as broker, connected(broker) as client:
        client.send(BEGIN, SEND, SEND)
        client.expect(SENT, SENT)
        assert bodies(broker, "/queue/b") == []
        client.send(COMMIT)
        client.expect(ENDED)
        assert bodies(broker, "/queue/b") == [b"x", b"x"]


def test_an_abort_forgets_sends() -> None:
    with Broker() as broker, connected(broker) as client:
        client.send(BEGIN, SEND, ABORT)
        client.expect(SENT, ENDED)
        assert bodies(broker, "/queue/b") == []


@pytest.mark.parametrize("command", [b"ACK", b"NACK"])
def test_settling_waits_for_the_commit(command: bytes) -> None:
    with Broker(max_deliveries=1) as broker, connected(broker) as client:
        holding(broker, client)
        client.send(BEGIN, b"%b\nid:1-1\ntransaction:t\nreceipt:s\n\n\0" % command)
        client.expect(SENT)
        assert len(broker.unacknowledged("/queue/a")) == 1
        client.send(COMMIT)
        client.expect(ENDED)
        assert broker.unacknowledged("/queue/a") == []
        assert bodies(broker, "/queue/DLQ") == ([b"m"] if command == b"NACK" else [])


def test_an_abort_undoes_an_ack_that_may_then_be_given_again() -> None:
    with Broker() as broker, connected(broker) as client:
        holding(broker, client)
        client.send(BEGIN, b"ACK\nid:1-1\ntransaction:t\n\n\0", ABORT)
        client.expect(ENDED)
        assert len(broker.unacknowledged("/queue/a")) == 1
        client.send(b"ACK\nid:1-1\nreceipt:s\n\n\0")
        client.expect(SENT)
        assert broker.unacknowledged("/queue/a") == []


def test_the_end_of_the_connection_aborts() -> None:
    with Broker() as broker:
        with connected(broker) as client:
            holding(broker, client)
            client.send(BEGIN, SEND, b"ACK\nid:1-1\ntransaction:t\nreceipt:2\n\n\0")
            client.expect(SENT, b"RECEIPT\nreceipt-id:2\n\n\0")
        broker.wait_for(lambda: bodies(broker, "/queue/a") == [b"m"])
        assert bodies(broker, "/queue/b") == []


@pytest.mark.parametrize(("end", "left"), [(COMMIT, []), (ABORT, [b"m"])])
def test_unsubscribing_leaves_an_ack_to_its_transaction(end: bytes, left: list[bytes]) -> None:
    with Broker() as broker, connected(broker) as client:
        holding(broker, client)
        client.send(BEGIN, b"ACK\nid:1-1\ntransaction:t\n\n\0UNSUBSCRIBE\nid:s\nreceipt:s\n\n\0")
        client.expect(SENT)
        assert bodies(broker, "/queue/a") == []
        client.send(end)
        client.expect(ENDED)
        assert bodies(broker, "/queue/a") == left


def test_two_transactions_are_apart() -> None:
    with Broker() as broker, connected(broker) as client:
        client.send(BEGIN, SEND, b"BEGIN\ntransaction:u\n\n\0SEND\ndestination:/queue/b\ntransaction:u\n\nu\0", ABORT)
        client.expect(SENT, ENDED)
        client.send(b"COMMIT\ntransaction:u\nreceipt:s\n\n\0")
        client.expect(SENT)
        assert bodies(broker, "/queue/b") == [b"u"]


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (COMMIT, b"no such transaction"),
        (ABORT, b"no such transaction"),
        (SEND, b"no such transaction"),
        (BEGIN + BEGIN, b"transaction in use"),
        (BEGIN + ABORT.replace(b"receipt:c\n", b"") + SEND, b"no such transaction"),
        (b"BEGIN\n\n\0", b"missing header"),
    ],
)
def test_names_that_are_wrong(sent: bytes, message: bytes) -> None:
    with Broker() as broker, connected(broker) as client:
        client.send(sent)
        client.expect(b"ERROR\nmessage:%b\n" % message)
