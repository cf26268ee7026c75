"""OpenTelemetry: spans and metrics for every send and every handled message. Needs the extra ``tracing``.

``opentelemetry-instrument`` finds it by the entry point ``opentelemetry_instrumentor``. A program may also call::

    StomplistenerInstrumentor().instrument()

While the instrumentation is on, it replaces functions of the library. While the instrumentation is off, none of its
code runs.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from stomplistener import listener as listener_module
from stomplistener import subscription as subscription_module
from stomplistener.connection import Batch, Connection
from stomplistener.listener import Hook
from stomplistener.message import Message
from stomplistener.policy import TryAgain
from stomplistener.statistics import SessionSnapshot
from stomplistener.subscription import Consumer
from stomplistener.transaction import Transaction
from stomplistener.worker import tracing
from stomplistener.worker.extras import needed_for

with needed_for("stomplistener.contrib.opentelemetry", "tracing"):
    import wrapt
    from opentelemetry import metrics, propagate, trace
    from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]
    from opentelemetry.instrumentation.utils import is_instrumentation_enabled, unwrap

__all__ = ["StomplistenerInstrumentor"]

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""The buckets for durations that the semantic conventions for messaging metrics require."""

SENDS = (
    (Connection, ("send", "send_async", "request", "request_async", "reply")),
    (Transaction, ("send",)),
    (Message, ("reply",)),
)
"""The calls that send a message."""

MOST_LINKS = 128
"""The largest number of links of a batch span, to its last messages. OpenTelemetry has the same default limit."""

_sending: ContextVar[bool] = ContextVar("sending", default=False)


class StomplistenerInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Makes spans and metrics that follow OpenTelemetry's semantic conventions for messaging.

    ``instrument(tracer_provider=…, meter_provider=…)`` starts the instrumentation for all connections. Listeners that
    were subscribed earlier have no spans. ``uninstrument()`` ends the instrumentation.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return no dependencies: the instrumentation is part of the package that it instruments."""
        return ()

    def _instrument(self, **options: Any) -> None:
        self._instruments = instruments = _Instruments(options.get("tracer_provider"), options.get("meter_provider"))
        for owner, names in SENDS:
            for name in names:
                wrapt.wrap_function_wrapper(owner, name, _Send(instruments, getattr(owner, name)))
        wrapt.wrap_function_wrapper(Batch, "__enter__", instruments.batches.enter)
        wrapt.wrap_function_wrapper(Batch, "__exit__", instruments.batches.leave)
        wrapt.wrap_function_wrapper(Consumer, "receive", instruments.receive)
        for module in (listener_module, subscription_module):
            wrapt.wrap_function_wrapper(module, "hooks_of", instruments.hooks_of)

    def _uninstrument(self, **options: Any) -> None:  # noqa: ARG002
        self._instruments.is_on = False
        for owner, names in SENDS:
            for name in names:
                unwrap(owner, name)
        unwrap(Batch, "__enter__")
        unwrap(Batch, "__exit__")
        unwrap(Consumer, "receive")
        for module in (listener_module, subscription_module):
            unwrap(module, "hooks_of")


class _Instruments:
    """The tracer, the meters, and the wrappers around the receiving of messages."""

    def __init__(self, tracer_provider: Any, meter_provider: Any) -> None:
        self.is_on = True
        self.tracer = trace.get_tracer("stomplistener", tracer_provider=tracer_provider)
        meter = metrics.get_meter("stomplistener", meter_provider=meter_provider)
        duration = functools.partial(meter.create_histogram, unit="s", explicit_bucket_boundaries_advisory=SECONDS)
        self.operations = duration(
            "messaging.client.operation.duration", description="Duration of a send or a receive."
        )
        self.processing = duration("messaging.process.duration", description="Duration of handling a message.")
        count = functools.partial(meter.create_counter, unit="{message}")
        self.sent = count("messaging.client.sent.messages", description="Messages that were sent, or failed to be.")
        self.consumed = count("messaging.client.consumed.messages", description="Messages that were received.")
        self.batches = _Batches(self)

    @property
    def wanted(self) -> bool:
        """Whether to make spans now, in this context."""
        return self.is_on and bool(is_instrumentation_enabled())

    def note(self, histogram: Any, attributes: Mapping[str, Any], seconds: float, error: BaseException | None) -> None:
        """Record a duration, with the attributes that metrics have."""
        histogram.record(seconds, _of_metrics(attributes, error))

    # Receiving

    def hooks_of(self, wrapped: Callable[..., dict[str, Hook]], _: Any, given: Any, named: Any) -> dict[str, Hook]:
        """Wrap the listener's ``on_message`` in a span."""
        hooks = wrapped(*given, **named)
        if "on_message" in hooks:
            hooks["on_message"] = self._traced(hooks["on_message"])
        return hooks

    def _traced(self, hook: Hook) -> Hook:
        @functools.wraps(hook)
        def handle(message: Message) -> object:
            if not self.wanted:
                return hook(message)
            return self._process(hook, message)

        return handle

    def _process(self, hook: Hook, message: Message) -> object:
        attributes = _of_message("process", message)
        self.consumed.add(1, _of_metrics(attributes, None))
        parent = propagate.extract(message.headers)
        began = time.perf_counter()
        postponed: TryAgain | None = None
        failure: BaseException | None = None
        returned: object = None
        token = tracing.processing.set(message)
        try:
            with self.tracer.start_as_current_span(
                f"process {message.destination}",
                context=parent,
                kind=trace.SpanKind.CONSUMER,
                attributes=attributes,
                links=_links(message, parent),
            ) as span:
                try:
                    returned = hook(message)
                except TryAgain as again:
                    # The handler postponed the message on purpose, so this attempt has no error.
                    postponed = again
                except BaseException as error:
                    failure = error
                    span.set_attribute("error.type", tracing.error_type(error))
                    raise
        finally:
            tracing.processing.reset(token)
            self.note(self.processing, attributes, time.perf_counter() - began, failure)
        if postponed is not None:
            raise postponed
        return returned

    def receive(self, wrapped: Callable[..., Message | None], _: Any, given: Any, named: Any) -> Message | None:
        """Make a span for a message that a consumer received, with a link to the span that sent the message."""
        if not self.wanted:
            return wrapped(*given, **named)
        began, at = time.perf_counter(), time.time_ns()
        message = wrapped(*given, **named)
        if message is not None:
            attributes = _of_message("receive", message)
            context = propagate.extract(message.headers)
            links = [trace.Link(span)] if (span := _span_of(context)).is_valid else []
            self.tracer.start_span(
                f"receive {message.destination}",
                kind=trace.SpanKind.CLIENT,
                attributes=attributes,
                links=links,
                start_time=at,
            ).end()
            self.consumed.add(1, _of_metrics(attributes, None))
            self.note(self.operations, attributes, time.perf_counter() - began, None)
        return message


