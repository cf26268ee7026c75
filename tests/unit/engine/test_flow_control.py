"""The bound on what is received and not worked off."""

from __future__ import annotations

from engine_support import Running, make_flow, wait_until

from stomplistener._engine.context import Context
from stomplistener._engine.flow_control import LEAST_OVERSHOOT_BYTES, FlowControl
from stomplistener._util.deadline import Deadline


def add(context: Context, flow: FlowControl, messages: int, size: int) -> None:
    with context.lock:
        flow.add(messages, size)


def test_either_bound_stops_the_reading() -> None:
    for messages, size in ((10, 0), (0, 100)):
        context, flow = make_flow(max_pending_messages=10, max_pending_bytes=100)
        add(context, flow, max(messages - 1, 0), max(size - 1, 0))
        assert flow.has_room
        add(context, flow, bool(messages), bool(size))
        assert not flow.has_room
        assert not flow.wait_for_room(Deadline(0.0))


def test_reading_resumes_when_half_is_left() -> None:
    context, flow = make_flow(max_pending_messages=10, max_pending_bytes=1000)
    add(context, flow, 10, 0)
    waiting = Running(lambda: flow.wait_for_room(Deadline(10.0)))
    wait_until(lambda: flow.is_paused)
    with context.lock:
        flow.remove(5, 0)
    assert not flow.has_room
    with context.lock:
        flow.remove(1, 0)
    assert waiting.result() is True
    assert flow.has_room
    assert not flow.is_paused


def test_reading_goes_on_for_a_thread_that_waits_for_an_answer() -> None:
    context, flow = make_flow(max_pending_messages=10, max_pending_bytes=100)
    add(context, flow, 10, 0)
    waiter = object()
    flow.expect(waiter)
    flow.expect(waiter)
    assert flow.is_urgent
    assert flow.wait_for_room(Deadline(0.0))
    # But not forever.
    add(context, flow, 0, LEAST_OVERSHOOT_BYTES)
    assert not flow.wait_for_room(Deadline(0.0))
    flow.unexpect(waiter)
    flow.unexpect(waiter)
    assert not flow.is_urgent


def test_an_interrupt_ends_the_pause() -> None:
    context, flow = make_flow(max_pending_messages=1, max_pending_bytes=100)
    add(context, flow, 1, 0)
    waiting = Running(lambda: flow.wait_for_room(Deadline(10.0)))
    wait_until(lambda: flow.is_paused)
    flow.interrupt()
    assert waiting.result() is True
    assert flow.is_urgent
    flow.open()
    assert not flow.wait_for_room(Deadline(0.0))
