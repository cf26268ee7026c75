"""The part of stomp.py's ``utils`` that programs import: the frame, and small functions for it."""

from __future__ import annotations

import copy  # noqa: F401  # programs that import * find it here
import os
import queue
import re
import socket
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from stomplistener.compat.stomp.constants import *  # noqa: F403  # programs find them here, too

NULL = b"\x00"
ENC_NULL = NULL
ENC_NEWLINE = b"\n"

HEADER_LINE_RE = re.compile(r"(?P<key>[^:]+):(?P<value>.*)")
PREAMBLE_END_RE = re.compile(rb"\r?\n\r?\n")
LINE_END_RE = re.compile(r"\r?\n")
_ESCAPE_RE = re.compile(r"\\.")
PASSCODE_RE = re.compile(r"passcode:\s*[^' ]+")

LOCALHOST_NAMES = ["localhost", "127.0.0.1"]
if not os.environ.get("STOMP_SKIP_HOSTNAME_SCAN"):
    # Compare only the name: looking up its addresses may take long.
    LOCALHOST_NAMES.append(socket.gethostname())

_HIDDEN = "********"
_HEADER_ESCAPES = {"\r": "\\r", "\n": "\\n", ":": "\\c", "\\": "\\\\"}
_HEADER_UNESCAPES = {escaped: plain for plain, escaped in _HEADER_ESCAPES.items()}


class Frame:
    """A frame for listeners, which may change it.

    Attributes:
        cmd: the command.
        headers: a dict.
        original_headers: the headers before any change.
        body: str, or bytes with ``auto_decode=False``.
    """

    def __init__(self, cmd: str | None, headers: dict[str, Any] | None = None, body: Any = None) -> None:
        self.cmd: str | None = cmd
        self.headers: dict[str, Any] = headers if headers is not None else {}
        self.original_headers: Mapping[str, Any] = dict(self.headers)
        self.body = body

    @classmethod
    def received(cls, cmd: str, headers: Mapping[str, str], body: Any) -> Frame:
        """Make a received frame. No other code changes its headers, so one copy of them is enough."""
        frame = cls.__new__(cls)
        frame.cmd, frame.headers, frame.original_headers, frame.body = cmd, dict(headers), headers, body
        return frame

    def __str__(self) -> str:
        return f"{{cmd={self.cmd},headers=[{clean_headers(self.headers)}],body={self.body}}}"


HEARTBEAT_FRAME = Frame("heartbeat")


def get_uuid() -> str:
    return str(uuid.uuid4())


def encode(char_data: str | bytes, encoding: str = "utf-8") -> bytes:
    """Encode text, and return bytes unchanged. Raises TypeError for other types."""
    if isinstance(char_data, str):
        return char_data.encode(encoding, errors="replace")
    if isinstance(char_data, bytes):
        return char_data
    raise TypeError(f"message should be a string or bytes, found {type(char_data)}")


def decode(byte_data: bytes | None, encoding: str = "utf-8") -> str | None:
    """Decode bytes, with U+FFFD for invalid bytes."""
    return None if byte_data is None else byte_data.decode(encoding, errors="replace")


def is_eol_default(c: bytes) -> bool:
    """Whether these bytes are a line end."""
    return c == b"\n"


def get_errno(e: Any) -> Any:
    """Return the number of a system error, or the first argument of another exception."""
    return e.errno if hasattr(e, "errno") else e.args[0]


def pack(pieces: Iterable[bytes] = ()) -> bytes:
    return b"".join(pieces)


def join(chars: Iterable[bytes] = ()) -> str:
    return b"".join(chars).decode()


def length(s: Sequence[Any] | None) -> int:
    return 0 if s is None else len(s)


def merge_headers(header_map_list: Iterable[Mapping[str, Any] | None]) -> dict[str, Any]:
    """Merge the mappings. Later mappings override earlier ones."""
    merged: dict[str, Any] = {}
    for headers in header_map_list:
        merged.update(headers or {})
    return merged


def clean_headers(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the headers without the passcode, for display."""
    return {**headers, "passcode": _HIDDEN} if "passcode" in headers else headers


def clean_lines(lines: Any) -> str:
    """Return the pieces of a frame as text without the passcode, for display."""
    return PASSCODE_RE.sub(f"passcode:{_HIDDEN}", str(lines))


def is_localhost(host_and_port: tuple[str, int]) -> int:
    """Return a sort key: 1 for this machine, 2 for another one."""
    return 1 if host_and_port[0] in LOCALHOST_NAMES else 2


def calculate_heartbeats(shb: Sequence[str], chb: Sequence[int]) -> tuple[int, int]:
    """Return the agreed intervals in milliseconds, from the server's answer and the client's request."""
    (server_sends, server_wants), (client_sends, client_wants) = map(int, shb), map(int, chb)
    return (
        max(client_sends, server_wants) if client_sends and server_wants else 0,
        max(client_wants, server_sends) if client_wants and server_sends else 0,
    )


def default_create_thread(callback: Callable[[], object]) -> threading.Thread:
    """Start a daemon thread."""
    thread = threading.Thread(target=callback, daemon=True)
    thread.start()
    return thread


def convert_frame(frame: Frame) -> list[bytes]:
    """Return the pieces of an encoded frame, without escaping, unlike ``stomplistener.protocol.encode``."""
    body = encode(frame.body) if frame.body else b""
    headers = dict(frame.headers)
    if body and "content-length" in headers:
        headers["content-length"] = len(body)
    lines = [f"{frame.cmd}\n"] if frame.cmd else []
    for key, values in sorted(headers.items()):
        each = values if isinstance(values, tuple) else (values,)
        lines += [f"{key}:{value}\n" for value in each if value is not None]
    return [*(line.encode() for line in lines), b"\n", body, NULL if frame.cmd else b""]


def _unescape_header(matchobj: re.Match[str]) -> str:
    """Return the character for an escape. An unknown escape stays unchanged."""
    return _HEADER_UNESCAPES.get(matchobj.group(0), matchobj.group(0))


def unescaped(text: str) -> str:
    """Undo the escaping of ``Protocol11.send_frame`` in a name or value of a header."""
    return _ESCAPE_RE.sub(_unescape_header, text)


def parse_headers(lines: Sequence[str], offset: int = 0) -> dict[str, str]:
    """Parse the headers in these lines, as leniently as stomp.py. Of repeated headers, the first is used."""
    headers: dict[str, str] = {}
    for line in lines[offset:]:
        found = HEADER_LINE_RE.match(line)
        if found is not None:
            key, value = map(unescaped, found.groups())
            headers.setdefault(key, value)
    return headers


def parse_frame(frame: bytes) -> Frame | None:
    """Parse the frame in these bytes, as leniently as stomp.py; None if there is none. Its body stays bytes."""
    frame = frame.lstrip(b"\r\n")
    end = PREAMBLE_END_RE.search(frame)
    preamble, body = (frame, b"") if end is None else (frame[: end.start()], frame[end.end() :])
    if not frame:
        return None
    lines = LINE_END_RE.split(preamble.decode(errors="replace"))
    return Frame(lines[0], parse_headers(lines, 1), body)


class PollableQueue(queue.Queue[Any]):
    """A queue with a file descriptor that is readable while the queue has items."""

    def __init__(self) -> None:
        super().__init__()
        self._getsocket, self._putsocket = socket.socketpair()

    def fileno(self) -> int:
        return self._getsocket.fileno()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self._putsocket.send(b"x")

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        self._getsocket.recv(1)
        return super().get(block, timeout)

    def shutdown(self, immediate: bool = False) -> None:
        self._putsocket.close()
        self._getsocket.close()
