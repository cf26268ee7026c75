"""What the threads of one connection share: the session, the state, and the ways in and out of them.

Threads and what they do here:

- *Application threads*, listeners among them, say things: ``say``, ``confirm``, ``settle``. They wait in
  ``_until_open`` and ``await_answer`` alone.
- The *receiver* begins and ends epochs and brings what was received: ``begin_epoch``, ``received``, ``restored``,
  ``end_epoch``. It alone closes the transport.
- The *writer* and the *timer* report through ``broken`` that the connection is of no use any more.

Locks, in the order in which they may be taken: the outbox's writing lock; ``lock``, which guards session, state and the
outbox's queue; the locks of lanes, bound and timer. ``lock`` is never held over I/O, over a listener, or over a wait
for another thread (``changed`` releases it). ``answered``, the condition of all futures, is never taken under ``lock``
(an application may hold it, inside ``concurrent.futures.wait``); under it only the lanes' locks are taken.
"""

from __future__ import annotations

import copy
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields
from functools import partial
from typing import Any, Unpack

from stomplistener.config import Config, ConnectOptions, SendOptions
from stomplistener.delivery import Delivery
from stomplistener.errors import (
    BrokerError,
    ConnectionLost,
    InvalidHeader,
    NotConnected,
    ProtocolError,
    StompError,
    TimedOut,
)
from stomplistener.failover import Broker
from stomplistener.listener import Listeners, call_all
from stomplistener.message import Message
from stomplistener.protocol import (
    HEARTBEAT,
    Decoder,
    Frame,
    Limits,
    Outcome,
    Request,
    Session,
    SessionState,
    SubscriptionEntry,
    commands,
    encode,
)
from stomplistener.protocol.frame import without
from stomplistener.protocol.session import error_text
from stomplistener.protocol.templates import Templates
from stomplistener.requests import Requests
from stomplistener.state import TRANSITIONS, ConnectionState
from stomplistener.statistics import SessionSnapshot, Statistics
from stomplistener.threads.deadline import Deadline
from stomplistener.threads.dispatcher import Bound, Lane
from stomplistener.threads.heartbeater import Heartbeater
from stomplistener.threads.outbox import Outbox
from stomplistener.threads.spare import Spare
from stomplistener.transport import Transport

_log = logging.getLogger("stomplistener")

_NO_LIMITS = Limits(**{field.name: sys.maxsize for field in fields(Limits)})
"""For reading our own frames back."""

Event = Callable[[], object]

_making = threading.Lock()
Item = Message | Event


ENDED = "the connection was ended by disconnect(); connect() starts anew"


class Answer(Future[Frame]):
    """The broker's answer to one frame: its RECEIPT, or an exception.

    Callbacks run in the dispatcher thread, as every other code of the application does. ``cancel()`` works until the
    answer comes: the message is not sent (again); where it was written already, the broker may have taken it.

    There may be a hundred thousand a second, nearly all of them done before anybody waits. So what a Future needs for
    waiting is made by the first one who waits: all of ``Future`` and ``concurrent.futures.wait`` begins with
    ``_condition``.
    """

    def __init__(self, core: Core) -> None:
        self._state = "RUNNING"
        self._result: Frame | None = None
        self._exception: BaseException | None = None
        self._made: threading.Condition | None = None
        self._core = core

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        if self._made is None:
            with _making:
                if self._made is None:
                    self._waiters: list[Any] = []
                    self._done_callbacks: list[Any] = []
                    self._made = threading.Condition()
        return self._made

    def done(self) -> bool:
        return self._state == "FINISHED"

    def result(self, timeout: float | None = None) -> Frame:
        if self._state == "FINISHED" and self._result is not None:
            return self._result
        with self.awaited():
            return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        with self.awaited():
            return super().exception(timeout)

    def awaited(self) -> AbstractContextManager[None]:
        """While it is entered, the receiver reads on for this answer: for who waits otherwise than by ``result()``."""
        return self._core.waiting_for_receipt()

    def cancel(self) -> bool:
        """Do not wait for the answer any more; whether that came before it."""
        if self._core.forget(self) is not None:
            self.settle(CancelledError())
        return self.cancelled()

    def cancelled(self) -> bool:
        return isinstance(self._exception, CancelledError)

    def settle(self, answer: Frame | BaseException) -> None:
        """Set the result or the exception, unless that was done."""
        with _making:
            if self._state == "FINISHED":
                return
            if isinstance(answer, Frame):
                self._result = answer
            else:
                self._exception = answer
            # Last: who makes the condition from here on finds that there is nothing to wait for.
            self._state = "FINISHED"
        if self._made is not None:
            with self._made:
                for waiter in self._waiters:
                    (waiter.add_result if self._exception is None else waiter.add_exception)(self)
                self._made.notify_all()
            self._invoke_callbacks()  # type: ignore[attr-defined]

    def add_done_callback(self, fn: Callable[[Future[Frame]], object]) -> None:
        if self.done():
            super().add_done_callback(fn)
        else:
            super().add_done_callback(lambda future: self._core.call(partial(fn, future)))


