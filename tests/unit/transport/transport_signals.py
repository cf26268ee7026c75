"""Signals at every instant, without luck: handlers that raise, and handlers that run.

CPython runs the handler of a signal after a call returned and where a function begins (and where a loop jumps back,
which is the same for what is tested here). A handler that raises is simulated there by a profile function: what it
raises comes out of the call, as the exception of a handler does. A trace function could not do that: its exception
comes out of an instruction, and ``with`` is written as several of which no signal ever comes in between. A handler that
merely runs may run before any instruction, so a trace function will do.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import stomplistener

# The library, and what it uses of the standard library to hold something for a while; not the test.
_WATCHED = (stomplistener.__path__[0], threading.__file__, contextlib.__file__)


class Interrupted(BaseException):
    """What the handler raises."""


def raising_everywhere(action: Callable[[], object]) -> Iterator[int]:
    """Run the action again and again, interrupted one call later each time; after each run the number of that call.

    The last run is not interrupted. What the action raises because of the interrupt must not be caught by it.
    """
    number = 0
    while interrupted(action, number):
        yield number
        number += 1
    assert number, "nothing of ours was called"
    yield number


def interrupted(action: Callable[[], object], number: int) -> bool:
    """Run the action, with a handler that raises after so many calls; whether it came to that."""
    left = number

    def profile(frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal left
        if event in ("call", "c_return") and frame.f_code.co_filename.startswith(_WATCHED):
            left -= 1
            if left < 0:
                raise Interrupted

    sys.setprofile(profile)
    try:
        action()
    except Interrupted:
        return True
    finally:
        sys.setprofile(None)
    assert left >= 0, "the exception of the handler was swallowed"
    return False


def handling_everywhere(action: Callable[[], object], handler: Callable[[], object]) -> Iterator[int]:
    """Run the action again and again; the handler runs once each time, one instruction of ours later each time."""
    number = 0
    while handled(action, handler, number):
        yield number
        number += 1
    assert number, "nothing of ours was called"


def handled(action: Callable[[], object], handler: Callable[[], object], number: int) -> bool:
    """Run the action, with a handler that runs after so many instructions; whether it came to that."""
    left = number

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal left
        if event == "call":
            if not frame.f_code.co_filename.startswith(_WATCHED):
                return None
            # In this order: CPython 3.13 asks for opcodes when a frame that wants them is given its trace function.
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            frame.f_trace = trace
        if event == "opcode":
            left -= 1
            if left == -1:
                sys.settrace(None)
                handler()
        return trace

    former = sys.gettrace()  # of a tool that measures coverage
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(former)
    return left < 0
