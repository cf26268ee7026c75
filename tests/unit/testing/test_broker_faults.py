"""Each fault that the broker can be asked for, as a client sees it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from broker_support import Raw, bodies, connected

from stomplistener.testing import Broker

SEND = b"SEND\ndestination:/queue/a\nreceipt:s\n\nx\0"
SENT = b"RECEIPT\nreceipt-id:s\n\n\0"
CONNECT = b"CONNECT\naccept-version:1.2\nhost:a\n\n\0"
SUBSCRIBE = b"SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client-individual\nreceipt:s\n\n\0"


@pytest.mark.parametrize("reset", [False, True])
def test_drop_connections(reset: bool) -> None:
    with Broker() as broker, connected(broker) as first, connected(broker) as second:
        assert broker.drop_connections(reset=reset) == 2
        assert broker.connections == []
        for client in first, second:
            client.expect_reset() if reset else client.expect_end()
        assert broker.drop_connections() == 0


def test_drop_one_connection() -> None:
    with Broker() as broker, connected(broker) as first, connected(broker) as second:
        assert broker.drop_connections(connection=2) == 1
        second.expect_end()
        first.sync()


def test_dropping_gives_back_what_was_held_and_what_was_never_written() -> None:
    with Broker() as broker, connected(broker) as first, connected(broker) as second:
        for client in first, second:
            client.send(SUBSCRIBE)
            client.expect(SENT)
        for text in "abcd":
            broker.publish("/queue/a", text)
        broker.go_silent()
        with connected_silently(broker) as third:
            third.send(b"SUBSCRIBE\nid:t\ndestination:/queue/b\n\n\0")
        broker.drop_connections()
        assert bodies(broker, "/queue/a") == [b"a", b"b", b"c", b"d"]
        assert {message.deliveries for message in broker.messages("/queue/a")} == {1}


def connected_silently(broker: Broker) -> Raw:
    client = Raw(broker)
    client.send(CONNECT)
    return client


def test_an_automatic_message_that_was_not_written_is_not_lost() -> None:
    with Broker() as broker, connected(broker) as client:
        client.send(b"SUBSCRIBE\nid:s\ndestination:/queue/a\n\n\0")
        client.sync()
        broker.go_silent()
        broker.publish("/queue/a", b"x")
        assert broker.messages("/queue/a") == []
        broker.drop_connections()
        assert [(message.body, message.deliveries) for message in broker.messages("/queue/a")] == [(b"x", 0)]


def test_refuse_and_accept_connections() -> None:
    with Broker() as broker, connected(broker) as client:
        broker.refuse_connections()
        with pytest.raises(ConnectionRefusedError):
            Raw(broker)
        client.sync()
        broker.accept_connections()
        connected(broker).socket.close()


def test_go_silent_and_speak() -> None:
    with Broker(heartbeat=(0.02, 0.0)) as broker, connected(broker, headers=b"heart-beat:0,20\n") as client:
        assert client.read(1) == b"\n"
        broker.go_silent()
        client.send(SEND)
        with connected_silently(broker) as other:
            broker.wait_for(lambda: broker.connection_count == 2)
            assert client.read_until_silence(0.1).strip(b"\n") == b""
            assert bodies(broker, "/queue/a") == []
            broker.speak()
            assert client.frame().strip(b"\n") == SENT.strip(b"\n")
            assert other.frame().startswith(b"CONNECTED")


def test_a_silent_broker_can_be_stopped() -> None:
    with Broker() as broker, connected(broker), connected_silently(broker):
        broker.go_silent()
        broker.publish("/queue/a", b"x")
        start = time.monotonic()
        broker.stop()
        assert time.monotonic() - start < 0.9


def test_stop_reading_blocks_who_sends() -> None:
    with Broker() as broker, connected(broker) as client:
        broker.stop_reading()
        client.socket.settimeout(0.2)
        piece = b"SEND\ndestination:/queue/a\ncontent-length:1000000\n\n%b\0" % bytes(1_000_000)
        sent = 0
        with suppress(TimeoutError):
            while sent < 100_000_000:
                sent += client.socket.send(piece[sent % len(piece) :])
        assert sent < 100_000_000
        assert broker.depth("/queue/a") == 0
        broker.resume_reading()
        broker.wait_for(lambda: broker.depth("/queue/a") == sent // len(piece))


def test_writing_goes_on_while_reading_is_stopped() -> None:
    with Broker() as broker, connected(broker) as client:
        client.send(b"SUBSCRIBE\nid:s\ndestination:/queue/a\n\n\0")
        client.sync()
        broker.stop_reading()
        broker.publish("/queue/a", b"x")
        assert client.frame().endswith(b"x\0")


def test_answer_late() -> None:
    with Broker() as broker, connected(broker) as client:
        broker.answer_late(60.0, "SEND", connection=2)
        broker.answer_late(60.0, "ABORT")
        client.sync()
        broker.answer_late(0)
        broker.answer_late(0.1, "SEND")
        start = time.monotonic()
        client.send(b"BEGIN\ntransaction:t\n\n\0ABORT\ntransaction:t\n\n\0", SEND)
        client.expect(SENT)
        assert time.monotonic() - start >= 0.1


def test_a_late_broker_can_be_stopped() -> None:
    with Broker() as broker, connected_silently(broker):
        broker.answer_late(60.0)
        start = time.monotonic()
        broker.stop()
        assert time.monotonic() - start < 0.9


@pytest.mark.parametrize("close", [False, True])
@pytest.mark.parametrize("with_receipt_id", [False, True])
def test_error_next(close: bool, with_receipt_id: bool) -> None:
    with Broker() as broker, connected(broker) as client:
        broker.error_next("SEND", "queue full", with_receipt_id=with_receipt_id, close=close)
        client.send(SUBSCRIBE)
        client.expect(SENT)
        client.send(SEND)
        receipt = b"receipt-id:s\n" if with_receipt_id else b""
        client.expect(
            b"ERROR\nmessage:queue full\ncontent-type:text/plain\n%bcontent-length:10\n\nqueue full\0" % receipt
        )
        assert bodies(broker, "/queue/a") == []
        if close:
            client.expect_end()
        else:
            client.sync()


def test_error_instead_of_connected() -> None:
    with Broker() as broker, Raw(broker) as client:
        broker.error_next("CONNECT", "too many")
        client.send(CONNECT.replace(b"CONNECT", b"STOMP"))
        client.expect(b"ERROR\nmessage:too many\n")


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(("drop", "kept"), [("before", []), ("after", [b"x"])])
def test_drop_before_or_after_a_send(drop: str, kept: list[bytes], reset: bool) -> None:
    with Broker() as broker, connected(broker) as client:
        getattr(broker, f"drop_{drop}")("SEND", reset=reset)
        client.send(SUBSCRIBE.replace(b"/queue/a", b"/queue/b"))
        client.expect(SENT)
        client.send(SEND)
        client.expect_reset() if reset else client.expect_end()
        assert bodies(broker, "/queue/a") == kept
        with connected(broker) as again:
            again.send(SEND)
            again.expect(SENT)


@pytest.mark.parametrize(("drop", "kept"), [("before", []), ("after", [b"x"])])
def test_drop_before_or_after_a_commit(drop: str, kept: list[bytes]) -> None:
    with Broker() as broker, connected(broker) as client:
        getattr(broker, f"drop_{drop}")("COMMIT")
        client.send(b"BEGIN\ntransaction:t\n\n\0", SEND.replace(b"\n\n", b"\ntransaction:t\n\n"))
        client.expect(SENT)
        client.send(b"COMMIT\ntransaction:t\nreceipt:c\n\n\0")
        client.expect_end()
        assert bodies(broker, "/queue/a") == kept


def test_what_was_answered_before_the_drop_arrives() -> None:
    with Broker() as broker, connected(broker) as client:
        broker.drop_before("ABORT")
        client.send(SEND * 100, b"BEGIN\ntransaction:t\n\n\0ABORT\ntransaction:t\n\n\0")
        client.expect(SENT * 100)
        client.expect_end()


@pytest.mark.parametrize("drop", ["before", "after"])
def test_drop_at_connect_several_times(drop: str) -> None:
    with Broker() as broker:
        getattr(broker, f"drop_{drop}")("CONNECT", n=2)
        for _ in range(2):
            with Raw(broker) as client:
                client.send(CONNECT)
                client.expect_end()
        connected(broker).socket.close()


def test_a_fault_for_one_connection() -> None:
    with Broker() as broker, connected(broker) as first, connected(broker) as second:
        broker.drop_before("SEND", connection=2)
        first.send(SEND)
        first.expect(SENT)
        second.send(SEND)
        second.expect_end()


def test_accept_and_close() -> None:
    with Broker() as broker:
        broker.accept_and_close(times=2)
        for _ in range(2):
            with Raw(broker) as client:
                client.expect_end()
        connected(broker).socket.close()
        assert broker.connection_count == 3


def test_a_fault_for_ever_ends_when_it_is_cleared() -> None:
    with Broker() as broker:
        broker.connected_then_close(times=None)
        for _ in range(3):
            with connected(broker) as client:
                client.expect_end()
        broker.clear_faults()
        with connected(broker) as client:
            client.sync()


def test_connected_then_close() -> None:
    with Broker() as broker:
        broker.connected_then_close(times=1)
        with connected(broker) as client:
            client.expect_end()
        with connected(broker) as client:
            client.sync()


def test_withheld_receipts_can_be_released() -> None:
    with Broker() as broker, connected(broker) as client:
        broker.withhold_receipts("SEND")
        client.send(SEND, SEND, SUBSCRIBE.replace(b"receipt:s", b"receipt:t"))
        assert client.frame().startswith(b"MESSAGE")
        assert client.frame().startswith(b"MESSAGE")
        client.expect(b"RECEIPT\nreceipt-id:t\n\n\0")
        broker.release_receipts()
        client.expect(SENT, SENT)
        client.sync()


def test_clear_faults() -> None:
    with Broker() as broker, connected(broker) as client:
        broker.drop_before()
        broker.error_next()
        broker.stop_reading()
        broker.go_silent()
        broker.withhold_receipts()
        broker.clear_faults()
        client.sync()


@pytest.mark.parametrize(
    "fault",
    [Broker.drop_connections, Broker.stop, Broker.close, lambda broker: broker.drop_connections(reset=True)],
)
def test_a_writer_that_is_blocked_is_freed(fault: Callable[[Broker], object]) -> None:
    with Broker() as broker, connected(broker) as client:
        client.send(b"SUBSCRIBE\nid:s\ndestination:/queue/a\n\n\0")
        client.sync()
        for _ in range(300):
            broker.publish("/queue/a", bytes(100_000))
        broker.wait_for(lambda: broker.depth("/queue/a") > 0)
        start = time.monotonic()
        fault(broker)
        broker.stop()
        assert time.monotonic() - start < 0.9
        client.read_to_the_end()


@pytest.mark.parametrize(
    "fault",
    [
        lambda broker: broker.drop_after("Send"),
        lambda broker: broker.error_next("send"),
        lambda broker: broker.withhold_receipts("SNED"),
        lambda broker: broker.drop_before("SEND", -1),
        lambda broker: broker.answer_late(-1),
        lambda broker: broker.publish("", "x"),
    ],
)
def test_a_fault_that_could_never_happen_is_refused(fault: Any) -> None:
    with Broker() as broker, pytest.raises(ValueError):
        fault(broker)


@pytest.mark.parametrize("arguments", [{"headers": {"retry": 3}}, {"headers": {"a": None}}, {"body": 5}])
def test_a_message_that_no_client_could_send_is_refused(arguments: dict[str, Any]) -> None:
    with Broker() as broker, pytest.raises(TypeError):
        broker.publish("/queue/a", **arguments)
