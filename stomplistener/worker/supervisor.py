"""Supervise several processes of one application: start them, restart them when they end, and stop them.

Each child runs this program's own command line. The environment of a child gives it a *slot*: a number, from 1, and a
directory that it shares with the supervisor. The stdin of a child is a pipe from the supervisor. When the supervisor
ends or dies, the pipe is closed and the child ends, too. Each child has its own process group. Ctrl-C on the terminal
therefore reaches a child only through the supervisor, and does not count as two signals.
"""

from __future__ import annotations

import collections
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from stomplistener._util.deadline import Deadline
from stomplistener._util.loggers import library_logger
from stomplistener.errors import StompError
from stomplistener.worker import signals, stacks
from stomplistener.worker.alive import AliveFile
from stomplistener.worker.backoff import BackOff
from stomplistener.worker.casualties import Deaths
from stomplistener.worker.endpoint import Health, serving
from stomplistener.worker.exits import Exit, exit_of
from stomplistener.worker.metrics import MetricsOfChildren
from stomplistener.worker.notify import Notifier
from stomplistener.worker.options import RunOptions
from stomplistener.worker.reload import Watcher
from stomplistener.worker.slots import DUMP, Slot

_log = library_logger("stomplistener.worker")

TICK = 1.0
QUICK_TICK = 0.1
OVERTIME = 5.0
"""Seconds after the grace until an ending child is killed."""

START_SECONDS = 60.0
"""Seconds within which a new child must listen. Otherwise a deployment stops replacing children."""


@dataclass
class Child:
    """One slot, and the process in it, if any.

    Attributes:
        began: when the process was started, in seconds of ``time.monotonic()``.
        due: when to start the next process; None: not before a file changes.
        ending: the deadline of a process that has been told to end; None for other processes.
    """

    slot: Slot
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    due: float | None = 0.0
    ending: Deadline | None = None
    back_off: BackOff = field(default_factory=BackOff)


@dataclass(frozen=True)
class Stop:
    """A signal came."""

    number: int


@dataclass(frozen=True)
class Deploy:
    """The children have to be replaced one after the other."""


@dataclass(frozen=True)
class Dump:
    """The stacks of all threads have to be written."""


@dataclass(frozen=True)
class Exited:
    """A child's process has ended."""

    child: Child
    process: subprocess.Popen[bytes]


@dataclass(frozen=True)
class Changed:
    """Files have changed, and the children have to be restarted."""

    paths: Sequence[str]


Event = Stop | Deploy | Dump | Exited | Changed


