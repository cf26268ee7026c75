"""The path of sent frames: every frame that an application sends passes through ``transmit``.

A frame is checked and encoded for the current STOMP version before the lock is taken. Under the lock, the session notes
the frame, and its bytes are lined up. If a thread loses the interpreter while it holds a lock, all others queue up
behind it. So threads do as little as possible under the lock.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from stomplistener._engine.context import Context
from stomplistener._engine.flow_control import FlowControl
from stomplistener._engine.receipts import Receipt
from stomplistener._engine.writer import Writer
from stomplistener._util.deadline import Deadline
from stomplistener._util.text import counted
from stomplistener.errors import BrokerError, ConnectionLost, NotConnected, ProtocolError, StompError, TimedOut
from stomplistener.message import Message
from stomplistener.options import BROKER_OPTIONS, SendOptions, json_body, refuse_unknown
from stomplistener.protocol import Frame, Session, SessionState, TransactionEntry, commands, encode
from stomplistener.states import ConnectionState, MessageState, WriteState

Note = Callable[[Session], Frame | None]
"""Makes or notes a frame, with the lock held; None if there is nothing to write."""

_BROKEN = (WriteState.FAILED, WriteState.DETACHED)

_NOTING = frozenset({ConnectionState.CONNECTED, ConnectionState.CONNECTING, ConnectionState.SUSPENDED})
"""The states in which a confirmed SEND may be noted. The current connection or the next one writes the SEND.

