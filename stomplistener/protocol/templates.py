"""Frames that are said again and again, with what is always the same encoded once.

A shortcut past ``commands`` and ``encode`` for a SEND with nothing but a destination and a body, and for an ACK of a
message as it came. The bytes are the same; what has anything special goes the long way.
"""

from __future__ import annotations

from stomplistener.protocol import commands
from stomplistener.protocol.encoder import encode_block
from stomplistener.protocol.frame import Frame, ReceivedFrame
from stomplistener.protocol.spec import version_rules

_MOST = 1000
"""Destinations and lengths that are kept; an application with ever new ones must not fill the memory."""


class Templates:
    """The shortcut for one version. Thread-safe: two threads may make the same head, and either is kept."""

    __slots__ = ("_ack_headers", "_has_escapes", "_heads_of_bytes", "_heads_of_text", "_lengths", "_version")

    def __init__(self, version: str) -> None:
        rules = version_rules(version)
        self._ack_headers = rules.ack_headers
        self._has_escapes = bool(rules.escapes)
        self._version = version
        # Plain dictionaries, and asked by subscript: after a pause any other way of asking costs a microsecond more.
        self._heads_of_bytes: dict[str, bytes] = {}
        self._heads_of_text: dict[str, bytes] = {}
        self._lengths: dict[int, bytes] = {}

    def send(self, destination: str, body: object, receipt: str | None = None) -> bytes | None:
        """The bytes of ``commands.send(destination, body, receipt=receipt)``; a receipt must need no escape.

        None where the body is neither bytes nor a text.

        Raises:
            InvalidHeader: the destination cannot be written.
            ValueError: it is empty.
        """
        if type(body) is bytes:
            heads = self._heads_of_bytes
        elif isinstance(body, str):
            heads, body = self._heads_of_text, body.encode()
        else:
            return None
        try:
            head, length = heads[destination], self._lengths[len(body)]
        except KeyError:
            head, length = self._make(destination, len(body), heads)
        if receipt is None:
            # One piece of memory in place of three, for the same reason.
            return b"".join((head, length, b"\n", body, b"\0"))
        return b"".join((head, length, b"receipt:", receipt.encode(), b"\n\n", body, b"\0"))

    def ack(self, message: Frame) -> bytes | None:
        """The bytes of ``commands.ack(message)``, or None where its headers have to be looked at one by one."""
        if not isinstance(message, ReceivedFrame):
            return None
        lines = "ACK"
        for name, source in self._ack_headers:
            # What the broker wrote is written back as it stands, unless it is not how we have to write it.
            value = message.as_it_came(source)
            if value is None or (":" in value and self._has_escapes) or "\r" in value:
                return None
            lines += f"\n{name}:{value}"
        return (lines + "\n\n\0").encode()

    def _make(self, destination: str, size: int, heads: dict[str, bytes]) -> tuple[bytes, bytes]:
        for kept in heads, self._lengths:
            if len(kept) >= _MOST:
                kept.clear()
        head = heads.get(destination)
        if head is None:
            empty = "" if heads is self._heads_of_text else b""
            frame = commands.send(destination, empty, auto_content_length=False, version=self._version)
            head = b"SEND" + encode_block("SEND", frame.headers.pairs, self._version) + b"\ncontent-length:"
            heads[destination] = head
        length = self._lengths[size] = b"%d\n" % size
        return head, length
