"""Bytes that were taken and have not left: no byte is lost, doubled or out of order, and none lies forever."""

from __future__ import annotations

import random
import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from transport_pairs import SCHEMES, Certificate, Peer, connected_by
from transport_servers import Background, eventually

from stomplistener.transport import Transport
from stomplistener.transport.base import FEW, Owing

pytest.importorskip("websockets")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(params=SCHEMES)
def narrow(request: pytest.FixtureRequest, certificate: Certificate) -> Iterator[tuple[Transport, Peer]]:
    """A pair with so little room that the kernel often takes a part."""
    with connected_by(request.param, certificate) as (transport, peer):
        bottom(transport).setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        yield transport, peer


def owes(transport: Transport) -> bool:
    assert isinstance(transport, Owing)
    return bool(transport.owes)


def send_all(transport: Transport, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[transport.send(view) :]


def until_it_owes(transport: Transport, peer: Peer) -> tuple[bytes, bytes]:
    """Send until the kernel took only a part, and has no room for the rest: what was taken, and what the peer read."""
    taken, read = b"", b""
    for number in range(10_000):
        if owes(transport) and not has_room(transport):
            return taken, read
        if owes(transport):
            assert transport.send(b"") == 0
        data = b"%08d" % number * 500
        if transport.send_nowait(data):
            taken += data
        elif not owes(transport):
            # The kernel is full to the last byte.
            read += peer.sock.recv(5000)
    raise AssertionError("this peer reads")


def bottom(transport: Any) -> socket.socket:
    while hasattr(transport, "_inner"):
        transport = transport._inner
    sock: socket.socket = transport._sock
    return sock


def has_room(transport: Transport) -> bool:
    return bool(select.select([], [bottom(transport)], [], 0.05)[1])


@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_calls(narrow: tuple[Transport, Peer], seed: int) -> None:
    transport, peer = narrow
    dice = random.Random(seed)
    gathering = Background(peer.gather)
    sent = []
    for number in range(400):
        data = (b"%06d," % number) * dice.randint(1, FEW // 3)
        if dice.random() < 0.7:
            if transport.send_nowait(data):
                sent.append(data)
        else:
            send_all(transport, data)
            sent.append(data)
    assert transport.send(b"") == 0
    assert not owes(transport)
    transport.shutdown()
    assert gathering.result() == b"".join(sent)


def test_what_is_owed_is_known_and_can_be_waited_for(narrow: tuple[Transport, Peer]) -> None:
    transport, peer = narrow
    taken, read = until_it_owes(transport, peer)
    assert owes(transport)
    gathering = Background(peer.gather)
    assert transport.send(b"") == 0
    assert not owes(transport)
    transport.shutdown()
    assert read + gathering.result() == taken


def test_the_reader_sends_what_is_owed(narrow: tuple[Transport, Peer]) -> None:
    transport, peer = narrow
    taken, read = until_it_owes(transport, peer)
    gathering = Background(peer.gather)

    def receive_until_nothing_is_owed() -> bool:
        peer.send(b"\n")
        assert transport.receive()
        return not owes(transport)

    eventually(receive_until_nothing_is_owed)
    transport.shutdown()
    assert read + gathering.result() == taken


def test_more_than_a_few_bytes_are_not_taken_in_part_by_a_layer(certificate: Certificate) -> None:
    for scheme in "ssl", "ws", "wss":
        with connected_by(scheme, certificate) as (transport, _):
            assert not transport.send_nowait(bytes(FEW + 1))
            assert transport.send_nowait(bytes(FEW))
