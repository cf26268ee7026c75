"""The common part of the framework publishers: options of a message, its trace, and messages that tests keep."""

from __future__ import annotations

import json as json_module
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from stomplistener.brokers.dialect import Dialect
from stomplistener.connection import Body
from stomplistener.protocol import Frame, commands, encode

UNSET: Any = object()
"""Marks an argument that was left out, if None is a valid value."""

_OF_THE_FRAME = ("destination", "content-length")

_KNOWS_ALL = Dialect("artemis")
"""A profile with every option of SEND, which checks whether the values are in range without a connection."""


@dataclass(frozen=True)
class SentMessage:
    """A message that was kept in a test instead of being sent.

    Attributes:
        destination: the destination to which the message was not sent.
        body: as bytes.
        headers: the headers of the SEND frame, such as ``content-type`` and ``persistent``.
        connection: the name of the connection.
        options: the options that each broker spells differently, such as ``{"priority": 7}``.
    """

    destination: str
    body: bytes
    headers: Mapping[str, str]
    connection: str = "default"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The body, decoded as UTF-8."""
        return self.body.decode()

    def json(self) -> Any:
        """The body, parsed as JSON."""
        return json_module.loads(self.body)


def with_json(body: Body, json: Any, content_type: str | None) -> tuple[Body, str | None]:
    """Return the body and its content-type, both made from ``json`` if it is given.

    Raises:
        ValueError: both a body and ``json`` are given.
        TypeError: the value cannot be written as JSON.
    """
    if json is UNSET:
        return body, content_type
    if body:
        raise ValueError("give either a body or json=, not both")
    text = json_module.dumps(json, ensure_ascii=False, separators=(",", ":"))
    return text, content_type or "application/json"


def checked_frame(
    destination: str,
    body: Body,
    headers: Mapping[str, str] | None,
    *,
    content_type: str | None = None,
    auto_content_length: bool | None = None,
    **options: Any,
) -> Frame:
    """Make the SEND frame as a connection does, and raise if no broker could accept it.

    Args:
        destination, body, headers, content_type, auto_content_length: as for ``Connection.send``.
        **options: ``expires``, ``priority``, ``delay``, ``duplicate_id``, which are checked but not put into the frame.

    Raises:
        ValueError: the destination is missing or an option is out of range.
        InvalidHeader: a header cannot be sent in STOMP.
        TypeError: the body is neither bytes nor text, a header is not text, or there is no such option.
    """
    for name, value in (headers or {}).items():
        if not isinstance(value, str):
            raise TypeError(f"header {name!r} is {type(value).__name__}, not str")
    _KNOWS_ALL.send_headers(_KNOWS_ALL.profile(None), time.time(), **options)
    counted = True if auto_content_length is None else auto_content_length
    frame = commands.send(destination, body, headers, content_type=content_type, auto_content_length=counted)
    encode(frame, "1.2")
    return frame


def kept(
    connection: str, destination: str, body: Body, headers: Mapping[str, str] | None, options: Mapping[str, Any]
) -> SentMessage:
    """Make the record of a message that is not sent.

    Args:
        options: the other arguments of ``Connection.send``.

    Raises:
        ValueError, TypeError, InvalidHeader: as ``checked_frame``, and so as a real send.
    """
    about_waiting = ("timeout", "confirm", "transaction")
    given = {name: value for name, value in options.items() if name not in about_waiting and value is not None}
    frame = checked_frame(destination, body, headers, **given)
    about_body = ("content_type", "auto_content_length")
    return SentMessage(
        destination=destination,
        body=bytes(frame.body),
        headers={name: value for name, value in frame.headers.items() if name not in _OF_THE_FRAME},
        connection=connection,
        options={name: value for name, value in given.items() if name not in about_body},
    )


@contextmanager
def traced(destination: str, body: Body, headers: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """Make a span for a send in the current trace, and yield the headers that carry its context.

    Without a current span, the headers are unchanged. A program with a current span has imported OpenTelemetry already,
    so this function never imports it for a program without spans.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None or not trace.get_current_span().get_span_context().is_valid:
        yield headers
        return
    from stomplistener.worker.tracing import Tracing

    size = len(body.encode()) if isinstance(body, str) else len(body)
    with Tracing().send(destination, size, headers) as carried:
        yield carried
