"""Futures: the standard library's waits, callbacks, and who gives up."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import pytest
from engine_support import Running, make_context, wait_until

from stomplistener import BrokerError, Frame
from stomplistener._engine.flow_control import FlowControl
from stomplistener._engine.receipts import Answer
from stomplistener._engine.writer import Writer
from stomplistener._util.deadline import Deadline

RECEIPT = Frame("RECEIPT", {"receipt-id": "1"})
REFUSED = BrokerError("no", frame=Frame("ERROR", {}, b""))


class Desk:
    """Keeps calls until they are asked for, as a dispatcher does that is busy."""

    def __init__(self) -> None:
        self.context = make_context()
        self.flow = FlowControl(self.context)
        self.writer = Writer(self.context, lambda _error, _epoch: None)
        self.calls: list[Callable[[], object]] = []
        self.waits = True

    def call(self, event: Callable[[], object]) -> None:
        self.calls.append(event)

    def withdraw(self, _future: object) -> bool:
        return self.waits

    def run(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def answer(desk: Desk) -> Answer[Frame]:
    return Answer(desk)


def test_an_answer(answer: Answer[Frame]) -> None:
    assert (answer.running(), answer.done(), answer.cancelled()) == (True, False, False)
    answer.complete(RECEIPT)
    assert (answer.running(), answer.done(), answer.cancelled()) == (False, True, False)
    assert answer.result() is RECEIPT
    assert answer.exception() is None


def test_a_refusal(answer: Answer[Frame]) -> None:
    answer.complete(REFUSED)
    assert answer.exception() is REFUSED
    with pytest.raises(BrokerError):
        answer.result()


def test_the_first_answer_counts(answer: Answer[Frame]) -> None:
    answer.complete(RECEIPT)
    answer.complete(REFUSED)
    assert answer.result() is RECEIPT


def test_no_answer_in_time(answer: Answer[Frame]) -> None:
    with pytest.raises(TimeoutError):
        answer.result(0.01)
    with pytest.raises(TimeoutError):
        answer.exception(0)


def test_the_receiver_reads_on_while_a_thread_waits(desk: Desk, answer: Answer[Frame]) -> None:
    waiting = Running(lambda: answer.wait(Deadline(10.0)))
    wait_until(lambda: desk.flow.is_urgent)
    answer.complete(RECEIPT)
    assert waiting.result() is True
    assert not desk.flow.is_urgent
    with answer.awaited():
        assert desk.flow.is_urgent
    assert not desk.flow.is_urgent


@pytest.mark.parametrize("outcome", [RECEIPT, REFUSED])
@pytest.mark.parametrize("early", [True, False])
def test_the_waits_of_the_standard_library(desk: Desk, outcome: Frame | BrokerError, early: bool) -> None:
    answers: list[Answer[Frame]] = [Answer(desk) for _ in range(3)]
    if early:
        for answer in answers:
            answer.complete(outcome)
    waiting = Running(lambda: concurrent.futures.wait(answers, timeout=10.0))
    if not early:
        wait_until(lambda: desk.flow.is_urgent)
        for answer in answers:
            answer.complete(outcome)
    assert waiting.result().not_done == set()
    assert set(concurrent.futures.as_completed(list[Any](answers), timeout=10.0)) == set(answers)
    assert not desk.flow.is_urgent


def test_callbacks_run_in_the_dispatcher_only(desk: Desk, answer: Answer[Frame]) -> None:
    called: list[object] = []
    answer.add_done_callback(called.append)
    answer.complete(RECEIPT)
    answer.add_done_callback(called.append)
    assert called == []
    desk.run()
    assert called == [answer, answer]
    answer.publish()
    assert desk.calls == []


def test_cancel(desk: Desk, answer: Answer[Frame]) -> None:
    assert answer.cancel()
    assert answer.cancelled()
    with pytest.raises(CancelledError):
        answer.result()
    assert answer.cancel()


def test_too_late_to_cancel(desk: Desk, answer: Answer[Frame]) -> None:
    desk.waits = False
    assert not answer.cancel()
    answer.complete(RECEIPT)
    desk.waits = True
    assert not answer.cancel()
    assert answer.result() is RECEIPT


def test_abandoned_in_the_child_of_a_fork(desk: Desk, answer: Answer[Frame]) -> None:
    called: list[object] = []
    answer.add_done_callback(called.append)
    answer.abandon(REFUSED)
    assert answer.exception(0) is REFUSED
    assert desk.calls == called == []
