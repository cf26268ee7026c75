"""Treat the bytes of a broker as stomp.py does if the decoder of this library differs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_BEATS = (b"\n", b"\r\n")
_LONGEST_ANSWER = 65536
_SPACED = re.compile(rb"\nheart-beat: *(\d+) *, *(\d+) *(?=\r?\n)")


class WatchedTransport:
    """A transport that differs from the library in two points, as stomp.py does.

    The transport repairs the first answer of a broker. An ERROR without an empty line ends at its NUL, and spaces in
    the ``heart-beat`` header are removed. The transport counts each line end that arrives alone as a heartbeat, even
    directly after a frame.

    Args:
        inner: the transport that does all the work except ``receive``.
        on_beat: called for each heartbeat, in the thread that receives.
    """

    def __init__(self, inner: Any, on_beat: Callable[[], object]) -> None:
        self.inner = inner
        self._on_beat = on_beat
        self._receive = inner.receive
        self._answer: bytes | None = b""
        # Copy these methods to avoid __getattr__, because some are called for every frame.
        for name in ("send", "send_nowait", "frame_per_send", "unread", "expect", "limit_wait", "settimeout"):
            if hasattr(inner, name):
                setattr(self, name, getattr(inner, name))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @property
    def owes(self) -> Any:
        """See ``stomplistener.transport.Owing``; asked after every write, so it does not go through ``__getattr__``."""
        return self.inner.owes

    def receive(self) -> bytes:
        """See ``stomplistener.transport.Transport``."""
        data: bytes = self._receive()
        if data in _BEATS:
            self._on_beat()
        return data if self._answer is None else self._first(data)

    def _first(self, data: bytes) -> bytes:
        assert self._answer is not None
        seen = (self._answer + data).lstrip(b"\r\n")
        end = seen.find(b"\0")
        self._answer = seen if end < 0 and len(seen) < _LONGEST_ANSWER else None
        if end < 0:
            return data
        # Only the newest data can be changed. The data before it ended in the middle of a header.
        place = data.index(b"\0")
        last, rest = _SPACED.sub(rb"\nheart-beat:\1,\2", data[:place]), data[place:]
        is_whole = b"\n\n" in seen[:end].replace(b"\r\n", b"\n")
        return last + rest if is_whole else last + b"\n\n" + rest
