"""Each kind of peer that is no broker, or a broken one, from the first byte: what connect() says, and what it costs."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import trustme
from hostile_servers import CONNECTED, Peer, Script, Server, good, memory_below, nothing_left

from stomplistener import ConnectFailed, Connection, Limits, StompError

MIB = 1024 * 1024
LIMITS = Limits(
    max_header_line=4096, max_headers=50, max_header_bytes=16384, max_body=MIB, max_pending_bytes=MIB, frame_timeout=0.3
)
BOUND = 8 * MIB
"""What one hostile peer may cost under these limits: a body in pieces grows by an eighth at a time and may be held
twice for a moment, 64 KiB are read at once, and a chunk of the smallest frames is 6,500 objects.
Measured: 0.2 to 2.2 MiB.
"""


def junk(peer: Peer) -> None:
    peer.say(bytes(range(255, 0, -1)) * 100)
    peer.wait()


def http_server(peer: Peer) -> None:
    peer.sock.recv(1)
    peer.say(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html></html>")


def ssh_server(peer: Peer) -> None:
    peer.say(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
    peer.wait()


def tls_server(peer: Peer) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    # OpenSSL knows the word CONNECT, as a proxy's, and closes without an alert.
    context.wrap_socket(peer.sock.dup(), server_side=True).close()


def tls_alert(peer: Peer) -> None:
    peer.sock.recv(1)
    peer.say(b"\x15\x03\x01\x00\x02\x02\x46")


def endless_headers(peer: Peer) -> None:
    peer.say(b"CONNECTED\n")
    peer.flood(b"a:b\n" * 1000)


def endless_header_line(peer: Peer) -> None:
    peer.say(b"CONNECTED\nname:")
    peer.flood(b"x" * 65536)


def too_many_headers(peer: Peer) -> None:
    peer.say(b"CONNECTED\n" + b"a:b\n" * 51 + b"\n\0")
    peer.wait()


def too_many_header_bytes(peer: Peer) -> None:
    peer.say(b"CONNECTED\n" + b"".join(b"h%d:%b\n" % (n, b"x" * 4000) for n in range(5)) + b"\n\0")
    peer.wait()


def slow_drip(peer: Peer) -> None:
    peer.drip(b"CONNECTED\nversion:" + b"1" * 1000)


def huge_content_length(peer: Peer) -> None:
    peer.say(b"ERROR\ncontent-length:99999999999\n\nhello")
    peer.wait()


def negative_content_length(peer: Peer) -> None:
    peer.say(b"ERROR\ncontent-length:-1\n\nhello\0")
    peer.wait()


def false_content_length(peer: Peer) -> None:
    peer.say(b"ERROR\ncontent-length:3\n\nhello\0")
    peer.wait()


def endless_body(peer: Peer) -> None:
    peer.say(b"ERROR\n\n")
    peer.flood(b"x" * 65536)


def nul_storm(peer: Peer) -> None:
    peer.flood(b"\0" * 65536)


def tiny_frames(peer: Peer) -> None:
    peer.flood(b"RECEIPT\n\n\0" * 5000)


def eol_flood(peer: Peer) -> None:
    peer.flood(b"\n" * 65536)


def error_to_every_connect(peer: Peer) -> None:
    peer.frame()
    peer.say(b"ERROR\nmessage:go away\n\n" + b"never " * 1000 + b"\0")


def message_first(peer: Peer) -> None:
    peer.say(b"MESSAGE\nsubscription:1\nmessage-id:1\ndestination:/queue/a\n\nhello\0")
    peer.wait()


def receipt_first(peer: Peer) -> None:
    peer.say(b"RECEIPT\nreceipt-id:1\n\n\0")
    peer.wait()


def clients_frame(peer: Peer) -> None:
    peer.say(b"SEND\ndestination:/queue/a\n\n\0")
    peer.wait()


def version_not_offered(peer: Peer) -> None:
    peer.welcome(b"CONNECTED\nversion:3.0\n\n\0")
    peer.wait()


def heart_beat(value: bytes) -> Script:
    def script(peer: Peer) -> None:
        peer.welcome(b"CONNECTED\nversion:1.2\nheart-beat:%b\n\n\0" % value)
        peer.wait()

    return script


def half_a_frame(peer: Peer) -> None:
    peer.frame()
    peer.say(CONNECTED[:20])


def closes_at_once(peer: Peer) -> None:
    pass


def resets(peer: Peer) -> None:
    peer.sock.recv(1)
    peer.say(CONNECTED[:20])
    peer.reset()


def silent(peer: Peer) -> None:
    peer.wait()


class Kind(NamedTuple):
    """A peer, and what has to be said of it."""

    script: Script
    says: str


UNKNOWN = "begins with an unknown command: "
KINDS = {
    "junk at once": Kind(junk, re.escape(UNKNOWN) + r"b'\\xff"),
    "HTTP server": Kind(http_server, "this port speaks HTTP"),
    "SSH server": Kind(ssh_server, "this port speaks SSH"),
    "TLS server behind tcp": Kind(tls_server, "closed the connection|reset by peer|Broken pipe"),
    "TLS server that sends an alert": Kind(tls_alert, "this port speaks TLS"),
    "endless headers": Kind(endless_headers, r"Limits\.max_header"),
    "endless header line": Kind(endless_header_line, r"Limits\.max_header"),
    "too many headers": Kind(too_many_headers, r"Limits\.max_headers = 50"),
    "too many header bytes": Kind(too_many_header_bytes, r"Limits\.max_header_bytes = 16,384"),
    "slow drip": Kind(slow_drip, r"not complete 0\.3 s after its first byte"),
    "huge content-length": Kind(huge_content_length, r"Limits\.max_body = 1,048,576"),
    "negative content-length": Kind(negative_content_length, "refused the login: hello"),
    "false content-length": Kind(false_content_length, "refused the login: hello"),
    "endless body": Kind(endless_body, r"Limits\.max_body = 1,048,576"),
    "NUL storm": Kind(nul_storm, re.escape(UNKNOWN) + r"b'\\x00"),
    "millions of tiny frames": Kind(tiny_frames, "answered CONNECT with RECEIPT"),
    "heart-beat storm": Kind(eol_flood, "no answer to CONNECT within"),
    "ERROR to every CONNECT": Kind(error_to_every_connect, "go away: never never.*…$"),
    "MESSAGE before CONNECTED": Kind(message_first, "answered CONNECT with MESSAGE"),
    "RECEIPT before CONNECTED": Kind(receipt_first, "answered CONNECT with RECEIPT"),
    "a frame of clients": Kind(clients_frame, "answered CONNECT with SEND"),
    "a version not offered": Kind(version_not_offered, r"chose STOMP '3\.0'; offered were 1\.0, 1\.1, 1\.2"),
    "negative heart-beats": Kind(heart_beat(b"-1,-1"), "not two numbers of milliseconds: b'-1,-1'"),
    "heart-beats that are no numbers": Kind(heart_beat(b"soon,\xc2\xb2"), "not two numbers of milliseconds"),
    "giant heart-beats": Kind(heart_beat(b"9" * 400 + b",1"), "not two numbers of milliseconds"),
    "half a frame, then the end": Kind(half_a_frame, "closed the connection instead of answering CONNECT"),
    "accepts and closes": Kind(closes_at_once, "closed the connection|reset by peer|Broken pipe"),
    "RST": Kind(resets, "reset by peer|Broken pipe|closed the connection"),
    "silence": Kind(silent, "no answer to CONNECT within"),
}


@pytest.fixture(params=[*KINDS.values()], ids=[*KINDS])
def kind(request: pytest.FixtureRequest) -> Kind:
    value: Kind = request.param
    return value


@pytest.fixture(autouse=True)
def _leaves_nothing() -> Iterator[None]:
    with nothing_left():
        yield


def test_connect_says_what_it_saw_shortened_and_costs_little(kind: Kind) -> None:
    with Server(kind.script) as bad, memory_below(BOUND):
        connection = Connection(f"{bad.uri}?connectionTimeout=700", "guest", "secret", limits=LIMITS)
        with pytest.raises(ConnectFailed, match=kind.says) as caught:
            connection.connect(timeout=5)
        assert len(str(caught.value)) < 700
        assert str(caught.value).isprintable()
        [(broker, error)] = caught.value.attempts
        assert broker.startswith(bad.uri)
        assert isinstance(error, (StompError, OSError))


def test_the_next_broker_of_a_failover_is_reached(kind: Kind) -> None:
    began = time.monotonic()
    with Server(kind.script) as bad, Server(good) as fine:
        uri = f"failover:({bad.uri},{fine.uri})?randomize=false&nested.connectionTimeout=500"
        with Connection(uri, limits=LIMITS) as connection:
            assert connection.is_connected
            connection.send("/queue/a", "text", confirm=True, timeout=5)
            assert bad.connections == 1
    assert time.monotonic() - began < 5
