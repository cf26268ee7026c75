"""What the parts of one connection share."""

from __future__ import annotations

import pytest
from engine_support import Running, make_context

from stomplistener import Frame, NotConnected
from stomplistener._util.deadline import Deadline
from stomplistener.states import ConnectionState, IllegalMove


def test_a_move_wakes_whoever_waits() -> None:
    context = make_context()
    waiting = Running(lambda: context.wait_until(lambda: context.state is ConnectionState.CONNECTING, Deadline(10.0)))
    with context.lock:
        context.move(ConnectionState.CONNECTING)
    assert waiting.result() is True


def test_a_move_needs_the_lock_and_the_table() -> None:
    context = make_context()
    with pytest.raises(AssertionError, match="lock"):
        context.move(ConnectionState.CONNECTING)
    with context.lock, pytest.raises(IllegalMove):
        context.move(ConnectionState.CONNECTED)


def test_a_connection_that_never_began_fails() -> None:
    context, failure = make_context(), NotConnected("no")
    context.fail(failure)
    assert (context.state, context.failure) == (ConnectionState.CLOSED, failure)


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("tcp://user:secret@mq1:61613", "tcp://mq1:61613"),
        ("ssl://[::1]:61614", "ssl://[::1]:61614"),
        ("unix:///run/mq", "unix:///run/mq"),
    ],
)
def test_the_name_of_the_broker_has_no_secrets(uri: str, name: str) -> None:
    context = make_context(uri)
    assert (context.broker_name, context.where) == ("", "no broker")
    context.broker = context.config.uri.brokers[0]
    assert (context.broker_name, context.where) == (name, name)


def test_names_that_were_given() -> None:
    context = make_context()
    given = [context.new_id() for _ in range(3)]
    assert len(set(given)) == 3
    for id, expected in ((given[2], True), ("99", False), ("x", False), ("", False), ("9" * 30, False)):
        assert context.has_issued(Frame("RECEIPT", {"receipt-id": id})) is expected
