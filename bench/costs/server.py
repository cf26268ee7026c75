"""The server of the cost map, which answers every receipt and floods a subscription with messages on request.

The server has a thread for each connection. The server searches frames only with methods of ``bytes``, which run in C,
so that the client limits the rate.
"""

from __future__ import annotations

import importlib
import re
import socket
import ssl
import tempfile
import threading
from contextlib import suppress
from typing import Any, Protocol

from bench import wire

_ACCEPT_VERSION = re.compile(rb"\naccept-version:([\d.,]+)")
_RECEIPT = re.compile(rb"\nreceipt:([^\n]+)")
_SUBSCRIBE = re.compile(rb"SUBSCRIBE\n(?:[^\n]+\n)*?id:([^\n]+)")
_FLOOD = re.compile(rb"destination:" + wire.FLOOD.encode() + rb"(\d+)\n")
_WHOLE = 1 << 20


class Channel(Protocol):
    """The part of a socket that a conversation uses."""

    def recv(self, size: int, /) -> bytes: ...

    def sendall(self, data: bytes, /) -> object: ...


class Conversation:
    """The server's end of one connection.

    Args:
        server: the name that CONNECTED gives.
        size: the size of message bodies in bytes.
        headers: the number of headers of each message.
        back: the number of frames that the client sends for each message of a flood. The flood ends when all have
            arrived.

    Attributes:
        frames: the number of frames that arrived after CONNECT.
    """

    def __init__(self, channel: Channel, server: str, size: int, headers: int, back: int) -> None:
        self._channel = channel
        self._server = server
        self._size = size
        self._headers = headers
        self._back = back
        # The frames of the flooding thread and of the thread that sends receipts must not mix on the channel.
        self._lock = threading.Lock()
        self.frames = 0
        self._subscription = ""
        self._messages: list[bytes] = []
        self._missing = 0
        self._flooding: threading.Thread | None = None

    def run(self) -> None:
        """Serve until the client sends DISCONNECT or closes the connection."""
        connect, received = self._connect()
        self._send(self._connected(connect))
        # Search only new bytes for a NUL, and join a large body only once.
        rest = bytearray()
        while True:
            whole, nul, received = received.rpartition(b"\0")
            if nul:
                whole = bytes(rest) + whole
                rest.clear()
                self._take(whole)
                if b"DISCONNECT\n" in whole:
                    return
            rest += received
            received = self._channel.recv(_WHOLE)
            if not received:
                return

    def _connect(self) -> tuple[bytes, bytes]:
        data = b""
        while b"\0" not in data:
            received = self._channel.recv(_WHOLE)
            if not received:
                raise ConnectionError
            data += received
        connect, _, rest = data.partition(b"\0")
        return connect, rest

    def _connected(self, connect: bytes) -> bytes:
        offered = _ACCEPT_VERSION.search(connect)
        version = max(offered[1].split(b",")) if offered is not None else b"1.0"
        return b"CONNECTED\nversion:%b\nheart-beat:0,0\nserver:%b\nsession:1\n\n\0\n" % (version, self._server.encode())

    def _take(self, whole: bytes) -> None:
        """Handle frames. ``whole`` ends before the NUL of the last one."""
        new = whole.count(b"\0") + 1
        self.frames += new
        if self._missing:
            self._missing -= new
            self._end_if_done()
        # Test with ``in`` first: it is ten times as fast as a regular expression without a match.
        if not self._subscription and b"SUBSCRIBE\n" in whole and (subscribed := _SUBSCRIBE.search(whole)):
            self._subscription = subscribed[1].decode()
            messages = (
                wire.message_of(number, self._size, self._headers, self._subscription) for number in range(wire.BLOCK)
            )
            self._messages = list(messages)
        if b"\nreceipt:" in whole:
            self._send(b"".join(b"RECEIPT\nreceipt-id:%b\n\n\0\n" % id for id in _RECEIPT.findall(whole)))
        if b"destination:/flood/" in whole and (asked := _FLOOD.search(whole)):
            count = int(asked[1])
            self._missing = count * self._back
            self._flooding = threading.Thread(target=self._flood, args=(count,), daemon=True)
            self._flooding.start()

    def _end_if_done(self) -> None:
        if self._missing <= 0 and self._flooding is not None:
            self._missing = 0
            self._flooding.join()
            self._send(wire.end(wire.END_ID))

    def deliver(self, count: int) -> None:
        """Send ``count`` messages to the subscription."""
        block = b"".join(self._messages)
        for _ in range(count // wire.BLOCK):
            self._send(block)
        self._send(b"".join(self._messages[: count % wire.BLOCK]))

    def _flood(self, count: int) -> None:
        with suppress(OSError):
            self.deliver(count)
            if not self._back:
                self._send(wire.end(wire.END_ID))

    def _send(self, data: bytes) -> None:
        with self._lock:
            self._channel.sendall(data)


def answering(
    listening: socket.socket,
    server: str = "bench/1.0",
    size: int = 100,
    headers: int = 9,
    back: int = 0,
    transport: str = "tcp",
) -> None:
    """Serve the cost map. The other arguments are those of :class:`Conversation`.

    Args:
        transport: ``tcp``, ``ssl`` or ``ws``. With ``ssl``, the next line of output is the path of the CA certificate.
    """

    def serve(channel: Any) -> None:
        with suppress(OSError):
            Conversation(channel, server, size, headers, back).run()
            if isinstance(channel, ssl.SSLSocket):
                # stomp.py waits for this line end, and prints an error without it.
                channel.unwrap()
        channel.close()

    if transport == "ws":
        _serve_websocket(listening, serve)
        return
    context = _tls() if transport == "ssl" else None
    while True:
        connection = listening.accept()[0]
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        channel = context.wrap_socket(connection, server_side=True) if context is not None else _Prompt(connection)
        threading.Thread(target=serve, args=(channel,), daemon=True).start()


class _Prompt:
    """A socket that acknowledges each segment at once, if the system can (``TCP_QUICKACK``).

    stomp.py does not switch off Nagle's algorithm. So the second of two small frames would wait 40 ms for a delayed
    acknowledgement, and a round of transactions would take minutes. The benchmark does not compare this delay.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.sendall, self.close = connection.sendall, connection.close

    def recv(self, size: int) -> bytes:
        data = self._connection.recv(size)
        if hasattr(socket, "TCP_QUICKACK"):
            # The system turns this option off from time to time, so set it again.
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return data


def _tls() -> ssl.SSLContext:
    trustme: Any = importlib.import_module("trustme")
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with tempfile.NamedTemporaryFile(suffix=".pem", delete=False) as file:
        file.write(authority.cert_pem.bytes())
    print(file.name, flush=True)
    return context


class _WebSocketChannel:
    """A WebSocket as a channel: it returns text and binary messages as bytes."""

    def __init__(self, websocket: Any) -> None:
        self._websocket = websocket
        self._closed: type[Exception] = importlib.import_module("websockets.exceptions").ConnectionClosed

    def recv(self, size: int) -> bytes:
        try:
            message: str | bytes = self._websocket.recv()
        except self._closed:
            return b""
        return message.encode() if isinstance(message, str) else message

    def close(self) -> None:
        self._websocket.close()

    def sendall(self, data: bytes) -> None:
        try:
            self._websocket.send(data.decode())
        except self._closed:
            raise BrokenPipeError from None


def _serve_websocket(listening: socket.socket, serve: Any) -> None:
    server: Any = importlib.import_module("websockets.sync.server")
    with server.serve(
        lambda websocket: serve(_WebSocketChannel(websocket)),
        sock=listening,
        compression=None,
        max_size=None,
        # stomp.py offers no subprotocol.
        select_subprotocol=lambda _websocket, offered: offered[0] if offered else None,
    ) as running:
        running.serve_forever()
