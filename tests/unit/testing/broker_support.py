"""A client made of hand-written bytes. It shares no code with the broker, so that the two cannot agree on an error."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from types import TracebackType
from typing import Self

from stomplistener.testing import Broker, FaultProxy

DEADLINE = 5.0


class Raw:
    """A socket to a broker: sends bytes as they stand, and expects bytes as they stand."""

    def __init__(self, target: Broker | FaultProxy) -> None:
        self.socket = socket.create_connection(("127.0.0.1", target.port), DEADLINE)
        self._receipts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, *frames: bytes) -> None:
        self.socket.sendall(b"".join(frames))

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (more := self.socket.recv(size - len(data))):
            data += more
        return data

    def read_until_silence(self, seconds: float) -> bytes:
        """Everything until nothing comes for so long."""
        self.socket.settimeout(seconds)
        data = bytearray()
        with suppress(TimeoutError):
            while more := self.socket.recv(1 << 20):
                data += more
        self.socket.settimeout(DEADLINE)
        return bytes(data)

    def read_to_the_end(self) -> bytes:
        """Everything until FIN or RST."""
        data = bytearray()
        with suppress(ConnectionResetError):
            while more := self.socket.recv(1 << 20):
                data += more
        return bytes(data)

    def frame(self) -> bytes:
        """The bytes up to and with the next NUL."""
        data = self.read(1)
        while not data.endswith(b"\0"):
            more = self.socket.recv(1)
            assert more, f"the stream ended after {data!r}"
            data += more
        return data

    def expect(self, *frames: bytes) -> None:
        for frame in frames:
            try:
                got = self.read(len(frame))
            except TimeoutError:
                raise AssertionError(f"nothing came, expected {frame!r}") from None
            assert got == frame

    def expect_end(self) -> None:
        assert self.socket.recv(100) == b""

    def expect_reset(self) -> None:
        try:
            data = self.socket.recv(100)
        except ConnectionResetError:
            return
        raise AssertionError(f"no reset, but {data!r}")

    def sync(self) -> None:
        """Fail if anything comes before the answer to a question that is asked now."""
        self._receipts += 1
        self.send(b"SEND\ndestination:/topic/nobody\nreceipt:sync-%d\n\n\0" % self._receipts)
        self.expect(b"RECEIPT\nreceipt-id:sync-%d\n\n\0" % self._receipts)

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def connected(target: Broker | FaultProxy, version: bytes = b"1.2", headers: bytes = b"") -> Raw:
    """A client that has read its CONNECTED."""
    client = Raw(target)
    client.send(b"CONNECT\naccept-version:%b\nhost:localhost\n%b\n\0" % (version, headers))
    answer = client.frame()
    assert answer.startswith(b"CONNECTED\nversion:%b\n" % version), answer
    return client


def bodies(broker: Broker, destination: str) -> list[bytes]:
    return [message.body for message in broker.messages(destination)]
