"""The path of received data: read bytes from the transport, decode frames, and find out what each frame concerns.

One thread at a time reads: the receiver, or the dispatcher while it reads for the receiver
(``inline_dispatch``).
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from stomplistener._engine.context import Context
from stomplistener._engine.dispatch_queue import DispatchQueue, Event, Item
from stomplistener._engine.flow_control import FlowControl
from stomplistener._engine.frame_pace import FramePace
from stomplistener._engine.receipts import Answer
from stomplistener._engine.sender import Sender
from stomplistener._engine.writer import Writer
from stomplistener._util.deadline import Deadline
from stomplistener.errors import BrokerError, ConnectionLost, ProtocolError
from stomplistener.message import Message
from stomplistener.protocol import HEARTBEAT, Decoder, Frame, Request, Session, SubscriptionEntry, encode
from stomplistener.protocol.frame import without
from stomplistener.protocol.session import error_text
from stomplistener.transport import Guided, Transport

LOOK_SECONDS = 0.05
"""The shortest time in seconds between two checks of a frame that takes too long."""


class Pause(Protocol):
    """Decides when bytes may gather before the next read."""

    def before_read(self) -> None: ...
    def after_read(self, size: int, *, answers: bool) -> None: ...


class Sorted:
    """Collects the effects of the frames of one read under the lock; they are carried out without the lock."""

    __slots__ = ("batches", "events", "reports", "to_publish")

    def __init__(self) -> None:
        self.batches: dict[DispatchQueue, list[Item]] = {}
        self.to_publish: list[Answer[Any]] = []
        self.events: list[Event] = []
        self.reports: list[BrokerError] = []

    def line_up(self) -> list[DispatchQueue]:
        """Hand the messages to their queues, with the lock held, and return these queues."""
        queues: list[DispatchQueue] = []
        for queue, batch in self.batches.items():
            if batch:
                queue.line_up(batch)
                queues.append(queue)
        return queues


class Inbound:
    """Reads, decodes and dispatches.

    Args:
        context: the context of the connection.
        flow: pauses reading.
        writer: knows whether frames were sent since the last read.
        sender: settles messages, and wakes the threads that wait for receipts.
        main: the queue of the dispatcher.
        rejected: called without the lock for a subscription that the broker rejected.
        pause: lets bytes gather before a read.
    """

    def __init__(
        self,
        context: Context,
        flow: FlowControl,
        writer: Writer,
        sender: Sender,
        main: DispatchQueue,
        rejected: Callable[[SubscriptionEntry], None],
        pause: Pause,
    ) -> None:
        self._context = context
        self._lock = context.lock
        self._session: Session = context.session
        self._flow = flow
        self._writer = writer
        self._sender = sender
        self._main = main
        self._rejected = rejected
        self._pause = pause
        self._secrets: tuple[str, ...] = ()
        self._transport: Transport | None = None
        self._guided: Guided | None = None
        self._decoder = Decoder(limits=context.config.limits)
        self._pace = FramePace(context.config.limits.frame_timeout)
        self._errors = 0
        self.last_error: BrokerError | None = None
        """The last ERROR of this connection."""

    def attach(self, transport: Transport, decoder: Decoder, secrets: tuple[str, ...]) -> None:
        """Read from this transport from now on. The decoder has already taken the bytes behind CONNECTED."""
        self._transport = transport
        self._guided = transport if isinstance(transport, Guided) else None
        self._decoder = decoder
        self._secrets = secrets
        self._pace = FramePace(self._context.config.limits.frame_timeout)
        # Another frame may have begun behind CONNECTED.
        self._pace.note(time.monotonic(), complete=True, partial=decoder.partial)
        self._errors = 0
        self.last_error = None
        self._sender.note_unexplained(0.0, None)

    # Reading

    def read(self) -> Exception | None:
        """Read once and dispatch the frames. Return why the connection has ended; None if it has not.

        Raises:
            TimeoutError: nothing arrived within the timeout of the transport.
        """
        transport = self._transport
        assert transport is not None
        try:
            self._pause.before_read()
            data = transport.receive()
            if not data:
                cut = self._decoder.finish()
                if cut is not None:
                    self.dispatch([cut])
                return ConnectionLost("the broker closed the connection")
            self._take(data)
        except (TimeoutError, BlockingIOError) as error:
            if error.errno == errno.ETIMEDOUT:
                # The peer's system has not answered for minutes: this is the kernel's end of the connection.
                return error
            raise TimeoutError("nothing came in time") from None
        except Exception as error:
            return error
        except BaseException as error:  # a transport of the application may raise anything
            return ConnectionLost(f"the transport raised {type(error).__name__}: {error}")
        return None

    def _take(self, data: bytes) -> None:
        context = self._context
        before, context.last_received = context.last_received, (now := time.monotonic())
        self._pause.after_read(len(data), answers=self._writer.last_write > before)
        context.counters.bytes_received += len(data)
        failure: ProtocolError | None = None
        decoder = self._decoder
        try:
            frames = decoder.feed(data)
        except ProtocolError as error:
            frames, failure = error.frames, error
        if frames:
            self.dispatch(frames)
        if failure is not None:
            raise failure
        partial = decoder.partial
        if partial and decoder.missing and self._guided is not None:
            self._guided.expect(decoder.missing)
        self._pace.note(now, complete=bool(frames), partial=partial)

    def wait_for_room(self, deadline: Deadline) -> bool:
        """Pause reading while the bound on received messages is reached; False if the deadline came first."""
        if self._flow.has_room:
            return True
        room = self._flow.wait_for_room(deadline)
        self._pace.restart(time.monotonic())
        return room

    def overdue(self, now: float) -> tuple[float, ProtocolError | None]:
        """Return when to check the current frame again, and the error if it takes too long. Thread-safe."""
        at = self._pace.overdue_at()
        if now <= at:
            # The next check must also be in time for a frame that begins only now.
            return max(min(at, now + self._context.config.limits.frame_timeout), now + LOOK_SECONDS), None
        slow = None if self._flow.is_paused or self.has_unread() else self._pace.offence()
        return now + LOOK_SECONDS, slow

    def has_unread(self) -> bool:
        """Whether received bytes are unread; they are a sign of life, too."""
        transport = self._transport
        try:
            return transport is not None and transport.unread()
        except Exception:
            return False

    # Dispatching

    def dispatch(self, frames: list[Frame]) -> None:
        """Note frames in the session, and carry out what they mean."""
        context = self._context
        # An idle connection receives only single heartbeats.
        if frames[0] is HEARTBEAT and len(frames) == 1 and not context.listeners.hear("on_heartbeat"):
            return
        if self._secrets:
            frames = [without(frame, self._secrets) for frame in frames]
        if context.log.shows_frames():
            for frame in frames:
                if frame is not HEARTBEAT:
                    context.log.frame("<", frame)
        found, queues = Sorted(), list[DispatchQueue]()
        try:
            with self._lock:
                try:
                    self._sort(frames, found)
                finally:
                    # Frames before one that breaks the protocol are handled, too: the broker does not deliver them
                    # again.
                    queues = found.line_up()
        finally:
            for answer in found.to_publish:
                answer.publish()
            for queue in queues:
                queue.begin()
            if found.reports or found.events:
                self._report(found)
            # Write the frames that a receipt released, and the frames that an interrupted thread could not write.
            if self._writer.is_forgotten:
                self._writer.schedule()

    def _sort(self, frames: list[Frame], found: Sorted) -> None:
        session, context, main = self._session, self._context, self._main
        epoch, subscriptions = session.epoch, session.subscriptions
        items = found.batches[main] = []
        answered = False
        for frame in frames:
            command = frame.command
            if command == "MESSAGE" and session.is_open:
                context.counters.messages_received += 1
                entry = subscriptions.get(frame.header("subscription") or "") or session.subscription(frame)
                subscription: Any = None if entry is None else entry.context
                message = Message(frame, subscription, epoch, self._sender)
                if subscription is None or subscription.queue is main:
                    items.append(message)
                else:
                    found.batches.setdefault(subscription.queue, []).append(message)
            elif command == "RECEIPT":
                answered = True
                self._sort_receipt(frame, items, found)
            else:
                self._sort_other(frame, items, found)
        if answered:
            self._sender.notify_window()
            # Suspected messages are resent one at a time, each after the answer to the one before.
            for frame in session.next_resend():
                self._writer.append(encode(frame, session.version))

    def _sort_receipt(self, frame: Frame, items: list[Item], found: Sorted) -> None:
        session = self._session
        request = session.receipt(frame)
        # The application does not see receipts that the library requested for itself.
        asked = not self._context.has_issued(frame) if request is None else request.own_receipt
        if asked and self._context.listeners.hear("on_receipt"):
            items.append(partial(self._context.listeners.call, "on_receipt", frame))
        if request is not None:
            self._answer(request, frame, found)

    def _answer(self, request: Request, answer: Frame | BrokerError, found: Sorted) -> None:
        if request.command == "SUBSCRIBE":
            self._context.changes.notify_all()
        receipt = request.context
        if isinstance(receipt, Answer) and receipt.finish(answer):
            found.to_publish.append(receipt)

    def _sort_other(self, frame: Frame, items: list[Item], found: Sorted) -> None:
        context, session = self._context, self._session
        if frame is HEARTBEAT:
            if context.listeners.hear("on_heartbeat") and not any(_is_beat(item) for item in items):
                # Call the hook once for all heartbeats of a read: many heartbeats mean no more than one.
                items.append(partial(context.listeners.call, "on_heartbeat"))
            return
        request = session.receive(frame)
        if frame.command != "ERROR":
            return
        refused = BrokerError(f"{context.where} answered ERROR: {error_text(frame)}", frame=frame)
        found.reports.append(refused)
        self.last_error = context.last_error = refused
        if context.listeners.hear("on_error"):
            items.append(partial(context.listeners.call, "on_error", frame))
        if not isinstance(request, Request):
            self._sender.note_unexplained(context.last_received, refused)
            return
        if request.subscription is not None and request.command == "SUBSCRIBE":
            found.events.append(partial(self._rejected, request.subscription))
        self._sender.notify_window()
        # If the ERROR does not name its frame, the request's error tells how the session found the frame.
        found_out = None if "receipt-id" in frame.headers else request.error
        self._answer(request, found_out if isinstance(found_out, BrokerError) else refused, found)

    def _report(self, found: Sorted) -> None:
        for refused in found.reports:
            # The first ERROR is a warning. A broker that keeps sending ERRORs must not fill the disk.
            self._errors += 1
            log = self._context.log.warning if self._errors == 1 else self._context.log.debug
            log("%s", refused)
        for event in found.events:
            event()


def _is_beat(item: Item) -> bool:
    return isinstance(item, partial) and item.args == ("on_heartbeat",)
