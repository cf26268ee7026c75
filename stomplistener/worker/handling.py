"""Make each attempt at a message, in the threads of the subscription: call the handler, measure, decide the verdict."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from stomplistener._util.callables import refuse_unawaited
from stomplistener._util.loggers import library_logger
from stomplistener.connection import Connection
from stomplistener.errors import ProtocolError, StompError
from stomplistener.message import OF_A_DELIVERY, OF_A_DUPLICATE, Message
from stomplistener.policy import SettlePolicy, TryAgain, Verdict
from stomplistener.states import MessageState
from stomplistener.worker.casualties import Casualties, TooManyDeaths
from stomplistener.worker.declarations import Around, Declaration
from stomplistener.worker.payload import PayloadError

_log = library_logger("stomplistener.worker")

ATTEMPTS = "stomplistener-attempts"
"""The header that counts the attempts of a message when the broker delays its retries."""

_NOT_OF_A_COPY = OF_A_DELIVERY | OF_A_DUPLICATE

STALE = "stale"
"""The outcome if the connection was lost before the handler ended. The broker then delivers the message again."""

_NEVER = 86400.0
"""Seconds, longer than a worker ever takes to end."""

ALWAYS_DEAD = (PayloadError, TooManyDeaths)
"""Exceptions after which a retry cannot succeed, whatever the handler declares."""


@dataclass(eq=False)
class Task:
    """A running attempt.

    Attributes:
        declaration: the declaration of the handler.
        message: the message that the handler got.
        thread: the identifier of the thread that runs the attempt.
        began: the time of its start, in seconds of the monotonic clock.
        is_overdue: whether a check has found that it runs longer than its time limit.
    """

    declaration: Declaration
    message: Message
    thread: int
    began: float
    is_overdue: bool = False


class Observer(Protocol):
    """Observes attempts. The threads of handlers call its methods, which must not raise."""

    def ended(self, task: Task, outcome: str, seconds: float) -> None:
        """An attempt has ended; the outcome is a verdict, or ``stale``."""


class Tasks:
    """The attempts that run in this process, and the number of those that have ended. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[Task] = set()
        self._observers: list[Observer] = []
        self.ended = 0

    def observe(self, observer: Observer) -> None:
        """Add an observer of all attempts."""
        self._observers.append(observer)

    def begin(self, declaration: Declaration, message: Message) -> Task:
        task = Task(declaration, message, threading.get_ident(), time.monotonic())
        with self._lock:
            self._running.add(task)
        return task

    def end(self, task: Task, outcome: str) -> None:
        seconds = time.monotonic() - task.began
        with self._lock:
            self._running.discard(task)
            self.ended += 1
        for observer in self._observers:
            observer.ended(task, outcome, seconds)

    def running(self) -> Sequence[Task]:
        """Return the running attempts."""
        with self._lock:
            return tuple(self._running)

    @property
    def count(self) -> int:
        """The number of running attempts."""
        return len(self._running)

    def __iter__(self) -> Iterator[Task]:
        return iter(self.running())


