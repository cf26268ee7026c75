"""Brokers that misbehave, as scripts on raw sockets. Nothing of the library is used here: it is what is on trial."""

from __future__ import annotations

import gc
import os
import socket
import struct
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

SOON = 10.0

CONNECTED = b"CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0"

Script = Callable[["Peer"], None]


def eventually(condition: Callable[[], object], what: str, timeout: float = SOON) -> None:
    """Wait for a condition that no event announces."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"not within {timeout} s: {what}"
        time.sleep(0.005)


class Peer:
    """One accepted connection, as its script sees it. Its methods raise OSError at its end, which ends the script."""

    def __init__(self, sock: socket.socket, number: int, stopping: threading.Event) -> None:
        self.sock = sock
        self.number = number
        self.stopping = stopping
        self.received = b""

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)

    def flood(self, data: bytes) -> None:
        while not self.stopping.is_set():
            self.sock.sendall(data)

    def drip(self, data: bytes, pause: float = 0.02) -> None:
        for byte in data:
            self.sock.sendall(bytes([byte]))
            if self.stopping.wait(pause):
                return

    def frame(self) -> bytes:
        """The next frame up to its NUL, without the ends of line before it; bodies here have none."""
        while b"\0" not in self.received:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionResetError
            self.received += data
        frame, _, self.received = self.received.partition(b"\0")
        return frame.lstrip(b"\n")

    def welcome(self, connected: bytes = CONNECTED) -> bytes:
        frame = self.frame()
        self.say(connected)
        return frame

    def answer(self) -> None:
        """Read a frame, and give the receipt that it asks for."""
        for line in self.frame().split(b"\n"):
            if line.startswith(b"receipt:"):
                self.say(b"RECEIPT\nreceipt-id:%b\n\n\0" % line.removeprefix(b"receipt:"))

    def serve(self) -> None:
        """Answer every receipt, until the client goes."""
        while True:
            self.answer()

    def reset(self) -> None:
        """Close with a RST in place of a FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def wait(self) -> None:
        self.stopping.wait(SOON)


class Server:
    """Runs a script for every connection, in a thread of its own. A context manager that leaves nothing behind."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._peers: list[Peer] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self.port: int = self._listener.getsockname()[1]

    @property
    def uri(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        return len(self._peers)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                peer = Peer(sock, len(self._peers) + 1, self._stopping)
                self._peers.append(peer)
                thread = threading.Thread(target=self._run, args=(peer,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _run(self, peer: Peer) -> None:
        with suppress(OSError, ValueError):
            self._script(peer)
        with suppress(OSError):
            # Half closed first: a close() with unread bytes would be a RST, which may overtake what was said.
            peer.sock.shutdown(socket.SHUT_WR)
        peer.sock.close()

    def __enter__(self) -> Server:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self._peers:
            with suppress(OSError):
                peer.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SOON)
            assert not thread.is_alive()


def good(peer: Peer) -> None:
    """A broker that does what it should."""
    peer.welcome()
    peer.serve()


def library_threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith(("stomp-", "stomplistener"))]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0


@contextmanager
def nothing_left() -> Iterator[None]:
    """No thread of the library and no descriptor of the process more than before."""
    gc.collect()
    before = descriptors()
    yield
    eventually(lambda: not library_threads(), f"no thread is left of {library_threads()}")
    if descriptors() > before:
        gc.collect()
    eventually(lambda: descriptors() <= before, "no descriptor is left")


@contextmanager
def memory_below(limit: int) -> Iterator[None]:
    """Python's memory, client and server together, never grows by more than ``limit`` bytes inside."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # For whoever wants to know how much it was: pytest -rP.
    print(f"peak memory: {peak / 2**20:.2f} MiB")
    assert peak < limit, f"{peak:,} bytes at the peak, allowed are {limit:,}"


@contextmanager
def cpu_below(share: float) -> Iterator[None]:
    """The process, client and server together, computes for less than this share of the time that the block takes."""
    began, used = time.monotonic(), time.process_time()
    yield
    spent, passed = time.process_time() - used, time.monotonic() - began
    assert spent < share * passed + 0.1, f"{spent:.2f} s of CPU in {passed:.2f} s"
