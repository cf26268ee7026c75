"""OpenTelemetry: each message a span, and the trace carried on in the message's headers.

Names follow OpenTelemetry's semantic conventions for messaging spans; the context travels as the configured propagators
have it (``traceparent`` and ``tracestate`` of W3C Trace Context by default), one STOMP header for each of their fields.
Which exporter the spans go to is the application's business: it sets up the SDK, in ``on_start`` for instance.
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
"""``messaging.system`` where the broker is not known."""

processing: ContextVar[Message | None] = ContextVar("processing", default=None)
"""The message that has a span already, of the instrumentor: it gets no second one."""


class Tracing:
    """Makes the spans. Thread-safe.

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
        """A CONSUMER span around the handling of a message, the child of the one that its headers name.

        What the handler raises is recorded, makes the span an error, and passes.
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
        """A PRODUCER span around the sending of a message.

        Args:
            destination: where to.
            size: of the body, in bytes.
            headers: those of the message.

        Returns:
            the headers to send, with the context of the span among them.
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
    """The attributes of a span that OpenTelemetry's semantic conventions for messaging name.

    Args:
        operation: ``send``, ``receive`` or ``process``.
        destination: of the message.
        size: of its body, in bytes.
        session: tells which broker it is, and where; None where that is not known.
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
    """The attributes of a span for a received message."""
    found = attributes(operation, message.destination, len(message.body), session)
    found["messaging.message.id"] = message.id
    if "correlation-id" in message.headers:
        found["messaging.message.conversation_id"] = message.headers["correlation-id"]
    return found


def error_type(error: BaseException) -> str:
    """The name of an exception's class with its module, as the SDK writes it into ``exception.type``."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
