"""OpenTelemetry: each message a span, and the trace carried on in the message's headers.

Names follow OpenTelemetry's semantic conventions for messaging spans; the context travels as the configured propagators
have it (``traceparent`` and ``tracestate`` of W3C Trace Context by default), one STOMP header for each of their fields.
Which exporter the spans go to is the application's business: it sets up the SDK, in ``on_start`` for instance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from stomplistener.message import Message
from stomplistener.worker.extras import needed_for

SYSTEM = "stomp"


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
        attributes = _attributes("process", message.destination, len(message.body))
        attributes["messaging.message.id"] = message.id
        if "correlation-id" in message.headers:
            attributes["messaging.message.conversation_id"] = message.headers["correlation-id"]
        with self._tracer.start_as_current_span(
            f"process {message.destination}",
            context=self._propagate.extract(message.headers),
            kind=self._trace.SpanKind.CONSUMER,
            attributes=attributes,
        ) as span:
            try:
                yield
            except BaseException as error:
                span.set_attribute("error.type", type(error).__qualname__)
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
            f"send {destination}", kind=self._trace.SpanKind.PRODUCER, attributes=_attributes("send", destination, size)
        ) as span:
            carried = dict(headers or {})
            self._propagate.inject(carried)
            try:
                yield carried
            except BaseException as error:
                span.set_attribute("error.type", type(error).__qualname__)
                raise


def _attributes(operation: str, destination: str, size: int) -> dict[str, str | int]:
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": destination,
        "messaging.message.body.size": size,
    }
