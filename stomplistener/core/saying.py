"""Saying things: what application threads do, listeners among them."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any, Unpack

from stomplistener._util.deadline import Deadline
from stomplistener.core.answer import Answer
from stomplistener.core.shared import NO_LIMITS, Shared
from stomplistener.errors import ConnectionLost, InvalidHeader, NotConnected, ProtocolError, TimedOut
from stomplistener.message import Message
from stomplistener.options import SendOptions
from stomplistener.protocol import Decoder, Frame, Request, Session, SessionState, commands, encode
from stomplistener.states import ConnectionState

_log = logging.getLogger("stomplistener")


class Saying(Shared):
    """The ways out, and every wait for room, for an open connection, and for answers."""

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
                if not self.window_is_full():
                    break
            self._put(self.session.send(frame, confirm=True, context=answer))
            self.messages_sent += 1
        self._announce(frame)
        self.outbox.push(deadline.remaining())

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
        plain = transaction is None and headers is None and not negative
        if plain and (shortcut := self.shortcut) is not None and shortcut.acknowledge(message):
            return True
        with self.lock:
            entry = transaction.entry if transaction is not None else None
            if entry is not None:
                self.session.check_transaction(entry)
            if self.state is ConnectionState.CLOSED:
                return False
            if message.settled is True and message.epoch == self.session.epoch:
                # A broker may end the connection of who does it twice.
                return True
            frame = self.session.ack(
                message.frame, message.epoch, transaction=entry, headers=headers, negative=negative
            )
            if frame is None:
                return False
            self._put(frame)
            message.settled = entry or True
        self._announce(frame)
        self.outbox.push(self.config.seconds(timeout))
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
            # What was a text stays one.
            counted = "content-length" in message.headers or b"\0" in message.body
            send = commands.send(
                destination, message.body, headers, transaction=transaction.id, auto_content_length=counted
            )
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
        raise TimedOut(
            f"{what}: {self._where()} sent no receipt for {deadline.timeout} s; it may have taken it or not"
            f"{self.meanwhile(deadline.began)}"
        )

    def meanwhile(self, since: float) -> str:
        """For the message of a time-out: what the broker refused since then without saying which frame it meant.

        RabbitMQ does so to some frames and keeps the connection. It may have been another frame, so this is all that
        can be said.
        """
        if self._unexplained is None or self._unexplained[0] < since:
            return ""
        return f"; meanwhile {self._unexplained[1]} (to which frame, it did not say)"

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
        if not self.window_is_full():
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
            while self.window_is_full():
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
        """Log what is about to be written."""
        for frame in Decoder(self.session.version, NO_LIMITS).feed(b"".join(frames)):
            _log.debug("%s > %s", self.config.name, frame.info)

    def _where(self) -> str:
        return str(self.broker) if self.broker else "no broker"
