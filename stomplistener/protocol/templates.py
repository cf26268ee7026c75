"""Frames that are said again and again, with what is always the same encoded once.

A shortcut past ``commands`` and ``encode`` for a SEND with nothing but a destination and a body, and for an ACK of a
message as it came. The bytes are the same; what has anything special goes the long way.
"""

from __future__ import annotations

from stomplistener.protocol import commands
from stomplistener.protocol.codec import encode_block
from stomplistener.protocol.frame import Frame, ReceivedFrame
from stomplistener.protocol.spec import version_rules

_MOST = 1000
"""Destinations and lengths that are kept; an application with ever new ones must not fill the memory."""


class Templates:
    """The shortcut for one version. Thread-safe: two threads may make the same head, and either is kept."""

    def __init__(self, version: str) -> None:
        self._version = version
        rules = version_rules(version)
        self._ack_headers = rules.ack_headers
        self._has_escapes = bool(rules.escapes)
        self._heads_of_bytes: dict[str, bytes] = {}
        self._heads_of_text: dict[str, bytes] = {}
        self._lengths: dict[int, bytes] = {}

    def send(self, destination: str, body: bytes | str, receipt: str | None = None) -> bytes:
        """The bytes of ``commands.send(destination, body, receipt=receipt)``; a receipt must need no escape.

        Raises:
            InvalidHeader: the destination cannot be written.
            ValueError: it is empty.
        """
        if isinstance(body, str):
            body = body.encode()
            head = self._heads_of_text.get(destination) or self._head(destination, "", self._heads_of_text)
        else:
            head = self._heads_of_bytes.get(destination) or self._head(destination, b"", self._heads_of_bytes)
        size = len(body)
        if receipt is not None:
            return b"%b%d\nreceipt:%b\n\n%b\0" % (head, size, receipt.encode(), body)
        length = self._lengths.get(size) or self._length(size)
        # One piece of memory in place of three: after a pause each new one costs more than all else here.
        return b"".join((head, length, body, b"\0"))

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

    def _head(self, destination: str, empty: bytes | str, heads: dict[str, bytes]) -> bytes:
        frame = commands.send(destination, empty, auto_content_length=False, version=self._version)
        head = b"SEND" + encode_block("SEND", frame.headers.pairs, self._version) + b"\ncontent-length:"
        if len(heads) >= _MOST:
            heads.clear()
        heads[destination] = head
        return head

    def _length(self, size: int) -> bytes:
        if len(self._lengths) >= _MOST:
            self._lengths.clear()
        length = self._lengths[size] = b"%d\n\n" % size
        return length
