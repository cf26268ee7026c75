"""What a handler of a signal can leave behind, by the instructions that this interpreter makes of our code."""

from __future__ import annotations

import ast
import dis
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

import stomplistener
from stomplistener._util.locks import ReentrantLock, TryLock

PACKAGE = Path(stomplistener.__file__).parent
OWN_THREADS = {"standby.py"}
"""Modules that never run in the main thread, in which Python runs handlers."""
CORE = sorted(
    path
    for folder in (".", "_engine", "_util", "protocol", "transport", "failover")
    for path in (PACKAGE / folder).glob("*.py")
    if path.name not in OWN_THREADS
)


class Interrupted(BaseException):
    pass


def locked_blocks(tree: ast.AST) -> list[tuple[int, int]]:
    """The first and last line of each block that runs with a lock held."""
    return [
        (node.body[0].lineno, node.body[-1].end_lineno or 0)
        for node in ast.walk(tree)
        if isinstance(node, ast.With) and any("lock" in ast.unparse(item.context_expr).lower() for item in node.items)
    ]


def codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def unguarded_jumps(source: str) -> set[int]:
    """The lines of loops in locked blocks whose jump back is outside of what gives the lock back."""
    blocks = locked_blocks(ast.parse(source))
    found: set[int] = set()
    for code in codes(compile(source, "<source>", "exec")):
        # What is defined inside of a block, as a generator is, has a frame of its own.
        around = [(first, last) for first, last in blocks if code.co_firstlineno < first]
        table: Any = dis._parse_exception_table(code)  # type: ignore[attr-defined]
        instructions = {each.offset: each for each in dis.get_instructions(code)}
        for each in instructions.values():
            if each.opname != "JUMP_BACKWARD" or any(entry.start <= each.offset < entry.end for entry in table):
                continue
            ends = [line_of(each), line_of(instructions.get(each.argval))]
            found.update(ends[:1] if any(all(a <= end <= b for end in ends) for a, b in around) else ())
    return found


def line_of(instruction: dis.Instruction | None) -> int:
    positions = instruction.positions if instruction is not None else None
    return positions.lineno or 0 if positions is not None else 0


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_loop_jumps_back_outside_of_its_lock(path: Path) -> None:
    """On CPython 3.12 and later a handler that raises at such a jump leaves the lock taken forever."""
    assert unguarded_jumps(path.read_text(encoding="utf-8")) == set()


def spin(lock: Any) -> None:
    """Take the lock and give it back, until a signal comes."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        with lock:
            pass


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer that sends signals on this platform")
@pytest.mark.parametrize("make", [ReentrantLock, TryLock], ids=["ReentrantLock", "TryLock"])
@pytest.mark.parametrize("depth", [0, 1], ids=["free", "held already"])
def test_with_gives_a_lock_back_whenever_a_handler_raises(make: Callable[[], Any], depth: int) -> None:
    """CPython 3.14 leaves a plain RLock taken in one of three such tries."""
    dice = random.Random(1)

    def handler(_number: int, _frame: FrameType | None) -> None:
        raise Interrupted

    former = signal.signal(signal.SIGALRM, handler)
    try:
        for number in range(300):
            lock = make()
            if depth:
                lock.acquire()
            try:
                signal.setitimer(signal.ITIMER_REAL, dice.uniform(1e-5, 3e-4))
                spin(lock)
            except Interrupted:
                pass
            if depth:
                lock.release()
            assert not lock._is_owned(), f"left taken by signal number {number}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