class Handling:
    """The attempts of one handler.

    Args:
        declaration: the declaration of the handler.
        arounds: the context managers around each attempt, outermost first.
        tasks: notes the attempts that run.
        sender: returns the connection to send on.
        is_ending: returns whether the application is ending.
        casualties: counts the processes that died of a message.
    """

    def __init__(
        self,
        declaration: Declaration,
        arounds: Sequence[Around],
        tasks: Tasks,
        sender: Callable[[], Connection],
        is_ending: Callable[[], bool],
        casualties: Casualties,
    ) -> None:
        self._declaration = declaration
        self._arounds = arounds
        self.policy = SettlePolicy()
        """The settle policy of the subscription."""
        self._tasks = tasks
        self._sender = sender
        self._is_ending = is_ending
        self._casualties = casualties

    def listener(self) -> Callable[[Message], None]:
        """Return the function that the subscription calls."""

        @functools.wraps(self._declaration.handler)
        def handle(message: Message) -> None:
            self.handle(message)

        # Otherwise inspect would report the signature of the handler for that of the listener.
        del handle.__wrapped__
        return handle

    def handle(self, message: Message) -> Verdict:
        """Make one attempt, and return its verdict. Exceptions of the handler are passed on."""
        tried = message.headers.get(ATTEMPTS, "")
        if self._declaration.retry_by == "broker" and tried.isdecimal():
            message.attempts = max(message.attempts, int(tried))
        task, error = self._tasks.begin(self._declaration, message), None
        verdict = Verdict.REJECTED
        try:
            self._attempt(message)
            verdict = self.policy.decide(message.attempts, None)
        except BaseException as raised:
            error = raised
            verdict = self.policy.decide(message.attempts, error)
            if isinstance(raised, TryAgain) and self._is_ending():
                # Do not retry in this process: the broker takes the message back when the connection ends soon.
                raised.delay = _NEVER
            if verdict is not Verdict.RETRIED or not self._is_retried_by_broker(message, error):
                raise
        finally:
            self._tasks.end(task, self._outcome(message, verdict))
        return verdict

    def _attempt(self, message: Message) -> None:
        declaration = self._declaration
        with ExitStack() as stack:
            if declaration.max_deliveries is not None:
                stack.enter_context(self._casualties.in_hands(message, declaration.max_deliveries))
            returned = None
            with ExitStack() as around:
                for each in self._arounds:
                    around.enter_context(each(message))
                returned = declaration.call(message)
                if returned is not None:
                    refuse_unawaited(declaration.handler, returned)
            # Reply now: the context managers have committed, and the message is not acknowledged yet.
            if returned is not None and message.reply_to is not None:
                self._reply(message, returned)

    def _reply(self, message: Message, returned: Any) -> None:
        if isinstance(returned, (str, bytes, bytearray, memoryview)):
            message.reply(returned)
        else:
            codec = self._declaration.codecs.of(message)
            message.reply(codec.encode(returned), content_type=codec.reply_type)

    def _outcome(self, message: Message, verdict: Verdict) -> str:
        if message.state is MessageState.ACKED:
            return Verdict.ACKED
        if message.state is MessageState.NACKED:
            return Verdict.REJECTED
        subscription = message.subscription
        if subscription is not None and subscription.ack != "auto" and message.epoch != self._sender().session.epoch:
            return STALE
        return verdict

    # Retries by the broker

    def _is_retried_by_broker(self, message: Message, error: BaseException) -> bool:
        """Send the broker a copy that it delivers later, so that the message itself can be acknowledged."""
        if self._declaration.retry_by != "broker" or isinstance(error, TryAgain) or self._is_topic(message):
            return False
        attempts = message.attempts + 1
        headers = {name: value for name, value in message.headers.items() if name not in _NOT_OF_A_COPY}
        headers |= {ATTEMPTS: str(attempts), "persistent": "true"}
        delay = max(self.policy.backoff.delay(attempts), 0.001)
        try:
            self._sender().send(self._declaration.destination, message.body, headers, delay=delay, confirm=True)
        except ProtocolError:
            # The broker cannot delay messages, so the worker waits instead.
            return False
        except StompError as failure:
            _log.warning("%r is retried in this process: sending a copy to the broker failed: %s", message, failure)
            return False
        _log.warning(
            "%s: %s; the broker delivers the message again in %.3g s, attempt %d of %d",
            type(error).__name__, error, delay, attempts + 1, self.policy.retries + 1,
        )  # fmt: skip
        return True

    def _is_topic(self, _message: Message) -> bool:
        """Whether the destination is a topic: all its subscribers, which already have the message, would get a copy."""
        destination = self._declaration.destination
        return self._declaration.options.get("durable") is not None or destination.startswith(
            ("/topic/", "topic://", "/exchange/", "/dsub/", "jms.topic.")
        )
