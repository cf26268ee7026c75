"""What comes in, from bytes to items for the lanes."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any

from stomplistener._util.deadline import Deadline
from stomplistener.core.answer import Answer
from stomplistener.core.epochs import Epochs
from stomplistener.core.shared import Event, Item
from stomplistener.errors import BrokerError, ProtocolError
from stomplistener.message import Message
from stomplistener.protocol import HEARTBEAT, Frame, Request, SessionState
from stomplistener.protocol.frame import without
from stomplistener.protocol.session import error_text
from stomplistener.threads.dispatcher import Lane

_log = logging.getLogger("stomplistener")


class Receiving(Epochs):
    """The receiver's way in."""

    def received(self, data: bytes) -> int:
        """Decode bytes and pass on what they say; how many more the frame that has begun needs at least.

        Raises:
            ProtocolError: they are no STOMP, or exceed a limit.
            BrokerError: the broker refused CONNECT.
        """
        before, self.last_received = self.last_received, (now := time.monotonic())
        self._gathering.has_read(len(data), now - self._reads_since, answers=self.outbox.last_write > before)
        self.bytes_received += len(data)
        failure: ProtocolError | None = None
        try:
            frames = self._decoder.feed(data)
        except ProtocolError as error:
            frames, failure = error.frames, error
        if frames:
            self._frame_began = None
            self._pass_on(frames)
        if failure is not None:
            raise failure
        if not self._decoder.partial:
            self._frame_began = None
            return 0
        self._check_pace(now)
        return self._decoder.missing

    def _check_pace(self, now: float) -> None:
        if self._frame_began is None:
            self._frame_began = now
        elif now - self._frame_began > self.config.limits.frame_timeout:
            raise _too_slow(self.config.limits.frame_timeout)

    def gather(self) -> None:
        """Called before each read: wait for a moment where much comes in small pieces."""
        if self._gathering.pause:
            time.sleep(self._gathering.pause)
        self._reads_since = time.monotonic()

    def wait_for_room(self) -> None:
        """Hold the receiver back while the hand-off is full."""
        if not self.bound.has_room:
            self.bound.wait_for_room()
            # What was not read meanwhile is our own delay.
            self._frame_began = time.monotonic() if self._frame_began is not None else None

    def make_room(self, deadline: Deadline) -> bool:
        """The same during a replay, whose receipts may lie behind any number of messages."""
        with self.waiting_for_receipt():
            return self.bound.wait_for_room(deadline.remaining())

    def may_lend(self) -> bool:
        """Whether only the dispatcher has to do with what is received, and may read it by itself."""
        return (
            self.bound.has_room
            and not self.bound.is_urgent
            and all(lane is self.lane or lane.is_over for lane in self.lanes)
        )

    def check_pace(self, now: float) -> float:
        """Break the connection if a frame takes too long to come; when to look again."""
        limit, began = self.config.limits.frame_timeout, self._frame_began
        if began is not None and now - began > limit and not self.bound.paused and not self.has_unread():
            self.broken(_too_slow(limit))
        return now + limit if began is None else max(began + limit, now + 0.05)

    def _pass_on(self, frames: list[Frame]) -> None:
        # An idle connection hears nothing else.
        if frames[0] is HEARTBEAT and len(frames) == 1 and not self.listeners.hear("on_heartbeat"):
            return
        if self._secrets:
            frames = [without(frame, self._secrets) for frame in frames]
        if _log.isEnabledFor(logging.DEBUG):
            for frame in frames:
                if frame is not HEARTBEAT:
                    _log.debug("%s < %s", self.config.name, frame.info)
        batches: dict[Lane[Item], list[Item]] = {}
        answers: list[tuple[Answer, Frame | BrokerError]] = []
        events: list[Event] = []
        try:
            with self.lock:
                self._sort(frames, batches, answers, events)
        finally:
            # Also what came before a frame that breaks the protocol: the broker will not deliver it again.
            for answer, frame_or_error in answers:
                answer.settle(frame_or_error)
            for event in events:
                event()
            for lane, batch in batches.items():
                if batch:
                    lane.put(batch)

    def _sort(
        self,
        frames: list[Frame],
        batches: dict[Lane[Item], list[Item]],
        answers: list[tuple[Answer, Frame | BrokerError]],
        events: list[Event],
    ) -> None:
        """Find out, with the lock held, whom each frame concerns."""
        session, epoch, main = self.session, self.session.epoch, self.lane
        items = batches[main] = []
        find = session.subscription
        quietly = not self.listeners.hear("on_receipt")
        confirmed = False
        for frame in frames:
            command = frame.command
            if command == "MESSAGE" and session.state is not SessionState.CONNECTING:
                self.messages_received += 1
                entry = find(frame)
                subscription: Any = None if entry is None else entry.context
                message = Message(frame, subscription, epoch, self)
                if subscription is None or subscription.lane is main:
                    items.append(message)
                else:
                    batches.setdefault(subscription.lane, []).append(message)
            elif command == "RECEIPT" and quietly and (request := session.confirmed(frame)) is not None:
                confirmed = True
                if isinstance(request.context, Answer):
                    answers.append((request.context, frame))
            else:
                self._take(frame, items, answers, events)
        if confirmed:
            self._wake_for_receipt()

    def _wake_for_receipt(self) -> None:
        if self._answer_waiters or (self._window_waiters and not self.window_is_full()):
            self.changed.notify_all()

    def _take(
        self,
        frame: Frame,
        items: list[Item],
        answers: list[tuple[Answer, Frame | BrokerError]],
        events: list[Event],
    ) -> None:
        """One frame that is no MESSAGE, with the lock held; what is to happen without it goes on the lists."""
        if frame is HEARTBEAT:
            # One for all of a chunk: a flood of them says no more than one.
            if self._beats_heard != self.last_received:
                self._beats_heard = self.last_received
                self._hear(items, "on_heartbeat")
            return
        request = self.session.receive(frame)
        if frame.command == "CONNECTED":
            events.append(partial(self.heartbeater.start, self.session.heartbeat))
            return
        refused = None
        if frame.command == "ERROR":
            refused = BrokerError(f"{self._where()} answered ERROR: {error_text(frame)}", frame=frame)
            # One line is news; a broker that goes on and on must not fill the disk.
            _log.log(logging.DEBUG if self._last_error else logging.WARNING, "%s: %s", self.config.name, refused)
            self._last_error = refused
            self._hear(items, "on_error", frame)
        else:
            self._hear(items, "on_receipt", frame)
        if not isinstance(request, Request):
            if refused is not None:
                self._unexplained = (self.last_received, refused)
            return
        if request.subscription is not None and request.command == "SUBSCRIBE":
            self.changed.notify_all()
            if refused is not None:
                events.append(partial(self._rejected, request.subscription))
        else:
            self._wake_for_receipt()
        if isinstance(request.context, Answer):
            answers.append((request.context, refused or frame))


def _too_slow(limit: float) -> ProtocolError:
    return ProtocolError(f"a frame was not complete {limit} s after its first byte (Limits.frame_timeout)")
