"""One process of an application: it runs until it is told to stop or cannot go on, and gives an exit code."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stomplistener._util.deadline import Deadline
from stomplistener.errors import StompError
from stomplistener.worker import signals
from stomplistener.worker.alive import AliveFile
from stomplistener.worker.exits import Exit, exit_of
from stomplistener.worker.metrics import Metrics
from stomplistener.worker.options import RunOptions
from stomplistener.worker.running import Running, StopRequest
from stomplistener.worker.supervisor import Supervisor, Tether
from stomplistener.worker.tracing import Tracing

if TYPE_CHECKING:
    from stomplistener.worker.application import Application, Around, Declaration

_log = logging.getLogger("stomplistener.worker")

TICK = 1.0
"""Seconds between two looks at the connections."""

OVERTIME = 2.0
"""Seconds that the end may take beyond its grace, which handlers may use up to the last."""


@dataclass(frozen=True)
class Stop:
    """Somebody wants the process to end."""

    why: str


@dataclass(frozen=True)
class Closed:
    """A connection is closed for good."""

    name: str
    failure: StompError


@dataclass(frozen=True)
class Ended:
    """Every connection has ended."""


Event = Stop | Closed | Ended


def execute(load: Callable[[], Application], options: RunOptions) -> int:
    """Run an application until it ends.

    Where several processes are wanted, or reloading, this one supervises them and does not need the application.

    Args:
        load: gives the application.
        options: how to run it.

    Returns:
        the exit code: see :class:`Exit`.
    """
    tether = Tether.of_this_process()
    if tether is None and (options.processes > 1 or options.reload):
        return Supervisor(options).run()
    return Process(load(), options, tether).run()


class Process:
    """One process of an application; ``run`` is called in its main thread.

    Args:
        tether: what binds it to its supervisor; None where it has none.
    """

    def __init__(self, application: Application, options: RunOptions, tether: Tether | None) -> None:
        self._application = application
        self._options = options
        self._tether = tether
        self._alive = AliveFile(tether.own(options.alive_file) if tether else options.alive_file)
        # Of all ways to wake a thread only SimpleQueue.put is documented to be safe in a signal handler.
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def run(self) -> int:
        """Listen until a signal, or until a connection cannot be had; the exit code."""
        # Who signals every process of a service has the supervisor tell its children again; if need be it kills them.
        insistent = self._tether is None
        with signals.handled(lambda number: self._events.put(Stop(f"signal {number}")), insistent=insistent):
            if self._tether is not None:
                self._tether.watch(lambda: self._events.put(Stop("its supervisor is gone")))
            try:
                return self._live()
            except StompError as error:
                _log.error("%s", error)
                return exit_of(error)
            except Exception:
                _log.exception("the application failed")
                return Exit.FAILED
            finally:
                self._alive.remove()

    def _live(self) -> int:
        application = self._application
        if self._options.tracing:
            application.tracing = Tracing()
        for hook in application.start_hooks:
            hook()
        with ExitStack() as stack:
            stopping = StopRequest()
            stopping.listen(lambda: self._events.put(Stop("stop()")))
            instruments = self._instruments(stack)
            running = stack.enter_context(application.open(self._options.uris, instruments, stopping))
            self._connect(running)
            failure = self._serve(running)
            in_time = self._end(running)
        for hook in application.stop_hooks:
            hook()
        if failure is not None:
            _log.error("%s", failure)
            return exit_of(failure)
        return Exit.DONE if in_time else Exit.TIMED_OUT

    def _instruments(self, stack: ExitStack) -> list[Callable[[Declaration], Around]]:
        port = self._options.metrics_port
        if port is None:
            return []
        metrics = Metrics(lambda: self._application.connections)
        if self._tether is not None and port:
            port += self._tether.slot - 1
        port = stack.enter_context(metrics.served(self._options.metrics_host, port))
        _log.info("metrics on http://%s:%d/metrics", self._options.metrics_host, port)
        return [metrics.around]

    def _connect(self, running: Running) -> None:
        for declaration in self._application.declarations:
            _log.info("listening to %s on %s", declaration.destination, declaration.connection)
        for name in running.connections:
            threading.Thread(target=self._keep, args=(running, name), name=f"keep-{name}", daemon=True).start()

    def _keep(self, running: Running, name: str) -> None:
        self._events.put(Closed(name, running.keep(name)))

    def _serve(self, running: Running) -> StompError | None:
        """Until it is to end; the reason if nobody asked for it."""
        while True:
            event = self._next(TICK)
            if isinstance(event, Stop):
                _log.info("ending within %g s: %s", self._options.grace, event.why)
                return None
            if isinstance(event, Closed):
                return event.failure
            try:
                running.check()
            except StompError as refused:
                return refused
            if running.is_live:
                self._alive.touch()

    def _end(self, running: Running) -> bool:
        """Let handlers end and disconnect; whether all did within the grace."""
        deadline = Deadline(self._options.grace)
        overtime = Deadline(self._options.grace + OVERTIME)

        def close() -> None:
            running.close(deadline)
            self._events.put(Ended())

        threading.Thread(target=close, name="ending", daemon=True).start()
        while not isinstance(self._next(min(TICK, overtime.remaining() or 0.0)), Ended):
            # Ending is no death: an orchestrator must not cut it short.
            self._alive.touch()
            if overtime.expired:
                break
        if running.busy:
            _log.error(
                "%d handlers have not ended within %g s: their messages will be delivered again",
                running.busy,
                self._options.grace,
            )
        return not running.busy

    def _next(self, timeout: float) -> Event | None:
        try:
            return self._events.get(timeout=timeout)
        except queue.Empty:
            return None
