"""One life of a client: from ``connect()`` until its threads have ended. The receiver thread runs a life.

A later life has a new receiver, interrupt and standby. An old life may still be busy, with a hung ``before_connect`` or
a late retry. An old life then finds that it is not the current one, and ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from stomplistener._engine.connection_cycle import ConnectionCycle
from stomplistener._engine.context import Context
from stomplistener._engine.inbound import Inbound
from stomplistener._engine.inline_dispatch import InlineDispatch
from stomplistener._engine.migration import Migration
from stomplistener._engine.reconnector import Reconnector
from stomplistener._engine.standby import Standby
from stomplistener._util.deadline import Deadline
from stomplistener.errors import ConnectionLost, NotConnected, StompError
from stomplistener.failover import Schedule
from stomplistener.states import ConnectionState
from stomplistener.transport import Interrupt, Transport

_FOREVER = Deadline(None)


class Life:
    """See the module's text.

    Args:
        context: the context of the connection.
        cycle: begins and ends connections.
        inbound: reads.
        inline: lets the dispatcher read.
        migration: moves to other brokers; the standby needs it.
        is_current: whether this life is the client's current one.
        ended: called by the receiver at its end.
    """

    def __init__(
        self,
        context: Context,
        cycle: ConnectionCycle,
        inbound: Inbound,
        inline: InlineDispatch,
        migration: Migration,
        is_current: Callable[[Life], bool],
        ended: Callable[[Life], None],
    ) -> None:
        self._context = context
        self._cycle = cycle
        self._inbound = inbound
        self._inline = inline
        self._is_current = is_current
        self._ended = ended
        self.interrupt = Interrupt()
        schedule = Schedule(context.config.uri)
        wanted = Standby.is_wanted(context.config)
        self._standby = (
            Standby(context, schedule, self.interrupt, migration.leave, lambda: self.is_over) if wanted else None
        )
        self._reconnector = Reconnector(
            context, cycle, schedule, self.interrupt, self._standby, lambda: self.is_over, self.give_up
        )
        self.thread = threading.Thread(target=self._run, name=f"{context.config.name}-receiver", daemon=True)

    @property
    def is_over(self) -> bool:
        """Whether this life has ended; exact only with the lock held."""
        return self._context.state is ConnectionState.CLOSED or not self._is_current(self)

    def start(self) -> None:
        """Start the threads.

        Raises:
            RuntimeError: the system refuses a thread.
        """
        self.thread.start()
        if self._standby is not None:
            self._standby.thread.start()

    def give_up(self, failure: StompError) -> None:
        """End without reconnecting. No more frames are sent, and calls raise ``failure``. Any thread may call this."""
        context = self._context
        with context.lock:
            if not self._is_current(self):
                return
            if not self.is_over:
                context.failure = failure
                context.move(ConnectionState.CLOSED)
        # Stop even after an earlier call: a signal handler may have raised in the middle of that call.
        self._cycle.stop()

    def join(self, deadline: Deadline) -> None:
        """Wait for the threads of this life, except for the calling one."""
        for thread in (self.thread, self._standby.thread if self._standby is not None else None):
            if thread is not None and thread.ident is not None and thread is not threading.current_thread():
                thread.join(deadline.remaining())

    @property
    def standby(self) -> Standby | None:
        """The object that makes standby connections; None if the URI does not ask for them."""
        return self._standby

    def _run(self) -> None:
        try:
            transport = self._reconnector.first()
            while transport is not None:
                transport = self._one_connection(transport)
        except BaseException as error:
            self._context.log.error("the receiver failed: please report this as a bug", exc_info=error)
            self.give_up(NotConnected(f"the receiver failed: {error}"))
        finally:
            self._ended(self)

    def _one_connection(self, transport: Transport) -> Transport | None:
        """Read until a connection ends, and make the next connection; None if the client does not reconnect."""
        try:
            noticed = self._read_to_its_end(transport)
        except BaseException as error:  # any exception ends this connection only
            self._context.log.error("reading failed: please report this as a bug", exc_info=error)
            noticed = ConnectionLost(f"reading failed: {type(error).__name__}: {error}")
        again = self._cycle.lost(transport, noticed)
        try:
            transport.close()
        except BaseException as error:  # a transport of the application
            self._context.log.error("the transport could not be closed", exc_info=error)
        return self._reconnector.again() if again and not self.is_over else None

    def _read_to_its_end(self, transport: Transport) -> Exception:
        inbound, inline = self._inbound, self._inline
        while True:
            if inline.is_worthwhile:
                ended = inline.hand_over(transport)
            else:
                inbound.wait_for_room(_FOREVER)
                ended = inbound.read()
            if ended is not None:
                return ended
