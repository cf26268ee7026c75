"""One process of an application, which runs until a signal or a failure ends it, and returns an exit code."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Protocol

from stomplistener._util.deadline import Deadline
from stomplistener._util.environment import PasscodeError
from stomplistener._util.loggers import library_logger
from stomplistener.connection import Connection
from stomplistener.errors import StompError
from stomplistener.worker import signals, stacks
from stomplistener.worker.alive import AliveFile
from stomplistener.worker.casualties import Casualties
from stomplistener.worker.declarations import Declaration
from stomplistener.worker.endpoint import Health
from stomplistener.worker.exits import Exit, WrongUse, exit_of
from stomplistener.worker.handling import Tasks
from stomplistener.worker.metrics import Metrics
from stomplistener.worker.notify import Notifier
from stomplistener.worker.options import RunOptions
from stomplistener.worker.recycling import Recycling
from stomplistener.worker.running import Running, StopRequest
from stomplistener.worker.slots import Slot
from stomplistener.worker.supervisor import Supervisor
from stomplistener.worker.time_limits import TimeLimits
from stomplistener.worker.tracing import Tracing

_log = library_logger("stomplistener.worker")

TICK = 1.0
"""Seconds between two checks of the connections."""

QUICK_TICK = 0.1
"""Seconds between two checks until the connections are ready for the first time."""

OVERTIME = 2.0
"""Seconds that the end may take after the grace, because handlers may use the whole grace."""


@dataclass(frozen=True)
class Stop:
    """The process has to end."""

    why: str


@dataclass(frozen=True)
class Closed:
    """A connection is closed and will not reconnect."""

    name: str
    failure: StompError


@dataclass(frozen=True)
class Ended:
    """Every connection has ended."""


Event = Stop | Closed | Ended


class Executable(Protocol):
    """The part of an application that a process uses."""

    tracing: Tracing | None
    declarations: list[Declaration]
    start_hooks: list[Callable[[], object]]
    stop_hooks: list[Callable[[], object]]

    @property
    def connections(self) -> Mapping[str, Connection]: ...
    def open(
        self,
        uris: Mapping[str, str],
        tasks: Tasks | None = None,
        stopping: StopRequest | None = None,
        casualties: Casualties | None = None,
        workers: Mapping[str, int] | None = None,
    ) -> AbstractContextManager[Running]: ...


def execute(load: Callable[[], Executable], options: RunOptions) -> int:
    """Run an application until it ends.

    With several processes, or with reloading, this process supervises the others and does not load the application.

    Args:
        load: returns the application.
        options: the settings of the run.

    Returns:
        the exit code: see :class:`Exit`.
    """
    slot = Slot.of_this_process()
    if slot is None and (options.processes > 1 or options.reload):
        return Supervisor(options).run()
    stacks.dump_on_signal()
    return Process(load(), options, slot).run()


class Process:
    """One process of an application. Call ``run`` in its main thread.

    Args:
        slot: the files that it shares with its supervisor; None without a supervisor.
    """

    def __init__(self, application: Executable, options: RunOptions, slot: Slot | None) -> None:
        self._application = application
        self._options = options
        self._slot = slot
        self._alive = [AliveFile(options.alive_file)] if slot is None else [slot.alive]
        self._notifier = Notifier(is_told=slot is None)
        self._tasks = Tasks()
        self._limits = TimeLimits(self._tasks)
        self._recycling = Recycling(options, self._tasks)
        self._is_live = False
        self._has_listened = False
        # Among the ways to wake a thread, only SimpleQueue.put is documented to be safe in a signal handler.
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def run(self) -> int:
        """Listen until a signal comes or a connection fails for good, and return the exit code."""
        # If a service manager signals every process, a child gets the signal twice: from it and from the supervisor. So
        # a second signal must not end a child at once. If necessary, the supervisor kills it.
        insistent = self._slot is None
        with signals.handled(lambda number: self._events.put(Stop(signal.Signals(number).name)), insistent=insistent):
            if self._slot is not None:
                watch = threading.Thread(target=self._slot.watch, args=(self._orphaned, stacks.dump), daemon=True)
                watch.start()
            try:
                return self._live()
            except (StompError, PasscodeError, WrongUse) as error:
                _log.error("%s", error)
                return exit_of(error)
            except Exception:
                _log.exception("the application failed")
                return Exit.FAILED
            finally:
                for alive in self._alive:
                    alive.remove()

    def _orphaned(self) -> None:
        self._events.put(Stop("the supervisor has ended"))

    def _live(self) -> int:
        application = self._application
        if self._options.tracing:
            application.tracing = Tracing()
        for hook in application.start_hooks:
            hook()
        with ExitStack() as stack:
            stopping = StopRequest()
            stopping.listen(lambda: self._events.put(Stop("stop()")))
            self._serve_metrics(stack)
            casualties = Casualties() if self._slot is None else Casualties(self._slot.directory, self._slot.number)
            running = stack.enter_context(
                application.open(self._options.uris, self._tasks, stopping, casualties, self._options.workers)
            )
            self._connect(running)
            failure = self._serve(running)
            self._notifier.stopping()
            in_time = self._end(running)
        for hook in application.stop_hooks:
            hook()
        if failure is not None:
            _log.error("%s", failure)
            return exit_of(failure)
        if in_time:
            _log.info("ended: every handler has returned")
        return Exit.DONE if in_time else Exit.TIMED_OUT

    def _serve_metrics(self, stack: ExitStack) -> None:
        host, port, slot = self._options.metrics_host, self._options.metrics_port, self._slot
        if port is None:
            return
        metrics = Metrics(lambda: self._application.connections, self._tasks)
        for declaration in self._application.declarations:
            metrics.declared(declaration.connection, declaration.destination)
        self._limits.on_overdue(metrics.overdue)
        health = Health(lambda: not self._limits.has_overdue, lambda: self._is_live)
        if slot is not None:
            # The supervisor fetches the metrics on this port, and answers for all children.
            slot.write_port(stack.enter_context(metrics.served("127.0.0.1", 0, health)))
            return
        port = stack.enter_context(metrics.served(host, port, health))
        _log.info("metrics on http://%s:%d/metrics", host, port)

    def _connect(self, running: Running) -> None:
        for declaration in self._application.declarations:
            _log.info("starting to listen to %s on %s", declaration.destination, declaration.connection)
        for name in running.connections:
            try:
                running.begin(name)
            except StompError as error:
                self._events.put(Closed(name, error))
                return
            threading.Thread(target=self._watch, args=(running, name), name=f"watch-{name}", daemon=True).start()

    def _watch(self, running: Running, name: str) -> None:
        self._events.put(Closed(name, running.wait_closed(name)))

    def _serve(self, running: Running) -> StompError | None:
        """Serve until the process has to end. Return the error that ends the process; None after a signal."""
        while True:
            event = self._next(TICK if self._is_live else QUICK_TICK)
            if isinstance(event, Stop):
                _log.info("ending within %g s: %s", self._options.grace, event.why)
                return None
            if isinstance(event, Closed):
                return event.failure
            try:
                running.check()
            except StompError as refused:
                return refused
            self._look(running)

    def _look(self, running: Running) -> None:
        """Do the periodic work."""
        self._limits.look()
        self._is_live = running.is_live and running.is_subscribed
        self._notifier.lives()
        if self._limits.has_overdue:
            if self._slot is not None:
                self._events.put(Stop("a handler hangs; another process takes over"))
            return
        if self._is_live:
            self._say_once(running)
            self._touch()
            self._notifier.ready()
        if (why := self._recycling.why()) is not None:
            self._events.put(Stop(why))

    def _say_once(self, running: Running) -> None:
        """Log each destination once, when the broker has confirmed its subscription.

        The connection logs later events.
        """
        if self._has_listened:
            return
        self._has_listened = True
        for declaration in self._application.declarations:
            name = declaration.connection
            session = running.connections[name].session
            extra = {"connection": name, "broker": session.broker or "", "server": session.server}
            _log.info("listening to %s on %s", declaration.destination, name, extra=extra)

    def _touch(self) -> None:
        for alive in self._alive:
            alive.touch()

    def _end(self, running: Running) -> bool:
        """Let handlers end, and disconnect. Return whether all handlers ended within the grace."""
        deadline = Deadline(self._options.grace)
        overtime = Deadline(self._options.grace + OVERTIME)

        def close() -> None:
            running.close(deadline)
            self._events.put(Ended())

        threading.Thread(target=close, name="ending", daemon=True).start()
        while not isinstance(self._next(min(TICK, overtime.remaining() or 0.0)), Ended):
            self._limits.look()
            self._notifier.lives()
            if not self._limits.has_overdue:
                # A process that ends is still alive, and the orchestrator must not kill it.
                self._touch()
            if self._slot is not None and self._limits.are_all_overdue:
                _log.error("%d handlers hang: the process ends without them", running.busy)
                signals.exit_now(Exit.TIMED_OUT)
            if overtime.expired:
                break
        if running.busy:
            _log.error(
                "%d handlers did not end within %g s; the broker will deliver their messages again",
                running.busy,
                self._options.grace,
            )
        return not running.busy

    def _next(self, timeout: float) -> Event | None:
        try:
            return self._events.get(timeout=timeout)
        except queue.Empty:
            return None
