"""Leads a program of ``programs`` through its life, and says what became of it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple, Protocol

from compat_support import within
from programs import Outcome, Program

from stomplistener._engine.engine import live_engines

# How long a program has to receive or send again, and after what time it is given one more message.
SECONDS = 4.0
AGAIN = 0.1
_MOMENT = 0.005


class World(Protocol):
    """The broker of a program, as its test sees it."""

    def publish(self, body: str) -> None:
        """Send it a message."""

    def arrived(self) -> Collection[str]:
        """The bodies that it has sent and that have come."""

    def cut(self) -> object:
        """Cut its connections."""


class Cut(NamedTuple):
    """Where a connection is cut.

    Attributes:
        before: done before the program starts.
        between: done when it has received and sent for the first time.
        during: done while it deals with its first message.
        at_end: done before it stops.
    """

    before: Callable[[], object] | None = None
    between: Callable[[], object] | None = None
    during: Callable[[], object] | None = None
    at_end: Callable[[], object] | None = None


class _Ended(Exception):
    pass


class _Silent(Exception):
    pass


def end_what_is_left() -> None:
    """End the connections that programs have left behind, which are restored, or tried, until their process ends."""
    for engine in live_engines():
        engine.shutdown.close()


def live(program: Program, world: World, cut: Cut, seconds: float = SECONDS) -> Outcome:
    """Lead the program through its life; whatever happens, it stops in the end.

    Args:
        program: not started yet.
        world: of it.
        cut: where its connection is cut.
        seconds: how long it has to receive or send again.
    """
    bodies = map(str, itertools.count(1))
    if cut.before is not None:
        cut.before()
    if cut.during is not None:
        program.during = cut.during
    outcome = Outcome.WORKS
    try:
        _within(20, program.start)
        _exchange(program, world, bodies, seconds)
        if cut.between is not None:
            cut.between()
        if cut.between is not None or cut.during is not None:
            _exchange(program, world, bodies, seconds)
    except _Silent:
        outcome = Outcome.SILENT
    except _Ended:
        outcome = Outcome.ENDED
    if cut.at_end is not None:
        cut.at_end()
    try:
        within(15, program.stop)
    except AssertionError:
        return Outcome.STUCK
    return outcome


def _within(seconds: float, start: Callable[[], object]) -> None:
    try:
        within(seconds, start)
    except Exception as error:
        raise _Ended from error


def _exchange(program: Program, world: World, bodies: Iterator[str], seconds: float) -> None:
    if program.receives:
        _receive(program, world, bodies, seconds)
    if program.sends:
        _send(program, world, bodies, seconds)


def _receive(program: Program, world: World, bodies: Iterator[str], seconds: float) -> None:
    """Publish until it has dealt with one of the messages, and, if it acknowledges them, with each."""
    published: set[str] = set()

    def has_received() -> bool:
        came = published.intersection(program.handled)
        return len(came) == len(published) > 0 if program.acks else bool(came)

    def publish() -> None:
        if not published.intersection(program.handled):
            body = next(bodies)
            published.add(body)
            world.publish(body)

    _again(program, publish, has_received, seconds)


def _send(program: Program, world: World, bodies: Iterator[str], seconds: float) -> None:
    """Send until one of the messages has arrived: what is not confirmed may be lost with its connection."""
    sent: set[str] = set()
    told: list[Exception] = []

    def send() -> None:
        body = next(bodies)
        try:
            program.send(body)
        except Exception as error:
            told.append(error)
        else:
            sent.add(body)

    try:
        _again(program, send, lambda: not sent.isdisjoint(world.arrived()), seconds)
    except _Silent as error:
        if told:
            raise _Ended from told[-1]
        raise error from None


def _again(program: Program, act: Callable[[], object], is_done: Callable[[], bool], seconds: float) -> None:
    deadline, again = time.monotonic() + seconds, 0.0
    while not is_done():
        if program.error is not None:
            raise _Ended from program.error
        if time.monotonic() > deadline:
            raise _Silent
        if time.monotonic() > again:
            act()
            again = time.monotonic() + AGAIN
        time.sleep(_MOMENT)
