"""Unix domain sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from transport_servers import SOON, Background, Place, eventually, soon

from stomplistener.errors import ConnectFailed, TimedOut
from stomplistener.transport import ConnectInterrupted, Interrupt, connect

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")


@contextmanager
def listening(path: Path, backlog: int = 5) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen(backlog)
        server.settimeout(SOON)
        yield server


@contextmanager
def deaf(path: Path) -> Iterator[Place]:
    with listening(path, 0), socket.socket(socket.AF_UNIX) as filler:
        filler.connect(str(path))
        yield Place("unix", path=str(path))


def test_bytes_go_both_ways_and_a_blocked_receive_is_freed(tmp_path: Path) -> None:
    with listening(tmp_path / "stomp") as server:
        transport = connect(Place("unix", path=str(tmp_path / "stomp")), deadline=soon())
        peer, _ = server.accept()
        with peer:
            transport.send(b"hello")
            assert peer.recv(100) == b"hello"
            peer.sendall(b"there")
            eventually(transport.unread)
            assert transport.receive() == b"there"
            receive = Background(transport.receive)
            transport.shutdown()
            assert receive.result() == b""
            transport.close()


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(ConnectFailed, match="stomp: No such file"):
        connect(Place("unix", path=str(tmp_path / "stomp")), deadline=soon())


def test_path_too_long(tmp_path: Path) -> None:
    with pytest.raises(ConnectFailed, match="too long"):
        connect(Place("unix", path="/" + "x" * 200), deadline=soon())


def test_a_full_backlog_is_bounded_by_the_deadline(tmp_path: Path) -> None:
    with deaf(tmp_path / "stomp") as place, pytest.raises(TimedOut, match="backlog"):
        connect(place, deadline=time.monotonic() + 0.05)


def test_a_full_backlog_is_interruptible(tmp_path: Path) -> None:
    interrupt = Interrupt()
    with deaf(tmp_path / "stomp") as place:
        attempt = Background(connect, place, deadline=soon(), interrupt=interrupt)
        interrupt.set()
        with pytest.raises(ConnectInterrupted):
            attempt.result()
