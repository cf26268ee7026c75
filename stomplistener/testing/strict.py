"""Notice errors that a test does not see: listeners that raise, and threads that an exception ends."""

from __future__ import annotations

import logging
import threading
import traceback
from types import TracebackType
from typing import Self

from stomplistener._engine.log import flush


class Strict(logging.Handler):
    """Collects errors in the library's log and uncaught exceptions of threads, inside a ``with`` block.

    ::

        with Strict() as strict:
            ...
        assert not strict.problems

    The fixture ``stomp_strict`` does this around a test. The log has errors for listeners and callbacks that raised,
    for rejected subscriptions, and for connections that were given up. Any thread may log meanwhile.
    """

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._found: list[str] = []
        self._former = threading.excepthook

    @property
    def problems(self) -> list[str]:
        """The problems so far, each with its traceback."""
        flush()
        return list(self._found)

    def expect(self, text: str) -> None:
        """Accept a problem that contains this text as an expected part of the test.

        Raises:
            AssertionError: no problem contains the text.
        """
        __tracebackhide__ = True
        expected = [problem for problem in self.problems if text in problem]
        if not expected:
            raise AssertionError(f"no listener raised, and no thread died, with {text!r}; there were: {self._found}")
        self._found = [problem for problem in self._found if problem not in expected]

    def emit(self, record: logging.LogRecord) -> None:
        """Note a record; see ``logging.Handler``."""
        caught = "".join(traceback.format_exception(record.exc_info[1])) if record.exc_info else ""
        self._found.append(f"{record.getMessage()}\n{caught}".rstrip())

    def _thread_died(self, args: threading.ExceptHookArgs) -> None:
        if args.exc_type is not SystemExit:
            name = args.thread.name if args.thread is not None else "?"
            trace = "".join(traceback.format_exception(args.exc_value))
            self._found.append(f"the thread {name} died\n{trace}".rstrip())
        self._former(args)

    def __enter__(self) -> Self:
        flush()  # records from before this block must not count
        logging.getLogger("stomplistener").addHandler(self)
        self._former, threading.excepthook = threading.excepthook, self._thread_died
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        flush()
        threading.excepthook = self._former
        logging.getLogger("stomplistener").removeHandler(self)
