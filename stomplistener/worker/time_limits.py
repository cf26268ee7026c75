"""Find handlers that hang, log their stacks, and count them."""

from __future__ import annotations

import time
from collections.abc import Callable

from stomplistener._util.loggers import library_logger
from stomplistener.worker import stacks
from stomplistener.worker.handling import Task, Tasks

_log = library_logger("stomplistener.worker")


class TimeLimits:
    """Checks the running attempts. One thread uses it, and has to call ``look`` regularly.

    Args:
        tasks: the running attempts.
    """

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._tell: list[Callable[[Task], object]] = []

    def on_overdue(self, tell: Callable[[Task], object]) -> None:
        """Add a function to call with each attempt that runs longer than its time limit."""
        self._tell.append(tell)

    def look(self) -> None:
        """Find the attempts that have passed their time limit since the last call."""
        now = time.monotonic()
        for task in self._tasks:
            limit = task.declaration.time_limit
            if limit is None or task.is_overdue or now - task.began < limit:
                continue
            task.is_overdue = True
            _log.error(
                "the handler of %s runs longer than its time limit of %g s, on message %s. Its stack:\n%s",
                task.declaration.destination, limit, task.message.id, stacks.of_thread(task.thread),
            )  # fmt: skip
            for tell in self._tell:
                tell(task)

    @property
    def has_overdue(self) -> bool:
        """Whether a hanging handler was found that still runs."""
        return any(task.is_overdue for task in self._tasks)

    @property
    def are_all_overdue(self) -> bool:
        """Whether handlers run, and all of them hang."""
        running = self._tasks.running()
        return bool(running) and all(task.is_overdue for task in running)
