"""Brokers that welcome the client and misbehave then: what it costs, and that the next broker is reached."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

import pytest
from hostile_servers import (
    Peer,
    Script,
    Server,
    cpu_below,
    eventually,
    good,
    memory_below,
    nothing_left,
)

from stomplistener import Connection, Limits, Message, StompError

MIB = 1024 * 1024
LIMITS = Limits(
    max_header_line=4096, max_headers=50, max_header_bytes=16384, max_body=MIB, max_pending_bytes=MIB, frame_timeout=0.3
)
BOUND = 8 * MIB
"""As at connecting, and the hand-off: 1 MiB of bodies and 1,000 messages, past which one more chunk may be read."""
BOUND_AWAITING = 48 * MIB
"""While a thread awaits an answer that may lie behind them, 100,000 messages more may be read, here of 200 bytes each
and handled or not; and what one chunk of 256 KiB decodes to."""


def after_welcome(misbehave: Script) -> Script:
    def script(peer: Peer) -> None:
        peer.welcome()
        misbehave(peer)

    return script


def junk(peer: Peer) -> None:
    peer.flood(b"junk" * 1000)


def endless_headers(peer: Peer) -> None:
    peer.say(b"MESSAGE\n")
    peer.flood(b"a:b\n" * 1000)


def endless_header_line(peer: Peer) -> None:
    peer.say(b"MESSAGE\na:")
    peer.flood(b"x" * 65536)


def slow_drip(peer: Peer) -> None:
    peer.drip(b"MESSAGE\nsubscription:1\n\n" + b"x" * 1000)


def huge_content_length(peer: Peer) -> None:
    peer.say(b"MESSAGE\nsubscription:1\ncontent-length:99999999999\n\nhello")
    peer.wait()


def endless_body(peer: Peer) -> None:
    peer.say(b"MESSAGE\nsubscription:1\n\n")
    peer.flood(b"x" * 65536)


def nul_storm(peer: Peer) -> None:
    peer.flood(b"\0" * 65536)


def no_end(peer: Peer) -> None:
    peer.say(b"MESSAGE\nsubscription:1\ncontent-length:3\n\n\0hello\0")
    peer.wait()


def clients_frame(peer: Peer) -> None:
    peer.say(b"SEND\ndestination:/queue/a\n\n\0")
    peer.wait()


def half_a_frame(peer: Peer) -> None:
    peer.say(b"MESSAGE\nsubscription:1\n\nhel")


def resets(peer: Peer) -> None:
    peer.say(b"MESSAGE\nsubscription:1\n\nhel")
    peer.reset()


def throws_out(peer: Peer) -> None:
    peer.say(b"ERROR\nmessage:out\n\n\0")


class Kind(NamedTuple):
    """What the broker does to its first connection, and what the client says of the end."""

    script: Script
    says: str


KINDS = {
    "junk": Kind(junk, "begins with an unknown command"),
    "endless headers": Kind(endless_headers, "Limits.max_header"),
    "endless header line": Kind(endless_header_line, "Limits.max_header"),
    "slow drip": Kind(slow_drip, "not complete 0.3 s after its first byte"),
    "huge content-length": Kind(huge_content_length, "Limits.max_body"),
    "endless body": Kind(endless_body, "Limits.max_body"),
    "NUL storm": Kind(nul_storm, "begins with an unknown command"),
    "no end": Kind(no_end, "no NUL follows its body"),
    "a frame of clients": Kind(clients_frame, "a client's frame"),
    "half a frame, then the end": Kind(half_a_frame, "closed the connection"),
    "RST in the middle of a frame": Kind(resets, ""),
    "welcomes and throws out": Kind(throws_out, "out"),
}


@pytest.fixture(params=[*KINDS.values()], ids=[*KINDS])
def kind(request: pytest.FixtureRequest) -> Kind:
    value: Kind = request.param
    return value


@pytest.fixture(autouse=True)
def _leaves_nothing() -> Iterator[None]:
    with nothing_left():
        yield


def test_the_next_broker_is_reached_at_little_cost(kind: Kind) -> None:
    with Server(after_welcome(kind.script)) as bad, Server(good) as fine, memory_below(BOUND):
        uri = f"failover:({bad.uri},{fine.uri})?randomize=false"
        with Connection(uri, limits=LIMITS, heartbeat=(0, 0)) as connection:
            eventually(lambda: connection.is_connected and connection.session.broker == fine.uri, "the other broker")
            connection.send("/queue/a", "text", confirm=True, timeout=5)
            assert fine.connections == 1


def test_without_reconnecting_the_end_is_told(kind: Kind) -> None:
    with Server(after_welcome(kind.script)) as bad:
        connection = Connection(bad.uri, limits=LIMITS, reconnect=False, heartbeat=(0, 0))
        with suppress(StompError):
            # Some are quicker than connect() itself, and then it is connect() that raises.
            connection.connect(timeout=5)
        assert connection.wait(5)
        with pytest.raises(StompError) as caught:
            connection.send("/queue/a", "text")
        assert kind.says in str(caught.value)
        assert len(str(caught.value)) < 700
        connection.close()


# Loops: a broker that is there and of no use must not keep the processor busy


def test_a_broker_that_welcomes_and_throws_out_is_left_alone_for_longer_and_longer() -> None:
    with Server(after_welcome(throws_out)) as bad, memory_below(BOUND):
        with Connection(f"failover:({bad.uri})", heartbeat=(0, 0)) as connection:
            with cpu_below(0.6):
                eventually(lambda: bad.connections >= 5, "some tries")
                connection.wait(1.0)
            # The delays double from 10 ms on: 5 tries and another second's worth, not hundreds.
            assert bad.connections < 30


def test_a_broker_that_answers_every_connect_with_error_is_not_asked_for_ever() -> None:
    def refuses(peer: Peer) -> None:
        peer.frame()
        peer.say(b"ERROR\nmessage:no\n\n\0")

    with Server(refuses) as bad, cpu_below(0.6):
        connection = Connection(f"failover:({bad.uri})")
        with pytest.raises(StompError, match="no"):
            connection.connect(timeout=5)
        assert bad.connections == 1


def test_a_broker_that_accepts_and_closes_is_tried_ever_more_rarely() -> None:
    with Server(lambda peer: None) as bad:
        connection = Connection(f"failover:({bad.uri})")
        with cpu_below(0.6), pytest.raises(StompError, match="after 1"):
            connection.connect(timeout=1.0)
        assert bad.connections < 20


# Storms: not against the rules as such, so the connection lives; it must stay of use, and memory bounded


def storm(data: bytes, read: Callable[[], int]) -> Script:
    """A broker that answers receipts, between floods.

    Args:
        data: what it says again and again.
        read: how many bytes the client has read.
    """

    def script(peer: Peer) -> None:
        peer.welcome()
        said = 0
        while not peer.stopping.is_set():
            # Not faster than the client reads, which is slow while its memory is traced: an answer must not wait behind
            # all that two sockets can hold.
            if said - read() < MIB:
                peer.say(data)
                said += len(data)
            peer.stopping.wait(0.001)
            if select.select([peer.sock], [], [], 0)[0]:
                peer.answer()

    return script


STORMS = {
    "heart-beats": b"\n" * 1000,
    "RECEIPTs nobody asked for": b"RECEIPT\nreceipt-id:nobody-asked\n\n\0" * 50,
    "frames for unknown subscriptions": b"MESSAGE\nsubscription:?\nmessage-id:1\ndestination:/q\n\nx\0" * 100,
    "millions of tiny frames": b"MESSAGE\n\n\0" * 500,
}


@pytest.mark.parametrize("data", STORMS.values(), ids=STORMS.keys())
def test_the_connection_is_of_use_in_a_storm(data: bytes) -> None:
    heard = threading.Event()

    def listener(message: Message) -> None:
        assert message.subscription is None
        heard.set()

    bound = BOUND_AWAITING if b"MESSAGE" in data else BOUND
    with Server(storm(data, lambda: connection.statistics().bytes_received)) as bad, memory_below(bound):
        connection = Connection(bad.uri, limits=LIMITS, heartbeat=(0, 0))
        with connection:
            connection.add_listener(listener)
            connection.send("/queue/a", "text", confirm=True, timeout=25)
            eventually(lambda: connection.statistics().bytes_received > MIB // 4, "a storm")
            connection.send("/queue/a", "text", confirm=True, timeout=25)
            assert b"MESSAGE" not in data or heard.wait(5)
            connection.close()


def test_a_storm_of_messages_waits_outside_while_the_listener_is_busy() -> None:
    begun, release = threading.Event(), threading.Event()

    def slow(message: Message) -> None:
        begun.set()
        release.wait(20)

    message = b"MESSAGE\nsubscription:1\nmessage-id:1\ndestination:/q\ncontent-length:1000\n\n%b\0" % (b"x" * 1000)
    with Server(storm(message * 10, lambda: connection.statistics().bytes_received)) as bad, memory_below(BOUND):
        connection = Connection(bad.uri, limits=LIMITS, heartbeat=(0, 0))
        connection.add_listener(slow)
        connection.connect()
        try:
            assert begun.wait(5)
            # 1 MiB of headers and bodies comes before 1,000 messages.
            eventually(lambda: connection.statistics().pending_bytes >= MIB, "the bound")
            received = connection.statistics().bytes_received
            with cpu_below(0.3):
                assert not connection.wait(0.5)
            statistics = connection.statistics()
            assert statistics.bytes_received <= received + 65536
            # One chunk of 64 KiB may come on top of the bound.
            assert statistics.pending_bytes <= MIB + 65536
        finally:
            release.set()
            connection.close()


def test_a_broker_that_never_reads_ends_with_its_connection() -> None:
    def deaf(peer: Peer) -> None:
        peer.welcome()
        peer.wait()

    with Server(deaf) as bad, memory_below(5 * BOUND):
        connection = Connection(bad.uri, heartbeat=(0, 0)).connect()
        raised: list[Exception] = []

        def send() -> None:
            try:
                for _ in range(100):
                    connection.send("/queue/a", b"x" * MIB)
            except StompError as error:
                raised.append(error)

        sender = threading.Thread(target=send)
        sender.start()
        with cpu_below(0.5):
            # Full once nothing more goes into the socket.
            eventually(lambda: connection.statistics().bytes_sent > MIB, "that it is full")
            sender.join(0.5)
            assert sender.is_alive()
            connection.close()
        sender.join(5)
        assert raised
