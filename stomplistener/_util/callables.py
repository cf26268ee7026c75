"""Refuse a coroutine function or generator as a callback: the library neither awaits nor iterates the result."""

from __future__ import annotations

from functools import partial
from typing import Any

_ASYNC = 0x80 | 0x100 | 0x200
_GENERATOR = 0x20
"""Flags of code objects: coroutines, awaitable generators, asynchronous generators; plain generators."""


def refuse_unrun(function: Any) -> None:
    """Refuse a function whose body a call would not run.

    Raises:
        TypeError: the function is asynchronous, or a generator.
    """
    flags = code_flags(function)
    if flags & _ASYNC:
        raise TypeError(
            f"{name_of(function)} is asynchronous, and no code would await it: see stomplistener.contrib.asyncio, or "
            "call asyncio.run_coroutine_threadsafe() in a plain function"
        )
    if flags & _GENERATOR:
        raise TypeError(f"{name_of(function)} is a generator, whose body would never run: leave out its yield")


def code_flags(function: Any) -> int:
    """Return the flags of the Python code behind a callable; 0 if it is written in C."""
    while True:
        if isinstance(function, partial):
            function = function.func
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        else:
            break
    called = getattr(type(function), "__call__", None)  # noqa: B004  # its code is wanted, inherited or not
    for candidate in (function, getattr(function, "__func__", None), called):
        flags = getattr(getattr(candidate, "__code__", None), "co_flags", None)
        if isinstance(flags, int):  # the code of a mock function is a mock, too
            return flags
    return 0


def refuse_unawaited(function: Any, returned: object) -> None:
    """Raise TypeError if the result of a function must be awaited or iterated to have an effect."""
    # Check the type: a mock has every attribute, but is neither awaitable nor a generator.
    kind = type(returned)
    if hasattr(kind, "__await__") or any(hasattr(kind, name) for name in ("throw", "athrow")):
        close = getattr(returned, "close", None)
        if callable(close):
            close()
        raise TypeError(f"{name_of(function)} returned {type(returned).__name__}, which no code awaits or iterates")


def name_of(function: Any) -> str:
    """Return the name of a function or method, for texts."""
    while isinstance(function, partial):
        function = function.func
    return str(getattr(function, "__qualname__", None) or repr(function))
