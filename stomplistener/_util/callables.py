"""What an application gives us to call, and what it cannot be: nobody awaits a coroutine, or iterates a generator."""

from __future__ import annotations

from functools import partial
from typing import Any

_ASYNC = 0x80 | 0x100 | 0x200
_GENERATOR = 0x20
"""Flags of code objects: coroutines, awaitable generators, asynchronous generators; plain generators."""


def refuse_unrun(function: Any) -> None:
    """Refuse what a call would not run.

    Raises:
        TypeError: it is asynchronous, or a generator.
    """
    flags = code_flags(function)
    if flags & _ASYNC:
        raise TypeError(
            f"{name_of(function)} is asynchronous and nobody would await it: see stomplistener.contrib.asyncio, or "
            "call asyncio.run_coroutine_threadsafe() in a plain function"
        )
    if flags & _GENERATOR:
        raise TypeError(f"{name_of(function)} is a generator, whose body would never run: leave out its yield")


def code_flags(function: Any) -> int:
    """Of the Python code that a callable runs; 0 where it is written in C."""
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
        if isinstance(flags, int):  # a mock of a function has code that is a mock
            return flags
    return 0


def refuse_unawaited(function: Any, returned: object) -> None:
    """Raise TypeError if what a function returned would have to be awaited or iterated to do anything."""
    # By its type: an object that has every attribute, as a mock has, is none of these.
    kind = type(returned)
    if hasattr(kind, "__await__") or any(hasattr(kind, name) for name in ("throw", "athrow")):
        close = getattr(returned, "close", None)
        if callable(close):
            close()
        raise TypeError(f"{name_of(function)} returned {type(returned).__name__}, which nobody awaits or iterates")


def name_of(function: Any) -> str:
    """The name of a function or method, for texts."""
    while isinstance(function, partial):
        function = function.func
    return str(getattr(function, "__qualname__", None) or repr(function))
