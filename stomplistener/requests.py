"""Request and reply: a message that names where its answer goes, and the wait for that answer.

The answers to all requests of a connection come by one subscription, made for the first request and again after a loss:
a temporary queue lives as long as its connection. What waits for an answer when the connection is lost raises
``ConnectionLost``, since nobody can answer to a queue that is gone.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING

from stomplistener._util.deadline import Deadline
from stomplistener.errors import ConnectionLost, StompError, TimedOut
from stomplistener.message import Message
from stomplistener.protocol import Frame, Session, commands
from stomplistener.subscription import Subscription
from stomplistener.threads.dispatcher import Lane

if TYPE_CHECKING:
    from stomplistener.core import Core, Item

_log = logging.getLogger("stomplistener")


class Requests:
    """The requests of one connection that wait for an answer. Thread-safe."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._lock = threading.Lock()
        self._waiting: dict[str, Reply] = {}
        # One thread at a time makes the subscription; the others wait for it, each within its own time.
        self._turn = threading.Lock()
        self._reply_to = ""
        self._subscription: Subscription | None = None

    def request(self, make: Callable[[Mapping[str, str]], Frame], deadline: Deadline, what: str) -> Message:
        """Send a request and wait for its answer; arguments as for ``start``, the deadline for all of it."""
        answer = self.start(make, deadline, what)
        try:
            return answer.result(deadline.remaining())
        except TimeoutError as late:
            if isinstance(late, StompError):
                raise
            if not answer.cancel():
                return answer.result()
            raise TimedOut(f"{what}: sent, but no answer came for {deadline.timeout} s") from None
        finally:
            answer.cancel()

    def start(self, make: Callable[[Mapping[str, str]], Frame], deadline: Deadline, what: str) -> Future[Message]:
        """Send a request.

        Args:
            make: makes the SEND frame with the headers that it is given.
            deadline: for the sending.
            what: for messages.

        Returns:
            what becomes the answer.
        """
        id = os.urandom(16).hex()
        subscription = self._ready(deadline, what)
        epoch = subscription.entry.epoch
        frame = make({"reply-to": self._reply_to, "correlation-id": id})
        # An id that the application chose is the one that comes back.
        id = frame.headers["correlation-id"]
        answer = Reply(self._core)

        def say(session: Session) -> Frame | None:
            if session.epoch != epoch:
                raise self._lost(what)
            with self._lock:
                if id in self._waiting:
                    raise ValueError(f"another request with the correlation-id {id!r} waits for its answer")
                self._waiting[id] = answer
            return session.send(frame)

        answer.when_done(partial(self._forget, id))
        try:
            self._core.say(say, deadline, what)
            self._core.outbox.flush(deadline.remaining())
        except BaseException:
            answer.cancel()
            raise
        return answer

    def _forget(self, id: str, answer: Future[Message]) -> None:
        with self._lock:
            if self._waiting.get(id) is answer:
                del self._waiting[id]

    def _ready(self, deadline: Deadline, what: str) -> Subscription:
        """The subscription that answers come by on this connection."""
        remaining = deadline.remaining()
        if not self._turn.acquire(timeout=-1 if remaining is None else remaining):
            raise TimedOut(f"{what}: no reply queue for {deadline.timeout} s; nothing was written")
        try:
            subscription = self._subscription
            if subscription is None or not self._core.is_current(subscription.entry.epoch):
                subscription = self._subscribe(deadline, what)
                self._subscription = subscription
            return subscription
        finally:
            self._turn.release()

    def _subscribe(self, deadline: Deadline, what: str) -> Subscription:
        core = self._core
        subscription = Subscription(core, _Answers(self._answered, core))

        def make(session: Session) -> Frame | None:
            profile = core.config.dialect.profile(session.connected_frame, what)
            name = f"stomplistener.{os.urandom(16).hex()}"
            self._reply_to = destination = profile.reply_to.format(name=name)
            if profile.replies_by_itself:
                subscription.bind(session.expect(destination, destination, subscription))
                return None
            entry, frame = session.subscribe(destination, id=name, context=subscription)
            subscription.bind(entry)
            return frame

        core.say(make, deadline, what)
        return subscription.wait_active(deadline.remaining())

    def _answered(self, message: Message) -> None:
        id = message.headers.get("correlation-id", "")
        with self._lock:
            answer = self._waiting.pop(id, None)
        if answer is None:
            _log.info("%s: an answer that nobody waits for (any more): %r", self._core.config.name, message)
        elif answer.set_running_or_notify_cancel():
            answer.set_result(message)

    def lost(self) -> None:
        """The connection is over, and the temporary queue with it: whoever waits raises."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            core = self._core
            with core.lock:
                core.session.unsubscribe(subscription.entry)
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            if answer.set_running_or_notify_cancel():
                answer.set_exception(self._lost("request"))

    def abandon(self, error: BaseException) -> None:
        """In the child of a fork: nobody waits for an answer any more. Takes no lock."""
        for answer in self._waiting.values():
            answer.abandon(error)

    def _lost(self, what: str) -> ConnectionLost:
        return ConnectionLost(
            f"{what}: the connection was lost, and the queue for the answer with it; the request may have arrived",
            outcome_unknown=True,
        )


class Reply(Future[Message]):
    """The answer to a request; until it is there, the receiver reads on, since it may lie behind other messages.

    ``cancel()`` ends the waiting for it. Callbacks run in the dispatcher thread, as those of ``send_async``.
    """

    def __init__(self, core: Core) -> None:
        super().__init__()
        self._core = core
        core.bound.waiting_for_receipt(+1)
        self.when_done(lambda _self: core.bound.waiting_for_receipt(-1))

    def abandon(self, error: BaseException) -> None:
        """Be over in the child of a fork, where no answer comes: takes no lock and calls nobody."""
        self._condition = threading.Condition()
        self._exception, self._state = error, "FINISHED"

    def when_done(self, fn: Callable[[Future[Message]], object]) -> None:
        """Call at once, in the thread that sets the answer."""
        super().add_done_callback(fn)

    def add_done_callback(self, fn: Callable[[Future[Message]], object]) -> None:
        self.when_done(lambda done: self._core.call(partial(fn, done)))


class _Answers(Lane["Item"]):
    """A lane that holds nothing: the receiver itself gives each answer to the thread that waits for it.

    So a listener may wait for an answer while it holds up everything behind it.
    """

    def __init__(self, give: Callable[[Message], None], core: Core) -> None:
        super().__init__(
            lambda _items: None, lambda _items: (0, 0), core.bound, f"{core.config.name}-answers", workers=0
        )
        self._give = give

    def put(self, batch: list[Item]) -> None:
        for item in batch:
            if isinstance(item, Message):
                self._give(item)


def request_frame(
    destination: str,
    body: bytes | bytearray | memoryview | str,
    headers: Mapping[str, str] | None,
    content_type: str | None,
    auto_content_length: bool,
    own: Mapping[str, str],
) -> Frame:
    """The SEND that asks; the application's headers win over our own."""
    merged = {**own, **(headers or {})}
    return commands.send(destination, body, merged, content_type=content_type, auto_content_length=auto_content_length)


def reply_frame(
    message: Message, body: bytes | bytearray | memoryview | str, headers: Mapping[str, str], counted: bool
) -> Frame:
    """The SEND that answers a message.

    Raises:
        ValueError: the message names no destination for an answer.
    """
    destination = message.reply_to
    if destination is None:
        raise ValueError(f"{message!r} has no reply-to: nobody waits for an answer")
    id = message.headers.get("correlation-id")
    merged = ({"correlation-id": id} if id is not None else {}) | dict(headers)
    return commands.send(destination, body, merged, auto_content_length=counted)
