"""What a test can see of a broker, and how it waits."""

from __future__ import annotations

import threading
import time

import pytest
from broker_support import connected

from stomplistener import TimedOut
from stomplistener.protocol import HEARTBEAT, Frame
from stomplistener.testing import Broker


def test_publish_and_messages() -> None:
    with Broker() as broker:
        sent = broker.publish("/queue/a", "grüß", {"k": "v"})
        (message,) = broker.messages("/queue/a")
        assert message == sent
        assert (message.text, message.headers["k"], message.destination) == ("grüß", "v", "/queue/a")
        assert (message.id, message.deliveries, message.rejections) == ("m1", 0, 0)
        assert broker.messages("/queue/none") == []
        assert broker.destinations == ["/queue/a"]


def test_clear() -> None:
    with Broker() as broker:
        for destination in "abc":
            broker.publish(destination, destination)
        broker.clear("a")
        assert [broker.depth(destination) for destination in "abc"] == [0, 1, 1]
        broker.clear()
        assert [broker.depth(destination) for destination in "abc"] == [0, 0, 0]


def test_snapshots() -> None:
    with Broker() as broker, connected(broker, headers=b"heart-beat:3000,4000\nlogin:me\n") as client:
        client.send(b"SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client\nselector:a = 'b'\n\n\0")
        client.sync()
        (connection,) = broker.connections
        assert connection == (1, "1.2", "me", None, "session-1", (10.0, 10.0))
        assert broker.subscriptions == [(1, "s", "/queue/a", "client", 1000, 0, "a = 'b'", None)]
        assert broker.connection_count == 1
        assert "1 connections" in repr(broker)


def test_the_log_has_what_was_read_and_written() -> None:
    with Broker() as broker, connected(broker) as client:
        # The first end of line is part of CONNECT, as the specification has it.
        client.send(b"\n\n\nSEND\ndestination:/queue/a\nk\\c:v\nreceipt:1\n\nx\0")
        client.expect(b"RECEIPT\nreceipt-id:1\n\n\0")
        assert broker.frames(command="SEND") == [
            Frame("SEND", [("destination", "/queue/a"), ("k:", "v"), ("receipt", "1")], b"x")
        ]
        assert [frame.command for frame in broker.frames(1)] == ["CONNECT", "SEND"]
        assert broker.frames(2) == []
        assert broker.frames(command="HEARTBEAT") == [HEARTBEAT] * 2
        broker.wait_for(lambda: len(broker.frames(direction="out")) == 2)
        assert [frame.command for frame in broker.frames(direction="out")] == ["CONNECTED", "RECEIPT"]
        ways = [each.direction for each in broker.log if each.frame is not HEARTBEAT]
        assert ways == ["in", "out", "in", "out"]
        times = [each.time for each in broker.log]
        assert times == sorted(times)
        broker.clear_log()
        assert broker.log == []


def test_the_log_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stomplistener.testing.log.MAX_BYTES", 10_000)
    monkeypatch.setattr("stomplistener.testing.log.MAX_FRAMES", 50)
    with Broker() as broker, connected(broker) as client:
        client.send(b"SEND\ndestination:/queue/a\n\nx\0" * 100)
        client.sync()
        assert len(broker.log) == 50
        client.send(b"SEND\ndestination:/queue/a\n\n%b\0" % (b"x" * 6000) * 3)
        client.sync()
        assert sum(len(each.frame.body) for each in broker.log) <= 10_000


def test_wait_for_returns_the_value_as_soon_as_it_is_true() -> None:
    with Broker() as broker:
        threading.Timer(0.1, broker.publish, ["/queue/a", b"x"]).start()
        start = time.monotonic()
        (message,) = broker.wait_for(lambda: broker.messages("/queue/a"))
        assert message.body == b"x"
        assert time.monotonic() - start < 1.0


def test_wait_for_in_vain_shows_the_state() -> None:
    with Broker() as broker, connected(broker):
        broker.publish("/queue/a", b"x")
        with pytest.raises(TimedOut, match=r"expected a miracle within 0\.01 s; .*1 in CONNECT.*") as caught:
            broker.wait_for(lambda: False, 0.01, "a miracle")
        assert "'/queue/a': 1" in str(caught.value)


def test_wait_for_calls_its_condition_without_the_lock() -> None:
    with Broker() as broker:
        done = threading.Event()

        def publish() -> None:
            broker.publish("/queue/a")
            done.set()

        def condition() -> bool:
            threading.Thread(target=publish).start()
            return done.wait(2.0)

        assert broker.wait_for(condition)
