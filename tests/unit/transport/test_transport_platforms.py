"""The socket on platforms that this machine is not: each difference is simulated."""

from __future__ import annotations

import math
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from transport_servers import SOON, Background, eventually, listening

from stomplistener.transport import socket_errors, stream
from stomplistener.transport.stream import SocketTransport

AT_ONCE = 3.0  # generous for a loaded machine, and far less than SOON

TICK = 0.0156
"""Seconds between two ticks of the clock of Windows."""


class Unbroken(socket.socket):
    """A socket whose shutdown() ends no wait."""

    def shutdown(self, how: int) -> None:
        pass


def _as_it_is(_: pytest.MonkeyPatch) -> type[socket.socket]:
    return socket.socket


def _no_poll(monkeypatch: pytest.MonkeyPatch) -> type[socket.socket]:
    monkeypatch.delattr(select, "poll")
    return socket.socket


def _no_flags(monkeypatch: pytest.MonkeyPatch) -> type[socket.socket]:
    """XNU has MSG_DONTWAIT and ignores it, Windows has neither."""
    monkeypatch.delattr(socket, "MSG_DONTWAIT")
    monkeypatch.setattr(stream, "_NO_SIGNAL", 0)
    return socket.socket


def _coarse_clock(monkeypatch: pytest.MonkeyPatch) -> type[socket.socket]:
    fine = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: math.floor(fine() / TICK) * TICK)
    return socket.socket


def _shutdown_ends_no_wait(monkeypatch: pytest.MonkeyPatch) -> type[socket.socket]:
    monkeypatch.setattr(stream, "WAIT_PIECE_SECONDS", 0.05)
    return Unbroken


def _windows(monkeypatch: pytest.MonkeyPatch) -> type[socket.socket]:
    for difference in _no_poll, _no_flags, _coarse_clock:
        difference(monkeypatch)
    return _shutdown_ends_no_wait(monkeypatch)


PLATFORMS = (_as_it_is, _no_poll, _no_flags, _coarse_clock, _shutdown_ends_no_wait, _windows)


@pytest.fixture(params=PLATFORMS, ids=lambda each: each.__name__.strip("_"))
def pair(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[SocketTransport, socket.socket]]:
    """Our transport and the server's end of it."""
    make: Callable[[pytest.MonkeyPatch], type[socket.socket]] = request.param
    kind = make(monkeypatch)
    with listening() as server:
        raw = socket.create_connection(server.getsockname())
        peer, _ = server.accept()
        transport = SocketTransport(kind(fileno=raw.detach()))
        with peer:
            peer.settimeout(SOON)
            yield transport, peer
            transport.close()


def fill(transport: SocketTransport) -> None:
    """Send until nothing more is taken."""
    while True:
        transport.send(bytes(1 << 20))


def test_bytes_both_ways(pair: tuple[SocketTransport, socket.socket]) -> None:
    transport, peer = pair
    size = 5_000_000
    sending = Background(peer.sendall, bytes(size))
    received = 0
    while received < size:
        received += len(transport.receive())
    sending.result()

    def send_all() -> None:
        view = memoryview(bytes(size))
        while view:
            view = view[transport.send(view) :]

    sending = Background(send_all)
    while received:
        received -= len(peer.recv(65536))
    sending.result()
    assert transport.send_nowait(b"\n")
    assert peer.recv(10) == b"\n"


@pytest.mark.parametrize("timeout", [None, 60.0])
def test_a_shutdown_ends_every_wait(pair: tuple[SocketTransport, socket.socket], timeout: float | None) -> None:
    transport, _ = pair
    transport.settimeout(timeout)
    receiving, sending = Background(transport.receive), Background(fill, transport)
    eventually(lambda: not transport.send_nowait(b"\n"))
    start = time.monotonic()
    transport.shutdown()
    assert receiving.result() == b""
    with pytest.raises(OSError):
        sending.result()
    assert time.monotonic() - start < AT_ONCE


def test_what_had_arrived_before_a_shutdown_is_received(pair: tuple[SocketTransport, socket.socket]) -> None:
    transport, peer = pair
    peer.sendall(b"RECEIPT")
    eventually(transport.unread)
    transport.shutdown()
    assert transport.receive() == b"RECEIPT"
    assert transport.receive() == b""


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.1])
def test_a_wait_ends_in_time(pair: tuple[SocketTransport, socket.socket], seconds: float) -> None:
    transport, _ = pair
    transport.settimeout(seconds)
    for action, error in (transport.receive, "sent nothing in time"), (lambda: fill(transport), "took nothing in time"):
        start = time.perf_counter()
        with pytest.raises(TimeoutError, match=error):
            action()
        assert seconds - TICK <= time.perf_counter() - start < seconds + AT_ONCE


def test_a_limited_wait_is_none_of_the_senders(pair: tuple[SocketTransport, socket.socket]) -> None:
    transport, _ = pair
    assert transport.limit_wait(0.02)
    sending = Background(fill, transport)
    eventually(lambda: not transport.send_nowait(b"\n"))
    for timeout in None, 60.0, 0.02:
        transport.settimeout(timeout)
        with pytest.raises(BlockingIOError):
            transport.receive()
    transport.settimeout(0.01)
    with pytest.raises(TimeoutError):
        transport.receive()
    transport.settimeout(None)
    assert sending.running
    assert transport.limit_wait(None)
    receiving = Background(transport.receive)
    transport.shutdown()
    assert receiving.result() == b""
    with suppress(OSError):
        sending.result()


def test_a_sender_that_may_not_wait_does_not(pair: tuple[SocketTransport, socket.socket]) -> None:
    """One broker that does not read must not hold up the timer, which beats for all the connections."""
    transport, _ = pair
    start = time.perf_counter()
    while transport.send_nowait(bytes(16384)):
        pass
    assert not transport.send_nowait(b"\n")
    assert time.perf_counter() - start < SOON


def test_an_error_of_the_kernel_behind_our_shutdown_is_the_end(pair: tuple[SocketTransport, socket.socket]) -> None:
    """WSAESHUTDOWN on Windows, ECONNRESET on Linux where the peer sends on."""
    transport, _ = pair

    class Refusing(socket.socket):
        def recv(self, *_: int) -> bytes:
            raise OSError(10058, "shut down")

    transport._sock = Refusing(fileno=transport._sock.detach())
    with pytest.raises(OSError):
        transport.receive()
    transport.shutdown()
    assert transport.receive() == b""


def test_no_other_socket_is_touched_after_close() -> None:
    """The number of a closed descriptor is given to the next socket at once: whoever comes late must not use it."""
    stop = threading.Event()
    transports: list[SocketTransport] = []

    def pester() -> None:
        while not stop.is_set():
            for transport in transports[-1:]:
                with suppress(OSError):
                    transport.send_nowait(b"stray")
                transport.unread()
                transport.shutdown()

    with listening(backlog=50) as server:
        pestering = [Background(pester) for _ in range(3)]
        for _ in range(200):
            raw = socket.create_connection(server.getsockname())
            peer, _ = server.accept()
            transports.append(SocketTransport(raw))
            with suppress(OSError):
                transports[-1].receive()
            transports[-1].close()
            # The two that get its number, and another one.
            one, other = socket.socketpair()
            with one, other, peer:
                one.sendall(b"x")
                assert other.recv(10) == b"x"
                one.shutdown(socket.SHUT_WR)
                assert other.recv(10) == b""
        stop.set()
        for each in pestering:
            each.result()


def test_the_texts_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_errors, "_WINDOWS_TEXTS", {10061: "Connection refused."})
    assert socket_errors.from_code(10061).strerror == "Connection refused."
