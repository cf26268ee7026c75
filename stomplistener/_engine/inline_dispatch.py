"""Let the dispatcher read while its listeners return at once: it reads what it delivers.

Each message that the receiver hands over costs two context switches, which take several times as long as the message
itself. So the receiver hands the reading over when messages follow each other and no listener takes long. Listeners
stay in their one thread, and the receiver still runs no code of the application.

The receiver watches meanwhile. The receiver reads again when a listener keeps the dispatcher for longer than
``PATIENCE_SECONDS``. If a thread waits for an answer or for the end while a listener runs, the receiver reads again at
once. The dispatcher gives the reading back when no more bytes arrive or the connection has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stomplistener._engine.context import Context
from stomplistener._engine.dispatch_queue import QUICK_SECONDS, DispatchQueue
from stomplistener._engine.flow_control import FlowControl
from stomplistener._engine.inbound import Inbound
from stomplistener._util.deadline import Deadline
from stomplistener._util.locks import Changes
from stomplistener.transport import Guided, Transport

PATIENCE_SECONDS = QUICK_SECONDS
"""How long a listener may keep bytes unread, and how long the dispatcher waits for bytes before it gives the reading
back. Items that other threads put into the dispatcher's queue wait as long."""

QUICK_BATCHES = 16
"""The number of quick batches in a row after which the receiver hands the reading over."""


class InlineDispatch:
    """Hands the reading over to the dispatcher and takes it back.

    Args:
        context: the context of the connection; its lock guards which thread reads.
        flow: knows when a thread waits for an unread answer.
        inbound: reads.
        main: the dispatcher's queue.
        queues: returns all queues; reading is handed over only while the main queue gets all messages.
    """

    def __init__(
        self,
        context: Context,
        flow: FlowControl,
        inbound: Inbound,
        main: DispatchQueue,
        queues: Callable[[], Sequence[DispatchQueue]],
    ) -> None:
        self._context = context
        self._flow = flow
        self._inbound = inbound
        self._main = main
        self._queues = queues
        self._changes = Changes(context.lock)
        self._ended: Exception | None = None

    @property
    def is_worthwhile(self) -> bool:
        """Whether messages follow each other and listeners return at once; checked before each read."""
        return self._main.quick_batches >= QUICK_BATCHES and self._may_stay()

    def _may_stay(self) -> bool:
        """Whether all received messages are for the dispatcher."""
        return (
            self._flow.has_room
            and not self._flow.is_urgent
            and all(queue is self._main or queue.is_over for queue in self._queues())
        )

    def hand_over(self, transport: Transport) -> Exception | None:
        """Let the dispatcher read until it gives the reading back. Return why the connection has ended, or None."""
        main = self._main
        if not isinstance(transport, Guided) or not transport.limit_wait(PATIENCE_SECONDS):
            main.quick_batches = 0
            return None
        self._ended = None
        main.offer_idle_work(self._read)
        while not self._changes.wait_for(self._is_back, Deadline(PATIENCE_SECONDS)):
            pass
        with self._context.lock:
            main.idle_work = None
            main.quick_batches = 0
        transport.limit_wait(None)
        return self._ended

    def _is_back(self) -> bool:
        main = self._main
        if main.idle_work is None:
            return True
        if not main.has_threads:
            # The queue was stopped meanwhile, or the system refused its thread.
            main.idle_work = None
            return True
        if main.is_kept(PATIENCE_SECONDS) or (self._flow.is_urgent and main.is_running):
            # A listener runs: the thread that removes the idle work reads from now on.
            main.idle_work = None
            return True
        return False

    def _read(self) -> None:
        """Read once, in the dispatcher."""
        try:
            ended = self._inbound.read() if self._may_stay() else None
            stays = ended is None and self._may_stay()
        except TimeoutError:
            ended, stays = None, False
        if not stays:
            with self._context.lock:
                self._ended = ended
                self._main.idle_work = None
                self._changes.notify_all()
