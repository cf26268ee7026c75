"""Reading by the dispatcher: while its listeners return at once, it reads what it delivers.

Each message that the receiver hands over costs two context switches, several times what the message itself costs. So
where message follows message and no listener takes long, the receiver hands over the reading; listeners stay in their
one thread, and the receiver still runs no code of the application.

The receiver watches meanwhile. It reads again when a listener keeps the dispatcher for longer than
``PATIENCE_SECONDS``, at once when a thread waits for an answer or for the end while a listener runs, and when the
dispatcher gives the reading back because nothing comes any more or the connection has ended.
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
"""How long bytes may stay unread because of a listener, and how long the dispatcher waits for bytes before it gives the
reading back: what other threads put into its queue waits as long."""

QUICK_BATCHES = 16
"""How many batches in a row have to be worked off within ``PATIENCE_SECONDS`` of each other before the reading is
handed over."""


class InlineDispatch:
    """Hands the reading over to the dispatcher and takes it back.

    Args:
        context: whose lock guards which thread reads.
        flow: tells when a thread waits for what is unread.
        inbound: reads.
        main: the dispatcher's queue.
        queues: all queues; only where the main one has all to do is the reading handed over.
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
        """Whether messages follow each other and listeners return at once; asked before each read."""
        return self._main.quick_batches >= QUICK_BATCHES and self._may_stay()

    def _may_stay(self) -> bool:
        """Whether only the dispatcher has to do with what is received."""
        return (
            self._flow.has_room
            and not self._flow.is_urgent
            and all(queue is self._main or queue.is_over for queue in self._queues())
        )

    def hand_over(self, transport: Transport) -> Exception | None:
        """Let the dispatcher read until it gives the reading back; why the connection has ended, if it has."""
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
        if main.is_kept(PATIENCE_SECONDS) or (self._flow.is_urgent and main.is_running):
            # A listener runs: the thread that takes the work away reads from now on.
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
