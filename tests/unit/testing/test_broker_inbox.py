"""The listener that records."""

from __future__ import annotations

import threading

import pytest

from stomplistener import TimedOut
from stomplistener.protocol import Frame
from stomplistener.testing import Inbox, message


def test_expect_waits_for_messages() -> None:
    inbox = Inbox()
    threading.Timer(0.05, lambda: list(map(inbox.on_message, "abc"))).start()
    assert inbox.expect(3) == ["a", "b", "c"]
    assert inbox.messages == ["a", "b", "c"]


def test_expect_shows_what_did_come() -> None:
    inbox = Inbox()
    inbox.on_message(message("a pizza"))
    inbox.on_connected(Frame("CONNECTED"))
    shown = r"expected 2 messages within 0\.01 s; got 1: \[<MESSAGE .*a pizza.*>\]; events: connected"
    with pytest.raises(TimedOut, match=shown):
        inbox.expect(2, 0.01)


def test_events_and_their_details() -> None:
    inbox = Inbox()
    error, failure = Frame("ERROR"), ValueError("x")
    inbox.on_connected(Frame("CONNECTED"))
    inbox.on_receipt(Frame("RECEIPT"))
    inbox.on_disconnected()
    inbox.on_reconnecting(1, 0.5)
    inbox.on_error(error)
    inbox.on_listener_error("m", failure)
    assert inbox.events == ["connected", "disconnected", "reconnecting", "error", "listener_error"]
    assert (inbox.reconnects, inbox.errors, inbox.listener_errors) == ([(1, 0.5)], [error], [("m", failure)])
    assert inbox.receipts == [Frame("RECEIPT")]
    inbox.clear()
    assert inbox.events == inbox.receipts == inbox.messages == []


def test_what_is_done_with_a_message_happens_after_it_is_recorded() -> None:
    def fail(message: object) -> None:
        raise ValueError(message)

    inbox = Inbox(fail)
    with pytest.raises(ValueError, match="a"):
        inbox.on_message("a")
    assert inbox.messages == ["a"]