class Core:
    """See the module's text."""

    def __init__(self, config: Config, listeners: Listeners) -> None:
        self.config = config
        self.listeners = listeners
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.state = ConnectionState.NEW
        self.failure: StompError = NotConnected("not connected yet: call connect() first")
        self.session = Session(
            config.versions, config.heartbeat, subscription_headers=config.dialect.subscription_headers
        )
        self.outbox = Outbox(self.lock, self.broken, config.name, self._log_written)
        self.bound = Bound(config.limits.max_pending_messages, config.limits.max_pending_bytes)
        self.delivery = Delivery(self)
        self.requests = Requests(self)
        self.lanes: list[Lane[Item]] = []
        self.lane = self.new_lane(config.name, workers=1)
        self.heartbeater = Heartbeater(self)
        self.broker: Broker | None = None
        self.last_received = 0.0
        self.ready_since = 0.0
        self.bytes_received = self.messages_received = self.messages_sent = self.connects = 0
        self.listener_errors = self.rejections = 0
        self.last_failure: Exception | None = None
        self._transport: Transport | None = None
        self._decoder = Decoder(limits=config.limits)
        self._frame_began: float | None = None
        self._broken_by: Exception | None = None
        self._last_error: BrokerError | None = None
        self._window_waiters = self._answer_waiters = 0
        self._templates: Templates | None = None
        self._beats_heard = 0.0
        self._secrets: tuple[str, ...] = ()

    # The state

    def move(self, state: ConnectionState) -> None:
        """Change the state, with the lock held, and wake everybody who waits for it."""
        assert state in TRANSITIONS[self.state], f"{self.state} -> {state}"
        self.state = state
        usual = state is ConnectionState.CONNECTED and not self.config.track_messages
        self._templates = Templates(self.session.version or "") if usual else None
        self.changed.notify_all()

    def give_up(self, failure: StompError) -> None:
        """End for good, from any thread: nothing is said any more, and whoever waits raises ``failure``."""
        with self.lock:
            if self.state is not ConnectionState.CLOSED:
                self.failure = failure
                self.move(ConnectionState.CLOSED)
            transport = self._transport
        if transport is not None:
            transport.shutdown()
        self.bound.interrupt()
        self.delivery.cancel_retries()

    # Saying things: application threads

    def say(
        self, make: Callable[[Session], Frame | None], deadline: Deadline, what: str, *, begun: bool = False
    ) -> Frame | None:
        """Wait until the session is open, let ``make`` say something, and see to it that it gets written.

        Args:
            begun: it belongs to something open, which has to come to its end before another broker is moved to.
        """
        while True:
            with self.lock:
                if self._until_open(deadline, what, begun=begun):
                    frame = make(self.session)
                    self._put(frame)
                    break
            # More has gathered than may: writing some of it is the sender's share of the work.
            if not self.outbox.wait_for_room(deadline.remaining()):
                raise TimedOut(f"{what}: {self._where()} takes no more bytes; waited {deadline.timeout} s")
        self._announce(frame)
        self.outbox.push(deadline.remaining())
        return frame

    def say_now(self, make: Callable[[Session], Frame | None]) -> bool:
        """Let ``make`` say something if anything may be said; never waits for a connection. Whether it was said."""
        with self.lock:
            frame = make(self.session)
            self._put(frame)
            if self._answer_waiters:
                self.changed.notify_all()
        self._announce(frame)
        self.outbox.push(self.config.timeout)
        return frame is not None

    def spelled(
        self, headers: Mapping[str, str] | None, deadline: Deadline, **options: Unpack[SendOptions]
    ) -> Mapping[str, str] | None:
        """The headers of a SEND with its options in the words of this broker; the application's own win."""
        if all(value is None for value in options.values()):
            return headers
        dialect, session = self.config.dialect, self.session
        if session.connected_frame is None and not dialect.is_fixed:
            with self.lock:
                self._until_open(deadline, "SEND", room=False)
        return dialect.send_headers(session.connected_frame, time.time(), **options) | dict(headers or {})

    def new_answer(self) -> Answer:
        return Answer(self)

    def send_plain(self, destination: str, body: bytes | str) -> bool:
        """Say a SEND that has nothing special, the short way. False if only the long way is open.

        The session has nothing to note of such a frame, so that it need not be asked.
        """
        templates, outbox = self._templates, self.outbox
        if templates is None or self.listeners.on_send:
            return False
        data = templates.send(destination, body)
        with self.lock:
            if self._templates is not templates or outbox.is_full:
                return False
            self.messages_sent += 1
            if outbox.put(data):
                return True
        outbox.nudge()
        return True

    def send(self, frame: Frame, deadline: Deadline) -> None:
        """Say a SEND that nobody waits for."""

        def make(session: Session) -> Frame | None:
            self.messages_sent += 1
            return session.send(frame)

        self.say(make, deadline, "SEND", begun="transaction" in frame.headers)

    def confirm(self, frame: Frame, deadline: Deadline, *, answer: Answer | None, wait: bool) -> None:
        """Say a SEND that is kept until its receipt has come. While cut off it is only noted, unless ``wait``."""
        with self.lock:
            # Each wait lets go of the lock: what the other one has waited for may be gone meanwhile.
            while True:
                self._until_window(deadline)
                if self.state in (ConnectionState.SUSPENDED, ConnectionState.CONNECTING) and not wait:
                    break
                self._until_open(deadline, "SEND", room=False)
                if not self._window_is_full():
                    break
            self._put(self.session.send(frame, confirm=True, context=answer))
            self.messages_sent += 1
        self._announce(frame)
        self.outbox.push(deadline.remaining())

    def confirm_plain(self, destination: str, body: bytes | str, answer: Answer) -> bool:
        """Say a confirmed SEND that has nothing special, the short way. False if only the long way is open."""
        templates, outbox = self._templates, self.outbox
        if templates is None or self.listeners.on_send:
            return False
        size = len(body) if isinstance(body, bytes) else len(body.encode())
        with self.lock:
            if self._templates is not templates or outbox.is_full or self._window_is_full():
                return False
            receipt = self.session.new_id()
            # Before it is noted: a destination that cannot be written must leave nothing behind.
            data = templates.send(destination, body, receipt)
            self.session.send_plain(destination, body, size, receipt, answer)
            self.messages_sent += 1
            if outbox.put(data):
                return True
        outbox.nudge()
        return True

    def settle(
        self,
        message: Message,
        transaction: Any,
        headers: Mapping[str, str] | None = None,
        *,
        negative: bool,
        timeout: float | None,
    ) -> bool:
        """ACK or NACK a message; False when its epoch is over."""
        if transaction is None and headers is None and not negative and self._ack_plain(message):
            return True
        with self.lock:
            entry = transaction.entry if transaction is not None else None
            if entry is not None:
                self.session.check_transaction(entry)
            if self.state is ConnectionState.CLOSED:
                return False
            frame = self.session.ack(
                message.frame, message.epoch, transaction=entry, headers=headers, negative=negative
            )
            if frame is None:
                return False
            self._put(frame)
            message.settled = True
        self._announce(frame)
        self.outbox.push(self.config.seconds(timeout))
        return True

    def _ack_plain(self, message: Message) -> bool:
        """ACK a message the short way; False if only the long way is open."""
        templates = self._templates
        if templates is None or self.listeners.on_send:
            return False
        data = templates.ack(message.frame)
        if data is None:
            return False
        with self.lock:
            if self._templates is not templates or message.epoch != self.session.epoch or self.outbox.is_full:
                return False
            message.settled = True
            if self.outbox.put(data):
                return True
        self.outbox.nudge()
        return True

    def forward(self, message: Message, destination: str, headers: Mapping[str, str]) -> None:
        """Send a copy of a message and acknowledge it in one transaction, without waiting for the outcome."""
        answer = self.new_answer()
        frames: list[Frame] = []
        with self.lock:
            session = self.session
            if message.epoch != session.epoch or session.state is not SessionState.CONNECTED:
                return
            transaction, begin = session.begin()
            send = commands.send(destination, message.body, headers, transaction=transaction.id)
            try:
                encode(send, session.version)
            except (InvalidHeader, ProtocolError) as error:
                session.retract(begin, error)
                raise
            acknowledge = session.ack(message.frame, message.epoch, transaction=transaction)
            assert acknowledge is not None
            frames += [begin, send, acknowledge, session.commit(transaction, context=answer)]
            for frame in frames:
                self._put(frame)
            message.settled = True
        answer.add_done_callback(partial(self._forwarded, message, destination))
        for frame in frames:
            self._announce(frame)
        self.outbox.push(self.config.timeout)

    def _forwarded(self, message: Message, destination: str, answer: Future[Frame]) -> None:
        if answer.exception() is not None:
            _log.error(
                "%s: %r could not be forwarded to %s: %s", self.config.name, message, destination, answer.exception()
            )

    def await_answer(self, answer: Answer, deadline: Deadline, what: str) -> Frame:
        """Wait for the broker's answer.

        Raises:
            TimedOut: the time is over, on a connection that lives.
            ConnectionLost: the time is over and the connection was lost meanwhile.
        """
        self.outbox.flush(deadline.remaining())
        try:
            return answer.result(deadline.remaining())
        except TimeoutError:
            if answer.done():
                raise
        request = self.forget(answer)
        cut_off = self.session.state is not SessionState.CONNECTED
        if answer.done():
            return answer.result(0)
        if request is not None and not request.issued:
            raise TimedOut(f"{what}: no connection for {deadline.timeout} s; nothing was written, and nothing will be")
        if cut_off:
            raise ConnectionLost(
                f"{what}: written, but the connection to {self._where()} was lost and is not back after "
                f"{deadline.timeout} s; the broker may have taken it or not",
                outcome_unknown=True,
            )
        raise TimedOut(f"{what}: {self._where()} sent no receipt for {deadline.timeout} s; it may have taken it or not")

    def forget(self, answer: Answer) -> Request | None:
        """Stop waiting for an answer, and do not say again what it is to; None if it was answered."""
        with self.lock:
            request = self.session.forget(answer)
            self.changed.notify_all()
        return request

    def wait_ready(self, deadline: Deadline) -> None:
        """Wait until a SEND, confirmed or not, can be said without waiting; another one may come before."""
        with self.lock:
            self._until_window(deadline)
        self.say(lambda _session: None, deadline, "SEND")

    def wait_until(self, condition: Callable[[], bool], deadline: Deadline) -> bool:
        """Wait for a change of state that makes ``condition`` true, called with the lock held."""
        with self.lock:
            while not condition():
                remaining = deadline.remaining()
                if remaining == 0.0:
                    return False
                self.changed.wait(remaining)
        return True

    def wait_for_answers(self, condition: Callable[[], bool], deadline: Deadline) -> bool:
        """As ``wait_until``, for what becomes true by an answer or an abort: these are announced to nobody else."""
        with self.lock:
            self._answer_waiters += 1
        try:
            with self.waiting_for_receipt():
                return self.wait_until(condition, deadline)
        finally:
            with self.lock:
                self._answer_waiters -= 1

    @contextmanager
    def waiting_for_receipt(self) -> Iterator[None]:
        """Let the receiver read on though the hand-off is full: what is awaited may lie behind it."""
        self.bound.waiting_for_receipt(+1)
        try:
            yield
        finally:
            self.bound.waiting_for_receipt(-1)

    def _until_window(self, deadline: Deadline) -> None:
        """Wait, with the lock, until another unconfirmed SEND is within the limits."""
        if not self._window_is_full():
            return
        self._window_waiters += 1
        try:
            self._wait_for_window(deadline)
        finally:
            self._window_waiters -= 1

    def _wait_for_window(self, deadline: Deadline) -> None:
        self.lock.release()
        try:
            self.outbox.flush(deadline.remaining())
            self.bound.waiting_for_receipt(+1)
        finally:
            self.lock.acquire()
        try:
            while self._window_is_full():
                self._check_usable()
                remaining = deadline.remaining()
                if remaining == 0.0:
                    raise TimedOut(
                        f"SEND: {self.session.unconfirmed} messages wait for their receipt, as many as may, and none "
                        f"came for {deadline.timeout} s; nothing was written"
                    )
                self.changed.wait(remaining)
        finally:
            self.bound.waiting_for_receipt(-1)

    def _window_is_full(self) -> bool:
        return (
            self.session.unconfirmed >= self.config.limits.max_unconfirmed_messages
            or self.session.unconfirmed_bytes >= self.config.max_unconfirmed_bytes
        )

    def _until_open(self, deadline: Deadline, what: str, *, room: bool = True, begun: bool = False) -> bool:
        """Wait, with the lock, until something may be said. False if the outbox has to be written first."""
        while not self._is_open(begun) or self.outbox.is_stuck:
            self._check_usable()
            remaining = deadline.remaining()
            if remaining == 0.0:
                raise TimedOut(
                    f"{what}: no connection for {deadline.timeout} s; nothing was written, and nothing will be"
                )
            self.changed.wait(remaining)
        return not (room and self.outbox.is_full)

    def _is_open(self, begun: bool) -> bool:
        if self.session.state is not SessionState.CONNECTED:
            return False
        # On the way to another broker only transactions and what listeners hold may be brought to their end here.
        return self.state is not ConnectionState.SUSPENDED or begun or self.delivery.is_in_listener()

    def _check_usable(self) -> None:
        if self.state in (ConnectionState.NEW, ConnectionState.CLOSED):
            # A fresh copy each time: many threads may raise it, and each adds its own traceback.
            raise copy.copy(self.failure)
        if self.state is ConnectionState.CLOSING and self.session.state is SessionState.DISCONNECTING:
            raise NotConnected("disconnect() has said goodbye to the broker: nothing can be said any more")

    def _put(self, frame: Frame | None) -> None:
        if frame is None:
            return
        try:
            data = encode(frame, self.session.version)
        except (InvalidHeader, ProtocolError) as error:
            self.session.retract(frame, error)
            raise
        self.outbox.put(data)

    def _announce(self, frame: Frame | None) -> None:
        if frame is not None:
            self.listeners.call("on_send", frame)

    def _log_written(self, frames: list[bytes]) -> None:
        """Log what is about to be written; each write asks once, not each frame."""
        if _log.isEnabledFor(logging.DEBUG):
            for frame in Decoder(self.session.version, _NO_LIMITS).feed(b"".join(frames)):
                _log.debug("%s > %s", self.config.name, frame.info)

    def _where(self) -> str:
        return str(self.broker) if self.broker else "no broker"

    # Moving to a preferred broker: the standby thread

    def move_away(self, deadline: Deadline) -> bool:
        """Leave this connection in good order, for a spare that waits; False if something stayed open for too long.

        New SENDs and BEGINs are held back as in an outage. What listeners hold is settled here, since no other broker
        knows it; messages of ack mode ``auto`` that have come are delivered later.
        """
        with self.lock:
            if self.state is not ConnectionState.CONNECTED:
                return False
            epoch = self.session.epoch
            self.move(ConnectionState.SUSPENDED)
        self.delivery.hold()
        try:
            if not self._is_at_rest(epoch, deadline):
                self._stay(epoch)
                return False
            self.stop_auto(deadline, for_good=False, epoch=epoch)
            answer = self.new_answer()
            if self.say_now(lambda session: session.disconnect(answer) if self._is_leaving(epoch) else None):
                self.await_answer(answer, deadline, "DISCONNECT")
        except StompError as error:
            _log.info("%s: the connection ended while it was being left: %s", self.config.name, error)
            if self._is_leaving(epoch):
                self.broken(error)
        finally:
            self.delivery.go_on()
        return True

    def _is_leaving(self, epoch: int) -> bool:
        """Whether the connection of this epoch is still there, and on its way to be left for another one."""
        return self.state is ConnectionState.SUSPENDED and self.session.epoch == epoch

    def _is_at_rest(self, epoch: int, deadline: Deadline) -> bool:
        """Wait until nothing is open here, or there is nothing to leave any more."""
        session = self.session

        def over() -> bool:
            return not self._is_leaving(epoch) or session.state is not SessionState.CONNECTED

        self.outbox.flush(deadline.remaining())
        answered = self.wait_for_answers(lambda: session.is_idle or over(), deadline)
        return answered and (over() or self.delivery.wait_settled(deadline))

    def _stay(self, epoch: int) -> None:
        with self.lock:
            if self._is_leaving(epoch) and self.session.state is SessionState.CONNECTED:
                self.move(ConnectionState.CONNECTED)

    # Ending

    def abandon(self) -> None:
        """In the child of a fork: give up the parent's socket without a word. Takes no lock: a parent may hold it."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abandon()

    def stop_auto(self, deadline: Deadline, *, for_good: bool, epoch: int | None = None) -> None:
        """End the subscriptions whose messages the broker forgets as it writes them: none may come unheard.

        Args:
            for_good: False keeps them registered, to be restored on the next connection.
            epoch: nothing is said on a later connection than this one.
        """
        answers: list[Answer] = []
        with self.lock:
            for entry in tuple(self.session.subscriptions.values()):
                if entry.ack == "auto" and entry.durable is None and epoch in (None, self.session.epoch):
                    answer = self.new_answer()
                    frame = self.session.unsubscribe(entry, confirm=True, context=answer, keep=not for_good)
                    if frame is not None:
                        self._put(frame)
                        answers.append(answer)
        for answer in answers:
            self.await_answer(answer, deadline, "UNSUBSCRIBE")

    def end_subscriptions(self) -> None:
        """The application is done with the connection: none of its subscriptions is to be restored."""
        with self.lock:
            for entry in tuple(self.session.subscriptions.values()):
                self.session.unsubscribe(entry)
            self.changed.notify_all()

    # Epochs: the receiver

    def begin_epoch(self, broker: Broker, transport: Transport, options: ConnectOptions) -> None:
        """Say CONNECT on a new transport."""
        with self.lock:
            self._check_usable()
            self._begin(broker, transport, Decoder(limits=self.config.limits))
            self.last_received = time.monotonic()
            # Brokers quote what they refuse. A short one would mask half of any text.
            self._secrets = tuple(s for s in (options.passcode,) if s and len(s) >= 4 and s != options.login)
            frame = self.session.connect(options.host, options.login, options.passcode, options.headers)
            self._put(frame)
        self.tell("on_send", frame)
        self.outbox.write()

    def adopt_epoch(self, spare: Spare) -> None:
        """Go on with a connection on which CONNECT was said and answered already."""
        with self.lock:
            self._check_usable()
            self._begin(spare.broker, spare.transport, spare.decoder)
            self.last_received = spare.last_received
            self.session.connect(host="")
            self.session.receive(spare.connected)
        self.heartbeater.start(self.session.heartbeat)

    def _begin(self, broker: Broker, transport: Transport, decoder: Decoder) -> None:
        self.broker = broker
        self._transport = transport
        self._decoder = decoder
        self._broken_by = self._last_error = None
        self._frame_began = None
        self.outbox.open(transport)
        self.bound.open()

    def replay(self) -> None:
        """Say SUBSCRIBE for what this epoch owes."""
        with self.lock:
            replay = self.session.replay()
            unsaid = self._put_owed(replay.frames)
        for entry in replay.rejected:
            self._rejected(entry)
        self._give_back(unsaid)
        for frame in replay.frames:
            self.tell("on_send", frame)
        self.outbox.write()

    def restored(self) -> None:
        """Open the session to everybody, behind the SENDs that it owes."""
        with self.lock:
            self._check_usable()
            if self._broken_by is not None:
                raise self._broken_by
            unsaid = self._put_owed(self.session.restored())
            self.delivery.draining = False
            self.move(ConnectionState.CONNECTED)
            self.connects += 1
            self.ready_since = time.monotonic()
            connected = self.session.connected_frame
        self._give_back(unsaid)
        self.tell("on_connected", connected)
        self.outbox.wake()

    def _put_owed(self, frames: Sequence[Frame]) -> list[tuple[Frame, Request | None, StompError]]:
        """Say what an older connection owes. What this version of STOMP cannot write must not keep back the others."""
        unsaid: list[tuple[Frame, Request | None, StompError]] = []
        for frame in frames:
            try:
                self.outbox.put(encode(frame, self.session.version))
            except (InvalidHeader, ProtocolError) as error:
                unsaid.append((frame, self.session.retract(frame, error), error))
        return unsaid

    def _give_back(self, unsaid: Sequence[tuple[Frame, Request | None, StompError]]) -> None:
        for frame, request, error in unsaid:
            if request is not None and request.subscription is not None:
                self._rejected(request.subscription)
            elif request is not None and isinstance(request.context, Answer):
                request.context.settle(error)
            else:
                _log.error("%s: %s cannot be sent on this connection: %s", self.config.name, frame.info, error)

    def end_epoch(self, transport: Transport) -> list[tuple[Request, Outcome]]:
        """The connection is over: nothing of it may be said any more. Returns what nobody will answer."""
        transport.shutdown()
        self.heartbeater.stop()
        with self.outbox.ending() as unsent:
            self._transport = None
            version = self.session.version
            frames = Decoder(version, _NO_LIMITS).feed(b"".join(unsent)) if unsent and version else []
            return self.session.lost(frames)

    def lost(self, reason: Exception, unanswered: Sequence[tuple[Request, Outcome]]) -> bool:
        """Tell everybody that a connection that was ready is over. False if it is not to be restored."""
        with self.lock:
            moving = self.state is ConnectionState.SUSPENDED
            restore = moving or (self.state is ConnectionState.CONNECTED and self.config.restores)
            if restore and not moving:
                self.move(ConnectionState.SUSPENDED)
            elif self.state is ConnectionState.CLOSING:
                # The broker may hang up as soon as it has answered DISCONNECT: that is the end that was asked for.
                self.failure = NotConnected(ENDED)
                self.move(ConnectionState.CLOSED)
            elif not restore and self.state is not ConnectionState.CLOSED:
                self.failure = ConnectionLost(f"the connection to {self._where()} was lost: {reason}")
                self.move(ConnectionState.CLOSED)
            self.changed.notify_all()
        self.fail(unanswered)
        self.requests.lost()
        self.delivery.cancel_retries()
        for lane in self.lanes:
            lane.discard(self.delivery.is_stale)
        self.tell("on_disconnected")
        return restore

    def fail(self, unanswered: Sequence[tuple[Request, Outcome]]) -> None:
        """Answer in the broker's place, as the loss of the connection means for each."""
        for request, outcome in unanswered:
            if not isinstance(request.context, Answer):
                continue
            if outcome is Outcome.DONE:
                request.context.settle(Frame("RECEIPT", {"receipt-id": request.receipt}))
            else:
                request.context.settle(
                    ConnectionLost(
                        f"{request.command}: the connection to {self._where()} was lost before the broker answered: "
                        f"{outcome.value}",
                        outcome_unknown=outcome is Outcome.IN_DOUBT,
                    )
                )

    def abandon_unconfirmed(self) -> None:
        """Fail what would be sent again after a reconnect that will not come."""
        with self.lock:
            requests = self.session.abandon()
        tracked = sum(request.context is None for request in requests)
        if tracked:
            _log.error("%s: %d message(s) kept by trackMessages had no receipt at the end", self.config.name, tracked)
        for request in requests:
            if isinstance(request.context, Answer):
                request.context.settle(
                    ConnectionLost(
                        f"SEND: the connection was closed before the broker's receipt came: {self.failure}",
                        outcome_unknown=request.issued,
                    )
                )

    def broken(self, reason: Exception) -> None:
        """The connection is of no use any more: make the receiver notice. Any thread, blocks for nothing."""
        with self.lock:
            if self._broken_by is None:
                self._broken_by = reason
            transport = self._transport
        if transport is not None:
            transport.shutdown()
        self.bound.interrupt()

    def reason(self, noticed: Exception) -> Exception:
        """Why the connection ended: what another thread reported goes before what the receiver saw of it."""
        return self._broken_by or self._last_error or noticed

    # What the heartbeater needs

    @property
    def last_write(self) -> float:
        return self.outbox.last_write

    def beat(self) -> None:
        self.outbox.beat()

    def has_unread(self) -> bool:
        transport = self._transport
        return transport is not None and transport.unread()

    def heartbeat_missed(self, silence: float) -> None:
        self.tell("on_heartbeat_timeout")
        self.broken(ConnectionLost(f"{self._where()} sent nothing for {silence:.1f} s, not even a heart-beat"))

    # Receiving: the receiver

    def received(self, data: bytes) -> None:
        """Decode bytes and pass on what they say.

        Raises:
            ProtocolError: they are no STOMP, or exceed a limit.
            BrokerError: the broker refused CONNECT.
        """
        self.last_received = now = time.monotonic()
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
        self._check_pace(now)

    def _check_pace(self, now: float) -> None:
        if not self._decoder.partial:
            self._frame_began = None
        elif self._frame_began is None:
            self._frame_began = now
        elif now - self._frame_began > self.config.limits.frame_timeout:
            raise _too_slow(self.config.limits.frame_timeout)

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

    def check_pace(self, now: float) -> float:
        """Break the connection if a frame takes too long to come; when to look again."""
        limit, began = self.config.limits.frame_timeout, self._frame_began
        if began is not None and now - began > limit and not self.bound.paused and not self.has_unread():
            self.broken(_too_slow(limit))
        return now + limit if began is None else max(began + limit, now + 0.05)

    def _pass_on(self, frames: list[Frame]) -> None:
        if self._secrets:
            frames = [without(frame, self._secrets) if frame.command == "ERROR" else frame for frame in frames]
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
        if self._answer_waiters or (self._window_waiters and not self._window_is_full()):
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
            return
        if request.subscription is not None and request.command == "SUBSCRIBE":
            self.changed.notify_all()
            if refused is not None:
                events.append(partial(self._rejected, request.subscription))
        else:
            self._wake_for_receipt()
        if isinstance(request.context, Answer):
            answers.append((request.context, refused or frame))

    def _rejected(self, entry: SubscriptionEntry) -> None:
        subscription: Any = entry.context
        self.rejections += 1
        _log.error("%s: subscription %s to %s: %s", self.config.name, entry.id, entry.destination, entry.error)
        with self.lock:
            self.changed.notify_all()
        if subscription.lane is not self.lane:
            subscription.lane.stop()
        if isinstance(entry.error, BrokerError):
            self.call(partial(call_all, subscription.hook("on_error"), entry.error.frame))

    # Snapshots

    def statistics(self) -> Statistics:
        with self.lock:
            return Statistics(
                messages_received=self.messages_received,
                messages_sent=self.messages_sent,
                bytes_received=self.bytes_received,
                bytes_sent=self.outbox.bytes_written,
                pending=self.bound.messages,
                pending_bytes=self.bound.bytes,
                unconfirmed=self.session.unconfirmed,
                unconfirmed_bytes=self.session.unconfirmed_bytes,
                reconnects=max(0, self.connects - 1),
                listener_errors=self.listener_errors,
                last_received=self.last_received,
                last_sent=self.outbox.last_write,
            )

    def session_snapshot(self) -> SessionSnapshot:
        with self.lock:
            session = self.session
            headers = session.connected_frame.headers if session.connected_frame else {}
            return SessionSnapshot(
                state=session.state,
                epoch=session.epoch,
                version=session.version,
                server=headers.get("server", ""),
                id=headers.get("session", ""),
                heartbeat=session.heartbeat,
                subscriptions=tuple(session.subscriptions),
                transactions=tuple(session.transactions),
            )

    # Lanes and listeners

    def new_lane(self, name: str, workers: int, notify: Event = lambda: None) -> Lane[Item]:
        lane: Lane[Item] = Lane(self.delivery.run, weigh, self.bound, name, workers, notify)
        with self.lock:
            # The first one is the main lane, which is there for good.
            main, others = self.lanes[:1], self.lanes[1:]
            self.lanes = [*main, *(each for each in others if not each.is_over), lane]
        return lane

    def is_current(self, epoch: int) -> bool:
        """Whether what came in this epoch may still be acknowledged."""
        session = self.session
        return epoch == session.epoch and session.is_open

    def call(self, event: Event) -> None:
        """Let the dispatcher call something, behind all that it has to do already."""
        self.lane.put([event])

    def tell(self, hook: str, *args: object) -> None:
        """Let the dispatcher call a hook of the connection's listeners."""
        if self.listeners.hear(hook):
            self.call(partial(self.listeners.call, hook, *args))

    def count_listener_error(self) -> None:
        with self.lock:
            self.listener_errors += 1

    def _hear(self, items: list[Item], hook: str, *args: object) -> None:
        if self.listeners.hear(hook):
            items.append(partial(self.listeners.call, hook, *args))


def _too_slow(limit: float) -> ProtocolError:
    return ProtocolError(f"a frame was not complete {limit} s after its first byte (Limits.frame_timeout)")


def weigh(batch: Sequence[Item]) -> tuple[int, int]:
    """What a batch counts for: each item as one message, an event too, and the bytes of messages."""
    return len(batch), sum([item.frame.size for item in batch if type(item) is Message])
