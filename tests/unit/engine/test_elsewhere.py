"""Listeners in a thread of the application: order, the ends that release the dispatcher, and callers that raise."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from engine_support import DEADLINE_SECONDS, Running, make_context, make_message, wait_until

from stomplistener import Message
from stomplistener._engine.context import Context
from stomplistener._engine.dispatch_queue import Batch, Event, Item
from stomplistener._engine.elsewhere import Elsewhere, leave
from stomplistener.states import ConnectionState


class Handler:
    """Notes each item and its thread, after the listener has returned."""

    def __init__(self) -> None:
        self.ran: list[tuple[Item, threading.Thread]] = []
        self.listeners: dict[Item, Callable[[], object]] = {}
        self.stale = False

    def run(self, items: Batch) -> None:
        for item in items:
            self.listeners.get(item, lambda: None)()
            self.ran.append((item, threading.current_thread()))

    def is_stale(self, item: Message) -> bool:
        return self.stale


class Rig:
    """A connection, and the functions that wait for the application's thread, which is the thread of the test."""

    def __init__(self) -> None:
        self.context = make_context()
        self.handler = Handler()
        self.subscription = SimpleNamespace(has_ended=False)
        self.message = make_message(subscription=self.subscription)
        self.handed: list[Event] = []
        self.ran_before: list[int] = []
        self.elsewhere = Elsewhere(self.context, self.handler, self.hand_over)

    def hand_over(self, function: Event) -> None:
        self.ran_before.append(len(self.handler.ran))
        self.handed.append(function)

    def give(self, *items: Item) -> Running:
        return Running(lambda: self.elsewhere.run(items))

    def take(self) -> Event:
        wait_until(lambda: self.handed)
        return self.handed.pop(0)

    def still_waits(self, dispatching: Running) -> bool:
        """Whether the dispatcher waits even after it has checked its condition again."""
        notify(self.context)
        wait_until(lambda: self.context.changes.gates or dispatching.is_over)
        return not dispatching.is_over


def notify(context: Context) -> None:
    with context.lock:
        context.changes.notify_all()


@pytest.fixture
def rig() -> Rig:
    return Rig()


def close(rig: Rig) -> None:
    with rig.context.lock:
        rig.context.move(ConnectionState.CLOSED)


def begin_to_close(rig: Rig) -> None:
    with rig.context.lock:
        rig.context.move(ConnectionState.CONNECTING)
        rig.context.move(ConnectionState.CLOSING)


def unsubscribe(rig: Rig) -> None:
    rig.subscription.has_ended = True
    notify(rig.context)


def lose(rig: Rig) -> None:
    rig.handler.stale = True
    notify(rig.context)


ENDS = pytest.mark.parametrize("end", [close, begin_to_close, unsubscribe, lose])


def test_the_next_message_is_handed_over_when_the_listener_has_returned(rig: Rig) -> None:
    first, second = make_message(), make_message()
    dispatching = rig.give(first, second)
    rig.take()()
    rig.take()()
    dispatching.result()
    assert rig.ran_before == [0, 1]
    assert rig.handler.ran == [(item, threading.current_thread()) for item in (first, second)]


def test_an_event_runs_in_the_thread_of_the_queue(rig: Rig) -> None:
    def event() -> None: ...

    rig.give(event).result()
    ((item, thread),) = rig.handler.ran
    assert item is event
    assert thread is not threading.current_thread()
    assert rig.ran_before == []


@ENDS
def test_a_message_that_was_given_up_is_not_handed_over(rig: Rig, end: Callable[[Rig], None]) -> None:
    end(rig)
    rig.give(rig.message).result()
    assert rig.handed == []


@ENDS
def test_an_end_before_the_listener_begins_releases_the_dispatcher(rig: Rig, end: Callable[[Rig], None]) -> None:
    dispatching = rig.give(rig.message)
    work = rig.take()
    end(rig)
    dispatching.result()
    work()
    assert rig.handler.ran == []


