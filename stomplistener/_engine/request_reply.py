"""Requests and replies: send a message that names a destination for its answer, and wait for the answer.

The answers to all requests of a connection arrive on one subscription. The client subscribes for the first request, and
again after a connection loss: a temporary queue lives only as long as its connection. A request that waits for its
answer during a loss raises ``ConnectionLost``, since no answer can reach a deleted queue.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Mapping
from typing import Any

from stomplistener._engine.context import Context
from stomplistener._engine.dispatch_queue import Item
from stomplistener._engine.receipts import Answer, Desk
from stomplistener._engine.sender import Sender
from stomplistener._util.deadline import Deadline
from stomplistener.errors import ConnectionLost, TimedOut
from stomplistener.listener import Hook
from stomplistener.message import Message
from stomplistener.policy import SettlePolicy
from stomplistener.protocol import Frame, Session, SubscriptionEntry
from stomplistener.states import SubscriptionState

MakeFrame = Callable[[Mapping[str, str]], Frame]


class Reply(Answer[Message]):
    """A future for the answer to a request."""


class RequestReply:
    """The requests of one connection that wait for an answer, guarded by the lock of the connection.

    Args:
        desk: the engine, for the futures.
        context: the context of the connection.
        sender: sends the requests.
    """

    def __init__(self, desk: Desk, context: Context, sender: Sender) -> None:
        self._desk = desk
        self._context = context
        self._lock = context.lock
        self._sender = sender
        self._waiting: dict[str, Reply] = {}
        self._subscription: ReplySubscription | None = None

    def request(self, make: MakeFrame, deadline: Deadline, what: str) -> Message:
        """Send a request and wait for its answer. Arguments are those of ``start``; the deadline limits both steps."""
        reply = self.start(make, deadline, what)
        try:
            self._desk.writer.hurry()
            if reply.wait(deadline):
                return reply.result(0)
        finally:
            self.forget(reply)
        raise TimedOut(f"{what} timed out after {deadline.timeout} s: it was sent, but no answer came")

    def start(self, make: MakeFrame, deadline: Deadline, what: str) -> Reply:
        """Send a request.

        Args:
            make: makes the SEND frame with the given headers.
            deadline: limits the sending.
            what: the name of the call, for exceptions.

        Returns:
            a future for the answer.
        """
        subscription = self._ready(deadline, what)
        entry = subscription.entry
        frame = make({"reply-to": subscription.reply_to, "correlation-id": os.urandom(16).hex()})
        # The answer carries the correlation-id that the application chose, if there is one.
        id = frame.headers["correlation-id"]
        reply = Reply(self._desk)

        def note(session: Session) -> Frame | None:
            if session.epoch != entry.epoch:
                raise ConnectionLost(f"{what}: the queue for the answer was lost with its connection; nothing was sent")
            if id in self._waiting:
                raise ValueError(f"another request with the correlation-id {id!r} waits for its answer")
            self._waiting[id] = reply
            return session.send(frame)

        try:
            self._sender.transmit(frame, deadline.remaining(), "SEND", note=note)
        except BaseException:
            self.forget(reply)
            raise
        return reply

    def forget(self, reply: object) -> bool:
        """Stop waiting for this answer; False if no call waited for it."""
        with self._lock:
            return self._remove(reply)

    def _remove(self, reply: object) -> bool:
        for id, waiting in tuple(self._waiting.items()):
            if waiting is reply:
                del self._waiting[id]
                return True
        return False

    def lost(self) -> None:
        """End all waits with an exception: the connection is lost, and so is the temporary queue."""
        with self._lock:
            subscription, self._subscription = self._subscription, None
            if subscription is not None and subscription.is_bound:
                self._context.session.unsubscribe(subscription.entry)
            waiting, self._waiting = self._waiting, {}
            # A thread that waits for the queue has to look again: the end of the connection was told before this.
            self._context.changes.notify_all()
        for reply in waiting.values():
            reply.complete(
                ConnectionLost(
                    "request: the connection and the queue for the answer were lost; the request may have arrived",
                    outcome_unknown=True,
                )
            )

    def abandon(self, error: BaseException) -> None:
        """In the child of a fork, end all waits for an answer. Takes no lock."""
        for reply in self._waiting.values():
            reply.abandon(error)

    # The subscription for the answers

    def _ready(self, deadline: Deadline, what: str) -> ReplySubscription:
        """Return the subscription of this connection. One thread makes a missing subscription; the others wait."""
        while True:
            with self._lock:
                subscription = self._subscription
                mine = subscription is None or subscription.has_ended
                if mine:
                    subscription = self._subscription = ReplySubscription(self._answered)
            assert subscription is not None
            if mine:
                self._subscribe(subscription, deadline, what)
            if self._is_decided(subscription, deadline, what):
                return subscription

    def _is_decided(self, subscription: ReplySubscription, deadline: Deadline, what: str) -> bool:
        def is_decided() -> bool:
            return subscription is not self._subscription or subscription.is_active or subscription.has_ended

        self._desk.writer.hurry()
        if not self._desk.flow.wait_reading(self._context.changes, is_decided, deadline):
            raise TimedOut(f"{what} timed out after {deadline.timeout} s without a queue for the answer")
        with self._lock:
            self._sender.check_usable()
        error = subscription.entry.error if subscription.is_bound else None
        if error is not None:
            raise error
        return subscription is self._subscription and subscription.is_active

    def _subscribe(self, subscription: ReplySubscription, deadline: Deadline, what: str) -> None:
        context = self._context

        def note(session: Session) -> Frame | None:
            profile = context.profile
            profile.check_known(what)
            name = f"stomplistener.{os.urandom(16).hex()}"
            subscription.reply_to = destination = profile.reply_to.format(name=name)
            if profile.replies_by_itself:
                subscription.bind(session.expect(destination, destination, subscription))
                return None
            entry, frame = session.subscribe(destination, id=name, context=subscription)
            subscription.bind(entry)
            return frame

        try:
            self._sender.transmit(None, deadline.remaining(), what, note=note, context=subscription)
        except BaseException:
            with self._lock:
                if self._subscription is subscription:
                    self._subscription = None
                context.changes.notify_all()
            raise

    def _answered(self, message: Message) -> None:
        id = message.headers.get("correlation-id", "")
        with self._lock:
            reply = self._waiting.pop(id, None)
        if reply is None:
            self._context.log.info("dropped a late answer; no request waits for it: %s", message.frame.heading)
        else:
            reply.complete(message)


class ReplySubscription:
    """The subscription for the answers. This object is also the queue of the subscription, but keeps no messages.

    The reading thread gives each answer to the thread that waits for it. So a listener may wait for an answer while it
    holds up all messages behind it.
    """

    ack = "auto"
    policy = SettlePolicy()
    on_message: Hook | None = None

    def __init__(self, answered: Callable[[Message], None]) -> None:
        self._answered = answered
        # Only the receiver adds and removes these messages.
        self._arrived: collections.deque[Message] = collections.deque()
        self._entry: SubscriptionEntry | None = None
        self.reply_to = ""
        self.queue: Any = self

    def bind(self, entry: SubscriptionEntry) -> None:
        """Store the session's entry of this subscription."""
        self._entry = entry

    @property
    def is_bound(self) -> bool:
        return self._entry is not None

    @property
    def entry(self) -> SubscriptionEntry:
        assert self._entry is not None
        return self._entry

    @property
    def is_active(self) -> bool:
        return self._entry is not None and self._entry.state is SubscriptionState.ACTIVE

    @property
    def has_ended(self) -> bool:
        ended = (SubscriptionState.ENDED, SubscriptionState.REJECTED)
        return self._entry is not None and self._entry.state in ended

    @property
    def destination(self) -> str:
        return self.entry.destination

    def hook(self, _name: str) -> tuple[Hook, ...]:
        return ()

    # The methods of a queue

    def line_up(self, batch: list[Item]) -> None:
        self._arrived.extend(item for item in batch if isinstance(item, Message))

    def begin(self) -> None:
        while self._arrived:
            self._answered(self._arrived.popleft())

    def discard(self, unwanted: Callable[[Any], bool]) -> None: ...
    def stop(self) -> None: ...
