"""Show message bodies to people and write them for programs."""

from __future__ import annotations

import base64
import json
import zlib
from contextlib import suppress
from typing import Any

from stomplistener import Message

_TABLE = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code not in (9, 10)}
MAX_INFLATED = 16 * 1024 * 1024
"""The largest size, in bytes, to which a body is uncompressed. A larger body, maybe a bomb, is shown as it arrived."""


def printable(text: str) -> str:
    """Return the text without control characters, because a message from elsewhere must not control the terminal."""
    return text.translate(_TABLE)


def content(message: Message) -> bytes:
    """Return the body, uncompressed if its ``content-encoding`` is gzip or deflate."""
    encoding = message.headers.get("content-encoding", "").lower()
    if encoding not in ("gzip", "deflate"):
        return message.body
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        inflated = inflater.decompress(message.body, MAX_INFLATED)
    except zlib.error:
        return message.body
    return message.body if inflater.unconsumed_tail else inflated


def decoded(message: Message) -> str | None:
    """Return the body as text; None if it is not text."""
    body = content(message)
    try:
        text = message.text if body is message.body else body.decode()
    except (UnicodeDecodeError, LookupError):
        return None
    return None if "\0" in text else text


def pretty(message: Message) -> str:
    """Return the body in a readable form: text, indented JSON, or a dump of bytes."""
    text = decoded(message)
    if text is None:
        return dump(content(message))
    if "json" in message.headers.get("content-type", "") or text[:1] in ("{", "["):
        with suppress(ValueError):
            text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    return printable(text)


def dump(data: bytes, most: int = 256) -> str:
    """Return bytes in hexadecimal and in ASCII, 16 per line."""
    lines = []
    for start in range(0, min(len(data), most), 16):
        row = data[start : start + 16]
        ascii_ = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{start:06x}  {row.hex(' '):47}  {ascii_}")
    if len(data) > most:
        lines.append(f"… {len(data):,} bytes in all")
    return "\n".join(lines)


def as_json(message: Message) -> str:
    """Return one JSON object on one line: destination, id, redelivered, headers, and the body as text or in Base64."""
    line: dict[str, Any] = {
        "destination": message.destination,
        "id": message.id,
        "redelivered": message.redelivered,
        "headers": dict(message.headers),
    }
    text = decoded(message)
    if text is None:
        line["body_base64"] = base64.b64encode(content(message)).decode()
    else:
        line["body"] = text
    return json.dumps(line, ensure_ascii=False)
