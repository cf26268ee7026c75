"""Signals that end a process: the first one gracefully, the second one at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))
"""SIGHUP is what a closed terminal sends; Windows has none."""


@contextmanager
def handled(
    first: Callable[[int], object],
    at_once: Callable[[int], object] | None = None,
    *,
    insistent: bool = True,
    others: Mapping[str, Callable[[], object]] | None = None,
) -> Iterator[None]:
    """Handle the signals that end a process; outside the main thread, where Python has none, change nothing.

    Args:
        first: called with the number of the first signal, between any two instructions of the main thread: it may do no
            more than put something on a ``SimpleQueue``.
        at_once: called with the number of the second one, before the process ends.
        insistent: whether a second one ends the process at all.
        others: what further signals do, by name, each time that they come; for it holds what holds for ``first``.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []

    def handler(number: int, _frame: FrameType | None) -> None:
        seen.append(number)
        if len(seen) == 1:
            first(number)
        if len(seen) == 1 or not insistent:
            return
        if at_once is not None:
            at_once(number)
        exit_now(128 + number)

    further = {int(getattr(signal, name)): act for name, act in (others or {}).items() if hasattr(signal, name)}

    def act(number: int, _frame: FrameType | None) -> None:
        further[number]()

    ending = [number for number in ENDING if number not in further and not _is_hushed(number)]
    former: dict[int, Any] = {number: signal.signal(number, handler) for number in ending}
    former |= {number: signal.signal(number, act) for number in further}
    try:
        yield
    finally:
        for number, old in former.items():
            signal.signal(number, old)


def _is_hushed(number: int) -> bool:
    """Whether ``nohup`` started this process, to have it outlive its terminal."""
    return number == getattr(signal, "SIGHUP", None) and signal.getsignal(number) is signal.SIG_IGN


def exit_now(code: int) -> NoReturn:
    """End this process without waiting; printed output is written."""
    for stream in (sys.stdout, sys.stderr):
        # The signal may have come in the middle of a print, which then cannot be flushed.
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)
