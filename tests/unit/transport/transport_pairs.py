"""Our transport of each kind, connected, and the server's end of it: what it sends, and how it breaks off."""

from __future__ import annotations

import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha1
from pathlib import Path

import trustme
from transport_servers import SOON, Background, Options, Place, listening, soon

from stomplistener.transport import Transport, connect

SCHEMES = ("tcp", "ssl", "ws", "wss")

RESET = b"\1\0\0\0\0\0\0\0"


class Peer:
    """The server's end of one connection. It answers a WebSocket handshake, and sends binary messages then."""

    def __init__(self, sock: socket.socket, *, websocket: bool) -> None:
        self.sock = sock
        self._websocket = websocket
        if websocket:
            self._shake_hands()

    def _shake_hands(self) -> None:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += self.sock.recv(10_000)
        headers = dict(line.split(": ", 1) for line in request.decode().split("\r\n")[1:-2])
        key = headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = b64encode(sha1(key.encode()).digest()).decode()
        self.sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept.encode() + b"\r\n\r\n"
        )

    def send(self, data: bytes) -> None:
        if self._websocket:
            data = b"\x82\x7f" + len(data).to_bytes(8, "big") + data
        self.sock.sendall(data)

    def gather(self) -> bytes:
        """All that comes before the end of the stream, without the frames of WebSocket."""
        received = bytearray()
        with suppress(OSError):
            while data := self.sock.recv(65536):
                received += data
        return b"".join(unmasked(bytes(received))) if self._websocket else bytes(received)

    def end(self) -> None:
        """Send the end of the stream, below TLS."""
        socket.socket.shutdown(self.sock, socket.SHUT_WR)

    def reset(self) -> None:
        """Break the connection off."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.sock.close()


def unmasked(frames: bytes) -> Iterator[bytes]:
    """The payloads of a client's WebSocket frames, without the last ones (RFC 6455, section 5.2)."""
    while frames:
        assert frames[0] & 0x7F in (0, 1, 2, 8), "no frame begins here"
        size, start = frames[1] & 127, 2
        if size > 125:
            start += 2 if size == 126 else 8
            size = int.from_bytes(frames[2:start], "big")
        key = frames[start : start + 4]
        end = start + 4 + size
        # As one number, since byte by byte takes long.
        payload = int.from_bytes(frames[start + 4 : end], "big") ^ int.from_bytes((key * (size // 4 + 1))[:size], "big")
        if frames[0] != 0x88:
            yield payload.to_bytes(size, "big")
        frames = frames[end:]


class Certificate:
    """Of 127.0.0.1, and the authority that issued it."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        self.ca_file = str(directory / "ca.pem")
        authority.cert_pem.write_to_path(self.ca_file)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self.context)


@contextmanager
def connected_by(scheme: str, certificate: Certificate) -> Iterator[tuple[Transport, Peer]]:
    def accept() -> Peer:
        sock, _ = server.accept()
        sock.settimeout(SOON)
        if scheme in ("ssl", "wss"):
            sock = certificate.context.wrap_socket(sock, server_side=True)
        return Peer(sock, websocket=scheme in ("ws", "wss"))

    with listening() as server:
        accepting = Background(accept)
        place = Place(scheme, port=server.getsockname()[1], options=Options(ca_file=certificate.ca_file))
        transport = connect(place, deadline=soon())
        peer: Peer = accepting.result()
        with peer.sock:
            try:
                yield transport, peer
            finally:
                transport.close()
