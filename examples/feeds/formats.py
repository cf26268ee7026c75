"""Read messages of each format: their kind, and a summary line."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple
from xml.etree import ElementTree

MOST_UNPACKED = 32 * 1024 * 1024
"""The size limit, in bytes, of an unpacked body. A few kilobytes of gzip can unpack to gigabytes."""


class Content(NamedTuple):
    """The readable content of a message, and its body as it is stored."""

    kind: str
    summary: str
    body: bytes


def unpack(body: bytes) -> bytes:
    """Decompress gzip.

    Raises:
        ValueError: the body is not gzip, is cut off, or unpacks to more than ``MOST_UNPACKED`` bytes.
    """
    gzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        unpacked = gzip.decompress(body, MOST_UNPACKED)
    except zlib.error as error:
        raise ValueError(f"not gzip: {error}") from None
    if not gzip.eof:
        raise ValueError(
            f"gzip: {'cut off' if len(unpacked) < MOST_UNPACKED else f'larger than {MOST_UNPACKED} bytes'}"
        )
    return unpacked


def movements(headers: Mapping[str, str], body: bytes) -> Content:
    """Read train movements as from Network Rail: a JSON list of up to 32 events."""
    events = json.loads(body)
    first = events[0]["body"]
    kinds = sorted({event["header"]["msg_type"] for event in events})
    event = f"{first['event_type']} at {first['loc_stanox']}, {first['variation_status']}".lower()
    return Content("+".join(kinds), f"{len(events)} events, first: {first['train_id']} {event}", body)


def darwin(headers: Mapping[str, str], body: bytes) -> Content:
    """Read a message as from Darwin's push port: XML in gzip."""
    unpacked = unpack(body)
    train = next((each for each in ElementTree.fromstring(unpacked).iter() if "rid" in each.attrib), None)
    summary = "no train" if train is None else f"train {train.get('uid')} of {train.get('ssd')}"
    return Content(headers.get("MessageType", "?"), summary, unpacked)


def elexon(headers: Mapping[str, str], body: bytes) -> Content:
    """Read a measurement of the electricity market as from Elexon: XML with a subject and fields."""
    root = ElementTree.fromstring(body)
    fields = ", ".join(f"{each.tag} {each.text}" for each in root if each.tag != "subject")
    return Content(root.findtext("subject", "?"), fields, body)


FORMATS: dict[str, Callable[[Mapping[str, str], bytes], Content]] = {
    "movements": movements,
    "darwin": darwin,
    "elexon": elexon,
}


def read(format: str, headers: Mapping[str, str], body: bytes) -> tuple[Content, str | None]:
    """Return the content of a message, and the error in it, if any.

    A message that cannot be read is recorded unchanged. Otherwise the broker would deliver the message again and again,
    and the feed would stop.
    """
    try:
        return FORMATS[format](headers, body), None
    except (ValueError, LookupError, TypeError, AttributeError, ElementTree.ParseError) as error:
        return Content("unreadable", f"{type(error).__name__}: {error}", body), str(error)
