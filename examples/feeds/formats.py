"""What is in a message of each format: its kind, and a line about it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple
from xml.etree import ElementTree

MOST_UNPACKED = 32 * 1024 * 1024
"""Bytes. A few kilobytes of gzip can unpack to gigabytes."""


class Content(NamedTuple):
    """A message for people, and its body as it is kept."""

    kind: str
    summary: str
    body: bytes


def unpack(body: bytes) -> bytes:
    """Decompress gzip.

    Raises:
        ValueError: it is no gzip, it is cut off, or it is larger than ``MOST_UNPACKED``.
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
    """Train movements in the manner of Network Rail: a JSON list of up to 32 of them."""
    events = json.loads(body)
    first = events[0]["body"]
    kinds = sorted({event["header"]["msg_type"] for event in events})
    event = f"{first['event_type']} at {first['loc_stanox']}, {first['variation_status']}".lower()
    return Content("+".join(kinds), f"{len(events)} events, first: {first['train_id']} {event}", body)


def darwin(headers: Mapping[str, str], body: bytes) -> Content:
    """A message of Darwin's push port: XML in gzip."""
    unpacked = unpack(body)
    train = next((each for each in ElementTree.fromstring(unpacked).iter() if "rid" in each.attrib), None)
    summary = "no train" if train is None else f"train {train.get('uid')} of {train.get('ssd')}"
    return Content(headers.get("MessageType", "?"), summary, unpacked)


def elexon(headers: Mapping[str, str], body: bytes) -> Content:
    """A measurement of the electricity market in the manner of Elexon: XML with a subject, and fields."""
    root = ElementTree.fromstring(body)
    fields = ", ".join(f"{each.tag} {each.text}" for each in root if each.tag != "subject")
    return Content(root.findtext("subject", "?"), fields, body)


FORMATS: dict[str, Callable[[Mapping[str, str], bytes], Content]] = {
    "movements": movements,
    "darwin": darwin,
    "elexon": elexon,
}


def read(format: str, headers: Mapping[str, str], body: bytes) -> tuple[Content, str | None]:
    """A message's content, and what is wrong with it.

    A message that cannot be read is recorded as it came: the broker would deliver it again and again otherwise, and
    the feed would stand still.
    """
    try:
        return FORMATS[format](headers, body), None
    except (ValueError, LookupError, TypeError, AttributeError, ElementTree.ParseError) as error:
        return Content("unreadable", f"{type(error).__name__}: {error}", body), str(error)