@ENDS
def test_the_dispatcher_waits_for_a_listener_that_has_begun(rig: Rig, end: Callable[[Rig], None]) -> None:
    waits: list[bool] = []
    dispatching = rig.give(rig.message)
    work = rig.take()

    def listener() -> None:
        end(rig)
        waits.append(rig.still_waits(dispatching))

    rig.handler.listeners[rig.message] = listener
    work()
    dispatching.result()
    assert waits == [True]


def test_a_function_that_is_called_again_runs_no_listener(rig: Rig) -> None:
    dispatching = rig.give(rig.message)
    work = rig.take()
    # The listener may run the event loop, which calls the function again while the listener runs.
    rig.handler.listeners[rig.message] = work
    work()
    work()
    dispatching.result()
    assert len(rig.handler.ran) == 1


@pytest.mark.parametrize("error", [RuntimeError("no loop"), SystemExit(1)])
def test_a_message_that_cannot_be_handed_over_is_logged(
    rig: Rig, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    kept: list[Event] = []

    def refuse(function: Event) -> None:
        kept.append(function)
        raise error

    message = make_message(message_id="7")
    with caplog.at_level(logging.ERROR, "stomplistener"):
        Elsewhere(rig.context, rig.handler, refuse).run((message, make_message()))
    assert len(kept) == 2
    assert f"call_in raised; {message!r} is not acknowledged" in caplog.text
    kept[0]()
    assert rig.handler.ran == []


def test_a_caller_that_raises_after_the_listener_has_returned_is_not_logged(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    def call(function: Event) -> None:
        function()
        raise RuntimeError("too late")

    with caplog.at_level(logging.ERROR, "stomplistener"):
        Elsewhere(rig.context, rig.handler, call).run((rig.message,))
    assert len(rig.handler.ran) == 1
    assert caplog.records == []


def test_the_dispatcher_waits_if_the_caller_raises_while_the_listener_runs(rig: Rig) -> None:
    """As an executor does that has queued the function, and cannot start another thread."""
    entered, release = threading.Event(), threading.Event()

    def listen() -> None:
        entered.set()
        assert release.wait(DEADLINE_SECONDS)

    def call(function: Event) -> None:
        threading.Thread(target=function, daemon=True).start()
        assert entered.wait(DEADLINE_SECONDS)
        raise RuntimeError("can't start new thread")

    rig.handler.listeners[rig.message] = listen
    dispatching = Running(lambda: Elsewhere(rig.context, rig.handler, call).run((rig.message,)))
    wait_until(lambda: rig.context.changes.gates)
    assert not dispatching.is_over
    release.set()
    dispatching.result()


def test_an_exception_reaches_the_other_thread_and_releases_the_dispatcher(rig: Rig) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    rig.handler.listeners[rig.message] = interrupt
    dispatching = rig.give(rig.message)
    with pytest.raises(KeyboardInterrupt):
        rig.take()()
    dispatching.result()


def test_only_a_listener_that_leaves_its_own_connection_releases_the_dispatcher(rig: Rig) -> None:
    dispatching = rig.give(rig.message)
    work = rig.take()
    waits: list[bool] = []

    def listener() -> None:
        Running(lambda: leave(rig.context)).result()
        leave(make_context())
        waits.append(rig.still_waits(dispatching))
        leave(rig.context)
        dispatching.result()

    rig.handler.listeners[rig.message] = listener
    work()
    assert waits == [True]
    assert len(rig.handler.ran) == 1


def test_a_listener_inside_another_one_releases_its_own_dispatcher(rig: Rig) -> None:
    """A listener may run its event loop, and the loop may call a listener of another subscription."""
    outer, inner = make_message(), make_message()
    outside, work_outside = rig.give(outer), rig.take()
    inside, work_inside = rig.give(inner), rig.take()
    waits: list[bool] = []

    def inner_listener() -> None:
        leave(rig.context)
        inside.result()
        waits.append(rig.still_waits(outside))

    def outer_listener() -> None:
        work_inside()
        leave(rig.context)
        outside.result()

    rig.handler.listeners.update({inner: inner_listener, outer: outer_listener})
    work_outside()
    assert waits == [True]