class Supervisor:
    """Supervises the children, in the main thread of a process that does nothing more.

    Args:
        options: the settings of the run.
        command: the command line of a child; None takes the command line of this process.
    """

    def __init__(self, options: RunOptions, command: Sequence[str] | None = None) -> None:
        self._options = options
        self._command = list(command or [sys.executable, *sys.orig_argv[1:]])
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._alive = AliveFile(options.alive_file)
        self._notifier = Notifier()
        self._stopping = False
        self._worst = 0
        # The children that a deployment still has to replace, and the child that it is replacing now.
        self._old: collections.deque[Child] = collections.deque()
        self._replaced: Child | None = None
        # On a terminal, SIGHUP means that the terminal was closed, and ends the processes.
        self._deploys = not _is_terminal(0)

    def run(self) -> int:
        """Supervise until a signal comes and every child has ended. Return the worst exit code of the children."""
        with ExitStack() as stack:
            directory = Path(stack.enter_context(TemporaryDirectory(prefix="stomplistener-")))
            self._deaths = Deaths(directory)
            self._children = [Child(Slot(directory, number)) for number in range(1, self._options.processes + 1)]
            try:
                self._serve_metrics(stack)
            except StompError as error:
                _log.error("%s", error)
                return exit_of(error)
            stack.enter_context(signals.handled(self._signalled, self._kill_all, insistent=True, others=self._others()))
            watcher = Watcher(self._options, lambda paths: self._events.put(Changed(paths)))
            stack.callback(self._alive.remove)
            stack.callback(watcher.stop)
            while not self._stopping or any(child.process for child in self._children):
                self._start_due()
                self._handle(self._next())
                self._look()
        return self._worst

    def _signalled(self, number: int) -> None:
        self._events.put(Stop(number))

    def _others(self) -> dict[str, Callable[[], object]]:
        others: dict[str, Callable[[], object]] = {"SIGUSR2": lambda: self._events.put(Dump())}
        if self._deploys:
            others["SIGHUP"] = lambda: self._events.put(Deploy())
        return others

    def _serve_metrics(self, stack: ExitStack) -> None:
        host, port = self._options.metrics_host, self._options.metrics_port
        if port is None:
            return
        health = Health(is_ready=self._are_all_alive)
        port = stack.enter_context(serving(MetricsOfChildren(self._ports), health, host, port))
        _log.info("metrics on http://%s:%d/metrics", host, port)

    def _ports(self) -> dict[int, int]:
        found = {child.slot.number: child.slot.read_port() for child in self._children}
        return {slot: port for slot, port in found.items() if port is not None}

    # Children

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if not self._stopping and child.process is None and child.due is not None and child.due <= now:
                self._start(child)

    def _start(self, child: Child) -> None:
        child.began = time.monotonic()
        child.process = process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            env={**os.environ, **child.slot.variables},
            process_group=0 if os.name == "posix" else None,
        )
        _log.info("process %d started, pid %d", child.slot.number, process.pid)

        def wait() -> None:
            process.wait()
            self._events.put(Exited(child, process))

        threading.Thread(target=wait, name=f"wait-{child.slot.number}", daemon=True).start()

    def _tell_to_end(self, child: Child) -> None:
        # A second signal would end the child at once.
        if child.process is None or child.ending is not None:
            return
        child.ending = Deadline(self._options.grace + OVERTIME)
        if os.name == "posix":
            # Always send SIGTERM: on SIGINT, a child that is still importing would print a traceback.
            child.process.terminate()
        elif child.process.stdin is not None:
            # On Windows, terminate() would kill the child. Closing the stdin of the child ends it gracefully.
            child.process.stdin.close()

    def _kill_all(self, _number: int) -> None:
        for child in self._children:
            if child.process is not None:
                child.process.kill()

    # Events

    def _next(self) -> Event | None:
        waits = [child.due - time.monotonic() for child in self._children if not child.process and child.due]
        # The file of a new child shows that the child listens. No event announces the file, so check often.
        tick = QUICK_TICK if self._replaced is not None or not self._notifier.is_ready else TICK
        try:
            return self._events.get(timeout=max(0.0, min([tick, *waits])))
        except queue.Empty:
            return None

    def _handle(self, event: Event | None) -> None:
        match event:
            case Stop(number):
                _log.info("%s: ending all processes within %g s", signal.Signals(number).name, self._options.grace)
                self._end_all()
            case Deploy():
                _log.info("replacing all processes, one after the other")
                self._old = collections.deque(self._children)
            case Dump():
                self._dump()
            case Exited(child, process):
                child.process = None
                self._exited(child, process.returncode)
            case Changed(paths):
                _log.info("files changed, starting again: %s", ", ".join(paths))
                for child in self._children:
                    child.due = 0.0
                    self._tell_to_end(child)

    def _end_all(self) -> None:
        self._stopping = True
        self._old.clear()
        self._notifier.stopping()
        for child in self._children:
            self._tell_to_end(child)

    def _dump(self) -> None:
        stacks.dump()
        for child in self._children:
            if child.process is not None and child.process.stdin is not None:
                # Use the pipe: a signal would kill a child that does not handle it yet.
                with suppress(OSError):
                    child.process.stdin.write(DUMP)
                    child.process.stdin.flush()

    def _exited(self, child: Child, code: int) -> None:
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        wanted, child.ending = child.ending is not None, None
        slot = child.slot.number
        child.slot.clear()
        self._count_death(child, code, wanted=wanted)
        if self._stopping:
            _log.info("process %d ended: %s", slot, how)
            # A child that died of SIGTERM did not handle signals yet, so it had no message.
            self._worst = max(self._worst, 0 if code == -signal.SIGTERM else Exit.FAILED if code < 0 else code)
        elif wanted:
            child.due = 0.0
        elif self._options.reload and code:
            child.due = None
            _log.warning("process %d ended: %s; another one starts when a file changes", slot, how)
        elif code == Exit.USAGE:
            _log.error("process %d ended: %s; starting it again cannot help, so all end", slot, how)
            self._worst = max(self._worst, code)
            self._end_all()
        elif code == Exit.DONE and time.monotonic() - child.began >= TICK:
            child.due = 0.0
            _log.info("process %d ended: another one takes over", slot)
        else:
            delay = child.back_off.delay(time.monotonic() - child.began)
            child.due = time.monotonic() + delay
            _log.warning("process %d ended: %s; another one starts in %g s", slot, how, delay)

    def _count_death(self, child: Child, code: int, *, wanted: bool) -> None:
        """Count the messages that a child handled when it died, unless it was told to end.

        One of these messages may be the cause.
        """
        if wanted or code == Exit.DONE:
            self._deaths.forget(child.slot.number)
        else:
            self._deaths.count(child.slot.number)

    def _look(self) -> None:
        """Do the periodic work."""
        for child in self._children:
            if child.process is not None and child.ending is not None and child.ending.expired:
                _log.error(
                    "process %d did not end within %g s after its grace; it is killed", child.slot.number, OVERTIME
                )
                child.process.kill()
        self._notifier.lives()
        self._replace_next()
        if self._are_all_alive():
            self._alive.touch()
            self._notifier.ready()

    def _replace_next(self) -> None:
        """Continue a deployment. End the next child when the replacement of the last one listens."""
        child = self._replaced
        if child is not None:
            if self._is_alive(child) and child.ending is None:
                self._replaced = None
            elif child.ending is None and child.process is None and child.due is not None and child.due > 0.0:
                _log.error("process %d does not start: the others are not replaced", child.slot.number)
                self._replaced = None
                self._old.clear()
            elif child.ending is None and child.process and time.monotonic() - child.began > START_SECONDS:
                _log.error("process %d does not listen yet: the others are not replaced", child.slot.number)
                self._replaced = None
                self._old.clear()
        if self._replaced is None and self._old:
            self._replaced = self._old.popleft()
            self._tell_to_end(self._replaced)

    def _are_all_alive(self) -> bool:
        return all(self._is_alive(child) for child in self._children)

    def _is_alive(self, child: Child) -> bool:
        return child.process is not None and child.slot.alive.is_fresh


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False
