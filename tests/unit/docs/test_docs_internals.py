"""The pages on internals: the steps that they show are taken, in this order, by these threads."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

from docs_support import DOCS, ROOT, load

import stomplistener
from bench.calls import trace
from stomplistener import Connection, ConnectionState
from stomplistener._util.locks import is_owned
from stomplistener.states import CONNECTION_MOVES
from stomplistener.testing import Broker, Inbox

PACKAGE = f"{Path(stomplistener.__file__).parent}/"
Call = tuple[str, str]


def in_order(calls: Sequence[Call], steps: Sequence[Any]) -> list[str]:
    """The steps that were not taken behind those before them."""
    missing, position = [], 0
    for step in steps:
        wanted = (step.file, step.function)
        if wanted in calls[position:]:
            position = calls.index(wanted, position) + 1
        else:
            missing.append(f"{step.file} {step.function}")
    return missing


def of_thread(calls: Sequence[Any], suffix: str) -> list[Call]:
    return [(call.file, call.code.co_qualname) for call in calls if re.search(suffix, call.thread)]


def test_a_send_takes_the_steps_of_its_page() -> None:
    (lane,) = load("ways").SEND
    assert in_order(of_thread(trace("send"), "^MainThread$"), lane.steps) == []


def test_a_message_takes_the_steps_of_its_page() -> None:
    receiver, dispatcher = load("ways").MESSAGE
    calls = trace("settle")
    assert in_order(of_thread(calls, "-receiver$"), receiver.steps) == []
    assert in_order(of_thread(calls, r"^stomp-\d+$"), dispatcher.steps) == []


@contextmanager
def recorded() -> Iterator[list[tuple[str, Call]]]:
    """The calls of all threads that are started meanwhile."""
    calls: list[tuple[str, Call]] = []

    def record(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            file = frame.f_code.co_filename.removeprefix(PACKAGE)
            calls.append((threading.current_thread().name, (file, frame.f_code.co_qualname)))

    threading.setprofile(record)
    try:
        yield calls
    finally:
        threading.setprofile(None)


def test_a_reconnect_takes_the_steps_of_its_page() -> None:
    (lane,) = load("ways").RECONNECT
    with (
        Broker() as broker,
        recorded() as calls,
        Connection(f"failover:({broker.uri})?initialReconnectDelay=10", name="shown") as connection,
    ):
        connection.subscribe("/queue/a", print, confirm=True)
        calls.clear()
        broker.restart()
        connection.send("/queue/a", "x", confirm=True)
        assert connection.statistics().reconnects == 1
    assert in_order([call for thread, call in calls if thread == "shown-receiver"], lane.steps) == []


def test_what_a_page_shows_under_the_lock_is_there() -> None:
    ways = load("ways")
    steps = [step for lane in (*ways.SEND, *ways.MESSAGE, *ways.RECONNECT) for step in lane.steps]
    locked: dict[Call, set[bool]] = {}
    with Broker() as broker, Connection(f"failover:({broker.uri})?initialReconnectDelay=10") as connection:
        lock = connection._engine.context.lock

        def record(frame: FrameType, event: str, _argument: object) -> None:
            if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
                call = (frame.f_code.co_filename.removeprefix(PACKAGE), frame.f_code.co_qualname)
                locked.setdefault(call, set()).add(is_owned(lock))

        connection.disconnect()
        inbox = Inbox()
        threading.setprofile(record)
        sys.setprofile(record)
        try:
            connection.connect()
            connection.subscribe("/queue/a", inbox, ack="client-individual", settle=True, confirm=True)
            broker.restart()
            connection.send("/queue/a", "x", confirm=True)
            inbox.expect(1)
            connection.disconnect()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
    for step in steps:
        owned = locked[step.file, step.function]
        assert step.locked or False in owned, f"{step.function} is called with the lock held"
        assert not step.locked or owned == {True} or takes_lock(step), f"{step.function} needs no lock"


def takes_lock(step: Any) -> bool:
    """Whether the function itself takes the lock."""
    source = (ROOT / "stomplistener" / step.file).read_text()
    _, _, body = source.partition(f"    def {step.function.rpartition('.')[2]}(")
    return re.search(r"with \S*lock:", body.partition("\n    def ")[0]) is not None


def test_the_moves_of_a_reconnect_are_legal() -> None:
    (lane,) = load("ways").RECONNECT
    states = [ConnectionState.CONNECTED, *(ConnectionState[step.state] for step in lane.steps if step.state)]
    for old, new in pairwise(states):
        assert CONNECTION_MOVES[old, new] is new
    assert states[-1] is ConnectionState.CONNECTED


def test_a_step_that_is_not_taken_is_found() -> None:
    (lane,) = load("ways").SEND
    calls = [(step.file, step.function) for step in lane.steps]
    assert in_order(calls, lane.steps) == []
    assert in_order(calls[1:], lane.steps) == [f"{lane.steps[0].file} {lane.steps[0].function}"]
    assert in_order([*calls[1:], calls[0]], lane.steps) != []


def test_the_picture_of_the_locks_has_each_lock_of_the_text() -> None:
    diagrams = load("diagrams")
    names = diagrams.lock_names()
    assert "Context.lock" in names
    text = (ROOT / "stomplistener" / "_engine" / "context.py").read_text()
    assert len(names) == len(re.findall(r"(?m)^\d\. ", text))
    assert all(f"{number}. {name}" in diagrams.locks() for number, name in enumerate(names, 1))


def test_each_page_on_internals_shows_its_picture() -> None:
    shown = set()
    for page in (DOCS / "explanation" / "internals").glob("*.md"):
        shown |= set(re.findall(r"pictures/([\w-]+)\.svg", page.read_text()))
    assert shown == {"way-of-a-send", "way-of-a-message", "reconnect", "locks", "write-states"}
