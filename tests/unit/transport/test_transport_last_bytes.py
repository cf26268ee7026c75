"""What had arrived is received, however the connection broke: on TCP, TLS, WebSocket, and WebSocket over TLS."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest
from transport_pairs import SCHEMES, Certificate, Peer, connected_by
from transport_servers import Background, eventually

from stomplistener.transport import Transport

fcntl = pytest.importorskip("fcntl")
termios = pytest.importorskip("termios")
pytest.importorskip("websockets")
if sys.platform != "linux":
    pytest.skip("other platforms drop what came before a reset", allow_module_level=True)

RECEIPTS = b"".join(b"RECEIPT\nreceipt-id:%d\n\n\0" % number for number in range(3000))
ERROR = b"ERROR\nmessage:that is why\n\n\0"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(params=SCHEMES)
def pair(request: pytest.FixtureRequest, certificate: Certificate) -> Iterator[tuple[Transport, Peer]]:
    with connected_by(request.param, certificate) as both:
        yield both


def to_the_end(transport: Transport) -> bytes:
    """All that is received before the end, or an error of the socket."""
    received = b""
    with suppress(ConnectionError):
        while data := transport.receive():
            received += data
    return received


def send_until_it_fails(transport: Transport) -> None:
    def send_on() -> None:
        while True:
            transport.send(b"SEND\ndestination:/queue/a\n\n\0")

    with pytest.raises(OSError):
        send_on()


def has_arrived(peer: Peer) -> bool:
    """Whether our kernel has all of it: nothing that the peer does can take any of it back."""
    unacknowledged = fcntl.ioctl(peer.sock.fileno(), termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(unacknowledged, sys.byteorder) == 0


def send_all(peer: Peer) -> None:
    """Send both, and wait until our kernel has them."""
    peer.send(RECEIPTS)
    peer.send(ERROR)
    eventually(lambda: has_arrived(peer))


def test_after_our_shutdown(pair: tuple[Transport, Peer]) -> None:
    transport, peer = pair
    send_all(peer)
    transport.shutdown()
    assert to_the_end(transport) == RECEIPTS + ERROR
    assert transport.receive() == b""


def test_after_our_shutdown_in_the_middle(pair: tuple[Transport, Peer]) -> None:
    transport, peer = pair
    send_all(peer)
    first = transport.receive()
    transport.shutdown()
    assert first + to_the_end(transport) == RECEIPTS + ERROR


def test_after_the_peer_closed_and_a_send_failed(pair: tuple[Transport, Peer]) -> None:
    transport, peer = pair
    peer.send(RECEIPTS)
    peer.send(ERROR)
    peer.end()
    eventually(lambda: has_arrived(peer))
    peer.sock.close()
    send_until_it_fails(transport)
    assert to_the_end(transport) == RECEIPTS + ERROR


def test_after_the_peer_reset_and_a_send_failed(pair: tuple[Transport, Peer]) -> None:
    transport, peer = pair
    send_all(peer)
    peer.reset()
    send_until_it_fails(transport)
    transport.shutdown()
    assert to_the_end(transport) == RECEIPTS + ERROR


def test_after_the_peer_reset_while_nothing_is_sent(pair: tuple[Transport, Peer]) -> None:
    transport, peer = pair
    send_all(peer)
    peer.reset()
    assert to_the_end(transport) == RECEIPTS + ERROR


def test_a_shutdown_frees_who_waits_in_every_layer(pair: tuple[Transport, Peer]) -> None:
    transport, _ = pair
    receiving = Background(to_the_end, transport)
    sending = Background(send_until_it_fails, transport)
    eventually(lambda: not transport.send_nowait(b"\n"))
    transport.shutdown()
    assert receiving.result() == b""
    sending.result()
