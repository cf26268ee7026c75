"""Several processes of one application: started, watched, started anew when they end, told when to stop.

Each child is this program's own command line again, with an environment variable that gives it a *slot*, its number
from 1. What binds it to the supervisor is a pipe on its stdin, which ends when the supervisor does, however that dies:
no child goes on without one. Children have process groups of their own, so that a Ctrl-C on the terminal reaches them
once, through the supervisor, and does not count as two signals.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stomplistener._util.deadline import Deadline
from stomplistener.worker import signals
from stomplistener.worker.alive import AliveFile
from stomplistener.worker.backoff import BackOff
from stomplistener.worker.exits import Exit
from stomplistener.worker.options import RunOptions
from stomplistener.worker.reload import Watcher

_log = logging.getLogger("stomplistener.worker")

SLOT = "STOMPLISTENER_WORKER_SLOT"
TICK = 1.0
OVERTIME = 5.0
"""Seconds beyond the grace after which a child that was told to end is killed."""


@dataclass(frozen=True)
class Tether:
    """What binds a child to its supervisor."""

    slot: int

    @classmethod
    def of_this_process(cls) -> Tether | None:
        """The tether of this process, if a supervisor started it. Its own children will not take it for theirs."""
        slot = os.environ.pop(SLOT, None)
        return None if slot is None else cls(int(slot))

    def own(self, path: Path | None) -> Path | None:
        """A file of this child, where all were given the same name."""
        return None if path is None else path.with_name(f"{path.name}.{self.slot}")

    def watch(self, gone: Callable[[], object]) -> None:
        """Have ``gone`` called, in a thread, when the supervisor has ended."""

        def wait() -> None:
            # Not sys.stdin, whose lock a daemon thread must not hold when the interpreter ends.
            while os.read(0, 1024):
                pass
            gone()

        threading.Thread(target=wait, name="tether", daemon=True).start()


@dataclass
class Child:
    """One slot, and the process that fills it, if any.

    Attributes:
        began: when the process was started, in seconds of ``time.monotonic()``.
        due: when the next one is to be started; None: not before a file changes.
        ending: by when the process, told to end, has to have done so; None: it was not told.
    """

    slot: int
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
class Exited:
    """A child's process has ended."""

    child: Child
    process: subprocess.Popen[bytes]


@dataclass(frozen=True)
class Changed:
    """Files have changed: the children are to be started anew."""

    paths: Sequence[str]


Event = Stop | Exited | Changed


class Supervisor:
    """Runs in the main thread of a process that does nothing else.

    Args:
        options: how many children, and how they end.
        command: a child's command line; this process' own one where None.
    """

    def __init__(self, options: RunOptions, command: Sequence[str] | None = None) -> None:
        self._options = options
        self._command = list(command or [sys.executable, *sys.orig_argv[1:]])
        self._children = [Child(slot) for slot in range(1, options.processes + 1)]
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._alive = AliveFile(options.alive_file)
        self._stopping = False
        self._worst = 0

    def run(self) -> int:
        """Supervise until a signal, and until every child has ended then; the exit code is the worst of theirs."""
        with signals.handled(lambda number: self._events.put(Stop(number)), self._kill_all):
            watcher = Watcher(self._options, lambda paths: self._events.put(Changed(paths)))
            try:
                while not self._stopping or any(child.process for child in self._children):
                    self._start_due()
                    self._handle(self._next())
                    self._look()
            finally:
                watcher.stop()
                self._alive.remove()
        return self._worst

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
            env={**os.environ, SLOT: str(child.slot)},
            process_group=0 if os.name == "posix" else None,
        )
        _log.info("process %d started, pid %d", child.slot, process.pid)

        def wait() -> None:
            process.wait()
            self._events.put(Exited(child, process))

        threading.Thread(target=wait, name=f"wait-{child.slot}", daemon=True).start()

    def _tell_to_end(self) -> None:
        for child in self._children:
            # To a child that is ending already a second signal would mean: at once.
            if child.process is None or child.ending is not None:
                continue
            child.ending = Deadline(self._options.grace + OVERTIME)
            if os.name == "posix":
                # Whichever signal came: on SIGINT a child that is still importing would print a traceback.
                child.process.terminate()
            elif child.process.stdin is not None:
                # Elsewhere to terminate is to kill, but the end of its tether tells a child as much.
                child.process.stdin.close()

    def _kill_all(self, _number: int) -> None:
        for child in self._children:
            if child.process is not None:
                child.process.kill()

    # Events

    def _next(self) -> Event | None:
        waits = [child.due - time.monotonic() for child in self._children if not child.process and child.due]
        try:
            return self._events.get(timeout=max(0.0, min([TICK, *waits])))
        except queue.Empty:
            return None

    def _handle(self, event: Event | None) -> None:
        match event:
            case Stop(number):
                _log.info("signal %d: ending all processes within %g s", number, self._options.grace)
                self._stopping = True
                self._tell_to_end()
            case Exited(child, process):
                child.process = None
                self._exited(child, process.returncode)
            case Changed(paths):
                _log.info("starting anew: %s", ", ".join(paths))
                for child in self._children:
                    child.due = 0.0
                self._tell_to_end()

    def _exited(self, child: Child, code: int) -> None:
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        wanted, child.ending = child.ending is not None, None
        if self._stopping:
            _log.info("process %d ended: %s", child.slot, how)
            # A signal that came before the child could handle it found no message in its hands.
            self._worst = max(self._worst, 0 if code == -signal.SIGTERM else Exit.FAILED if code < 0 else code)
        elif wanted:
            child.due = 0.0
        elif self._options.reload and code:
            child.due = None
            _log.warning("process %d ended: %s; another one starts when a file changes", child.slot, how)
        else:
            delay = child.back_off.delay(time.monotonic() - child.began)
            child.due = time.monotonic() + delay
            _log.warning("process %d ended: %s; another one starts in %g s", child.slot, how, delay)

    def _look(self) -> None:
        """What is to be done now and then."""
        for child in self._children:
            if child.process is not None and child.ending is not None and child.ending.expired:
                _log.error("process %d has not ended %g s after its grace: it is killed", child.slot, OVERTIME)
                child.process.kill()
        if all(self._is_alive(child) for child in self._children):
            self._alive.touch()

    def _is_alive(self, child: Child) -> bool:
        return child.process is not None and AliveFile(Tether(child.slot).own(self._options.alive_file)).is_fresh
