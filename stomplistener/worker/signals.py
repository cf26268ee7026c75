"""Signals that end a process: the first signal gracefully, the second at once."""

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
"""A closed terminal sends SIGHUP. Windows does not have this signal."""


@contextmanager
def handled(
    first: Callable[[int], object],
    at_once: Callable[[int], object] | None = None,
    *,
    insistent: bool = True,
    others: Mapping[str, Callable[[], object]] | None = None,
) -> Iterator[None]:
    """Handle the signals that end a process.

    Outside the main thread do nothing, since Python delivers no signals there.

    Args:
        first: called with the number of the first signal, between any two instructions of the main thread; may only put
            an item on a ``SimpleQueue``.
        at_once: called with the number of the second signal, before the process ends.
        insistent: whether a second signal ends the process at once.
        others: functions to call at each other signal, by its name; limited as ``first`` is.
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
    """Whether ``nohup`` started this process, so that it outlives its terminal."""
    return number == getattr(signal, "SIGHUP", None) and signal.getsignal(number) is signal.SIG_IGN


def exit_now(code: int) -> NoReturn:
    """End this process without waiting. Printed output is written first."""
    for stream in (sys.stdout, sys.stderr):
        # Flushing fails if the signal interrupted a print.
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)