In state MIGRATING none may be noted: with a steady stream of messages, the client could never leave the connection.
"""


class Listening(Protocol):
    """Knows whether a listener runs in the calling thread."""

    def is_in_listener(self) -> bool: ...


class Sender:
    """Sends frames, and waits until they may be sent. Thread-safe.

    Args:
        context: the context of the connection.
        writer: lines up and writes the bytes.
        flow: lets the receiver read on while a thread waits for receipts.
        listening: knows whether a listener runs here. A listener may settle its message even while the client moves to
            another broker.
    """

    def __init__(self, context: Context, writer: Writer, flow: FlowControl, listening: Listening) -> None:
        self._context = context
        self._session = context.session
        self._writer = writer
        self._flow = flow
        self._listening = listening
        self._max_unconfirmed = context.config.limits.max_unconfirmed_messages
        self._max_unconfirmed_bytes = context.config.max_unconfirmed_bytes
        self.tracks_messages = context.config.track_messages
        """Whether every SEND requests a receipt and is kept until the receipt arrives (``trackMessages``)."""
        self._unexplained: tuple[float, BrokerError] | None = None

    # The only path

    def transmit(
        self,
        frame: Frame | None,
        timeout: float | None,
        what: str,
        *,
        note: Note | None = None,
        begun: bool = False,
        lingers: bool = False,
        admits: Callable[[], bool] | None = None,
        context: object = None,
    ) -> Frame | None:
        """Wait until a frame may be sent, note it in the session, and have it written.

        Args:
            frame: the frame to send; None if ``note`` makes it.
            timeout: seconds to wait for a connection and for a broker that reads.
            what: the command, for exceptions.
            note: called with the session when the frame may be sent; returns the frame to write.
            begun: whether the frame belongs to an operation that must end before the client moves to another broker.
            lingers: whether the frame may wait for the next frame that does not linger, since the frame has no effect
                before that next one.
            admits: whether the frame may be sent, called with the lock held; for frames that need more than a
                connection.
            context: the key by which the session knows the frame. If this call is interrupted, the frame is withdrawn.

        Returns:
            the frame that is being written; None if there is none.
        """
        shared, session, writer = self._context, self._session, self._writer
        deadline = None
        try:
            while True:
                version = session.version
                data = encode(frame, version) if frame is not None else b""
                with shared.lock:
                    if admits is not None:
                        free = admits()
                    else:
                        ready = shared.state is ConnectionState.CONNECTED or self._may_finish(begun)
                        free = ready and not writer.is_full
                    if free and version == session.version:
                        out = frame if note is None else note(session)
                        if out is not None:
                            writer.append(data if out is frame else self._encoded(out))
                        if what == "SEND":
                            shared.counters.messages_sent += 1
                        break
                deadline = deadline or Deadline(timeout)
                self._wait_until_free(admits or partial(self._is_open, begun), deadline, what)
        except BaseException:
            if context is not None:
                self._withdraw(context)
            raise
        if out is not None:
            if shared.listeners.on_send:
                self._announce(out, lingers)
            else:
                writer.schedule(lingers)
        return out

    def transmit_now(self, note: Note, context: object = None) -> bool:
        """Let ``note`` make a frame and have it written, if a frame may be sent now. Never waits for a connection.

        Returns:
            whether there was a frame.
        """
        try:
            with self._context.lock:
                frame = note(self._session)
                if frame is not None:
                    self._writer.append(self._encoded(frame))
        except BaseException:
            if context is not None:
                self._withdraw(context)
            raise
        if frame is None:
            return False
        self._announce(frame)
        return True

    def _encoded(self, frame: Frame) -> bytes:
        """Return the bytes of a frame that the session has noted; withdraw the frame if it cannot be written."""
        try:
            return encode(frame, self._session.version)
        except (StompError, TypeError, ValueError) as error:
            self._session.retract(frame, error)
            raise

    def _announce(self, frame: Frame, lingers: bool = False) -> None:
        """Call ``on_send`` with a frame, and have the frame written even if a signal handler interrupts a listener."""
        try:
            self._context.listeners.call("on_send", frame)
        finally:
            self._writer.schedule(lingers)

    def _withdraw(self, context: object) -> None:
        with self._context.lock:
            self._session.withdraw(context)
            self.notify_window()

    # Waiting until a frame may be sent

    def _is_open(self, begun: bool) -> bool:
        return self._context.state is ConnectionState.CONNECTED or self._may_finish(begun)

    def _may_finish(self, begun: bool) -> bool:
        """Whether a connection that is being left takes a frame: from a listener, or to end a begun task."""
        if not self._session.is_connected:
            return False
        state = self._context.state
        return state is ConnectionState.CLOSING or (
            state is ConnectionState.MIGRATING and (begun or self._listening.is_in_listener())
        )

    def _wait_until_free(self, is_free: Callable[[], bool], deadline: Deadline, what: str) -> None:
        """Wait until another try is worthwhile.

        Raises:
            TimedOut: the time is over; nothing was written, and nothing will be.
            NotConnected: the client is neither connected nor connecting.
        """
        context, writer = self._context, self._writer
        if writer.is_full:
            # The queue is over its bound, since the broker does not read.
            if not writer.wait_for_room(deadline):
                raise TimedOut(
                    f"{what} timed out after {deadline.timeout} s: {context.where} takes no more bytes; "
                    "the message was not sent"
                )
            return
        if self._window_is_full():
            self._wait_for_window(deadline, what)
            return

        def is_worth_a_look() -> bool:
            # When the connection is back, another thread may fill the window or the queue first.
            return is_free() or self._unusable() is not None or self._window_is_full() or writer.is_full

        if not context.wait_until(is_worth_a_look, deadline):
            raise _never_written(what, deadline)
        with context.lock:
            self.check_usable()

    def _unusable(self) -> StompError | None:
        """Return why waiting cannot help; None if it may help."""
        context = self._context
        if context.state in (ConnectionState.NEW, ConnectionState.CLOSED):
            return context.failure
        if context.state is ConnectionState.CLOSING and not self._session.is_open:
            return NotConnected("the connection is closing: DISCONNECT was already sent")
        return None

    def check_usable(self) -> None:
        """Raise if waiting cannot help. Call with the lock held."""
        failure = self._unusable()
        if failure is not None:
            # Raise a copy each time: many threads may raise this failure, and each adds its own traceback.
            raise copy.copy(failure)

    def _window_is_full(self) -> bool:
        session = self._session
        return session.unconfirmed >= self._max_unconfirmed or session.unconfirmed_bytes >= self._max_unconfirmed_bytes

    def notify_window(self) -> None:
        """Wake the threads that wait for fewer unconfirmed messages. Call with the lock held."""
        if self._context.answers.gates:
            self._context.answers.notify_all()

    def _wait_for_window(self, deadline: Deadline, what: str) -> None:
        self._writer.flush(deadline)
        if not self.wait_for_answers(lambda: not self._window_is_full() or self._unusable() is not None, deadline):
            raise TimedOut(
                f"{what} timed out after {deadline.timeout} s: no room for it in Limits, while the receipt of "
                f"{counted(self._session.unconfirmed, 'message')} is missing; nothing was written"
            )
        with self._context.lock:
            self.check_usable()

    def wait_for_answers(self, condition: Callable[[], bool], deadline: Deadline) -> bool:
        """Wait for a condition that an answer, the end of a transaction or the end of the connection makes true.

        Args:
            condition: called with the lock held.

        Returns:
            whether the condition became true.
        """
        return self._flow.wait_reading(self._context.answers, condition, deadline)

    def wait_ready(self, deadline: Deadline) -> None:
        """Wait until a SEND can be sent without waiting; another thread may be faster than the caller."""
        while True:
            with self._context.lock:
                if self._admits_confirmed():
                    return
            self._wait_until_free(self._admits_confirmed, deadline, "SEND")

    # SEND

    def make_send(
        self,
        destination: str,
        body: Any,
        headers: Mapping[str, str] | None,
        transaction: str | None,
        timeout: float | None,
        options: SendOptions,
        receipt: str | None = None,
    ) -> Frame:
        """Make the SEND frame of a message, with its options in the headers of the broker in use.

        Args:
            transaction: the name of a transaction.
            timeout: seconds to wait for a connection, if the options depend on the broker.
            receipt: the name of a receipt to request, unless the application's headers request one.
        """
        content_type, with_length = None, None
        if headers is not None and type(headers) is not dict and not isinstance(headers, Mapping):
            raise TypeError(f"headers must be a mapping of str to str, not {type(headers).__name__}")
        if options:
            body, headers, content_type, with_length = self._apply(body, headers, timeout, options)
        if with_length is None:
            with_length = not (self._context.profile.length_means_bytes and isinstance(body, str) and "\0" not in body)
        return commands.send(
            destination,
            body,
            headers,
            content_type=content_type,
            transaction=transaction,
            receipt=receipt,
            auto_content_length=with_length,
        )

    def _apply(
        self, body: Any, headers: Mapping[str, str] | None, timeout: float | None, options: SendOptions
    ) -> tuple[Any, Mapping[str, str] | None, str | None, bool | None]:
        """Return body and headers as content type, ``json=`` and ``auto_content_length`` require them."""
        refuse_unknown(options)
        content_type, with_length = options.get("content_type"), options.get("auto_content_length")
        if "json" in options:
            if body:
                raise ValueError("give body or json=, not both")
            body = json_body(options["json"])
            content_type = content_type or "application/json"
        asked = {name: value for name, value in options.items() if value is not None and name in BROKER_OPTIONS}
        if asked:
            headers = self._in_words_of_broker(headers, timeout, asked)
        return body, headers, content_type, with_length

    def _in_words_of_broker(
        self, headers: Mapping[str, str] | None, timeout: float | None, asked: dict[str, Any]
    ) -> Mapping[str, str]:
        dialect, session = self._context.config.dialect, self._session
        if session.connected_frame is None and not dialect.is_fixed:
            # Only CONNECTED tells which broker it is.
            deadline = Deadline(timeout)
            while session.connected_frame is None:
                self._wait_until_free(partial(self._is_open, False), deadline, "SEND")
        own = dialect.send_headers(self._context.profile, time.time(), **asked)
        return {**own, **headers} if headers else own

    def send(self, frame: Frame, timeout: float | None) -> None:
        """Send a SEND frame without waiting for its receipt."""
        self.transmit(frame, timeout, "SEND")
        # If the receiver noticed the loss first, it has taken the frame back from the writer.
        if self._writer.state in _BROKEN:
            self._await_fate(Deadline(timeout))

    def send_in(self, transaction: TransactionEntry, frame: Frame, timeout: float | None, context: object) -> None:
        """Send a SEND frame as part of a transaction.

        Args:
            context: the key of the SEND's receipt, if the broker's answer to COMMIT alone does not confirm the SEND.
        """
        note = partial(Session.send, frame=frame, confirm=context is not None, context=context, transaction=transaction)
        # The application may wait for a receipt that it requested.
        lingers = frame.header("receipt") is None
        self.transmit(frame, timeout, "SEND", note=note, begun=True, lingers=lingers, context=context)

    def send_confirmed(
        self,
        destination: str,
        body: Any,
        headers: Mapping[str, str] | None,
        receipt: Receipt | None,
        timeout: float | None,
        options: SendOptions,
        *,
        wait: bool,
    ) -> None:
        """Send a message that is kept until its receipt arrives, and resent after every connection loss.

        Args:
            headers: the application's headers. A receipt among them is awaited under its name.
            receipt: the future for the answer; None if no thread waits for it.
            timeout: seconds to wait for room among the unconfirmed messages, and for a connection.
            wait: whether to wait for a connection; otherwise the frame is only noted while there is none.
        """
        frame = self.make_send(destination, body, headers, None, timeout, options, self._context.new_id())
        own = headers is not None and "receipt" in headers
        note = partial(Session.send, frame=frame, confirm=True, context=receipt, own_receipt=own)
        admits = self._admits_confirmed if wait else self._admits_noted
        self.transmit(frame, timeout, "SEND", note=note, admits=admits, context=receipt)

    def reply(
        self, message: Message, body: Any, headers: Mapping[str, str] | None, timeout: Any, options: SendOptions
    ) -> None:
        """Send an answer to a request; see ``Message.reply``."""
        destination = message.reply_to
        if destination is None:
            raise ValueError(f"{message!r} has no reply-to, so it expects no answer")
        id = message.headers.get("correlation-id")
        merged = {**({"correlation-id": id} if id is not None else {}), **(headers or {})}
        seconds = self._context.config.seconds(timeout)
        self.send(self.make_send(destination, body, merged, None, seconds, options), seconds)

    def _admits_confirmed(self) -> bool:
        return self._is_open(False) and not self._writer.is_full and not self._window_is_full()

    def _admits_noted(self) -> bool:
        # Frames that wait to be written count as unconfirmed, so their number is bounded. A slow broker blocks no
        # thread here.
        if self._window_is_full():
            return False
        return self._context.state in _NOTING or self._may_finish(False)

    def _await_fate(self, deadline: Deadline) -> None:
        """Wait for a new connection: the current one has just broken, perhaps while it wrote this thread's frame.

        Raises:
            ConnectionLost: no new connection came in time, or none will. The broker may have received the message or
            not.
        """
        context = self._context
        settled = (ConnectionState.CONNECTED, ConnectionState.CLOSED)
        is_settled = context.wait_until(
            lambda: context.state in settled and self._writer.state is not WriteState.FAILED, deadline
        )
        if context.state is ConnectionState.CLOSED and type(context.failure) is NotConnected:
            # The application ended the connection after this frame.
            return
        if not is_settled or context.state is not ConnectionState.CONNECTED:
            raise ConnectionLost(
                f"SEND failed: the connection to {context.where} broke during the write; the broker may have received "
                "the message or not",
                outcome_unknown=True,
            )

    # ACK and NACK

    def settle(
        self,
        message: Message,
        transaction: TransactionEntry | None,
        headers: Mapping[str, str] | None,
        *,
        negative: bool,
        timeout: Any,
    ) -> bool:
        """ACK or NACK a message; see ``Message.ack``. False if its epoch is over or the other command was sent.

        Raises:
            ConnectionLost: the transaction ended with its connection.
            ProtocolError: the version has no NACK, or the ack mode is ``auto``.
        """
        context, session = self._context, self._session
        if message.subscription is not None and message.subscription.ack == "auto":
            raise _in_mode_auto(message.subscription.destination, "NACK" if negative else "ACK")
        wanted = MessageState.NACKED if negative else MessageState.ACKED
        if transaction is not None:
            with context.lock:
                session.check_transaction(transaction)
        if message.state is not MessageState.UNSETTLED:
            # Some brokers close the connection if a message is acknowledged twice.
            return message.state is wanted and context.is_current(message.epoch)
        if context.state is ConnectionState.CLOSED or not context.is_current(message.epoch):
            return False
        command = commands.ack
        if negative:
            command, headers = commands.nack, context.profile.reject_headers(headers)
        frame = command(
            message.frame, transaction.id if transaction is not None else None, headers, version=session.version or ""
        )

        def note(session: Session) -> Frame | None:
            if message.epoch != session.epoch or not session.is_open or message.state is not MessageState.UNSETTLED:
                return None
            if transaction is None:
                message.state = wanted
            else:
                session.check_transaction(transaction)
                transaction.settled.append(message)
                message.state = MessageState.IN_TRANSACTION
            return frame

        def admits() -> bool:
            # Do not wait for a connection: without one, the note finds that the message is stale.
            return not self._writer.is_full or not context.is_current(message.epoch)

        try:
            seconds = context.config.seconds(timeout)
            # Artemis carries out an ACK before its COMMIT. If ACK and COMMIT are written together, a loss hardly ever
            # separates them.
            lingers = transaction is not None
            sent = self.transmit(frame, seconds, frame.command, note=note, lingers=lingers, admits=admits)
            # Another thread may have sent the same command meanwhile.
            return sent is not None or (message.state is wanted and context.is_current(message.epoch))
        except TimedOut as late:
            # The broker does not read: nothing was noted, and nothing will be written.
            context.log.warning("%s; %s is not settled", late, message.frame.heading)
            return False

    # Answers

    def await_receipt(self, receipt: Receipt, deadline: Deadline, what: str) -> Frame:
        """Wait for the broker's answer.

        Raises:
            TimedOut: the time is over, and the connection still lives.
            ConnectionLost: the time is over, and the connection was lost meanwhile.
            BrokerError: the broker answered ERROR.
        """
        self._writer.flush(deadline)
        if receipt.wait(deadline):
            return receipt.result(0)
        with self._context.lock:
            request = self._session.forget(receipt)
            cut_off = self._session.state is not SessionState.CONNECTED
            self.notify_window()
        if receipt.done():
            return receipt.result(0)
        where = self._context.where
        if request is not None and not request.issued:
            raise _never_written(what, deadline)
        if cut_off:
            raise ConnectionLost(
                f"{what} was written, but the connection to {where} was lost and not restored within "
                f"{deadline.timeout} s; the broker may have processed it or not",
                outcome_unknown=True,
            )
        raise TimedOut(
            f"{what} timed out after {deadline.timeout} s: {where} sent no receipt; it may have processed it or not"
            f"{self.meanwhile(deadline.began)}"
        )

    def note_unexplained(self, at: float, error: BrokerError | None) -> None:
        """Remember an ERROR of this connection that names no frame; None at the start of a connection."""
        self._unexplained = None if error is None else (at, error)

    def meanwhile(self, since: float) -> str:
        """Describe, for the text of a timeout, the ERROR that came since then without the name of its frame.

        RabbitMQ answers some frames with an ERROR that names no frame, and keeps the connection. The ERROR may also
        belong to another frame: the text cannot be more exact.
        """
        if self._unexplained is None or self._unexplained[0] < since:
            return ""
        return f"; meanwhile {self._unexplained[1]} (the broker did not say which frame it refused)"


def _never_written(what: str, deadline: Deadline) -> TimedOut:
    return TimedOut(
        f"{what} timed out after {deadline.timeout} s without a connection; nothing was written, and nothing will be"
    )


def _in_mode_auto(destination: str, command: str) -> ProtocolError:
    return ProtocolError(
        f"{command} was not sent: the subscription to {destination} has ack mode auto, in which the broker takes each "
        "message for acknowledged; subscribe with ack='client-individual', or with settle=True"
    )
