"""Heart-beats of the broker, and what it makes of a client that gives none."""

from __future__ import annotations

import time

from broker_support import Raw, connected

from stomplistener.testing import Broker


def test_beats_come_when_nothing_else_is_sent() -> None:
    with Broker(heartbeat=(0.02, 0.0)) as broker, connected(broker, headers=b"heart-beat:0,50\n") as client:
        start = time.monotonic()
        assert client.read(4) == b"\n" * 4
        # Four beats of a 50 ms promise, each kept somewhat early.
        assert 0.1 < time.monotonic() - start < 3.0
        assert broker.connections[0].heartbeat == (0.05, 0.0)
        assert len(broker.frames(command="HEARTBEAT", direction="out")) >= 4


def test_no_beats_where_one_side_wants_none() -> None:
    with Broker(heartbeat=(0.02, 0.02)) as broker, connected(broker, headers=b"heart-beat:0,0\n") as client:
        client.socket.settimeout(0.1)
        try:
            got = client.socket.recv(1)
        except TimeoutError:
            got = b""
        assert got == b""
        assert len(broker.connections) == 1


def test_1_0_has_no_beats() -> None:
    with Broker(heartbeat=(0.02, 0.02)) as broker, connected(broker, b"1.0", b"heart-beat:20,20\n"):
        assert broker.connections[0].heartbeat == (0.0, 0.0)


def test_a_client_that_falls_silent_is_dropped() -> None:
    with Broker(heartbeat=(0.0, 0.04)) as broker, connected(broker, headers=b"heart-beat:10,0\n") as client:
        start = time.monotonic()
        client.expect_end()
        assert 0.06 < time.monotonic() - start < 3.0
        assert broker.connections == []


def test_a_client_that_beats_is_not() -> None:
    with Broker(heartbeat=(0.0, 0.2)) as broker, connected(broker, headers=b"heart-beat:10,0\n") as client:
        for _ in range(12):
            client.send(b"\n")
            time.sleep(0.05)
        client.sync()


def test_a_tolerant_timeout_does_not_cut_a_blocked_write() -> None:
    with Broker(heartbeat=(0.0, 0.2)) as broker, Raw(broker) as client:
        client.send(b"CONNECT\naccept-version:1.2\nhost:a\nheart-beat:200,0\n\n\0")
        assert client.frame().startswith(b"CONNECTED")
        client.send(b"SUBSCRIBE\nid:s\ndestination:/queue/a\n\n\0")
        body = bytes(20_000_000)
        broker.publish("/queue/a", body)
        head = b"MESSAGE\nsubscription:s\nmessage-id:m1\ndestination:/queue/a\ncontent-length:20000000\n\n"
        client.expect(head)
        for _ in range(12):
            time.sleep(0.05)
            client.send(b"\n")
        assert client.read(len(body) + 1) == body + b"\0"
