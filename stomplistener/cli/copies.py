"""Copies of messages: keep the headers of the message, and drop the headers of its delivery."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from stomplistener import Message
from stomplistener.brokers import Profile
from stomplistener.message import OF_A_DELIVERY, OF_A_DUPLICATE

# A copy also drops the headers of earlier attempts.
_NOT_SENT_ON = OF_A_DELIVERY | OF_A_DUPLICATE | {"x-death"}
ORIGIN = "original-destination"


class Copy(NamedTuple):
    """A message to send as it arrived.

    Attributes:
        destination: the destination that it came from.
        body: the body as it arrived.
        headers: the headers of the message, without those of its delivery.
        counted: whether it had a content-length. Without one, JMS brokers make a text message of it.
    """

    destination: str
    body: bytes
    headers: dict[str, str]
    counted: bool


def copy_of(destination: str, body: bytes, headers: Mapping[str, str]) -> Copy:
    """Return the copy of a message with these headers."""
    kept = {name: value for name, value in headers.items() if name not in _NOT_SENT_ON}
    # A body with a NUL needs a content-length.
    return Copy(destination, body, kept, "content-length" in headers or b"\0" in body)


def origin_of(message: Message, profile: Profile | None) -> str | None:
    """Return the original destination of a dead letter; None if its headers do not name one."""
    if origin := message.headers.get(ORIGIN):
        return origin
    for name, template in (profile.origin if profile is not None else {}).items():
        if value := message.headers.get(name):
            return template.format(value=value)
    return None


def to_line(message: Message) -> str:
    """Write a message as one line of JSON in ASCII. ``from_line`` restores it byte for byte."""
    line: dict[str, Any] = {"destination": message.destination, "id": message.id, "headers": dict(message.headers)}
    try:
        line["body"] = message.body.decode()
    except UnicodeDecodeError:
        line["body_base64"] = base64.b64encode(message.body).decode()
    return json.dumps(line)


def from_line(text: bytes) -> Copy:
    """Return the message in a line.

    Raises:
        ValueError: the line holds no message; the text says why.
    """
    line = json.loads(text)
    if not isinstance(line, dict):
        raise ValueError("it is not a JSON object")
    headers, destination = line.get("headers", {}), line.get("destination", "")
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise ValueError("its headers are not an object of strings")
    if not isinstance(destination, str):
        raise ValueError("its destination is not a string")
    if isinstance(packed := line.get("body_base64"), str):
        body = base64.b64decode(packed, validate=True)
    elif isinstance(plain := line.get("body"), str):
        body = plain.encode()
    else:
        raise ValueError("it has neither body nor body_base64")
    return copy_of(destination, body, headers)
