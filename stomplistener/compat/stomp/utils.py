"""What programs import of stomp.py's ``utils``: the frame, and small functions around it."""

from __future__ import annotations

import copy
import socket
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from stomplistener.protocol import Decoder

NULL = b"\x00"
LOCALHOST_NAMES = ["localhost", "127.0.0.1", socket.gethostname()]
_HIDDEN = "********"


class Frame:
    """A frame as listeners get it and may change it.

    Attributes:
        cmd: the command.
        headers: a dict.
        original_headers: the headers as they were at first.
        body: str, or bytes with ``auto_decode=False``.
    """

    def __init__(self, cmd: str | None, headers: dict[str, Any] | None = None, body: Any = None) -> None:
        self.cmd = cmd
        self.headers: dict[str, Any] = headers if headers is not None else {}
        self.original_headers = copy.copy(self.headers)
        self.body = body

    def __str__(self) -> str:
        return f"{{cmd={self.cmd},headers=[{clean_headers(self.headers)}],body={self.body}}}"


HEARTBEAT_FRAME = Frame("heartbeat")


def get_uuid() -> str:
    return str(uuid.uuid4())


def encode(char_data: str | bytes, encoding: str = "utf-8") -> bytes:
    """Text as bytes, bytes as they are; TypeError for anything else."""
    if isinstance(char_data, str):
        return char_data.encode(encoding, errors="replace")
    if isinstance(char_data, bytes):
        return char_data
    raise TypeError(f"message should be a string or bytes, found {type(char_data)}")


def decode(byte_data: bytes | None, encoding: str = "utf-8") -> str | None:
    """Bytes as text, with U+FFFD for what is none."""
    return None if byte_data is None else byte_data.decode(encoding, errors="replace")


def pack(pieces: Iterable[bytes] = ()) -> bytes:
    return b"".join(pieces)


def join(chars: Iterable[bytes] = ()) -> str:
    return b"".join(chars).decode()


def length(s: Sequence[Any] | None) -> int:
    return 0 if s is None else len(s)


def merge_headers(header_map_list: Iterable[Mapping[str, Any] | None]) -> dict[str, Any]:
    """All of the mappings as one, later ones going before earlier ones."""
    merged: dict[str, Any] = {}
    for headers in header_map_list:
        merged.update(headers or {})
    return merged


def clean_headers(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    """The headers without the passcode, to be shown."""
    return {**headers, "passcode": _HIDDEN} if "passcode" in headers else headers


def is_localhost(host_and_port: tuple[str, int]) -> int:
    """1 for this machine, 2 for another one: a key to sort by."""
    return 1 if host_and_port[0] in LOCALHOST_NAMES else 2


def calculate_heartbeats(shb: Sequence[str], chb: Sequence[int]) -> tuple[int, int]:
    """The intervals that hold between what a server answered and a client wanted, in milliseconds."""
    (server_sends, server_wants), (client_sends, client_wants) = map(int, shb), chb
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
    """The pieces of a frame on the wire. Nothing is escaped; ``stomplistener.protocol.encode`` does that."""
    body = encode(frame.body) if frame.body else b""
    headers = dict(frame.headers)
    if body and "content-length" in headers:
        headers["content-length"] = len(body)
    lines = [f"{frame.cmd}\n"] if frame.cmd else []
    for key, values in sorted(headers.items()):
        each = values if isinstance(values, tuple) else (values,)
        lines += [f"{key}:{value}\n" for value in each if value is not None]
    return [*(line.encode() for line in lines), b"\n", body, NULL if frame.cmd else b""]


def parse_frame(frame: bytes) -> Frame | None:
    """The frame in these bytes, None if there is none; its body stays bytes."""
    data = frame.lstrip(b"\r\n").removesuffix(NULL)
    if not data:
        return None
    found = Decoder("1.2").feed(data + NULL)[0]
    return Frame(found.command, dict(found.headers), found.body)


def parse_headers(lines: Sequence[str], offset: int = 0) -> dict[str, str]:
    """The headers in these lines, the first of those that repeat."""
    frame = parse_frame("\n".join(["MESSAGE", *lines[offset:], "", ""]).encode())
    return frame.headers if frame else {}
