"""Make the parts of the running client and join them.

The path of a received frame: ``inbound`` (read, decode, sort) → ``dispatch_queue`` → ``settlement`` → listener. The
path of a sent frame: ``sender`` (check, encode, note) → ``writer`` (line up, write).
``life`` (the receiver thread) uses ``reconnector`` and ``login`` to connect, and ``connection_cycle`` to begin and end
each connection. ``standby`` and ``migration`` are for other brokers. ``shutdown`` ends the client.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from stomplistener._engine.connection_cycle import ConnectionCycle
from stomplistener._engine.context import Context
from stomplistener._engine.dead_letters import DeadLetters
from stomplistener._engine.dispatch_queue import DispatchQueue, Event, Runner
from stomplistener._engine.elsewhere import Caller, Elsewhere
from stomplistener._engine.flow_control import FlowControl
from stomplistener._engine.held_queue import SubscriptionQueue
from stomplistener._engine.inbound import Inbound
from stomplistener._engine.inline_dispatch import InlineDispatch
from stomplistener._engine.life import Life
from stomplistener._engine.migration import Migration
from stomplistener._engine.ordered_queue import OrderedQueue
from stomplistener._engine.read_coalescer import ReadCoalescer
from stomplistener._engine.receipts import Answer, Receipt
from stomplistener._engine.request_reply import RequestReply
from stomplistener._engine.sender import Sender
from stomplistener._engine.settlement import Settlement
from stomplistener._engine.shutdown import Shutdown
from stomplistener._engine.writer import Writer
from stomplistener._util.deadline import Deadline
from stomplistener._util.fork import ADVICE, disown
from stomplistener._util.greenlets import refuse_half_a_patch
from stomplistener._util.locks import ReentrantLock, is_owned
from stomplistener._util.subinterpreters import refuse_without_threads
from stomplistener._util.text import counted
from stomplistener._util.timer import timer
from stomplistener.errors import ClosedAfterFork, ConnectFailed, ConnectionLost, NotConnected, StompError, TimedOut
from stomplistener.listener import Listeners
from stomplistener.options import Config
from stomplistener.states import ConnectionState
from stomplistener.statistics import SessionSnapshot, Statistics

END_SECONDS = 0.4
"""How long an end waits for the threads of its life; only code of the application can hold them up for longer."""


_live: set[Engine] = set()
"""The engines that have a life. The threads of a life go on even if the application has dropped its connection
object."""


def live_engines() -> tuple[Engine, ...]:
    """All engines of this process that have a life."""
    return tuple(_live)


class Engine:
    """The parts of one client. Thread-safe."""

    def __init__(self, config: Config, listeners: Listeners) -> None:
        self.context = context = Context(config, listeners)
        self.flow = flow = FlowControl(context)
        self.new_receipt = partial(Receipt, self)
        """Makes the future that completes with the broker's answer to one frame."""
        self.writer = Writer(context, self._broken)
        self.settlement = Settlement(context, flow, self.call)
        self.main = DispatchQueue(context, flow, self.settlement, self._broken, config.name)
        self._queues: tuple[DispatchQueue, ...] = (self.main,)
        self.sender = Sender(context, self.writer, flow, self.settlement)
        self.settlement.dead_letters = DeadLetters(context, self.sender, self.new_receipt)
        self.requests = RequestReply(self, context, self.sender)
        self._inbound = Inbound(context, flow, self.writer, self.sender, self.main, self._rejected, ReadCoalescer())
        self.cycle = ConnectionCycle(
            context,
            flow,
            self.writer,
            self.sender,
            self._inbound,
            self.settlement,
            self.requests,
            self.queues,
            self.call,
        )
        self._inline = InlineDispatch(context, flow, self._inbound, self.main, self.queues)
        self._migration = Migration(context, self.writer, self.sender, self.settlement, self.new_receipt, self._broken)
        self.shutdown = Shutdown(
            context,
            self.cycle,
            self.writer,
            self.sender,
            self.settlement,
            self.new_receipt,
            self.queues,
            lambda: self.life,
            self._end_life,
        )
        self.life: Life | None = None
        # Only one thread at a time begins or ends a life. This lock comes first in the lock order; see ``context``.
        self._life_lock = ReentrantLock()

    # Callbacks for the parts

    def _broken(self, reason: BaseException, epoch: int | None = None) -> None:
        self.cycle.broken(reason, epoch)

    def _rejected(self, entry: object) -> None:
        self.cycle.rejected(entry)  # type: ignore[arg-type]

    def call(self, event: Event) -> None:
        """Let the dispatcher call ``event`` after all earlier items."""
        self.main.call(event)

    def queues(self) -> Sequence[DispatchQueue]:
        """Return all dispatch queues, the dispatcher's first."""
        return self._queues

    def subscription_queue(
        self, name: str, workers: int, ordered_by: str | None, call_in: Caller | None
    ) -> SubscriptionQueue:
        """Return the queue for the listener of one subscription."""
        runner: Runner = self.settlement if call_in is None else Elsewhere(self.context, self.settlement, call_in)
        if ordered_by is not None:
            return OrderedQueue(
                self.context,
                self.flow,
                runner,
                self.settlement.is_stale,
                ordered_by,
                lambda ordered: self.new_queue(name, workers, runner=ordered),
            )
        if workers == 1 and call_in is None:
            return self.main
        return self.new_queue(name, workers, runner=runner)

    def new_queue(
        self, name: str, workers: int, notify: Event | None = None, runner: Runner | None = None
    ) -> DispatchQueue:
        """Make a queue for one subscription."""
        queue = DispatchQueue(self.context, self.flow, runner or self.settlement, self._broken, name, workers, notify)
        with self.context.lock:
            main, *others = self._queues
            self._queues = (main, *(each for each in others if not each.is_over), queue)
        return queue

    def withdraw(self, future: object) -> bool:
        """Stop waiting for an answer and never resend its frame; False if the broker has answered."""
        if self.requests.forget(future):
            return True
        with self.context.lock:
            request = self.context.session.forget(future)
            self.sender.notify_window()
        return request is not None

    # Lives

    def connect(self, deadline: Deadline) -> None:
        """Connect, and wait until the connection is ready: see ``Connection.connect``."""
        context = self.context
        life = self._begin_and_wait(deadline)
        if life is None and context.state is ConnectionState.CLOSED and type(context.failure) is NotConnected:
            # Another thread ended the earlier connection, but the caller wants a new one.
            life = self._begin_and_wait(deadline)
        self._check_ready(life)

    def wait_until_ready(self, life: Life | None, deadline: Deadline) -> None:
        """Wait until the connection of a life from ``begin_life`` is ready; raises like ``connect``."""
        self._await_ready(life, deadline)
        self._check_ready(life)

    def _check_ready(self, life: Life | None) -> None:
        """Raise if there is no connection, or if the broker rejected a subscription at the start of this life."""
        if self.context.state is ConnectionState.CLOSED:
            raise self.context.failure
        if life is not None and self.cycle.rejected_at_start:
            # The application must see that a subscription declared before connect() was rejected.
            raise self.cycle.rejected_at_start[0]

    def _begin_and_wait(self, deadline: Deadline) -> Life | None:
        """Begin a life unless a life goes on, and wait until it is ready or over. Return the new life, or None."""
        life = self.begin_life()
        self._await_ready(life, deadline)
        return life

    def _await_ready(self, life: Life | None, deadline: Deadline) -> None:
        """Wait until the connection is ready or over.

        Args:
            life: the life that the calling thread has begun; it ends if the thread cannot wait any longer.

        Raises:
            TimedOut: the time is over.
        """
        context = self.context
        settled = (ConnectionState.CONNECTED, ConnectionState.CLOSED)
        try:
            in_time = context.wait_until(lambda: context.state in settled, deadline)
        except BaseException:
            # Ctrl-C, or the time limit of a job: a life that this call began must not go on in the background.
            if life is not None:
                self.end_life(life, NotConnected("connect() was interrupted"))
            raise
        if not in_time:
            late = TimedOut(f"connect() to {context.config.uri} timed out after {deadline.timeout} s{self._why_late()}")
            if life is not None:
                self.end_life(life, late)
            raise late

    def _why_late(self) -> str:
        """Describe the step for which connect() waited when its time was over, and the last failure."""
        life, failed = self.life, self.context.last_error
        step = f", waiting for {life.interrupt.step}" if life is not None and life.interrupt.step else ""
        return step + (f"; the last failure: {failed}" if failed else "")

    def begin_life(self) -> Life | None:
        """Begin to connect, in the background. None if a life goes on already.

        Raises:
            ConnectFailed: the system refuses a thread, or this is a sub-interpreter that allows none.
            RuntimeError: gevent has patched the standard library only in part, or too late.
        """
        refuse_half_a_patch()
        refuse_without_threads()
        context = self.context
        with self._life_lock:
            with context.lock:
                if context.state not in (ConnectionState.NEW, ConnectionState.CLOSED):
                    return None
            if self.life is not None:
                self.life.join(Deadline(END_SECONDS))
            for queue in self._queues:
                queue.restart()
            self.shutdown.begin_life()
            self.cycle.begin_life()
            life = Life(
                context,
                self.cycle,
                self._inbound,
                self._inline,
                self._migration,
                lambda life: self.life is life,
                self._life_ended,
            )
            with context.lock:
                self.life = life
                context.move(ConnectionState.CONNECTING)
            _live.add(self)
            try:
                timer().watch(self, self.shutdown.look_for_stop)
                life.start()
            except BaseException as error:
                failure = ConnectFailed(f"the system refuses a thread: {error}")
                life.give_up(failure)
                if life.thread.ident is None:
                    self._life_ended(life)
                if isinstance(error, Exception):
                    raise failure from error
                raise
            return life

    def end_life(self, life: Life, failure: StompError) -> None:
        """End this life at once, unless it is over."""
        life.give_up(failure)
        life.interrupt.set()
        with self._life_lock:
            life.join(Deadline(END_SECONDS))

    def _end_life(self, life: Life | None, failure: StompError) -> None:
        """End a life and its subscriptions, unless another one has begun since."""
        context = self.context
        if life is not None:
            self.end_life(life, failure)
        with self._life_lock:
            if self.life is not life:
                return
            for queue in self._queues:
                queue.stop()
            with context.lock:
                if context.state is ConnectionState.NEW:
                    context.failure = failure
                    context.move(ConnectionState.CLOSED)
                for entry in context.closed_with:
                    context.session.unsubscribe(entry)
                context.changes.notify_all()

    def _life_ended(self, life: Life) -> None:
        """Clean up after a life that has ended. The receiver thread calls this as its last step."""
        context = self.context
        life.give_up(NotConnected("the connection has ended"))
        with context.lock:
            if self.life is not life:
                return
            abandoned = context.session.abandon()
            self.sender.notify_window()
        for request in abandoned.requests:
            if isinstance(request.context, Answer):
                request.context.complete(
                    ConnectionLost(
                        f"SEND: the connection was closed before the broker's receipt came: {context.failure}",
                        outcome_unknown=request.issued,
                    )
                )
        tracked = sum(request.context is None for request in abandoned.requests)
        if tracked:
            context.log.error("%s kept by trackMessages had no receipt at the end", counted(tracked, "message"))
        if abandoned.unsent:
            context.log.warning("not sent before the end: %s", counted(len(abandoned.unsent), "message"))
        _live.discard(self)
        timer().unwatch(self)
        self.writer.stop()
        for queue in self._queues:
            queue.stop()

    @property
    def is_interrupted(self) -> bool:
        """Whether the calling thread is a signal handler that interrupted a call of this connection."""
        return is_owned(self.context.lock) or is_owned(self._life_lock) or self.writer.is_writing_here

    def finish(self, seconds: float) -> int:
        """Wait up to ``seconds`` for all writes at the end of the program. Return how many messages are unsent."""
        context, deadline = self.context, Deadline(seconds)
        ready = (ConnectionState.CONNECTED, ConnectionState.CLOSED)
        context.wait_until(lambda: context.state in ready or not self._has_unsent(), deadline)
        if context.state is ConnectionState.CONNECTED:
            self.writer.flush(deadline)
            self.sender.wait_for_answers(lambda: not context.session.unconfirmed, deadline)
        with context.lock:
            left = max(context.session.unsent, self.writer.waiting)
        if left:
            self.shutdown.close()
        else:
            self.shutdown.disconnect(deadline)
        return left

    def _has_unsent(self) -> bool:
        return bool(self.context.session.unsent or self.writer.waiting)

    # Snapshots

    def statistics(self) -> Statistics:
        """Return the current counts."""
        context, writer, flow = self.context, self.writer, self.flow
        with context.lock:
            counters, session = context.counters, context.session
            return Statistics(
                messages_received=counters.messages_received,
                messages_sent=counters.messages_sent,
                bytes_received=counters.bytes_received,
                bytes_sent=writer.bytes_written,
                pending=flow.messages,
                pending_bytes=flow.bytes,
                unconfirmed=session.unconfirmed,
                unconfirmed_bytes=session.unconfirmed_bytes,
                reconnects=max(0, counters.connects - 1),
                listener_errors=counters.listener_errors,
                last_received=context.last_received,
                last_sent=writer.last_write,
            )

    def session_snapshot(self) -> SessionSnapshot:
        """Return the current negotiated values and subscriptions."""
        context = self.context
        with context.lock:
            session = context.session
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
                broker=context.broker_name or None,
            )

    # Forks

    def abandon(self) -> None:
        """In the child of a fork, free the parent's socket without sending, and make each call raise.

        Takes no lock: a thread of the parent may hold it at the fork.
        """
        _live.discard(self)
        self.cycle.abandon()
        error = ClosedAfterFork(ADVICE)
        for request in tuple(self.context.session.awaited()):
            if isinstance(request.context, Answer):
                request.context.abandon(error)
        self.requests.abandon(error)
        disown(self.context, self, self.flow, self.writer, self.settlement, self.sender, self.requests, *self._queues)
