"""WebSocket over another transport, with the protocol engine of the ``websockets`` package (extra ``websocket``).

This module uses the engine, which does no I/O, and not the threaded client of the package. The threaded client has its
own thread, deadline and shutdown. With the threaded client, no other thread could shut down a blocked send, and our TLS
and proxies could not be used.

What brokers accept and send, according to their sources:

- ActiveMQ Classic ignores binary messages silently, and takes one text message for one STOMP frame. ActiveMQ drops a
  second frame in a message; half a frame is an error (``AbstractStompSocket``, ``StompSocket.onWebSocketBinary``).
- RabbitMQ and Artemis accept both kinds as a stream of bytes (``rabbit_web_stomp_handler``,
  ``WebSocketServerHandler``). RabbitMQ sends text or, with ``web_stomp.ws_frame``, binary; Artemis sends binary. By
  default, Artemis rejects WebSocket frames, that is fragments of messages, of more than 64 KiB.

So this transport sends text, or binary if a body is not UTF-8. Each ``send`` makes one message, and callers respect
``frame_per_send``. Fragments have at most 64 KiB. Received data is a stream of bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress

from stomplistener._util.masking import hidden, hidden_bytes, secrets_in
from stomplistener._util.text import shorten
from stomplistener.errors import ConnectFailed, InvalidHeader
from stomplistener.transport.base import Endpoint, Transport
from stomplistener.transport.extras import MissingExtra
from stomplistener.transport.foreign import foreign_protocol
from stomplistener.transport.layer import Layer

try:
    from websockets.client import ClientProtocol
    from websockets.exceptions import InvalidStatus, NegotiationError, WebSocketException
    from websockets.frames import Close, Frame, Opcode
    from websockets.http11 import Request
    from websockets.protocol import State
    from websockets.typing import Subprotocol
    from websockets.uri import parse_uri
except ImportError as error:
    raise MissingExtra("WebSocket (ws://, wss://)", "websocket") from error

_FRAGMENT = 65536
_DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)

# RFC 6455, section 7.4.1: normal closure, and going away (the broker stops).
_NORMAL_CLOSES = (1000, 1001, 1005)

# At DEBUG, the package's own logger would write every frame with its passcodes, and every header with its tokens.
_SILENT = logging.Logger("stomplistener.silent", logging.CRITICAL + 1)


class WebSocketTransport(Layer):
    """A WebSocket client over a connected transport, which it owns from now on.

    Args:
        inner: the transport.
        endpoint: the endpoint, for the URI of the HTTP request.
        headers: additional headers for the request; they replace ours of the same name.
        subprotocols: the sub-protocols to offer, in order of preference.
        max_message: the largest message to receive, in bytes; None for any size.

    Raises:
        ConnectFailed: the endpoint does not give a valid URI.
        InvalidHeader: a header would end the line.
    """

    frame_per_send = True

    def __init__(
        self,
        inner: Transport,
        endpoint: Endpoint,
        *,
        headers: Mapping[str, str],
        subprotocols: Sequence[str],
        max_message: int | None,
    ) -> None:
        super().__init__(inner)
        path = endpoint.path or "/"
        # Texts show only this part: the query may contain a token.
        self._path = path.partition("?")[0]
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        try:
            uri = parse_uri(f"{endpoint.scheme}://{host}:{endpoint.port}{path}")
        except (WebSocketException, ValueError):
            raise ConnectFailed(f"no WebSocket URI can be made of host {host} and path {self._path}") from None
        self._protocol = ClientProtocol(
            uri,
            subprotocols=[Subprotocol(each) for each in subprotocols] or None,
            max_size=max_message,
            logger=_SILENT,
        )
        self._request = self._protocol.connect()
        _add(self._request, headers)
        self._secrets = secrets_in(headers)

    def handshake(self, deadline: float) -> None:
        """Let the HTTP server switch to WebSocket.

        Args:
            deadline: a time of ``time.monotonic()``.

        Raises:
            OSError: the server refuses, or does not speak HTTP.
            TimeoutError: the server has not answered in time.
        """
        protocol = self._protocol
        protocol.send_request(self._request)
        try:
            self._send_by(deadline)
            while protocol.state is State.CONNECTING and protocol.handshake_exc is None:
                raw = self._receive_by(deadline)
                if self._fed == 0 and raw and not _begins_as_http(raw):
                    shown = shorten(hidden_bytes(raw, self._secrets))
                    raise OSError(f"the peer does not speak HTTP, it sent {shown}; {foreign_protocol(raw) or PLAIN}")
                self._fed += 1
                self._feed(raw)
        except TimeoutError as error:
            raise TimeoutError(f"no answer in time to the WebSocket handshake; {PLAIN}") from error
        if protocol.handshake_exc is not None:
            # Raise without the cause, which contains the original answer: it may quote what we sent.
            raise ConnectionAbortedError(hidden(self._refused(protocol.handshake_exc), self._secrets))
        self._take_early(deadline)

    def _refused(self, error: Exception) -> str:
        if isinstance(error, InvalidStatus):
            response = error.response
            status = f"HTTP {response.status_code} {response.reason_phrase} for path {self._path!r}"
            return f"WebSocket handshake: the broker answered {status}{_ADVICE.get(response.status_code, '')}"
        if isinstance(error, NegotiationError):
            return f"WebSocket handshake: no sub-protocol or extension in common: {error}"
        return f"WebSocket handshake: {error.__cause__ or error}; {PLAIN}"

    def _encode(self, data: memoryview) -> int:
        if not data:
            return 0
        message = bytes(data)
        send = self._protocol.send_text if _is_text(message) else self._protocol.send_binary
        size = len(message)
        try:
            send(message[:_FRAGMENT], fin=size <= _FRAGMENT)
            for start in range(_FRAGMENT, size, _FRAGMENT):
                self._protocol.send_continuation(message[start : start + _FRAGMENT], fin=start + _FRAGMENT >= size)
        except WebSocketException as error:
            raise ConnectionAbortedError(f"WebSocket: {error}") from error
        return size

    def _feed(self, raw: bytes) -> None:
        if raw:
            self._protocol.receive_data(raw)
        else:
            self._protocol.receive_eof()

    def _read(self) -> bytes:
        chunks = []
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                if event.opcode in _DATA:
                    chunks.append(event.data)
                elif event.opcode is Opcode.CLOSE:
                    self._closed_by_peer(Close.parse(event.data))
        broken = self._protocol.parser_exc
        if broken is not None and not self._ended:
            self._ended = True
            # An end of the stream without a close frame is an end, as it is without WebSocket.
            if not isinstance(broken, EOFError):
                self._failure = ConnectionAbortedError(f"WebSocket: {broken}")
        return b"".join(chunks)

    def _closed_by_peer(self, close: Close) -> None:
        self._ended = True
        if close.code not in _NORMAL_CLOSES:
            self._failure = ConnectionAbortedError(
                f"the broker closed the WebSocket with code {close.code}: {shorten(close.reason)}"
            )

    def _drain(self) -> bytes:
        # Ignore an empty piece: it asks to close our half of the stream, but close() closes both halves.
        return b"".join(self._protocol.data_to_send())

    def _farewell(self) -> None:
        with suppress(WebSocketException):
            self._protocol.send_close(1000)


def _add(request: Request, headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if any(each in name + value for each in "\r\n\0") or not name or ":" in name:
            # The text does not show the value, which may be a token.
            raise InvalidHeader(f"the HTTP header {name!r} cannot be sent: a name or value of one line is needed")
        if name in request.headers:
            del request.headers[name]
        request.headers[name] = value


def _is_text(message: bytes) -> bool:
    try:
        message.decode()
    except UnicodeDecodeError:
        return False
    return True


def _begins_as_http(raw: bytes) -> bool:
    return raw[:5] == b"HTTP/"[: len(raw)]


PLAIN = "if this port does not speak WebSocket, use tcp:// or ssl://"
_AUTHORISE = ": does it want a token or a cookie in a header?"
_ADVICE = {
    401: _AUTHORISE,
    403: _AUTHORISE,
    404: ": is that the path of the broker's WebSocket? RabbitMQ's is /ws",
    426: PLAIN,
}