@dataclass
class _OpenBatch:
    """The messages sent so far in a block of ``Connection.batch()``."""

    outer: _OpenBatch | None
    began: int = field(default_factory=time.time_ns)
    count: int = 0
    attributes: dict[str, Any] = field(default_factory=dict)
    links: deque[trace.Link] = field(default_factory=lambda: deque(maxlen=MOST_LINKS))

    def add(self, attributes: Mapping[str, Any], span: trace.SpanContext) -> None:
        """Count a message. Keep the attributes that all messages of the batch have."""
        shared = _of_metrics(attributes, None).items()
        self.attributes = dict(shared if not self.count else shared & self.attributes.items())
        self.count += 1
        if span.is_valid:
            self.links.append(trace.Link(span))


class _Batches:
    """Makes a span for each block of ``Connection.batch()``, with the number of messages in it."""

    def __init__(self, instruments: _Instruments) -> None:
        self._instruments = instruments
        self._open: ContextVar[_OpenBatch | None] = ContextVar("open", default=None)

    def enter(self, wrapped: Callable[..., None], _: Any, given: Any, named: Any) -> None:
        """Start to count messages. The span is made at the end, when its links are known."""
        wrapped(*given, **named)
        self._open.set(_OpenBatch(self._open.get()))

    def add(self, attributes: Mapping[str, Any], span: trace.SpanContext) -> None:
        """Count a message, if the sender is inside a batch."""
        if (batch := self._open.get()) is not None:
            batch.add(attributes, span)

    def leave(self, wrapped: Callable[..., None], _: Any, given: Any, named: Any) -> None:
        """Make the span, if any message was sent."""
        batch = self._open.get()
        try:
            wrapped(*given, **named)
        finally:
            if batch is not None:
                self._open.set(batch.outer)
                self._end(batch)

    def _end(self, batch: _OpenBatch) -> None:
        if not batch.count or not self._instruments.wanted:
            return
        destination = batch.attributes.get("messaging.destination.name")
        attributes = {
            **batch.attributes,
            "messaging.operation.name": "batch",
            "messaging.batch.message_count": batch.count,
        }
        self._instruments.tracer.start_span(
            f"batch {destination}" if destination else "batch",
            kind=trace.SpanKind.CLIENT,
            attributes=attributes,
            links=list(batch.links),
            start_time=batch.began,
        ).end()


