"""OpenTelemetry: make a span for each message, and carry the trace in the headers of the message.

Names follow OpenTelemetry's semantic conventions for messaging spans. The configured propagators write the context, one
STOMP header for each of their fields: by default ``traceparent`` and ``tracestate`` of W3C Trace Context. The
application sets up the SDK with an exporter, for example in ``on_start``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from urllib.parse import urlsplit

from stomplistener.brokers.table import name_of
from stomplistener.message import Message
from stomplistener.statistics import SessionSnapshot
from stomplistener.worker.extras import needed_for

SYSTEM = "stomp"
"""``messaging.system`` if the broker is unknown."""

processing: ContextVar[Message | None] = ContextVar("processing", default=None)
"""The message for which the instrumentor has already made a span, so that it gets no second span."""


class Tracing:
    """Makes spans. Thread-safe.

    Raises:
        MissingExtra: the package opentelemetry-api is not installed.
    """

    def __init__(self) -> None:
        with needed_for("tracing", "tracing"):
            from opentelemetry import propagate, trace
        self._propagate = propagate
        self._trace = trace
        self._tracer = trace.get_tracer("stomplistener")

    @contextmanager
    def process(self, message: Message) -> Iterator[None]:
        """Make a CONSUMER span around the handling of a message, as the child of the span in the message's headers.

        If the handler raises, the exception is recorded, the span gets the status error, and the exception is passed
        on.
        """
        if processing.get() is message:
            yield
            return
        attributes = attributes_of("process", message)
        with self._tracer.start_as_current_span(
            f"process {message.destination}",
            context=self._propagate.extract(message.headers),
            kind=self._trace.SpanKind.CONSUMER,
            attributes=attributes,
        ) as span:
            try:
                yield
            except BaseException as error:
                span.set_attribute("error.type", error_type(error))
                raise

    @contextmanager
    def send(self, destination: str, size: int, headers: Mapping[str, str] | None = None) -> Iterator[dict[str, str]]:
        """Make a PRODUCER span around the sending of a message.

        Args:
            destination: the destination of the message.
            size: the size of the body in bytes.
            headers: the headers of the message.

        Returns:
            the headers to send, which include the context of the span.
        """
        with self._tracer.start_as_current_span(
            f"send {destination}", kind=self._trace.SpanKind.PRODUCER, attributes=attributes("send", destination, size)
        ) as span:
            carried = dict(headers or {})
            self._propagate.inject(carried)
            try:
                yield carried
            except BaseException as error:
                span.set_attribute("error.type", error_type(error))
                raise


def attributes(
    operation: str, destination: str, size: int, session: SessionSnapshot | None = None
) -> dict[str, str | int]:
    """Return the attributes of a span, as OpenTelemetry's semantic conventions for messaging define them.

    Args:
        operation: ``send``, ``receive`` or ``process``.
        destination: the destination of the message.
        size: the size of the body in bytes.
        session: the session with the broker; None if it is unknown.
    """
    found: dict[str, str | int] = {
        "messaging.system": (name_of(session.server) if session is not None else None) or SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": destination,
        "messaging.message.body.size": size,
    }
    place = urlsplit(session.broker) if session is not None and session.broker is not None else None
    if place is not None and place.hostname:
        found["server.address"] = place.hostname
        if place.port is not None:
            found["server.port"] = place.port
    return found


def attributes_of(operation: str, message: Message, session: SessionSnapshot | None = None) -> dict[str, str | int]:
    """Return the attributes of a span for a received message."""
    found = attributes(operation, message.destination, len(message.body), session)
    found["messaging.message.id"] = message.id
    if "correlation-id" in message.headers:
        found["messaging.message.conversation_id"] = message.headers["correlation-id"]
    return found


def error_type(error: BaseException) -> str:
    """Return the name of an exception's class with its module, as the SDK writes it into ``exception.type``."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
