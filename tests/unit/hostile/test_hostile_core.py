"""What hostile brokers could do to the core, each by name."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress

import pytest
from hostile_servers import CONNECTED, Peer, Server, eventually, good, memory_below

from stomplistener import BrokerError, ConnectFailed, Connection, Limits, Listener, StompError

MIB = 1024 * 1024


def deaf(peer: Peer) -> None:
    peer.welcome()
    peer.wait()


def test_send_timeout() -> None:
    with Server(deaf) as bad:
        connection = Connection(bad.uri, heartbeat=(0, 0)).connect()
        closer = threading.Timer(4, connection.close)
        closer.start()
        began = time.monotonic()
        try:
            with pytest.raises(StompError):  # noqa: PT012 - which send it is depends on the buffers
                for _ in range(100):
                    connection.send("/queue/a", b"x" * MIB, timeout=0.5)
            assert time.monotonic() - began < 3
        finally:
            closer.join()


def test_disconnect_timeout() -> None:
    with Server(deaf) as bad:
        connection = Connection(bad.uri, heartbeat=(0, 0)).connect()
        # It may raise or not: 20 MiB may lie in the outbox when the connection is closed.
        sender = threading.Thread(target=lambda: connection.send("/q", b"x" * 20 * MIB, timeout=5))
        sender.start()
        closer = threading.Timer(5, connection.close)
        closer.start()
        time.sleep(0.3)
        began = time.monotonic()
        connection.disconnect(timeout=0.5)
        took = time.monotonic() - began
        closer.join()
        sender.join()
        assert took < 2


class Beats(Listener):
    def __init__(self) -> None:
        self.heard = 0
        self.go = threading.Event()

    def on_heartbeat(self) -> None:
        self.go.wait(10)
        self.heard += 1


def test_events_unbounded() -> None:
    def flood(peer: Peer) -> None:
        peer.welcome()
        peer.flood(b"\n" * 1000)

    beats = Beats()
    with Server(flood) as bad, memory_below(8 * MIB):
        connection = Connection(bad.uri, heartbeat=(0, 0))
        connection.add_listener(beats)
        connection.connect()
        connection.wait(2)
        beats.go.set()
        connection.close()


def test_giant_heartbeat() -> None:
    giant = b"9" * 18

    def script(peer: Peer) -> None:
        peer.welcome(b"CONNECTED\nversion:1.2\nheart-beat:%b,%b\n\n\0" % (giant, giant))
        peer.serve()

    failures: list[object] = []
    former, threading.excepthook = threading.excepthook, failures.append
    try:
        with Server(script) as bad, Connection(bad.uri, heartbeat=(1, 1)) as connection:
            connection.send("/queue/a", "x", confirm=True, timeout=5)
            eventually(lambda: failures or any(t.name == "stomplistener-timer" for t in threading.enumerate()), "timer")
            time.sleep(0.2)
    finally:
        threading.excepthook = former
    assert not failures, failures


def test_pending_headers() -> None:
    big = b"MESSAGE\nsubscription:1\nh:%b\n\nx\0" % (b"x" * 60000)

    def flood(peer: Peer) -> None:
        peer.welcome()
        peer.flood(big)

    go = threading.Event()
    with Server(flood) as bad, memory_below(16 * MIB):
        connection = Connection(bad.uri, heartbeat=(0, 0), limits=Limits(max_pending_bytes=MIB))
        connection.add_listener(lambda message: go.wait(10))
        connection.connect()
        connection.wait(2)
        go.set()
        connection.close()


def test_replay_unbounded() -> None:
    def flood(peer: Peer) -> None:
        peer.welcome()
        peer.flood(b"MESSAGE\nsubscription:s\nmessage-id:1\n\n%b\0" % (b"x" * 50000))

    with Server(flood) as bad, memory_below(100 * MIB):
        connection = Connection(
            bad.uri + "?connectionTimeout=1500", heartbeat=(0, 0), limits=Limits(max_pending_bytes=MIB)
        )
        go = threading.Event()
        connection.subscribe("/queue/a", lambda message: go.wait(10), id="s")
        # 64 MiB is how far the bound may be exceeded while the replay waits for receipts. Whether that counts as
        # a connection is the peer's word; the memory is what must hold.
        with suppress(StompError):
            connection.connect(timeout=5)
        go.set()
        connection.close()


def test_before_connect_raises() -> None:
    def fetch(options: object) -> None:
        raise RuntimeError("the token server is down")

    with Server(good) as fine:
        connection = Connection(fine.uri, before_connect=fetch)
        with pytest.raises(ConnectFailed, match="token server"):
            connection.connect(timeout=5)


def test_replay_invalid_header() -> None:
    def old(peer: Peer) -> None:
        peer.welcome(b"CONNECTED\nversion:1.0\n\n\0")
        peer.serve()

    with Server(old) as broker:
        connection = Connection(broker.uri)
        bad = connection.subscribe("/queue/a\nb", id="bad")
        fine = connection.subscribe("/queue/b", id="fine")
        with pytest.raises(ValueError, match="line feed"):
            connection.connect(timeout=5)
        assert connection.is_connected
        assert fine.state.value == "active"
        with pytest.raises(ValueError):
            bad.wait_active(1)
        assert bad.state.value == "rejected"
        connection.close()


def test_owed_invalid_header() -> None:
    def first_new_then_old(peer: Peer) -> None:
        if peer.number == 1:
            peer.welcome()
            peer.frame()
            return
        peer.welcome(b"CONNECTED\nversion:1.0\n\n\0")
        peer.serve()

    with Server(first_new_then_old) as broker, Connection(f"failover:({broker.uri})", heartbeat=(0, 0)) as connection:
        bad = connection.send_async("/queue/a", b"", {"name": "two\nlines"})
        fine = connection.send_async("/queue/a", b"")
        assert fine.result(5).command == "RECEIPT"
        with pytest.raises(ValueError):
            bad.result(5)


def test_second_connected() -> None:
    def script(peer: Peer) -> None:
        peer.welcome(CONNECTED + b"CONNECTED\nversion:1.0\n\n\0" + b"MESSAGE\nname:a\\cb\n\n\0")
        peer.serve()

    with Server(script) as bad:
        with pytest.raises(ConnectFailed, match="CONNECTED a second time"):
            Connection(bad.uri, heartbeat=(0, 0), reconnect=False).connect()


def test_error_echoes_passcode(caplog: pytest.LogCaptureFixture) -> None:
    def script(peer: Peer) -> None:
        frame = peer.frame()
        peer.say(b"ERROR\nmessage:bad passcode s3cr3t-passcode\n\nyou said " + frame + b"\0")

    caplog.set_level(logging.DEBUG)
    with Server(script) as bad:
        connection = Connection(bad.uri, "guest", "s3cr3t-passcode")
        with pytest.raises(ConnectFailed) as caught:
            connection.connect(timeout=5)
        error = caught.value.attempts[0][1]
        assert isinstance(error, BrokerError)
        for text in (str(caught.value), repr(caught.value), repr(error), repr(error.frame), caplog.text):
            assert "s3cr3t" not in text


def test_error_text_forges_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.say(b"ERROR\nmessage:no\\nCRITICAL root: forged\x1b[2J\n\n\0")

    with Server(script) as bad:
        connection = Connection(bad.uri, reconnect=False, heartbeat=(0, 0))
        with suppress(StompError):
            # The end may be quicker than connect() itself.
            connection.connect()
        assert connection.wait(5)
        connection.close()
    assert all(record.getMessage().isprintable() for record in caplog.records)


def test_version_shortened() -> None:
    def script(peer: Peer) -> None:
        peer.welcome(b"CONNECTED\nversion:%b\n\n\0" % (b"9" * 60000))
        peer.wait()

    with Server(script) as bad:
        with pytest.raises(ConnectFailed) as caught:
            Connection(bad.uri).connect(timeout=5)
        assert len(str(caught.value)) < 1000


def test_stalled_frame() -> None:
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.say(b"MESSAGE\nsubscription:1\n\nhel")
        peer.wait()

    with Server(script) as bad:
        connection = Connection(bad.uri, reconnect=False, heartbeat=(0, 0), limits=Limits(frame_timeout=0.3)).connect()
        try:
            assert connection.wait(3), "half a frame, and nothing more: the connection lives on forever"
        finally:
            connection.close()


def test_error_flood(caplog: pytest.LogCaptureFixture) -> None:
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.flood(b"ERROR\nmessage:no\n\n\0" * 100)

    with Server(script) as bad:
        connection = Connection(bad.uri, reconnect=False, heartbeat=(0, 0)).connect()
        connection.wait(1)
        connection.close()
    assert len(caplog.records) < 100