class _Send:
    """Wraps one call that sends in a span, and puts the context of the span into the headers of the message."""

    def __init__(self, instruments: _Instruments, function: Callable[..., Any]) -> None:
        self._instruments = instruments
        self._signature = inspect.signature(function)

    def __call__(self, wrapped: Callable[..., Any], instance: Any, given: Any, named: Any) -> Any:
        if not self._instruments.wanted or _sending.get():
            return wrapped(*given, **named)
        try:
            call = self._signature.bind(instance, *given, **named)
        except TypeError:
            return wrapped(*given, **named)  # raises the error
        token = _sending.set(True)
        try:
            return self._send(wrapped, call)
        finally:
            _sending.reset(token)

    def _send(self, wrapped: Callable[..., Any], call: inspect.BoundArguments) -> Any:
        values = call.arguments
        session, destination = _where(values)
        attributes = tracing.attributes("send", destination, _size(values.get("body", b"")), session)
        headers = dict(values.get("headers") or {})
        finish = functools.partial(self._finish, attributes, time.perf_counter())
        if any(field in headers for field in propagate.get_global_textmap().fields):
            # A publisher made the span when the message was created, perhaps in another process.
            self._instruments.batches.add(attributes, _span_of(propagate.extract(headers)))
            return self._watched(wrapped, call, finish)
        span = self._instruments.tracer.start_span(
            f"send {destination}", kind=trace.SpanKind.PRODUCER, attributes=attributes
        )
        self._instruments.batches.add(attributes, span.get_span_context())
        with trace.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
            propagate.inject(headers)
            values["headers"] = headers
            return self._watched(wrapped, call, functools.partial(finish, span=span))

    def _watched(self, wrapped: Callable[..., Any], call: inspect.BoundArguments, finish: Callable[..., None]) -> Any:
        try:
            _, *given = call.args
            result = wrapped(*given, **call.kwargs)
        except BaseException as error:
            finish(error)
            raise
        if isinstance(result, Future):
            # The send ends when the broker has answered.
            result.add_done_callback(lambda future: finish(None if future.cancelled() else future.exception()))
        else:
            finish(None)
        return result

    def _finish(
        self, attributes: Mapping[str, Any], began: float, error: BaseException | None, span: trace.Span | None = None
    ) -> None:
        self._instruments.note(self._instruments.operations, attributes, time.perf_counter() - began, error)
        self._instruments.sent.add(1, _of_metrics(attributes, error))
        if span is None:
            return
        if error is not None:
            span.record_exception(error)
            span.set_attribute("error.type", tracing.error_type(error))
            span.set_status(trace.Status(trace.StatusCode.ERROR, f"{type(error).__name__}: {error}"))
        span.end()


def _where(values: Mapping[str, Any]) -> tuple[SessionSnapshot | None, str]:
    """Return the session and the destination of a call that sends."""
    owner = values["self"]
    message = owner if isinstance(owner, Message) else values.get("message")
    if isinstance(message, Message):
        return _session_of(message), message.reply_to or ""
    return owner._engine.session_snapshot(), str(values["destination"])


def _session_of(message: Message) -> SessionSnapshot | None:
    subscription = message.subscription
    return subscription._engine.session_snapshot() if subscription is not None else None


def _of_message(operation: str, message: Message) -> dict[str, Any]:
    return tracing.attributes_of(operation, message, _session_of(message))


def _of_metrics(attributes: Mapping[str, Any], error: BaseException | None) -> dict[str, Any]:
    """Return the attributes for metrics: each has few values, and none describes a single message."""
    kept = {name: value for name, value in attributes.items() if not name.startswith("messaging.message.")}
    if error is not None:
        kept["error.type"] = tracing.error_type(error)
    return kept


def _links(message: Message, parent: Any) -> list[trace.Link]:
    """Return the link that marks a redelivery in the trace; none for the first delivery."""
    again = message.redelivered or message.attempts or message.postponed
    span = _span_of(parent)
    return [trace.Link(span, {"messaging.stomp.redelivered": True})] if again and span.is_valid else []


def _span_of(context: Any) -> trace.SpanContext:
    return trace.get_current_span(context).get_span_context()


def _size(body: Any) -> int:
    return len(body.encode()) if isinstance(body, str) else len(body)
