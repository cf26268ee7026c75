"""Calls that a signal handler breaks off, or calls into: at every instruction."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import FrameType

import pytest

from stomplistener.protocol import Frame, Session, commands

FOLDER = "stomplistener/protocol/"
MESSAGE = Frame("MESSAGE", {"ack": "1", "message-id": "1", "subscription": "s"})


class Interrupt(BaseException):
    pass


def run(call: Callable[[], object], at: int, action: Callable[[], None]) -> bool:
    """Run a call, and an action before its instruction number ``at``. False if it has fewer."""
    left = at

    def trace(frame: FrameType, event: str, _arg: object) -> object:
        nonlocal left
        if FOLDER not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left == -1:
                action()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        call()
    finally:
        sys.settrace(before)
    return left < 0


@pytest.fixture(scope="module", autouse=True)
def _instructions_are_traced() -> None:
    """CPython 3.12 tells of instructions only from the second call on that asks for them."""
    run(Session, 1 << 30, lambda: None)


def interrupt() -> None:
    raise Interrupt


def fingerprint(session: Session) -> object:
    """Everything that a call can leave behind."""
    ledger, registry = session._ledger, session._registry
    return (
        session.state,
        session.is_open,
        session.is_connected,
        [(entry.id, entry.state, entry.epoch) for entry in session.subscriptions.values()],
        [(entry.id, entry.state, list(entry.awaited), list(entry.settled)) for entry in session.transactions.values()],
        [(key, id(request), request.receipt) for key, request in ledger.unconfirmed.items()],
        ledger.unconfirmed_bytes,
        list(ledger.requests.items()),
        list(ledger.assumed),
        list(ledger.resend),
        sorted(ledger._by_context.items()),
        list(registry._ended),
    )


def connect(session: Session) -> None:
    session.connect(host="/")
    session.receive(Frame("CONNECTED", {"version": "1.2"}))
    for frame in session.replay().frames:
        session.receive(Frame("RECEIPT", {"receipt-id": frame.headers["receipt"]}))
    session.restored()


def busy() -> Session:
    """A session with something in every registry."""
    session = Session()
    connect(session)
    _, frame = session.subscribe("/q", id="s", ack="client", context="subscription")
    assert frame is not None
    session.receive(Frame("RECEIPT", {"receipt-id": frame.headers["receipt"]}))
    session.send(commands.send("/q", b"kept"), confirm=True, context="kept")
    session.begin("t", context="transaction")
    session.send(commands.send("/q", b"in", transaction="t"), confirm=True, context="in")
    session.ack(MESSAGE, session.epoch, transaction=session.transactions["t"], context="acked")
    return session


def cut_off() -> Session:
    session = busy()
    session.lost(explained=True)
    return session


def isolating() -> Session:
    session = busy()
    for _ in range(2):
        session.lost()
        connect(session)
    assert session.unconfirmed
    return session


NEW = object()
PLAIN = commands.send("/q", b"x")

CALLS: dict[str, tuple[Callable[[], Session], Callable[[Session], object]]] = {
    "send": (busy, lambda session: session.send(PLAIN, confirm=True, context=NEW)),
    "send, own receipt": (
        busy,
        lambda session: session.send(commands.send("/q", b"x", {"receipt": "mine"}), context=NEW),
    ),
    "send, unconfirmed": (busy, lambda session: session.send(PLAIN, context=NEW)),
    "send, cut off": (cut_off, lambda session: session.send(PLAIN, confirm=True, context=NEW)),
    "send, isolating": (isolating, lambda session: session.send(PLAIN, confirm=True, context=NEW)),
    "send, in a transaction": (
        busy,
        lambda session: session.send(commands.send("/q", b"x", transaction="t"), confirm=True, context=NEW),
    ),
    "subscribe": (busy, lambda session: session.subscribe("/new", context=NEW)),
    "subscribe, cut off": (cut_off, lambda session: session.subscribe("/new", context=NEW)),
    "begin": (busy, lambda session: session.begin(context=NEW)),
    "begin, own receipt": (busy, lambda session: session.begin(headers={"receipt": "mine"}, context=NEW)),
    "commit": (busy, lambda session: session.commit(session.transactions["t"], context=NEW)),
    "ack": (busy, lambda session: session.ack(MESSAGE, session.epoch, confirm=True, context=NEW)),
    "ack, in a transaction": (
        busy,
        lambda session: session.ack(
            MESSAGE, session.epoch, transaction=session.transactions["t"], confirm=True, context=NEW
        ),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_is_broken_off_anywhere_can_be_undone(name: str) -> None:
    make, call = CALLS[name]
    for at in range(5000):
        session = make()
        before = fingerprint(session)
        try:
            if not run(partial(call, session), at, interrupt):
                break
        except Interrupt:
            pass
        session.withdraw(NEW)
        assert fingerprint(session) == before, f"interrupted at instruction {at}"
        session.withdraw(NEW)
        assert fingerprint(session) == before
    else:
        raise AssertionError("the call has no end")
    assert at > 20, "nothing was traced"


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_was_complete_can_be_undone(name: str) -> None:
    """Its frame may not have been written."""
    make, call = CALLS[name]
    session = make()
    before = fingerprint(session)
    call(session)
    session.withdraw(NEW)
    assert fingerprint(session) == before


def test_withdrawing_a_stranger_changes_nothing() -> None:
    for context in (None, object()):
        session = busy()
        before = fingerprint(session)
        session.withdraw(context)
        assert fingerprint(session) == before


def test_a_resend_that_is_broken_off_loses_nothing() -> None:
    for at in range(1000):
        session = cut_off()
        session.connect(host="/")
        session.receive(Frame("CONNECTED", {"version": "1.2"}))
        for frame in session.replay().frames:
            session.receive(Frame("RECEIPT", {"receipt-id": frame.headers["receipt"]}))
        try:
            done = not run(session.restored, at, interrupt)
        except Interrupt:
            done = False
        session.withdraw(NEW)
        assert [request.context for request in session.awaited()] == ["kept"]
        assert session.unconfirmed_bytes == 4
        assert [receipt for receipt, request in session._ledger.unconfirmed.items() if receipt != request.receipt] == []
        if done:
            return
    raise AssertionError("the call has no end")


def test_forgetting_that_is_broken_off_can_be_repeated() -> None:
    for at in range(1000):
        session = busy()
        try:
            done = not run(partial(session.forget, "kept"), at, interrupt)
        except Interrupt:
            done = False
        session.forget("kept")
        session.withdraw("kept")
        assert (session.unconfirmed, session.unconfirmed_bytes) == (0, 0)
        assert "kept" not in [request.context for request in session._ledger._by_context.values()]
        if done:
            return
    raise AssertionError("the call has no end")


def test_an_unsubscribe_that_is_broken_off_can_be_repeated() -> None:
    for at in range(2000):
        session = busy()
        entry = session.subscriptions["s"]
        try:
            done = not run(partial(session.unsubscribe, entry, confirm=True, context=NEW), at, interrupt)
        except Interrupt:
            done = False
            session.withdraw(NEW)
        session.unsubscribe(entry)
        assert "s" not in session.subscriptions
        assert entry.state.value in ("ended", "active" if done else "ended")
        session.lost()
        session.connect(host="/")
        session.receive(Frame("CONNECTED", {"version": "1.2"}))
        assert session.replay().frames == []
        if done:
            return
    raise AssertionError("the call has no end")


@pytest.mark.parametrize("name", CALLS)
def test_a_call_from_a_handler_in_the_middle_of_another_is_whole_as_well(name: str) -> None:
    """Where a handler runs in earnest: at the entry of a function and after a call (from CPython 3.11 on)."""
    make, call = CALLS[name]
    other = object()
    for at in range(5000):
        session = make()
        count, held = session.unconfirmed, session.unconfirmed_bytes
        frames: list[Frame | None] = []

        def handler(session: Session = session, frames: list[Frame | None] = frames) -> None:
            sys.settrace(None)
            session.subscribe("/from the handler", context=other)
            frames.append(session.send(commands.send("/h", b"handler"), confirm=True, context=other))

        if not run(partial(call, session), at, handler):
            return
        session.withdraw(NEW)
        assert (session.unconfirmed, session.unconfirmed_bytes) == (count + 1, held + 7)
        assert [entry.destination for entry in session.subscriptions.values()] == ["/q", "/from the handler"]
        assert session.forget(other) is not None
        assert (session.unconfirmed, session.unconfirmed_bytes) == (count, held)
    raise AssertionError("the call has no end")
